//go:build linux

package uitest

import (
	"context"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	daemon "github.com/nsqio/nsq/nsqd"
	"github.com/rdyhq/nsq"
)

// member is a consumer of the cluster that is photographed.
type member struct {
	topic, channel, id, host string
	inFlight                 int
	work                     time.Duration // on a message
	does                     string
}

// What a member does beside its work.
const (
	hangs    = "hangs"    // from half of the time on
	requeues = "requeues" // a third
	waits    = "waits"    // with RDY 0
)

var members = []member{
	{"payments", "fraud-check", "fraud-check-1", "ip-10-0-7-21", 5, 20 * time.Millisecond, hangs},
	{"payments", "fraud-check", "fraud-check-2", "ip-10-0-7-38", 5, 20 * time.Millisecond, hangs},
	{"payments", "ledger", "ledger-1", "ip-10-0-7-21", 20, 30 * time.Millisecond, ""},
	{"payments", "ledger", "ledger-2", "ip-10-0-7-38", 20, 30 * time.Millisecond, ""},
	{"webhooks", "deliver", "deliver-1", "ip-10-0-8-4", 6, 300 * time.Millisecond, requeues},
	{"emails", "smtp", "smtp-1", "ip-10-0-8-9", 6, 400 * time.Millisecond, ""},
	{"emails", "smtp", "smtp-2", "ip-10-0-8-10", 6, 400 * time.Millisecond, waits},
	{"search-index", "indexer", "indexer-1", "ip-10-0-9-2", 9, 100 * time.Millisecond, ""},
	{"clicks", "rollup", "rollup-1", "ip-10-0-9-14", 60, 40 * time.Millisecond, ""},
	{"orders", "analytics", "analytics-1", "ip-10-0-9-14", 40, 50 * time.Millisecond, ""},
	{"orders", "billing", "billing-1", "ip-10-0-7-40", 24, 30 * time.Millisecond, ""},
	{"orders", "billing", "billing-2", "ip-10-0-7-41", 24, 30 * time.Millisecond, ""},
	{"orders", "warehouse", "warehouse-1", "ip-10-0-7-44", 30, 20 * time.Millisecond, ""},
	{"audit", "to-file", "to-file-1", "ip-10-0-7-50", 60, 10 * time.Millisecond, ""},
	{"invoices", "pdf", "pdf-1", "ip-10-0-8-20", 4, 10 * time.Millisecond, ""},
	{"thumbnails", "resize", "resize-1", "ip-10-0-8-31", 8, 40 * time.Millisecond, ""},
}

// rates are messages a second of each topic, as a multiple of 4.
var rates = map[string]int{
	"payments": 24, "webhooks": 20, "emails": 20, "search-index": 40, "clicks": 100, "orders": 80, "audit": 44, "invoices": 4, "thumbnails": 8,
}

// startScene starts a cluster with something to see, calls serve, and returns the cluster after a
// time.
func startScene(t *testing.T, after time.Duration, serve func(*cluster)) *cluster {
	t.Helper()
	c := startCluster(t, func(_ int, o *daemon.Options) { o.MemQueueSize = 500 })
	c.create("clicks", "archive-2019")
	hang := make(chan struct{})
	for _, m := range members {
		c.create(m.topic, m.channel)
		m.run(t, c, hang)
	}
	for _, n := range c.nsqds {
		n.post("/channel/pause?topic=invoices&channel=pdf", "")
	}
	serve(c)
	c.work()
	pause(after / 2)
	close(hang)
	for _, n := range c.nsqds {
		n.publish("search-index", 700+15*int(after/2/time.Second))
	}
	pause(after / 2)
	return c
}

// work publishes to all topics until the test ends.
func (c *cluster) work() {
	stop := make(chan struct{})
	var working sync.WaitGroup
	working.Go(func() {
		tick := time.NewTicker(time.Second / 4)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			for topic, rate := range rates {
				c.nsqds[i%3].tryPublish(topic, rate/4)
			}
		}
	})
	c.nsqds[0].Cleanup(func() { close(stop); working.Wait() })
}

// run consumes until the test ends.
func (m member) run(t *testing.T, c *cluster, hang <-chan struct{}) {
	t.Helper()
	cfg := nsq.NewConfig()
	cfg.ClientID, cfg.Hostname, cfg.MaxInFlight, cfg.MsgTimeout = m.id, m.host, m.inFlight, 10*time.Minute
	cfg.MaxBackoffDuration, cfg.DefaultRequeueDelay = 0, time.Second
	consumer, err := nsq.NewConsumer(m.topic, m.channel, cfg)
	if err != nil {
		t.Fatal(err)
	}
	consumer.SetLogger(log.New(io.Discard, "", 0), nsq.LogLevelError)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	consumer.AddConcurrentHandlers(nsq.HandlerFunc(func(*nsq.Message) error {
		m.handle(ctx, hang)
		if m.does == requeues && rand.IntN(3) == 0 {
			return errors.New("status 503")
		}
		return nil
	}), m.inFlight)
	if m.does == waits {
		consumer.Pause()
	}
	for _, n := range c.nsqds {
		if err := consumer.ConnectToNSQD(n.TCP); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		cancel()
		consumer.Stop()
		<-consumer.StopChan
	})
}

// handle works on a message.
func (m member) handle(ctx context.Context, hang <-chan struct{}) {
	select {
	case <-hang:
		if m.does == hangs {
			<-ctx.Done()
			return
		}
	default:
	}
	select {
	case <-ctx.Done():
	case <-time.After(m.work):
	}
}
