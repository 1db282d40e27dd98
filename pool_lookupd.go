package nsq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/rdyhq/nsq/internal/discover"
)

// unlistedGrace is the least time for which an nsqd must be unlisted before a pool
// lets it go: twice as long as nsqds take to register with an nsqlookupd that has
// restarted.
const unlistedGrace = 30 * time.Second

// poolDiscovery is what a pool knows from nsqlookupds. It is nil in a pool whose nsqds
// were given, and its methods accept that.
type poolDiscovery struct {
	cfg        *Config
	lookupds   []*url.URL
	discovered func(discover.Result) // takes the result of each poll, on the poller's goroutine

	gate *poolGate  // decides which nsqds are members, and which may be dialled
	log  lookupdLog // owned by the poller's goroutine

	// Guarded by the mutex of the pool:

	client *http.Client
	poller *discover.Poller // nil before the first publish
	known  bool             // all nsqlookupds have responded or failed
	failed []error          // errors of the last poll
}

func newPoolDiscovery(lookupds []*url.URL, cfg *Config, log *slog.Logger, discovered func(discover.Result)) *poolDiscovery {
	d := &poolDiscovery{cfg: cfg, lookupds: lookupds, discovered: discovered}
	d.gate = newPoolGate(cfg)
	d.log.log = log
	return d
}

// begin makes the poller and returns its loops. It returns nil if it was called before,
// or if d is nil.
func (d *poolDiscovery) begin() []func(context.Context) {
	if d == nil || d.poller != nil {
		return nil
	}
	poller := discover.New(d.cfg.discoverConfig("", d.client, d.discovered))
	d.poller = poller
	for _, u := range d.lookupds {
		poller.Add(u)
	}
	poll := func(ctx context.Context) {
		for _, u := range d.lookupds {
			d.cfg.warnOfToken(d.log.log, u)
		}
		poller.Run(ctx)
	}
	return []func(context.Context){poll, func(ctx context.Context) { d.gate.run(ctx, poller) }}
}

// compare returns the addresses that a poll lists, and those that the pool must let go.
func (d *poolDiscovery) compare(result *discover.Result) (listed, gone []string) {
	d.log.note(result)
	for _, p := range result.Producers {
		listed = append(listed, p.Addr)
	}
	return listed, d.gate.discovered(result)
}

// remember records which nsqlookupds have responded or failed.
func (d *poolDiscovery) remember(result *discover.Result) {
	d.known = d.known || result.Waiting == 0
	d.failed = nil
	for _, err := range result.Failed {
		d.failed = append(d.failed, err)
	}
}

// noNSQD returns the error of a publish that finds no nsqd. It returns nil as long as
// nsqlookupds may still list one.
func (d *poolDiscovery) noNSQD() error {
	if d == nil || !d.known {
		return nil
	}
	if len(d.failed) > 0 {
		return fmt.Errorf("producer pool: %w: no nsqd is known: %w", ErrNotSent, errors.Join(d.failed...))
	}
	return fmt.Errorf("producer pool: %w: nsqlookupd lists no nsqd", ErrNotSent)
}
