package nsq

import (
	"math"
	"regexp"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// slow is how long a handler takes in tests that count messages in flight. It is no multiple
// of the time between two looks at them.
const slow = 97 * time.Millisecond

// fill publishes more messages of a topic than a test can handle.
func (s *groupScene) fill(topic string, nsqds ...*nsqtest.Nsqd) {
	for _, d := range nsqds {
		d.Publish(topic, slices.Repeat([]string{"m"}, 5000)...)
	}
}

// watch lets time pass, and checks in each millisecond that the nsqds have no more messages
// in flight than the Group may have. It returns the means, by topic.
func (s *groupScene) watch(d time.Duration, topics []string, nsqds ...*nsqtest.Nsqd) map[string]float64 {
	s.Helper()
	means := make(map[string]float64)
	steps := float64(d / time.Millisecond)
	for range int(steps) {
		after(time.Millisecond)
		each, sum := inFlight(topics, nsqds...)
		if sum > s.cfg.MaxInFlight {
			s.Fatalf("%d messages are in flight, max_in_flight is %d: %v", sum, s.cfg.MaxInFlight, each)
		}
		for topic, n := range each {
			means[topic] += float64(n) / steps
		}
	}
	return means
}

// Three topics have more messages than max_in_flight allows. They share it by weight, and
// what one does not need goes to the others.
func TestGroupSharesByWeight(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		a, b := s.nsqd("a:1"), s.nsqd("b:1")
		s.cfg.MaxInFlight = 100
		s.group()
		topics := []string{"x", "y", "z"}
		weights := map[string]int{"x": 6, "y": 3, "z": 1}
		for _, topic := range topics {
			s.handle(topic, slow, HandleOptions{Concurrency: 100, Weight: weights[topic]})
			s.fill(topic, a, b)
		}
		s.direct(a, b)
		s.run()
		s.watch(2*time.Second, topics, a, b) // the first shares go out, and settle
		for topic, n := range s.watch(3*time.Second, topics, a, b) {
			want := 10 * float64(weights[topic])
			if math.Abs(n-want) > 0.1*want {
				t.Errorf("%s has %.1f messages in flight, want %.0f", topic, n, want)
			}
		}

		for _, d := range []*nsqtest.Nsqd{a, b} {
			d.Empty("x", "c")
		}
		s.watch(2*time.Second, topics, a, b)
		for topic, n := range s.watch(3*time.Second, topics[1:], a, b) {
			want := 24.0 * float64(weights[topic]) // x keeps a slot or two for each nsqd
			if math.Abs(n-want) > 0.1*want {
				t.Errorf("without x, %s has %.1f messages in flight, want %.0f", topic, n, want)
			}
		}

		s.fill("x", a, b)
		s.watch(2*time.Second, topics, a, b)
		for topic, n := range s.watch(time.Second, topics, a, b) {
			want := 10 * float64(weights[topic])
			if math.Abs(n-want) > 0.1*want {
				t.Errorf("with x again, %s has %.1f messages in flight, want %.0f", topic, n, want)
			}
		}
	})
}

// While a strict topic has messages, the others have none in flight.
func TestGroupStrict(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		d := s.nsqd("a:1")
		s.cfg.MaxInFlight = 20
		s.group()
		topics := []string{"high", "low"}
		s.handle("high", slow, HandleOptions{Concurrency: 20, Weight: 2, Strict: true})
		s.handle("low", slow, HandleOptions{Concurrency: 20, Weight: 1})
		s.fill("low", d)
		s.direct(d)
		s.run()
		s.watch(5*time.Second, topics, d)
		if got := s.watch(time.Second, topics, d); got["low"] < 17 {
			t.Errorf("%.1f messages of low are in flight, want nearly all of 20", got["low"])
		}
		s.fill("high", d)
		s.watch(time.Second, topics, d)
		if got := s.watch(3*time.Second, topics, d); got["low"] > 0 || got["high"] < 19 {
			t.Errorf("in flight %v, want 20 of high and none of low", got)
		}
		d.Empty("high", "c")
		s.watch(5*time.Second, topics, d)
		if got := s.watch(time.Second, topics, d); got["low"] < 17 {
			t.Errorf("%.1f messages of low are in flight, want nearly all of 20", got["low"])
		}
	})
}

// A Consumer that has stopped leaves its slots to the others, even if the program stopped it.
func TestGroupSharesWithoutTheStopped(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		d := s.nsqd("a:1")
		s.group()
		s.handle("t", slow, HandleOptions{Concurrency: 10, Weight: 1})
		s.handle("u", slow, HandleOptions{Concurrency: 10, Weight: 1, MaxInFlight: 8})
		s.handle("own", slow, HandleOptions{Concurrency: 10, MaxInFlight: 3})
		for _, topic := range []string{"t", "u", "own"} {
			s.fill(topic, d)
		}
		s.direct(d)
		s.run()
		after(3 * time.Second)
		want := func(t0, u int) {
			t.Helper()
			synctest.Wait()
			states := s.g.Snapshot()
			if states[0].MaxInFlight != t0 || states[1].MaxInFlight != u || states[2].MaxInFlight != 3 {
				t.Errorf("max_in_flight %d, %d and %d, want %d, %d and 3",
					states[0].MaxInFlight, states[1].MaxInFlight, states[2].MaxInFlight, t0, u)
			}
		}
		want(5, 5)
		s.g.Consumers()[0].Stop()
		after(3 * time.Second)
		if got := s.g.Snapshot()[1].MaxInFlight; got != 8 {
			t.Errorf("max_in_flight %d, want 8, its limit", got)
		}
	})
}

// A Consumer whose run loop is stuck, because its logger blocks, keeps the slots that it has.
// The others go on sharing.
func TestGroupSharesPastAStuckConsumer(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		d := s.nsqd("a:1")
		s.group()
		for _, topic := range []string{"t", "u", "v"} {
			s.handle(topic, slow, HandleOptions{Concurrency: 10, Weight: 1})
		}
		s.fill("t", d)
		s.direct(d)
		s.run()
		consumers := s.g.Consumers()
		want := func(when string, which, n int) {
			t.Helper()
			if got := consumers[which].Snapshot().MaxInFlight; got != n {
				t.Errorf("%s: consumer %d has max_in_flight %d, want %d", when, which, got, n)
			}
		}
		after(5 * time.Second)
		want("at first", 0, 8)
		release := make(chan struct{})
		consumers[2].post(func(time.Time) { <-release })
		d.Empty("t", "c")
		s.fill("u", d)
		after(5 * time.Second)
		want("with one stuck", 1, 8)
		close(release)
	})
}

// More topics match than there are slots: they take turns, and all are consumed.
func TestGroupTakesTurns(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		d := s.nsqd("a:1")
		s.cfg.MaxInFlight = 2
		s.group()
		l := s.lookupd("l:1")
		topics := []string{"t1", "t2", "t3", "t4", "t5"}
		for _, topic := range topics {
			l.Register(topic, d.Addr())
			d.Publish(topic, "m1", "m2", "m3")
		}
		match := func(topic string) Handler { return s.handler(topic, time.Millisecond) }
		if err := s.g.HandleMatching(regexp.MustCompile("^t"), "c", match, HandleOptions{Weight: 1}); err != nil {
			t.Fatal(err)
		}
		s.lookups(l)
		s.run()
		s.watch(5*time.Second, topics, d)
		for _, topic := range topics {
			if n := s.take(topic); n != 3 {
				t.Errorf("%d messages of %s were handled, want 3", n, topic)
			}
		}
	})
}
