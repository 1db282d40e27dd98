package nsq

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/rdyhq/nsq/internal/discover"
	"github.com/rdyhq/nsq/internal/publishing"
)

// NewDiscoveredProducerPool returns a pool of all nsqds that the nsqlookupds at the
// addresses list, whatever their topics, tombstoned ones included. An address is
// host:port, or a URL with scheme http or https for another path or for TLS; if its
// path ends in /lookup, that is replaced by /nodes. The config applies to each nsqd;
// it is validated and copied as by [NewProducer].
//
// Nothing is queried before the first publish, which waits for the responses. All
// nsqlookupds are queried at the same time, then every lookupd_poll_interval. An nsqd is a
// member if any nsqlookupd lists it. The pool lets it go when it has been missing from
// three polls in a row to which all nsqlookupds responded, and for at least three
// intervals and 30 seconds. It also lets go one that is not connected when those that
// respond have not listed it for more than three times as long. It waits for publishes
// under way there, as [Producer.Stop] does.
//
// An nsqd whose connection was lost is dialled again only if an nsqlookupd lists it in
// response to a request that was sent after the loss, or if none responds at all:
// otherwise another nsqd, of another cluster, may have its address. While it is lost,
// nsqlookupds are queried ahead of schedule: 0.1 to 0.5 s after the loss, then every 0.5
// to 0.65 s for 30 s, then at growing intervals. Meanwhile publishes go to the other
// nsqds. A publish that has no other nsqd waits for these responses, until its context
// ends or a second has passed since the first of them. If none lists the nsqd, it fails
// with [ErrNotSent]. Once that is known, or a dial has failed, publishes without a
// deadline fail at once.
//
// While there is no nsqd, a publish whose context has a deadline waits for one;
// others fail with [ErrNotSent].
func NewDiscoveredProducerPool(lookupds []string, config *Config) (*ProducerPool, error) {
	if len(lookupds) == 0 {
		return nil, errors.New("producer pool: no addresses")
	}
	urls := make([]*url.URL, len(lookupds))
	for i, addr := range lookupds {
		u, err := discover.ParseAddr(addr)
		if err != nil {
			return nil, fmt.Errorf("producer pool: %w", err)
		}
		urls[i] = u
	}
	pool, err := newProducerPool(config)
	if err != nil {
		return nil, err
	}
	pool.discovery = newPoolDiscovery(urls, pool.cfg, pool.log, pool.discovered)
	return pool, nil
}

// SetLookupdHttpClient sets the client that queries nsqlookupds. Requests remain
// bounded by lookupd_poll_timeout. It has no effect after the first publish.
func (pool *ProducerPool) SetLookupdHttpClient(httpclient *http.Client) {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	if pool.discovery != nil {
		pool.discovery.client = httpclient
	}
}

// discovered adopts the result of a poll.
func (pool *ProducerPool) discovered(result discover.Result) {
	pool.hooks.tellLookedUp("", result.Ended)
	listed, gone := pool.discovery.compare(&result)
	for _, m := range pool.update(&result, listed, gone) {
		pool.letGo(m)
	}
}

// update replaces the members after a poll, and returns those to let go. Only the
// poller's goroutine calls it, and only it replaces members. So the new list is made
// without the mutex, and publishes go on meanwhile.
func (pool *ProducerPool) update(result *discover.Result, listed, gone []string) []*poolMember {
	pool.mu.Lock()
	members := pool.members
	pool.mu.Unlock()
	slices.Sort(listed)
	var change DiscoverEvent
	join := func(addr string) *poolMember {
		change.Added = append(change.Added, addr)
		return pool.newMember(addr)
	}
	members, removed := publishing.Merge(members, listed, gone, (*poolMember).addr, join)
	for _, m := range removed {
		change.Removed = append(change.Removed, m.addr())
	}
	pool.mu.Lock()
	defer pool.mu.Unlock()
	if pool.stopping { // Stop has its list of members already
		return nil
	}
	pool.discovery.remember(result)
	pool.members = members
	if len(change.Added)+len(change.Removed) > 0 {
		tell(pool.hooks, pool.hooks.discovered, change)
	}
	pool.broadcast()
	return removed
}
