// Package exporter makes Prometheus metrics of what nsqd and nsqlookupd say of themselves.
package exporter

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rdyhq/nsq/admin"
)

// Collector is a [prometheus.Collector] with the metrics of a cluster. A daemon that does not
// respond has nothing but an "up" of 0: no figure is kept from one poll to the next.
type Collector struct {
	ctx   context.Context
	poll  func(ctx context.Context) *admin.View
	fresh time.Duration

	mu   sync.Mutex // guards last
	last *reading
}

// reading is a poll.
type reading struct {
	began time.Time
	done  chan struct{} // closed at the end
	view  *admin.View   // read it after done
}

// New returns a collector of the cluster that poll polls. Scrapes get the figures of a poll
// that began less than fresh ago, or that is under way. Otherwise they begin another, so poll
// is called once at a time. ctx ends a poll at the end of the program.
func New(ctx context.Context, fresh time.Duration, poll func(ctx context.Context) *admin.View) *Collector {
	return &Collector{ctx: ctx, poll: poll, fresh: fresh}
}

// Describe describes all metrics.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs() {
		ch <- d
	}
}

// Collect sends the metrics of the cluster. It waits for a poll if the last one is too old. At
// the end of the program it sends none: a poll that was cut short finds all daemons silent.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	if v := c.view(); c.ctx.Err() == nil {
		send(ch, v)
	}
}

// view returns the result of a poll that is fresh.
func (c *Collector) view() *admin.View {
	c.mu.Lock()
	r := c.last
	if r != nil && (!r.ended() || time.Since(r.began) < c.fresh) {
		c.mu.Unlock()
		<-r.done
		return r.view
	}
	r = &reading{began: time.Now(), done: make(chan struct{})}
	c.last = r
	c.mu.Unlock()
	defer close(r.done)
	r.view = c.poll(c.ctx)
	return r.view
}

// ended reports whether the poll has ended.
func (r *reading) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}
