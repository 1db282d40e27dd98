package nsqotel

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
)

// These attributes are common to process metrics and to publish metrics.
const (
	process = "messaging.destination.name=orders messaging.destination.subscription.name=billing " +
		"messaging.operation.name=process messaging.operation.type=process messaging.system=nsq " +
		"server.address=nsqd1 server.port=4150"
	publish = "messaging.operation.name=publish messaging.operation.type=send messaging.system=nsq"
)

// handled returns an event of a message of orders/billing.
func handled(o nsq.Outcome, took time.Duration, err error) nsq.HandledEvent {
	m := nsq.NewMessage(nsq.MessageID{}, nil)
	m.NSQDAddress = "nsqd1:4150"
	return nsq.HandledEvent{Topic: "orders", Channel: "billing", Message: m, Outcome: o, Took: took, Err: err}
}

func TestHandledMetrics(t *testing.T) {
	r := newRecorder(t)
	h := r.Hooks()
	h.Handled(handled(nsq.OutcomeFinished, 12*time.Millisecond, nil))
	h.Handled(handled(nsq.OutcomeAnswered, 24*time.Millisecond, nil))
	h.Handled(handled(nsq.OutcomeRequeued, time.Second, &refused{}))
	h.Handled(handled(nsq.OutcomeRequeued, time.Minute, &nsq.PanicError{Value: "oh"}))
	h.Handled(handled(nsq.OutcomeGivenUp, 0, nil))
	equal(t, r.collected(t), `
	messaging.client.consumed.messages {{message}} error.type=*nsqotel.refused `+process+` = 1
	messaging.client.consumed.messages {{message}} error.type=given_up `+process+` = 1
	messaging.client.consumed.messages {{message}} error.type=panic `+process+` = 1
	messaging.client.consumed.messages {{message}} `+process+` = 2
	messaging.process.duration {s} error.type=*nsqotel.refused `+process+` = 1 in 1s, buckets [1]
	messaging.process.duration {s} error.type=panic `+process+` = 1 in 60s, buckets []
	messaging.process.duration {s} `+process+` = 2 in 0.036s, buckets [0.025]`)
}

func TestPublishedMetrics(t *testing.T) {
	r := newRecorder(t)
	h := r.Hooks()
	h.Published(nsq.PublishedEvent{Topic: "orders", Addr: "unix:/run/nsqd", Messages: 1, Took: 6 * time.Millisecond})
	h.Published(nsq.PublishedEvent{Topic: "orders", Addr: "unix:/run/nsqd", Messages: 10, Took: 2 * time.Millisecond})
	h.Published(nsq.PublishedEvent{Topic: "x#ephemeral", Messages: 1, Took: time.Second, Err: &nsq.ProtocolError{Code: "E_PUB_FAILED"}})
	equal(t, r.collected(t), `
	messaging.client.operation.duration {s} error.type=E_PUB_FAILED messaging.destination.name=#ephemeral `+publish+` = 1 in 1s, buckets [1]
	messaging.client.operation.duration {s} messaging.destination.name=orders `+publish+` server.address=/run/nsqd = 2 in 0.008s, buckets [0.005 0.01]
	messaging.client.sent.messages {{message}} error.type=E_PUB_FAILED messaging.destination.name=#ephemeral `+publish+` = 1
	messaging.client.sent.messages {{message}} messaging.destination.name=orders `+publish+` server.address=/run/nsqd = 11`)
}

// TestHooksOfAScene has a Producer and a Consumer call the hooks.
func TestHooksOfAScene(t *testing.T) {
	inScene(t, func(s *scene) {
		s.consume(func(_ context.Context, m *nsq.Message) error {
			if m.Attempts == 1 {
				return nsq.RetryAfter(time.Minute, &refused{})
			}
			return nil
		})
		if err := s.produce().PublishContext(s.Context(), "orders", []byte("hello")); err != nil {
			t.Fatal(err)
		}
		after(time.Hour)
		equal(t, s.shown(t, "messaging.client.c")+s.shown(t, "messaging.client.s"), `
		messaging.client.consumed.messages {{message}} error.type=*nsqotel.refused `+process+` = 1
		messaging.client.consumed.messages {{message}} `+process+` = 1
		messaging.client.sent.messages {{message}} messaging.destination.name=orders `+publish+` server.address=nsqd1 server.port=4150 = 1`)
	})
}

