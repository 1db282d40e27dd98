package e2e

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
)

// N15: one publish over nsqd's limits among those of 50 publishers, 20 times. nsqd closes
// the connection without having read all of it. The publish gets nsqd's refusal each time,
// and every other publish succeeds.
func TestPublishOverTheLimitsAmongOthers(t *testing.T) {
	const publishers, rounds = 50, 20
	big := make([]byte, 1<<20+1)
	for name, tt := range map[string]struct {
		want    string
		publish func(ctx context.Context, p *nsq.Producer) error
	}{
		"PUB": {"E_BAD_MESSAGE PUB message too big 1048577 > 1048576", func(ctx context.Context, p *nsq.Producer) error {
			return p.PublishContext(ctx, topic, big)
		}},
		"PUB of 8 MiB": {"E_BAD_MESSAGE PUB message too big 8388616 > 1048576", func(ctx context.Context, p *nsq.Producer) error {
			return p.PublishContext(ctx, topic, []byte(strings.Repeat(string(big), 8)))
		}},
		"DPUB": {"E_BAD_MESSAGE DPUB message too big 1048577 > 1048576", func(ctx context.Context, p *nsq.Producer) error {
			return p.DeferredPublishContext(ctx, topic, time.Second, big)
		}},
		"DPUB, delay": {"E_INVALID DPUB timeout 7200000 out of range 0-3600000", func(ctx context.Context, p *nsq.Producer) error {
			return p.DeferredPublishContext(ctx, topic, 2*time.Hour, big[:1<<19])
		}},
		"MPUB": {"E_BAD_BODY MPUB body too big 6291484 > 5242880", func(ctx context.Context, p *nsq.Producer) error {
			return p.MultiPublishContext(ctx, topic, [][]byte{big[:1<<20], big[:1<<20], big[:1<<20], big[:1<<20], big[:1<<20], big[:1<<20]})
		}},
		"MPUB, a message": {"E_BAD_MESSAGE MPUB message too big 1048577 > 1048576", func(ctx context.Context, p *nsq.Producer) error {
			return p.MultiPublishContext(ctx, topic, [][]byte{big[:1<<19], big, big[:1<<19]})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			n := StartNSQD(t, nil)
			n.Post("/topic/create?topic=" + topic)
			n.Post("/channel/create?topic=" + topic + "&channel=c")
			newProducer := func() *nsq.Producer {
				p, err := nsq.NewProducer(n.TCPAddr(), testConfig(t))
				if err != nil {
					t.Fatal(err)
				}
				p.SetLogger(nil, nsq.LogLevelError)
				return p
			}
			var published atomic.Int32
			for range rounds {
				p := newProducer() // which knows nothing of nsqd's limits
				ctx, cancel := context.WithCancel(context.Background())
				var wg sync.WaitGroup
				var began sync.WaitGroup
				for range publishers {
					began.Add(1)
					wg.Go(func() {
						for i := 0; ctx.Err() == nil; i++ {
							if err := p.PublishContext(context.Background(), topic, []byte("good")); err != nil {
								t.Errorf("another publish: %v", err)
							} else {
								published.Add(1)
							}
							if i == 0 {
								began.Done()
							}
						}
					})
				}
				began.Wait()
				err := tt.publish(context.Background(), p)
				if refused, ok := errors.AsType[nsq.ErrProtocol](err); !ok || refused.Reason != tt.want {
					t.Errorf("%T %v, want %s", err, err, tt.want)
				}
				before := published.Load()
				eventually(t, 10*time.Second, func() bool { return published.Load() > before+publishers })
				cancel()
				wg.Wait()
				p.Stop()
			}
			want := int(published.Load())
			eventually(t, 10*time.Second, func() bool { return n.Stats(topic, "c").Depth >= want })
			if depth := n.Stats(topic, "c").Depth; depth != want {
				t.Errorf("%d stored, %d published", depth, want)
			}
		})
	}
}
