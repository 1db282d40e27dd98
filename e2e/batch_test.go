package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
)

// F17: a Batcher over a pool of the nsqds that nsqlookupd lists. nsqd refuses a
// batch, and stores none of it, if one of its messages is too big. Only the caller
// that published that message gets the error; all other messages are stored once.
func TestBatcherOverADiscoveredPool(t *testing.T) {
	l := StartLookupd(t)
	nsqds := []*NSQD{startListedNSQD(t, l), startListedNSQD(t, l)}
	cfg := testConfig(t)
	cfg.LookupdPollInterval = 100 * time.Millisecond
	pool, err := nsq.NewDiscoveredProducerPool([]string{l.HTTPAddr()}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Stop()
	// nsqds register some time after they have started.
	eventually(t, patience, func() bool {
		_ = pool.Publish(topic, []byte("warming up"))
		return len(pool.Snapshot()) == len(nsqds)
	})
	b, err := nsq.NewBatcher(pool, nsq.BatchOptions{MaxBytes: 4 << 20, MaxDelay: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	const good, bad = 200, 2
	var wg sync.WaitGroup
	for i := range good + bad {
		wg.Go(func() {
			body := fmt.Appendf(nil, "%d", i)
			if i >= good {
				body = bytes.Repeat([]byte("m"), 1<<20+1)
			}
			err := b.Publish(topic, body)
			refused, ok := errors.AsType[*nsq.ProtocolError](err)
			if i < good && err != nil || i >= good && (!ok || refused.Code != "E_BAD_MESSAGE") {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	wg.Wait()
	b.Stop()
	var mu sync.Mutex
	got := map[string]int{}
	consume(t, testConfig(t), 8, func(m *nsq.Message) error {
		mu.Lock()
		defer mu.Unlock()
		if body := string(m.Body); body != "warming up" {
			got[body]++
		}
		return nil
	}, nsqds...)
	eventually(t, patience, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) == good
	})
	for body, n := range got {
		if n != 1 {
			t.Errorf("%s is stored %d times", body, n)
		}
	}
}
