package nsq

import (
	"sync/atomic"
	"testing"

	"github.com/rdyhq/nsq/nsqtest"
)

// A publish that waits for nsqd's reply allocates nothing, with or without a hook. An
// asynchronous one allocates the transaction that its caller gets.
func TestPublishingAllocatesNothing(t *testing.T) {
	var published atomic.Int64
	hooks := []Hooks{{Published: func(e PublishedEvent) { published.Add(int64(e.Messages)) }}}
	t.Run("no hooks", func(t *testing.T) { expectNoAllocations(t, nil) })
	t.Run("hooks", func(t *testing.T) { expectNoAllocations(t, hooks) })
	if published.Load() < 4*1000 {
		t.Errorf("%d messages were told", published.Load())
	}
}

func expectNoAllocations(t *testing.T, hooks []Hooks) {
	t.Helper()
	network := nsqtest.NewNetwork()
	l, err := network.Listen("agreeing:1")
	if err != nil {
		t.Fatal(err)
	}
	go replyOK(l)
	cfg := NewConfig()
	cfg.DialContext = network.DialContext
	cfg.Hooks = hooks
	p, err := NewProducer("agreeing:1", cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.SetLogger(nil, LogLevelError)
	t.Cleanup(func() {
		p.Stop()
		_ = l.Close()
	})
	body, done := make([]byte, 200), make(chan *ProducerTransaction, 2)
	if err := p.PublishAsync("t", body, done); err != nil { // so that one is always outstanding
		t.Fatal(err)
	}
	bodies := [][]byte{body, body}
	for name, tt := range map[string]struct {
		publish func() error
		most    float64
	}{
		"Publish":         {func() error { return p.Publish("t", body) }, 0},
		"MultiPublish":    {func() error { return p.MultiPublish("t", bodies) }, 0},
		"DeferredPublish": {func() error { return p.DeferredPublish("t", 1, body) }, 0},
		"PublishAsync": {func() error {
			if err := p.PublishAsync("t", body, done); err != nil {
				return err
			}
			return (<-done).Error
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := testing.AllocsPerRun(1000, func() {
				if err := tt.publish(); err != nil {
					t.Fatal(err)
				}
			})
			if raceDetector {
				n--
			}
			if n > tt.most {
				t.Errorf("%v allocations, want at most %v", n, tt.most)
			}
		})
	}
}
