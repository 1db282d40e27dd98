package admin

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// The defaults of a Cluster.
const (
	defaultTimeout  = 10 * time.Second
	defaultParallel = 16
)

// maxNSQDs is how many nsqds an nsqlookupd may list. The node IDs of NSQ allow for 1,024.
const maxNSQDs = 10_000

// Cluster names the daemons of a cluster. Fill in its fields before the first call and do not
// change them afterwards. Its methods may then be called concurrently. They leave no goroutine
// behind, except those of package net/http for connections that the Client keeps.
//
// An address is host:port, or a URL such as https://lookup.example:4161, perhaps with a path, and
// with a user and a password for basic authentication. Views and errors show no user and no
// password. Methods that take an address also accept it in the form that a View shows.
type Cluster struct {
	// Lookupds are the HTTP addresses of nsqlookupds. The nsqds that they list belong to the
	// cluster.
	Lookupds []string
	// NSQDs are the HTTP addresses of further nsqds. An nsqd that an nsqlookupd lists as well,
	// perhaps by another address, counts once. Name it here if the address that it broadcasts
	// is out of reach, or if it accepts HTTPS only.
	NSQDs []string
	// Client sends the requests. A nil Client stands for one that keeps connections, takes the
	// proxy from the environment, and gives up a request after 10 seconds. A redirect is
	// followed for requests that read, as the Client says, and is an error for all others.
	Client *http.Client
	// Parallel is how many requests a call may have under way at a time. 0 means 16. If as many
	// daemons hang, they hold up the others.
	Parallel int
	// Memory has polls ask nsqds for NSQD.Memory as well. To measure it, an nsqd stops all of its
	// goroutines for some microseconds.
	Memory bool

	known knownNSQDs
}

// defaultClient is shared: its connections serve all Clusters.
var defaultClient = sync.OnceValue(newClient)

func newClient() *http.Client {
	dialer := &net.Dialer{Timeout: defaultTimeout}
	return &http.Client{Timeout: defaultTimeout, Transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}}
}

func (c *Cluster) client() *http.Client {
	if c.Client != nil {
		return c.Client
	}
	return defaultClient()
}

// work is a queue of functions. They begin in the order of the queue, no more than Parallel of
// them run at a time, and a function may add others.
type work struct {
	running sync.WaitGroup

	mu   sync.Mutex // guards the fields below
	todo []func()
	free int // how many more may run at a time
}

func (c *Cluster) work() *work {
	return &work{free: cmp.Or(max(c.Parallel, 0), defaultParallel)}
}

func (w *work) add(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.todo = append(w.todo, do)
	if w.free > 0 {
		w.free--
		w.running.Go(w.run)
	}
}

// run calls functions until none is left.
func (w *work) run() {
	for {
		w.mu.Lock()
		if len(w.todo) == 0 {
			w.free++
			w.mu.Unlock()
			return
		}
		do := w.todo[0]
		w.todo = w.todo[1:]
		w.mu.Unlock()
		do()
	}
}

// wait returns when all functions have returned.
func (w *work) wait() { w.running.Wait() }

// each calls do for the numbers 0 to n-1, several at a time, and returns when all calls have
// returned.
func (c *Cluster) each(n int, do func(i int)) {
	work := c.work()
	for i := range n {
		work.add(func() { do(i) })
	}
	work.wait()
}

// askAll calls ask for every address, and returns the results and the errors in their order.
func askAll[T any](c *Cluster, addrs []string, ask func(addr string) (T, error)) (results []T, errs []error) {
	results, errs = make([]T, len(addrs)), make([]error, len(addrs))
	c.each(len(addrs), func(i int) { results[i], errs[i] = ask(addrs[i]) })
	return results, errs
}

// nsqds returns an address of each nsqd: those that the Cluster names, then the others that
// nsqlookupds list. With errors of nsqlookupds, it returns what the others list.
func (c *Cluster) nsqds(ctx context.Context) ([]string, error) {
	lookupds, errs := c.lookupds(ctx)
	listed := registryOf(lookupds)
	if len(listed) > 0 {
		// The nsqds that the Cluster names are left out of the others. If one does not respond,
		// it is asked by both of its addresses.
		said, _ := askAll(c, c.NSQDs, func(addr string) (info, error) { return c.info(ctx, addr) })
		for _, i := range said {
			delete(listed, i.httpAddr())
		}
	}
	return c.addrs(listed), errors.Join(errs...)
}

// lookupds reads what nsqlookupds list.
func (c *Cluster) lookupds(ctx context.Context) ([]Lookupd, []error) {
	return askAll(c, c.Lookupds, func(addr string) (Lookupd, error) { return c.lookupd(ctx, addr) })
}

// addrs returns the addresses of the nsqds that the Cluster names, in its order, and of those
// that nsqlookupds list, sorted: each address once.
func (c *Cluster) addrs(listed registry) []string {
	var addrs []string
	named := make(map[string]bool, len(c.NSQDs))
	for _, addr := range c.NSQDs {
		if !named[addr] {
			named[addr] = true
			addrs = append(addrs, addr)
		}
	}
	for _, addr := range slices.Sorted(maps.Keys(listed)) {
		if !named[addr] {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// registry is what nsqlookupds list, by the HTTP addresses of the nsqds.
type registry map[string][]listing

// listing is an nsqd as one nsqlookupd lists it.
type listing struct {
	lookupd string // Lookupd.Addr
	Registration
}

func registryOf(lookupds []Lookupd) registry {
	listed := make(registry)
	for _, l := range lookupds {
		for _, r := range l.Registered {
			addr := r.HTTPAddr()
			listed[addr] = append(listed[addr], listing{l.Addr, r})
		}
	}
	return listed
}

// of returns the listings of an nsqd that is asked at addr and says this of itself. Its /info may
// name other ports than its listings do, if it was started with --broadcast-http-port.
func (r registry) of(addr string, said info) []listing {
	listings := slices.Clone(r[addr])
	if said.httpAddr() != addr {
		listings = append(listings, r[said.httpAddr()]...)
	}
	return listings
}
