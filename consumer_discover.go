package nsq

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq/internal/discover"
)

const (
	// connectWait is how long ConnectToNSQLookupd waits, and stragglerPolls how
	// long for other nsqlookupds once one has answered.
	connectWait    = 2 * time.Second
	stragglerPolls = 100 * time.Millisecond
)

// DiscoveryFilter chooses among the nsqds that nsqlookupds list: see
// [Consumer.SetBehaviorDelegate].
type DiscoveryFilter interface {
	// Filter is given the addresses, host:port, that are listed by any
	// nsqlookupd, in order, and returns those to connect to. It is called by one
	// goroutine at a time, after each answer of an nsqlookupd, and holds up
	// nothing but discovery.
	Filter([]string) []string
}

// discovery is what a Consumer has to do with nsqlookupds.
type discovery struct {
	filter   atomic.Pointer[DiscoveryFilter] // nil without one
	lookupds lookupdLog                      // owned by the poller's goroutine

	mu     sync.Mutex       // guards what follows
	client *http.Client     // by SetLookupdHttpClient
	poller *discover.Poller // from the first nsqlookupd on
}

// ConnectToNSQLookupd adds an nsqlookupd to those that are asked for the topic's
// nsqds, and connects to these. The address is host:port, or a URL with scheme
// http or https for another path or TLS. One that is there already is ignored.
//
// All nsqlookupds are asked at once, then every lookupd_poll_interval, and soon
// after a connection is lost; what any of them lists counts. An nsqd that none of
// them lists for three intervals, while all of them answer, is let go as
// [Consumer.DisconnectFromNSQD] does, unless it was given to ConnectToNSQD.
//
// It returns when the nsqlookupd has answered and its nsqds are connected, or
// have failed to be, but after two seconds at most; of several, soon after the
// first has answered. That nsqlookupd cannot be reached is no error: it is logged,
// and asked again.
func (c *Consumer) ConnectToNSQLookupd(addr string) error {
	return c.ConnectToNSQLookupds([]string{addr})
}

// ConnectToNSQLookupds is [Consumer.ConnectToNSQLookupd] for several, at once. An
// address that is not valid is an error, and the others are asked; the errors are
// joined.
func (c *Consumer) ConnectToNSQLookupds(addresses []string) error {
	if err := c.beginConnecting(); err != nil {
		return err
	}
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
		if answered, added := poller.Add(u); added {
			first = append(first, answered)
		}
	}
	ctx, cancel := context.WithTimeout(c.dialling, connectWait)
	defer cancel()
	waitForPolls(ctx, first)
	settled := make(chan error, 1)
	if c.post(func(time.Time) { c.loop.machine.Settle(c.loop.call(settled)) }) {
		select {
		case <-settled: //nolint:errcheck // it says that the wait is over, no more
		case <-ctx.Done():
		}
	}
	return errors.Join(errs...)
}

// waitForPolls returns when all have answered, or one of them and the others a
// little later not.
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

// DisconnectFromNSQLookupd has an nsqlookupd asked no more. Connections to what
// it listed stay until another one, asked alone, has not listed them for a while.
// The last one can be removed, too, unlike in go-nsq, which has no reason not to:
// connections stay then. For an unknown address it returns [ErrNotConnected].
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

// SetLookupdHttpClient replaces the client by which nsqlookupds are asked:
// lookupd_poll_timeout bounds a request all the same. It must be called before
// the first nsqlookupd is added, and has no effect later.
func (c *Consumer) SetLookupdHttpClient(httpclient *http.Client) {
	c.discovery.mu.Lock()
	defer c.discovery.mu.Unlock()
	c.discovery.client = httpclient
}

// SetBehaviorDelegate sets what decides about the Consumer's behaviour: cb is a
// [DiscoveryFilter], or SetBehaviorDelegate panics. It takes effect with the next
// answer of an nsqlookupd.
func (c *Consumer) SetBehaviorDelegate(cb any) {
	filter, ok := cb.(DiscoveryFilter)
	if !ok {
		panic("behavior delegate does not have any recognized methods")
	}
	c.discovery.filter.Store(&filter)
}

// startDiscovery returns the poller, which runs from the first call on.
func (c *Consumer) startDiscovery() *discover.Poller {
	c.discovery.mu.Lock()
	poller, fresh := c.discovery.poller, c.discovery.poller == nil
	if fresh {
		poller = discover.New(c.cfg.discovery(c.topic, c.discovery.client, c.discovered))
		c.discovery.poller = poller
	}
	c.discovery.mu.Unlock()
	if fresh {
		c.post(func(time.Time) { c.loop.poll(poller) })
	}
	return poller
}

// discovered hands what nsqlookupds list to the run loop. It runs on the
// poller's goroutine.
func (c *Consumer) discovered(result discover.Result) {
	if c.dialling.Err() != nil { // a stop ended the poll
		return
	}
	c.discovery.lookupds.note(&result)
	addrs := make([]string, 0, len(result.Producers))
	for _, p := range result.Producers {
		addrs = append(addrs, p.Addr)
	}
	if filter := c.discovery.filter.Load(); filter != nil {
		addrs = (*filter).Filter(addrs)
	}
	c.post(func(now time.Time) { c.loop.machine.Discovered(now, addrs, result.Conclusive()) })
}
