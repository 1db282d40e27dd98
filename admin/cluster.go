package admin

import (
	"cmp"
	"context"
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

// Cluster names the daemons of a cluster. Fill in its fields before the first call and do not
// change them afterwards. Its methods may then be called concurrently. They bring no goroutine
// beyond their return.
type Cluster struct {
	// Lookupds are the HTTP addresses of nsqlookupds. The nsqds that they list belong to the
	// cluster. An address is host:port, or a URL such as https://lookup.example:4161.
	Lookupds []string
	// NSQDs are the HTTP addresses of further nsqds, in the same form. An nsqd that an
	// nsqlookupd lists as well, perhaps by another address, is read only once.
	NSQDs []string
	// Client sends the requests. If it is nil, a client is used that keeps connections, takes
	// the proxy from the environment, and gives a request up after 10 seconds.
	Client *http.Client
	// Parallel is how many requests may be under way at a time for one call. 0 means 16.
	Parallel int

	known knownNSQDs
}

// defaultClient is shared: its connections serve all Clusters.
var defaultClient = sync.OnceValue(func() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 2
	return &http.Client{Transport: transport, Timeout: defaultTimeout}
})

func (c *Cluster) client() *http.Client {
	if c.Client != nil {
		return c.Client
	}
	return defaultClient()
}

// each calls do for the numbers 0 to n-1, on no more than Parallel goroutines, and returns
// when all calls have returned.
func (c *Cluster) each(n int, do func(i int)) {
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(n, cmp.Or(max(c.Parallel, 0), defaultParallel)) {
		workers.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
}

// askAll calls ask for every address, and returns the results and the errors in their order.
func askAll[T any](c *Cluster, addrs []string, ask func(addr string) (T, error)) (results []T, errs []error) {
	results, errs = make([]T, len(addrs)), make([]error, len(addrs))
	c.each(len(addrs), func(i int) { results[i], errs[i] = ask(addrs[i]) })
	return results, errs
}

// nsqds returns the addresses of all nsqds: those of the Cluster, and those that nsqlookupds
// list. With errors of nsqlookupds, it returns what the others list.
func (c *Cluster) nsqds(ctx context.Context) ([]string, error) {
	lookupds, errs := c.lookupds(ctx)
	return c.addrs(lookupds), join(errs)
}

// addrs returns the addresses of all nsqds, given what nsqlookupds list, each once.
func (c *Cluster) addrs(lookupds []Lookupd) []string {
	var addrs []string
	for _, addr := range c.NSQDs {
		if !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	seen := make(map[string]bool, len(addrs))
	for _, addr := range addrs {
		seen[addr] = true
	}
	for _, l := range lookupds {
		for _, r := range l.Registered {
			if addr := r.HTTPAddr(); !seen[addr] {
				seen[addr] = true
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs
}
