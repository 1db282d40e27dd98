package nsq

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// matching adds a HandleMatching of channel c that counts messages.
func (s *groupScene) matching(re string) {
	s.Helper()
	h := func(topic string) Handler { return s.handler(topic, 0) }
	if err := s.g.HandleMatching(regexp.MustCompile(re), "c", h, HandleOptions{}); err != nil {
		s.Fatal(err)
	}
}

// wantConsumed checks which topics have Consumers.
func (s *groupScene) wantConsumed(when string, want ...string) {
	s.Helper()
	if got := s.consumed(); !slices.Equal(got, want) {
		s.Errorf("%s: topics %q are consumed, want %q", when, got, want)
	}
}

// Topics are found at once, a new one at the next poll. One that any nsqlookupd lists stays.
func TestGroupFindsTopics(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		a, b := s.nsqd("a:1"), s.nsqd("b:1")
		l1, l2 := s.lookupd("l1:1"), s.lookupd("l2:1")
		l1.Register("log.a", a.Addr())
		l2.Register("log.a", a.Addr())
		l2.Register("log.b#ephemeral", b.Addr())
		l2.Register("other", b.Addr())
		s.group()
		s.matching(`^log\.`)
		s.lookups(l1, l2)
		s.run()
		s.wantConsumed("at once", "log.a", "log.b#ephemeral")
		a.Publish("log.a", "m1")
		b.Publish("log.b#ephemeral", "m2")
		if n, m := s.take("log.a"), s.take("log.b#ephemeral"); n != 1 || m != 1 {
			t.Errorf("%d and %d messages were handled, want 1 each", n, m)
		}

		l1.Register("log.c", a.Addr())
		a.Publish("log.c", "m3")
		after(30 * time.Second)
		s.wantConsumed("between polls", "log.a", "log.b#ephemeral")
		after(30 * time.Second)
		s.wantConsumed("at the next poll", "log.a", "log.b#ephemeral", "log.c")
		if n := s.take("log.c"); n != 1 {
			t.Errorf("%d messages of the new topic were handled, want 1", n)
		}
		if got := clients(b); got[0] != 1 {
			t.Errorf("b has %d clients: one for other, which does not match", got[0])
		}
		l1.DeleteTopic("log.a") // l2 still lists it
		after(10 * time.Minute)
		s.wantConsumed("with one of two", "log.a", "log.b#ephemeral", "log.c")
	})
}

// A topic that three polls in a row have not listed is let go: what is in flight is handled.
// If it comes back, so does its Consumer. A poll that fails proves nothing.
func TestGroupLetsTopicsGo(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		d := s.nsqd("a:1")
		l := s.lookupd("l:1")
		l.Register("t", d.Addr())
		s.group()
		s.matching("^t$")
		s.lookups(l)
		s.run()
		s.wantConsumed("at once", "t")
		first := s.g.Consumers()[0]

		l.DeleteTopic("t")
		after(2 * time.Minute)
		l.Fail(http.StatusInternalServerError, "INTERNAL_ERROR")
		after(time.Minute)
		l.Recover()
		after(2 * time.Minute)
		s.wantConsumed("after two polls, a failure and two polls", "t")
		if err := s.g.Health(); err != nil {
			t.Errorf("Health: %v", err)
		}
		after(time.Minute)
		s.wantConsumed("after three polls")
		if len(d.Clients()) > 0 || first.Snapshot().State != ConsumerStopped {
			t.Errorf("%d clients, the Consumer is %s", len(d.Clients()), first.Snapshot().State)
		}
		if err := s.g.Health(); err != nil {
			t.Errorf("Health: %v", err)
		}

		l.Register("t", d.Addr())
		d.Publish("t", "m")
		after(time.Minute)
		s.wantConsumed("after it came back", "t")
		if n := s.take("t"); n != 1 {
			t.Errorf("%d messages were handled, want 1", n)
		}
	})
}

// The counts of a Group include those of Consumers that it has let go.
func TestGroupCountsNeverFall(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		d := s.nsqd("a:1")
		l := s.lookupd("l:1")
		l.Register("goes", d.Addr())
		l.Register("stays", d.Addr())
		d.Publish("goes", "m", "m")
		d.Publish("stays", "m")
		s.group()
		s.matching("")
		if got := s.g.Counts(); got != (Counts{}) {
			t.Errorf("before Run: %+v", got)
		}
		s.lookups(l)
		s.run()
		s.wantConsumed("at first", "goes", "stays")
		after(time.Second)
		want := func(when string, n uint64) {
			t.Helper()
			if got := s.g.Counts(); got != (Counts{Received: n, Finished: n}) {
				t.Errorf("%s: %+v, want %d messages", when, got, n)
			}
		}
		want("while both topics are there", 3)
		l.DeleteTopic("goes")
		after(5 * time.Minute)
		s.wantConsumed("after three polls", "stays")
		want("after one has gone", 3)
		l.Register("goes", d.Addr())
		d.Publish("goes", "m")
		after(2 * time.Minute)
		want("after it has come back", 4)
		if err := s.end(); err != nil {
			t.Errorf("Run: %v", err)
		}
		want("after the end", 4)
	})
}