// TestGauges has two Consumers of one channel, each with one message in hand, and stops
// them one after the other.
func TestGauges(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 5
		release := make(chan struct{})
		handler := func(context.Context, *nsq.Message) error { <-release; return nil }
		one, two := s.consume(handler), s.consume(handler)
		s.nsqd.Publish("orders", "a", "b")
		after(time.Second)
		const of = " messaging.destination.name=orders messaging.destination.subscription.name=billing messaging.system=nsq"
		equal(t, s.shown(t, "nsq."), `
		nsq.consumer.backoff.level {1}`+of+` = 0
		nsq.consumer.in_flight {{message}}`+of+` server.address=nsqd1 server.port=4150 = 2
		nsq.consumer.ready {{message}}`+of+` server.address=nsqd1 server.port=4150 = 10`)
		close(release)
		after(time.Second)
		stop(one)
		equal(t, s.shown(t, "nsq."), `
		nsq.consumer.backoff.level {1}`+of+` = 0
		nsq.consumer.in_flight {{message}}`+of+` server.address=nsqd1 server.port=4150 = 0
		nsq.consumer.ready {{message}}`+of+` server.address=nsqd1 server.port=4150 = 5`)
		stop(two)
		equal(t, "still "+s.shown(t, "nsq.")+"\n", "\nstill ")
		if len(s.gauges.consumers) != 0 {
			t.Error("stopped Consumers are kept")
		}
	})
}

// A Consumer that is added twice counts once.
func TestConsumerAddedTwice(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 5
		c := s.consume(func(context.Context, *nsq.Message) error { return nil })
		s.Consumer(c)
		after(time.Second)
		if got := strings.TrimSpace(s.shown(t, "nsq.consumer.ready")); !strings.HasSuffix(got, " = 5") {
			t.Error(got)
		}
	})
}

// TestBackoffGauge has two Consumers of one channel. The gauge shows the one that backs off.
func TestBackoffGauge(t *testing.T) {
	inScene(t, func(s *scene) {
		s.consume(func(context.Context, *nsq.Message) error { return errors.New("fails") })
		s.nsqd.Publish("orders", "a")
		after(time.Second)
		s.consume(func(context.Context, *nsq.Message) error { return nil })
		after(time.Second / 2)
		equal(t, firstLine(s.shown(t, "nsq.")), "\nnsq.consumer.backoff.level {1} messaging.destination.name=orders "+
			"messaging.destination.subscription.name=billing messaging.system=nsq = 1")
	})
}

// firstLine returns the first line of a text.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line + "\n"
}

// TestManySeries checks that addresses of nsqds that come and go take bounded memory.
func TestManySeries(t *testing.T) {
	var c cache[int, int]
	for i := range 3 * maxCached {
		if got := c.get(i, func(i int) int { return -i }); got != -i {
			t.Fatalf("%d: got %d", i, got)
		}
		if n := len(*c.entries.Load()); n > maxCached {
			t.Fatalf("%d entries", n)
		}
	}
}

// TestConcurrentEvents has many goroutines report while metrics are collected.
func TestConcurrentEvents(t *testing.T) {
	r := newRecorder(t)
	h := r.Hooks()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				h.Handled(handled(nsq.OutcomeFinished, time.Millisecond, nil))
				h.Published(nsq.PublishedEvent{Topic: "orders", Messages: 1})
			}
		})
	}
	r.collected(t)
	wg.Wait()
	equal(t, firstLine(r.collected(t)), `
	messaging.client.consumed.messages {{message}} `+process+` = 400`)
}

// TestHandledAllocatesNothing checks the Handled hook once its series exists.
func TestHandledAllocatesNothing(t *testing.T) {
	r := newRecorder(t)
	h, e := r.Hooks(), handled(nsq.OutcomeFinished, time.Millisecond, nil)
	h.Handled(e)
	if n := testing.AllocsPerRun(100, func() { h.Handled(e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
