package nsq

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq/internal/discover"
	"github.com/rdyhq/nsq/internal/fleet"
)

const (
	// connectWait is the longest that ConnectToNSQLookupd waits. stragglerPolls is how
	// long it waits for the other nsqlookupds after the first one's poll is over.
	connectWait    = 2 * time.Second
	stragglerPolls = 100 * time.Millisecond
)

// DiscoveryFilter chooses among the nsqds that nsqlookupds list: see
// [Consumer.SetBehaviorDelegate].
type DiscoveryFilter interface {
	// Filter receives the addresses, host:port and sorted, that any nsqlookupd
	// lists, and returns those to connect to. One goroutine at a time calls it,
	// after each response of an nsqlookupd. It holds up nothing but discovery.
	Filter([]string) []string
}

// discovery is the part of a Consumer that deals with nsqlookupds.
type discovery struct {
	filter   atomic.Pointer[DiscoveryFilter] // nil without one
	lookupds lookupdLog                      // owned by the poller's goroutine
	seen     atomic.Pointer[lookupdsSeen]    // for Health; nil before the first response or failure

	mu     sync.Mutex       // guards the fields below
	client *http.Client     // set by SetLookupdHttpClient
	poller *discover.Poller // nil before the first connect call
}

func newDiscovery(log *slog.Logger) *discovery {
	return &discovery{lookupds: lookupdLog{log: log}}
}

// ConnectToNSQLookupd adds an nsqlookupd to those that the Consumer asks for the
// topic's nsqds, and connects to these nsqds. The address is host:port, or a URL
// with scheme http or https for another path or TLS. An address that was added
// before is ignored.
//
// The Consumer asks all nsqlookupds at once, then every lookupd_poll_interval. It
// connects to every nsqd that any of them lists. If none has listed an nsqd for three
// intervals, during which all of them responded, the Consumer disconnects from it as
// [Consumer.DisconnectFromNSQD] does, unless its address was given to ConnectToNSQD.
//
// A lost nsqd is dialled again only if an nsqlookupd that was asked after the loss lists
// it, or if none responds. So a topic that was deleted stays deleted, and another
// cluster's nsqd at the old address is left alone. If nsqd closed the connection itself,
// it may be removing the topic: unless it turns out to have restarted, the Consumer
// waits three seconds before it subscribes again.
//
// While an nsqd is lost, nsqlookupds are asked after 0.1 to 0.5 s, then at least every
// 0.65 s for half a minute, then ever more rarely. An nsqd that restarts or moves within
// that half minute is found within a second after it has registered. For one that was
// away for longer, a tenth of the time beyond half a minute is added, up to
// lookupd_poll_interval.
//
// The call returns when the nsqlookupd has responded and each of its nsqds is
// connected or has failed once, but after at most two seconds. An nsqlookupd that
// cannot be reached is not an error: the failure is logged, and the Consumer asks
// again.
func (c *Consumer) ConnectToNSQLookupd(addr string) error {
	return c.ConnectToNSQLookupds([]string{addr})
}

// ConnectToNSQLookupds is [Consumer.ConnectToNSQLookupd] for several addresses at
// once. It returns soon after the first response. It returns the error of an invalid
// address, joined if there are several, and asks the others.
func (c *Consumer) ConnectToNSQLookupds(addresses []string) error {
	if err := c.beginConnecting(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.dialling, connectWait)
	defer cancel()
	invalid, _ := c.discover(ctx, addresses) // an nsqlookupd that cannot be reached is not an error
	return invalid
}

// discover adds nsqlookupds, and waits until their first polls are over and the dials that
// follow have ended. It returns the errors of invalid addresses, joined if there are several,
// and the cause of ctx if that ends before.
func (c *Consumer) discover(ctx context.Context, addresses []string) (invalid, late error) {
	var errs []error
	var first []<-chan struct{}
	poller := c.startDiscovery()
	for _, addr := range addresses {
		u, err := discover.ParseAddr(addr)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c.cfg.warnOfToken(c.log, u)
		if responded, added := poller.Add(u); added {
			first = append(first, responded)
		}
	}
	waitForPolls(ctx, first)
	settled := make(chan error, 1)
	late = context.Cause(ctx)
	if late == nil && c.post(func(time.Time) { c.loop.machine.AwaitDials(c.loop.call(settled)) }) {
		select {
		case <-settled: //nolint:errcheck // it only says that the wait is over
		case <-ctx.Done():
			late = context.Cause(ctx)
		}
	}
	if len(errs) == 1 {
		return errs[0], late
	}
	return errors.Join(errs...), late
}

