package nsq

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rdyhq/nsq/internal/discover"
	"github.com/rdyhq/nsq/internal/fleet"
)

// unlistedGrace is how long an nsqd must be missing for a pool to let it go, at
// least: twice as long as nsqds take to register with an nsqlookupd that has
// restarted.
const unlistedGrace = 30 * time.Second

// poolDiscovery is what a pool knows from nsqlookupds.
type poolDiscovery struct {
	lookupds []*url.URL

	// Owned by the poller's goroutine:

	fleet *fleet.Machine // who is a member; the pool dials by itself
	log   lookupdLog

	// Guarded by the mutex of the pool:

	client *http.Client
	poller *discover.Poller // nil before the first publish
	known  bool             // all have answered once, or failed
	failed []error          // those that failed last
}

// NewDiscoveredProducerPool returns a pool of all nsqds that the nsqlookupds at
// the addresses list, whatever topics these have, tombstoned ones included. An
// address is host:port, or a URL with scheme http or https for another path or
// TLS; of a path that ends in /lookup that is replaced by /nodes. The config is
// that of each nsqd, and handled as by [NewProducer].
//
// Nothing is asked before the first publish, which waits for the answers. All
// nsqlookupds are asked at once, then every lookupd_poll_interval, and soon after
// an nsqd fails; what any of them lists counts. An nsqd that none of them lists
// for three intervals, and 30 seconds at least, while all of them answer, is let
// go: what is under way there is waited for, as by [Producer.Stop].
//
// While there is no nsqd, a publish whose context has a deadline waits for one;
// others fail with [ErrNotSent].
func NewDiscoveredProducerPool(lookupds []string, config *Config) (*ProducerPool, error) {
	if len(lookupds) == 0 {
		return nil, errors.New("producer pool: no addresses")
	}
	d := &poolDiscovery{}
	for _, addr := range lookupds {
		u, err := discover.ParseAddr(addr)
		if err != nil {
			return nil, fmt.Errorf("producer pool: %w", err)
		}
		d.lookupds = append(d.lookupds, u)
	}
	pool, err := newProducerPool(config)
	if err != nil {
		return nil, err
	}
	d.fleet = fleet.New(fleet.Config{Grace: max(missedPolls*pool.cfg.LookupdPollInterval, unlistedGrace)})
	d.log.log = pool.log
	pool.discovery = d
	return pool, nil
}

// SetLookupdHttpClient replaces the client by which nsqlookupds are asked:
// lookupd_poll_timeout bounds a request all the same. It must be called before
// the first publish, and has no effect later.
func (pool *ProducerPool) SetLookupdHttpClient(httpclient *http.Client) {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	if pool.discovery != nil {
		pool.discovery.client = httpclient
	}
}

// discover begins to ask nsqlookupds, if that is to be done. Callers hold the
// mutex.
func (pool *ProducerPool) discover() {
	d := pool.discovery
	if d == nil || d.poller != nil {
		return
	}
	d.poller = discover.New(pool.cfg.discovery("", d.client, pool.discovered))
	for _, u := range d.lookupds {
		d.poller.Add(u)
	}
	pool.wg.Go(func() {
		for _, u := range d.lookupds {
			pool.cfg.warnOfToken(pool.log, u)
		}
		d.poller.Run(pool.alive)
	})
}

// discovered takes what nsqlookupds list. It runs on the poller's goroutine.
func (pool *ProducerPool) discovered(result discover.Result) {
	d := pool.discovery
	d.log.note(&result)
	addrs := make([]string, 0, len(result.Producers))
	for _, p := range result.Producers {
		addrs = append(addrs, p.Addr)
	}
	gone := d.fleet.Discovered(time.Now(), addrs, result.Conclusive(), nil)
	for _, m := range pool.update(&result, addrs, gone) {
		pool.log.Info("nsqd is not listed any more, disconnecting", "nsqd", m.p.addr)
		pool.wg.Go(m.p.Stop)
	}
}

// update makes members of the nsqds that are listed and are none, and returns
// those that are let go. Nobody chooses them any more; who has chosen one already
// is sent elsewhere by its ErrStopped.
func (pool *ProducerPool) update(result *discover.Result, listed, gone []string) (letGo []*poolMember) {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	if pool.stopping { // and stops those that there are
		return nil
	}
	var members []*poolMember
	for _, m := range pool.members {
		if slices.Contains(gone, m.p.addr) {
			letGo = append(letGo, m)
		} else {
			members = append(members, m)
		}
	}
	for _, addr := range listed {
		if !slices.ContainsFunc(members, func(m *poolMember) bool { return m.p.addr == addr }) {
			members = append(members, pool.member(addr))
		}
	}
	slices.SortFunc(members, func(a, b *poolMember) int { return strings.Compare(a.p.addr, b.p.addr) })
	pool.members = members
	d := pool.discovery
	d.known = d.known || result.Waiting == 0
	d.failed = nil
	for _, err := range result.Failed {
		d.failed = append(d.failed, err)
	}
	pool.tell()
	return letGo
}

// unlisted is the error of a publish when there is no nsqd, and nil before that
// is known. Callers hold the mutex.
func (pool *ProducerPool) unlisted() error {
	d := pool.discovery
	if d == nil || !d.known {
		return nil
	}
	if len(d.failed) > 0 {
		return fmt.Errorf("producer pool: %w: no nsqd is known: %w", ErrNotSent, errors.Join(d.failed...))
	}
	return fmt.Errorf("producer pool: %w: nsqlookupd lists no nsqd", ErrNotSent)
}