// An nsqlookupd that restarts lists nothing until nsqds have registered again. With short
// intervals that takes more than three polls. A Consumer that is connected outlives them.
func TestGroupKeepsTopicsOfAnEmptyNSQLookupd(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		s.cfg.LookupdPollInterval = time.Second
		d := s.nsqd("a:1")
		l := s.lookupd("l:1")
		l.Register("t", d.Addr())
		s.group()
		s.matching("^t$")
		s.lookups(l)
		s.run()
		l.DeleteTopic("t")
		after(15 * time.Second)
		l.Register("t", d.Addr())
		after(30 * time.Second)
		s.wantConsumed("after 15 s without topics", "t")
		if n := len(commands(d, "SUB")); n != 1 {
			t.Errorf("%d subscriptions, want the first only", n)
		}
	})
}

// A Consumer that lets a topic go waits for its handlers, while the Group goes on. If Run
// ends meanwhile, it says what the Consumer has left.
func TestGroupStopsWhileATopicGoes(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		s.cfg.StopTimeout = 10 * time.Second
		d := s.nsqd("a:1")
		l := s.lookupd("l:1")
		l.Register("t", d.Addr())
		d.Publish("t", "m")
		release := make(chan struct{})
		s.group()
		h := func(string) Handler { return HandlerFunc(func(*Message) error { <-release; return nil }) }
		if err := s.g.HandleMatching(regexp.MustCompile("t"), "c", h, HandleOptions{}); err != nil {
			t.Fatal(err)
		}
		s.lookups(l)
		s.run()
		l.DeleteTopic("t")
		after(3*time.Minute + time.Second)
		s.wantConsumed("while its handler is at work", "t")
		if err := s.g.Health(); err != nil {
			t.Errorf("Health counts the Consumer of a topic that has gone: %v", err)
		}
		began := time.Now()
		err := s.end()
		close(release)
		stop, ok := errors.AsType[*StopError](err)
		if !ok || stop.Topic != "t" || len(stop.Running) != 1 {
			t.Errorf("Run: %v", err)
		}
		if took := time.Since(began); took != 9*time.Second {
			t.Errorf("Run took %v, want the 9 s that the Consumer had left", took)
		}
	})
}

// Handle has its topic. Of two expressions with one channel the first has a topic that both
// match. A topic without a handler, or whose function panics, is left alone.
func TestGroupMatchesEachTopicOnce(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		d := s.nsqd("a:1")
		l := s.lookupd("l:1")
		for _, topic := range []string{"fixed", "none", "panics", "t"} {
			l.Register(topic, d.Addr())
		}
		s.group()
		calls := map[string]int{}
		match := func(as string) func(string) Handler {
			return func(topic string) Handler {
				calls[as+" "+topic]++
				switch topic {
				case "none":
					return nil
				case "panics":
					panic("boom")
				}
				return s.handler(topic, 0)
			}
		}
		re := regexp.MustCompile("")
		s.handle("fixed", 0, HandleOptions{})
		for _, add := range []struct{ channel, as string }{{"c", "first"}, {"c", "second"}, {"d", "third"}} {
			if err := s.g.HandleMatching(re, add.channel, match(add.as), HandleOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		s.lookups(l)
		s.run()
		after(5 * time.Minute)
		s.wantConsumed("after five polls", "fixed", "fixed", "t", "t")
		want := map[string]int{
			"first none": 1, "first panics": 1, "first t": 1,
			"third fixed": 1, "third none": 1, "third panics": 1, "third t": 1,
		}
		for call, n := range want {
			if calls[call] != n {
				t.Errorf("%s: %d calls, want %d", call, calls[call], n)
			}
		}
		if len(calls) != len(want) {
			t.Errorf("calls %v, want %v", calls, want)
		}
	})
}

// A Consumer of a topic that matches stays away from nsqds that no nsqlookupd lists for it:
// its subscription would create the topic there.
func TestGroupDoesNotCreateTopics(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		a, b := s.nsqd("a:1"), s.nsqd("b:1")
		l := s.lookupd("l:1", a)
		s.group()
		s.matching("^t$")
		s.handle("fixed", 0, HandleOptions{})
		s.direct(b)
		s.lookups(l)
		s.run()
		if got, want := commands(b, "SUB"), []string{"SUB fixed c"}; !slices.Equal(got, want) {
			t.Errorf("subscriptions at b %q, want %q", got, want)
		}
		if got, want := commands(a, "SUB"), []string{"SUB t c"}; !slices.Equal(got, want) {
			t.Errorf("subscriptions at a %q, want %q", got, want)
		}
	})
}