// waitForPolls returns when all polls are over, or stragglerPolls after the first
// one is.
func waitForPolls(ctx context.Context, polls []<-chan struct{}) {
	cases := []reflect.SelectCase{{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(ctx.Done())}}
	for _, p := range polls {
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(p)})
	}
	for len(cases) > 1 {
		i, _, _ := reflect.Select(cases)
		if i == 0 {
			return
		}
		cases = append(cases[:i], cases[i+1:]...)
		late, cancel := context.WithTimeout(ctx, stragglerPolls)
		defer cancel()
		cases[0].Chan = reflect.ValueOf(late.Done())
	}
}

// DisconnectFromNSQLookupd stops asking an nsqlookupd. Connections to nsqds that it
// listed stay until the remaining nsqlookupds have not listed them for a while. After
// the last nsqlookupd is removed they stay, and are redialled when lost. go-nsq refuses
// to remove the last one; this package does not. For an address that was not added it
// returns [ErrNotConnected].
func (c *Consumer) DisconnectFromNSQLookupd(addr string) error {
	u, err := discover.ParseAddr(addr)
	if err != nil {
		return err
	}
	c.discovery.mu.Lock()
	poller := c.discovery.poller
	c.discovery.mu.Unlock()
	if poller == nil || !poller.Remove(u) {
		return ErrNotConnected
	}
	return nil
}

// SetLookupdHttpClient sets the client for requests to nsqlookupds, which
// lookupd_poll_timeout still bounds. Call it before the first nsqlookupd is added;
// later it has no effect.
func (c *Consumer) SetLookupdHttpClient(httpclient *http.Client) {
	c.discovery.mu.Lock()
	defer c.discovery.mu.Unlock()
	c.discovery.client = httpclient
}

// SetBehaviorDelegate sets the [DiscoveryFilter], which takes effect with the next
// response of an nsqlookupd. It panics if cb is not one.
func (c *Consumer) SetBehaviorDelegate(cb any) {
	filter, ok := cb.(DiscoveryFilter)
	if !ok {
		panic("behavior delegate does not have any recognized methods")
	}
	c.discovery.filter.Store(&filter)
}

// startDiscovery returns the poller, and starts it on the first call.
func (c *Consumer) startDiscovery() *discover.Poller {
	c.discovery.mu.Lock()
	poller, fresh := c.discovery.poller, c.discovery.poller == nil
	if fresh {
		poller = discover.New(c.cfg.discoverConfig(c.topic, c.discovery.client, c.discovered))
		c.discovery.poller = poller
	}
	c.discovery.mu.Unlock()
	if fresh {
		c.post(func(time.Time) { c.loop.poll(poller) })
	}
	return poller
}

// discovered passes what nsqlookupds say on to the run loop. It runs on the poller's
// goroutine.
func (c *Consumer) discovered(result discover.Result) {
	c.discovery.lookupds.note(&result)
	c.hooks.tellLookedUp(c.topic, result.Ended)
	responses := lookupdResponses(&result)
	if filter := c.discovery.filter.Load(); filter != nil {
		responses.Listed = filtered(*filter, responses)
	}
	states := lookupdSnapshots(&result)
	c.discovery.seen.Store(newLookupdsSeen(states, len(responses.Listed)+len(result.Skipped)))
	c.post(func(now time.Time) {
		c.loop.lookupds = states
		c.loop.machine.Discovered(now, responses)
		c.loop.forgetUnknown()
	})
}

// filtered returns the listings that a filter lets through. An address that it adds
// counts as listed by the newest response.
func filtered(filter DiscoveryFilter, responses fleet.Responses) []fleet.Listing {
	addrs, asked := make([]string, len(responses.Listed)), make(map[string]time.Time, len(responses.Listed))
	for i, l := range responses.Listed {
		addrs[i], asked[l.Addr] = l.Addr, l.Asked
	}
	var kept []fleet.Listing
	for _, addr := range filter.Filter(addrs) {
		at, listed := asked[addr]
		if !listed {
			at = responses.Responded
		}
		kept = append(kept, fleet.Listing{Addr: addr, Asked: at})
	}
	return kept
}
