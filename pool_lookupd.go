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
	"github.com/rdyhq/nsq/internal/fleet"
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

	// Owned by the poller's goroutine:

	fleet *fleet.Machine // decides which nsqds are members; the pool dials by itself
	log   lookupdLog

	// Guarded by the mutex of the pool:

	client *http.Client
	poller *discover.Poller // nil before the first publish
	known  bool             // all nsqlookupds have responded or failed
	failed []error          // errors of the last poll
}

func newPoolDiscovery(lookupds []*url.URL, cfg *Config, log *slog.Logger, discovered func(discover.Result)) *poolDiscovery {
	d := &poolDiscovery{cfg: cfg, lookupds: lookupds, discovered: discovered}
	d.fleet = fleet.New(fleet.Config{Grace: max(fleet.MissedPolls*cfg.LookupdPollInterval, unlistedGrace)})
	d.log.log = log
	return d
}

// begin makes the poller and returns its loop. It returns nil if it was called before,
// or if d is nil.
func (d *poolDiscovery) begin() func(context.Context) {
	if d == nil || d.poller != nil {
		return nil
	}
	d.poller = discover.New(d.cfg.discoverConfig("", d.client, d.discovered))
	for _, u := range d.lookupds {
		d.poller.Add(u)
	}
	return func(ctx context.Context) {
		for _, u := range d.lookupds {
			d.cfg.warnOfToken(d.log.log, u)
		}
		d.poller.Run(ctx)
	}
}

// compare returns the addresses that a poll lists, and those that the pool must let go.
func (d *poolDiscovery) compare(result *discover.Result) (listed, gone []string) {
	d.log.note(result)
	now := time.Now()
	gone = d.fleet.Discovered(now, lookupdWord(result), nil)
	for _, p := range result.Producers {
		listed = append(listed, p.Addr)
		d.fleet.Up(now, p.Addr) // the pool dials by itself
	}
	return listed, gone
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

// pollSoon asks for a poll ahead of schedule.
func (d *poolDiscovery) pollSoon() {
	if d != nil {
		d.poller.Poke()
	}
}