// What an nsqlookupd lists may be no topic at all.
func TestGroupIgnoresInvalidTopics(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		l := s.lookupd("l:1")
		l.Reply(`{"topics":["t","a b","","#ephemeral","` + strings.Repeat("x", 65) + `","t\nt","t"]}`)
		s.group()
		s.matching("")
		s.lookups(l)
		s.run()
		s.wantConsumed("of seven names", "t")
	})
}

// A topic that has gone leaves its slots to the others, once its messages are handled.
func TestGroupSharesWithoutTopicsThatWent(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		d := s.nsqd("a:1")
		l := s.lookupd("l:1")
		s.group()
		h := func(topic string) Handler { return s.handler(topic, slow) }
		opts := HandleOptions{Concurrency: 10, Weight: 1}
		if err := s.g.HandleMatching(regexp.MustCompile(""), "c", h, opts); err != nil {
			t.Fatal(err)
		}
		for _, topic := range []string{"goes", "stays"} {
			l.Register(topic, d.Addr())
			d.Publish(topic, slices.Repeat([]string{"m"}, 25_000)...)
		}
		s.lookups(l)
		s.run()
		after(5 * time.Second)
		each, _ := inFlight([]string{"goes", "stays"}, d)
		if each["goes"] != 5 || each["stays"] != 5 {
			t.Errorf("in flight %v, want 5 each", each)
		}
		l.DeleteTopic("goes")
		s.watch(3*time.Minute, []string{"goes", "stays"}, d)
		s.wantConsumed("after three polls", "stays")
		if got := s.g.Snapshot()[0].MaxInFlight; got != 10 {
			t.Errorf("max_in_flight %d, want all 10", got)
		}
	})
}

// A Group that cannot ask for topics is not healthy, although it has no Consumer that could
// say so. An nsqlookupd that is added during Run helps.
func TestGroupHealthWithoutTopics(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		d := s.nsqd("a:1")
		down := s.lookupd("l1:1")
		down.Hang()
		s.group()
		s.matching("^t$")
		s.lookups(down)
		s.run()
		cause := func() HealthCause {
			e, _ := errors.AsType[*HealthError](s.g.Health())
			if e == nil {
				return ""
			}
			return e.Cause
		}
		if got := cause(); got != CauseNotConnected {
			t.Errorf("before a response: cause %q", got)
		}
		down.Fail(http.StatusBadGateway, "")
		after(2 * time.Minute)
		if got := cause(); got != CauseNotConnected {
			t.Errorf("after a failure: cause %q", got)
		}
		if err := s.g.Discover(context.Background(), s.lookupd("l2:1", d).Addr()); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		s.wantConsumed("after another nsqlookupd was added", "t")
		if got := cause(); got != "" {
			t.Errorf("cause %q, want health", got)
		}
	})
}

// A HandleMatching with dead letters does not find the topics that they go to: neither loses
// them nor moves them from one to the next. One without dead letters, to replay them, does.
func TestGroupLeavesDeadLettersAlone(t *testing.T) {
	for _, topic := range []string{"", "log.failed", "topic"} {
		t.Run(topic, func(t *testing.T) {
			inGroupScene(t, func(s *groupScene) {
				d, l, p := s.nsqd("a:1"), s.lookupd("l:1"), s.producer("a:1")
				defer p.Stop()
				replay := s.cfg.clone()
				s.cfg.MaxAttempts = 1
				s.cfg.DeadLetter = &DeadLetterPolicy{To: p, Topic: topic}
				s.group()
				fails := func(string) Handler { return HandlerFunc(func(*Message) error { return errBoom }) }
				re := regexp.MustCompile(`^(log\.|topic$)`)
				if err := s.g.HandleMatching(re, "c", fails, HandleOptions{}); err != nil {
					t.Fatal(err)
				}
				replays := func(topic string) Handler { return FromDeadLetters(s.handler(topic, 0)) }
				if err := s.g.HandleMatching(re, "replay", replays, HandleOptions{Config: replay}); err != nil {
					t.Fatal(err)
				}
				l.Register("log.a", d.Addr())
				d.CreateChannel("log.a", "c")
				d.Publish("log.a", "pen")
				s.lookups(l)
				s.run()
				after(time.Minute)
				dead := cmp.Or(topic, "log.a.c.dead")
				l.Register(dead, d.Addr())
				after(5 * time.Minute)
				if st := d.Stats(dead, "c"); st.Clients != 0 {
					t.Errorf("%s has a consumer of channel c", dead)
				}
				if n := s.take(dead); n != 1 {
					t.Errorf("%d dead letters were replayed, want 1", n)
				}
				if err := s.end(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
