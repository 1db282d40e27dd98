package e2e

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
)

// attempts records the Attempts of every delivery that handlers get, in order.
type attempts struct {
	mu  sync.Mutex
	all []uint16
}

func (a *attempts) add(m *nsq.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, m.Attempts)
}

func (a *attempts) seen() []uint16 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.all)
}

// With auto_touch nsqd waits for a handler that takes three times the lease.
func TestAutoTouchKeepsTheLease(t *testing.T) {
	n := StartNSQD(t, nil)
	cfg := testConfig(t)
	cfg.MsgTimeout, cfg.AutoTouch = time.Second, time.Minute
	var deliveries attempts
	c := consume(t, cfg, 4, func(m *nsq.Message) error {
		deliveries.add(m)
		time.Sleep(3 * time.Second)
		return nil
	}, n)
	n.Publish(topic, "m")
	eventually(t, patience, func() bool { return c.Snapshot().Finished == 1 })
	eventually(t, patience, func() bool { s := n.Stats(topic, "c"); return s.InFlight == 0 && s.Depth == 0 })
	if s := n.Stats(topic, "c"); s.TimeoutCount != 0 || !slices.Equal(deliveries.seen(), []uint16{1}) {
		t.Errorf("%d timeouts, attempts %v", s.TimeoutCount, deliveries.seen())
	}
	if s := c.Snapshot(); s.Received != 1 || s.Lost+s.Refused != 0 {
		t.Errorf("%+v", s.Counts)
	}
}

// Without auto_touch nsqd delivers the message again. The late FIN of the first
// delivery is dropped, not taken for the second's.
func TestWithoutAutoTouchItComesAgain(t *testing.T) {
	n := StartNSQD(t, nil)
	cfg := testConfig(t)
	cfg.MsgTimeout = time.Second
	var deliveries attempts
	c := consume(t, cfg, 4, func(m *nsq.Message) error {
		deliveries.add(m)
		if m.Attempts == 1 {
			time.Sleep(3 * time.Second)
		}
		return nil
	}, n)
	n.Publish(topic, "m")
	eventually(t, patience, func() bool { return c.Snapshot().Finished == 1 })
	eventually(t, patience, func() bool { return c.Snapshot().Lost == 1 }) // the first handler has returned
	if s := n.Stats(topic, "c"); s.TimeoutCount != 1 || !slices.Equal(deliveries.seen(), []uint16{1, 2}) {
		t.Errorf("%d timeouts, attempts %v", s.TimeoutCount, deliveries.seen())
	}
	if s := c.Snapshot(); s.Received != 2 || s.Finished != 1 || s.Lost != 1 || s.Refused != 0 {
		t.Errorf("%+v", s.Counts)
	}
}

// The messages that a consumer has not begun when it shuts down go to the next
// consumer at once, not after nsqd's timeout. The shutdown takes as long as the
// slowest handler.
func TestShutdownHandsPrefetchedMessagesOver(t *testing.T) {
	const prefetched, handlers, work = 500, 10, time.Second
	n := StartNSQD(t, nil)
	n.Post("/topic/create?topic=" + topic)
	n.Post("/channel/create?channel=c&topic=" + topic)
	publish(t, n, "m", prefetched)
	cfg := testConfig(t)
	cfg.MaxInFlight = prefetched
	handled := newLedger()
	first := consume(t, cfg, handlers, func(m *nsq.Message) error {
		time.Sleep(work)
		handled.add(m.Body)
		return nil
	}, n)
	eventually(t, patience, func() bool { return n.Stats(topic, "c").InFlight == prefetched })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	begin := time.Now()
	if err := first.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	t.Logf("shut down in %v, with handlers that take %v", time.Since(begin), work)
	counts := first.Snapshot().Counts
	if counts.Finished%handlers != 0 || counts.Finished+counts.Requeued != prefetched || counts.Lost+counts.Expired != 0 {
		t.Errorf("%+v", counts)
	}
	var deliveries attempts
	consume(t, cfg, handlers, func(m *nsq.Message) error {
		deliveries.add(m)
		handled.add(m.Body)
		return nil
	}, n)
	eventually(t, patience, func() bool { return handled.distinct() == prefetched })
	for _, a := range deliveries.seen() {
		if a != 2 {
			t.Errorf("attempts %d, want 2 for all", a)
		}
	}
	if got := uint64(len(deliveries.seen())); got != counts.Requeued {
		t.Errorf("the second consumer got %d of the %d requeued messages", got, counts.Requeued)
	}
	if s := n.Stats(topic, "c"); s.TimeoutCount != 0 {
		t.Errorf("%d messages timed out", s.TimeoutCount)
	}
}
