package e2e

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
)

const topic = "work"

// ledger counts how often each message was handled successfully.
type ledger struct {
	mu   sync.Mutex
	done map[string]int
}

func newLedger() *ledger { return &ledger{done: make(map[string]int)} }

func (l *ledger) add(body []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done[string(body)]++
}

// has reports whether a message was handled.
func (l *ledger) has(body string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done[body] > 0
}

// distinct returns how many distinct messages were handled.
func (l *ledger) distinct() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.done)
}

func testConfig(t *testing.T) *nsq.Config {
	cfg := nsq.NewConfig()
	cfg.MaxInFlight = 200
	cfg.DefaultRequeueDelay = 50 * time.Millisecond
	cfg.MaxBackoffDuration = 0
	cfg.MaxAttempts = 0
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	return cfg
}

// consume starts a consumer of topic work, channel c. It stops the consumer when
// the test ends, and fails the test if that takes too long.
func consume(t *testing.T, cfg *nsq.Config, handlers int, h nsq.HandlerFunc, nsqds ...*NSQD) *nsq.Consumer {
	t.Helper()
	c, err := nsq.NewConsumer(topic, "c", cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.AddConcurrentHandlers(h, handlers)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the consumer before its stop: %+v", c.Snapshot())
		}
		stop(t, c)
	})
	var addrs []string
	for _, n := range nsqds {
		addrs = append(addrs, n.TCPAddr())
	}
	if err := c.ConnectToNSQDs(addrs); err != nil {
		t.Fatal(err)
	}
	return c
}

func stop(t *testing.T, c *nsq.Consumer) {
	t.Helper()
	c.Stop()
	select {
	case <-c.StopChan:
	case <-time.After(patience):
		t.Error("the consumer did not stop")
	}
}

// publish publishes count messages with distinct bodies, in batches, through a
// Producer.
func publish(t *testing.T, n *NSQD, prefix string, count int) {
	t.Helper()
	p, err := nsq.NewProducer(n.TCPAddr(), testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	for from := 0; from < count; from += 500 {
		var bodies [][]byte
		for i := from; i < min(from+500, count); i++ {
			bodies = append(bodies, fmt.Appendf(nil, "%s-%d", prefix, i))
		}
		if err := p.MultiPublish(topic, bodies); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTenThousandMessagesThroughTwoNSQDs(t *testing.T) {
	const each = 5000
	a, b := StartNSQD(t, nil), StartNSQD(t, nil)
	handled := newLedger()
	var mu sync.Mutex
	failed := map[string]bool{}
	c := consume(t, testConfig(t), 16, func(m *nsq.Message) error {
		if rand.IntN(50) == 0 {
			mu.Lock()
			failed[string(m.Body)] = true
			mu.Unlock()
			return errors.New("simulated")
		}
		handled.add(m.Body)
		return nil
	}, a, b)
	publish(t, a, "a", each)
	publish(t, b, "b", each)
	eventually(t, patience, func() bool { return handled.distinct() == 2*each })
	stop(t, c)
	for _, n := range []*NSQD{a, b} {
		eventually(t, patience, func() bool {
			s := n.Stats(topic, "c")
			return s.Depth == 0 && s.InFlight == 0 && s.Deferred == 0 && len(s.Clients) == 0
		})
	}
	if len(failed) == 0 || c.Stats().MessagesRequeued == 0 {
		t.Error("no requeue in 10,000 messages of which 2 % fail")
	}
	for body, times := range handled.done {
		if times != 1 {
			t.Errorf("%s was handled %d times", body, times)
		}
	}
}

// While one nsqd is dead, the consumer goes on with the other. Soon after the
// dead one has restarted, the consumer handles its messages again.
func TestNSQDKilledAndRestarted(t *testing.T) {
	steady, victim := StartNSQD(t, nil), StartNSQD(t, nil)
	handled := newLedger()
	consume(t, testConfig(t), 8, func(m *nsq.Message) error {
		handled.add(m.Body)
		return nil
	}, steady, victim)
	publish(t, steady, "steady", 100)
	publish(t, victim, "before", 100)
	eventually(t, patience, func() bool { return handled.distinct() == 200 })

	for round := range 3 {
		victim.Kill()
		publish(t, steady, fmt.Sprint("during-", round), 100)
		want := 200 + round*200 + 100
		eventually(t, patience, func() bool { return handled.distinct() == want })
		victim.Start()
		publish(t, victim, fmt.Sprint("after-", round), 100)
		eventually(t, patience, func() bool { return handled.distinct() == want+100 })
	}
}

// An nsqd that is stopped saves its messages, those in flight included. After its
// restart it delivers them again.
func TestNSQDStoppedUnderLoad(t *testing.T) {
	const count = 3000
	n := StartNSQD(t, nil)
	publish(t, n, "m", count)
	handled := newLedger()
	consume(t, testConfig(t), 8, func(m *nsq.Message) error {
		time.Sleep(time.Millisecond)
		handled.add(m.Body)
		return nil
	}, n)
	eventually(t, patience, func() bool { return handled.distinct() > count/10 })
	n.Stop()
	n.Start()
	eventually(t, patience, func() bool { return handled.distinct() == count })
}

func TestPublishErrorsOfRealNSQD(t *testing.T) {
	n := StartNSQD(t, nil)
	p, err := nsq.NewProducer(n.TCPAddr(), testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	if err := p.Ping(); err != nil {
		t.Error(err)
	}
	err = p.Publish(topic, make([]byte, 2<<20)) // nsqd's limit is 1 MiB
	if refused, ok := errors.AsType[*nsq.ProtocolError](err); !ok || refused.Code != "E_BAD_MESSAGE" {
		t.Errorf("%T %v", err, err)
	}
	if _, ok := errors.AsType[nsq.ErrProtocol](err); !ok {
		t.Errorf("%T", err)
	}
	if err := p.Publish(topic, []byte("small")); err != nil {
		t.Errorf("after the refusal: %v", err)
	}
	n.Kill()
	if err := p.Publish(topic, []byte("nsqd is dead")); err == nil {
		t.Error("published to a dead nsqd")
	}
	n.Start()
	// After a failed dial the Producer waits before it dials again.
	eventually(t, patience, func() bool { return p.Publish(topic, []byte("back")) == nil })
}
