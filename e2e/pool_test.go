//go:build unix

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
)

var frozenFor = flag.Duration("frozen", 10*time.Second, "how long TestPoolWithAFrozenNSQD stops an nsqd")

// N14: one nsqd of two is stopped, as a machine that hangs is. Publishes have 500 ms
// each. At most two of them fail, and what was published is stored. When the nsqd goes on
// it takes its turns again.
func TestPoolWithAFrozenNSQD(t *testing.T) {
	steady, frozen := StartNSQD(t, nil), StartNSQD(t, nil)
	for _, n := range []*NSQD{steady, frozen} {
		n.Post("/topic/create?topic=" + topic)
		n.Post("/channel/create?channel=c&topic=" + topic)
	}
	pool, err := nsq.NewProducerPool([]string{steady.TCPAddr(), frozen.TCPAddr()}, testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Stop()
	published := 0
	publish := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		err := pool.PublishContext(ctx, topic, fmt.Append(nil, published))
		if err == nil {
			published++
		}
		return err
	}
	for range 10 { // to both
		if err := publish(); err != nil {
			t.Fatal(err)
		}
	}
	frozen.signal(syscall.SIGSTOP)
	var failed []error
	for end := time.Now().Add(*frozenFor); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err := publish(); err != nil {
			failed = append(failed, err)
		}
	}
	t.Logf("%d published, %d failed", published, len(failed))
	if len(failed) > 2 {
		t.Errorf("%d publishes failed, want at most 2: %v", len(failed), errors.Join(failed...))
	}
	if s := pool.Snapshot(); !s[0].Healthy || s[1].Healthy {
		t.Errorf("while it is stopped: %+v", s)
	}
	frozen.signal(syscall.SIGCONT)
	eventually(t, patience, func() bool { return pool.Snapshot()[1].Healthy })
	before := frozen.Stats(topic, "c").MessageCount
	for range 10 {
		if err := publish(); err != nil {
			t.Error(err)
		}
	}
	eventually(t, patience, func() bool { return frozen.Stats(topic, "c").MessageCount >= before+5 })
	eventually(t, patience, func() bool {
		return steady.Stats(topic, "c").Depth+frozen.Stats(topic, "c").Depth >= published
	})
}
