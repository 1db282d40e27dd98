package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nsqio/nsq/nsqd"

	"github.com/rdyhq/nsq"
)

// onDisk makes an nsqd keep all messages on disk, so that they survive a kill.
func onDisk(o *nsqd.Options) {
	o.MemQueueSize = 0
	o.SyncEvery = 1
}

// publishForm publishes a message in the i-th of four ways, and waits for the
// result.
func publishForm(ctx context.Context, p *nsq.Producer, i int, body []byte, done chan *nsq.ProducerTransaction) error {
	switch i % 4 {
	case 0:
		return p.PublishContext(context.Background(), topic, body)
	case 1:
		return p.PublishContext(ctx, topic, body)
	case 2:
		return p.MultiPublishContext(ctx, topic, [][]byte{body})
	}
	if err := p.PublishAsync(topic, body, done); errors.Is(err, nsq.ErrStopped) {
		return err
	} else if err != nil { // as in go-nsq, without a word that nothing was sent
		return fmt.Errorf("%w: %w", nsq.ErrNotSent, err)
	}
	return (<-done).Cause
}

// D52: nsqd is killed and restarted ten times while 64 goroutines publish. Every
// message that was published without an error is stored; no message is stored whose
// error says that it was not sent.
func TestNSQDKilledUnderPublishers(t *testing.T) {
	const publishers, restarts = 64, 10
	// There is no channel: nsqd keeps what it moves from a topic to one in memory only.
	n := StartNSQD(t, onDisk)
	p, err := nsq.NewProducer(n.TCPAddr(), testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	p.SetLogger(nil, nsq.LogLevelError)

	var mu sync.Mutex
	published, notSent, unknown := map[string]bool{}, map[string]bool{}, 0
	var wg sync.WaitGroup
	for i := range publishers {
		done := make(chan *nsq.ProducerTransaction)
		wg.Go(func() {
			for j := 0; ; j++ {
				body := fmt.Sprintf("%d-%d", i, j)
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				err := publishForm(ctx, p, i, []byte(body), done)
				cancel()
				mu.Lock()
				switch {
				case err == nil:
					published[body] = true
				case errors.Is(err, nsq.ErrNotSent), errors.Is(err, nsq.ErrStopped):
					notSent[body] = true
				case errors.Is(err, nsq.ErrUnknownOutcome):
					unknown++
				default:
					t.Errorf("%v", err)
				}
				mu.Unlock()
				if errors.Is(err, nsq.ErrStopped) {
					return
				}
				time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(published)
	}
	for range restarts {
		before := count()
		eventually(t, patience, func() bool { return count() > before+publishers })
		n.Kill()
		n.Start()
	}
	before := count()
	eventually(t, patience, func() bool { return count() > before })
	p.Stop()
	wg.Wait()

	got := newLedger()
	consume(t, testConfig(t), 8, func(m *nsq.Message) error {
		got.add(m.Body)
		return nil
	}, n)
	missing := func() (bodies []string) {
		for body := range published {
			if !got.has(body) {
				bodies = append(bodies, body)
			}
		}
		return bodies
	}
	defer func() {
		t.Logf("%d published, %d not sent, %d unknown; %d missing", len(published), len(notSent), unknown, len(missing()))
	}()
	eventually(t, patience, func() bool { return len(missing()) == 0 })
	eventually(t, patience, func() bool { s := n.Stats(topic, "c"); return s.Depth+s.InFlight == 0 })
	for body := range notSent {
		if got.has(body) {
			t.Errorf("%s: the error said not sent, but it is stored", body)
		}
	}
	if len(notSent) == 0 || unknown == 0 {
		t.Errorf("the restarts hit no publish: %d not sent, %d unknown", len(notSent), unknown)
	}
}

// D53: nsqd refuses 50 publishes: the first closes the connection, and the limit that nsqd
// names is remembered for the others. Other callers' publishes succeed all the same. All
// results are true: no message is lost, and none is stored twice.
func TestRefusalsOfRealNSQDHurtNobodyElse(t *testing.T) {
	n := StartNSQD(t, nil)
	n.Post("/topic/create?topic=" + topic)
	n.Post("/channel/create?topic=" + topic + "&channel=c")
	p, err := nsq.NewProducer(n.TCPAddr(), testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	p.SetLogger(nil, nsq.LogLevelError)
	var published, notSent, unknown atomic.Int32
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	for range 16 {
		wg.Go(func() {
			for ctx.Err() == nil {
				switch err := p.PublishContext(context.Background(), topic, []byte("good")); {
				case err == nil:
					published.Add(1)
				case errors.Is(err, nsq.ErrNotSent):
					notSent.Add(1)
				case errors.Is(err, nsq.ErrUnknownOutcome):
					unknown.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	for range 50 {
		before := published.Load()
		eventually(t, patience, func() bool { return published.Load() > before+100 })
		if err := p.DeferredPublish(topic, 2*time.Hour, []byte("late")); err == nil {
			t.Error("not refused")
		}
	}
	cancel()
	wg.Wait()
	ok, maybe, depth := int(published.Load()), int(unknown.Load()), 0
	// nsqd first has to move the messages from the topic to the channel.
	eventually(t, patience, func() bool {
		before := depth
		depth = n.Stats(topic, "c").Depth
		return depth >= ok && depth == before
	})
	t.Logf("%d published, %d not sent, %d unknown, %d stored", ok, notSent.Load(), maybe, depth)
	if depth > ok+maybe {
		t.Errorf("%d stored, but at most %d published", depth, ok+maybe)
	}
	// Without a second try up to 16 would fail per refusal.
	if hurt := int(notSent.Load()) + maybe; hurt > 50 {
		t.Errorf("%d other publishes failed, want at most 50", hurt)
	}
}
