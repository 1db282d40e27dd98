// Package discover finds the nsqds of a topic, all nsqds, or the names of all topics: it
// polls nsqlookupds over HTTP and publishes what they list. It never connects to an nsqd and
// decides nothing about connections.
//
// Each poll asks all nsqlookupds in parallel. Each response is published as it
// arrives, together with the last response of every other nsqlookupd, so that one
// that hangs does not delay the others. When a request fails, the last response of
// that nsqlookupd still counts, so that the failure makes no nsqd disappear. If it goes
// on failing while others respond, that response is forgotten after ten intervals.
//
// Each producer says when the request that found it was sent, since what happened after
// that is not in the response.
package discover

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Config configures a [Poller].
type Config struct {
	Topic    string        // whose nsqds to find; empty finds all nsqds
	Topics   bool          // find the names of topics instead
	Interval time.Duration // between polls; must be positive
	Jitter   float64       // the second poll is delayed by up to this part of Interval
	Timeout  time.Duration // of one request; 0 sets no limit
	Token    string        // the bearer token sent to every nsqlookupd; empty sends none
	Seed     uint64        // of the jitter

	// Client makes the requests; with nil, the Poller makes a client of its own. With a
	// Token, no redirect out of TLS is followed.
	Client *http.Client

	// Publish receives each result, on the goroutine of [Poller.Run]. It must not
	// block. It owns the result's slices.
	Publish func(Result)
}

// A Result is what the Poller knows after an nsqlookupd responded, failed or was
// removed.
type Result struct {
	// Producers are the nsqds in the last responses of all nsqlookupds, sorted
	// by address, each address once.
	Producers []Producer

	// Topics are the names in these responses, sorted, each once, if Config.Topics is set.
	// A name may be invalid.
	Topics []string

	// Responded is when the newest request that has had a response was sent, zero if none
	// has. AllFailed is zero unless the last request to each nsqlookupd has failed: then it
	// is when the first of these was sent.
	Responded, AllFailed time.Time

	Lookupds []Lookupd // all that the Poller has, in the order of Add
	Ended    *Request  // the request whose end made this result; nil for a removal
	Waiting  int       // how many nsqlookupds have a request in flight
	Failed   []*Error  // of those whose last request failed
	Skipped  []*Error  // the last responses' unusable producers, as [ProducerError]
}

// A Lookupd is the state of one nsqlookupd.
type Lookupd struct {
	Name      string    // its URL, without passwords and without the values of the query
	Responded time.Time // when its last response arrived; zero before the first
	Producers int       // how many usable nsqds that response lists
	Err       error     // of the last finished request; nil if it had a response
}

// A Request is a request to an nsqlookupd that has ended.
type Request struct {
	Lookupd   string // its URL, as in Lookupd
	Took      time.Duration
	Producers int // how many usable nsqds the response lists
	Err       error
}

// Conclusive reports whether Producers is complete: there are nsqlookupds, and the
// last request to each of them succeeded. If an nsqd is missing then, no nsqlookupd
// lists it. The same holds for Topics.
//
// An nsqd that restarts is missing for a short time, and polls may follow each
// other quickly ([Poller.Poke], [Poller.Add]). A caller that drops missing nsqds
// should measure for how long they are missing, not only count in how many results.
func (r *Result) Conclusive() bool {
	return len(r.Lookupds) > 0 && r.Waiting == 0 && len(r.Failed) == 0
}

// A Poller polls a set of nsqlookupds. Make one with [New] and call [Poller.Run]
// once, on a goroutine of its own. The other methods may be called from any
// goroutine, even before Run, and never block.
type Poller struct {
	cfg    Config
	client *http.Client
	wake   chan struct{} // holds a token if Run may have changes to load

	mu       sync.Mutex // guards what follows
	lookupds []*lookupd // in the order of Add; copied on write, because Run keeps the slice
	poked    bool       // Poke was called since Run last looked
	ended    bool       // Run has ended; nothing can be added any more
}

// A lookupd is one nsqlookupd, from Add to Remove.
type lookupd struct {
	key     string // the URL given to Add
	name    string // the URL that errors name: without topic and secrets
	request string // the URL that is requested

	first      chan struct{} // closed when the first result is published or none will be
	closeFirst func()        // closes first; may be called again

	// The rest is owned by Run.
	cancel    context.CancelFunc // ends the request in flight; nil if there is none
	queried   bool               // a request was started
	sent      time.Time          // when the last request was sent
	ended     time.Time          // when the last request that has ended was sent
	asked     time.Time          // when the last request that succeeded was sent
	responded time.Time          // when its response came
	err       *Error             // of the last request that has ended; nil if it succeeded
	producers []Producer         // of the last response
	topics    []string           // of the last response
	skipped   []*Error           // of the last response
}

// New returns a Poller without nsqlookupds.
func New(cfg Config) *Poller {
	p := &Poller{cfg: cfg, client: cfg.Client, wake: make(chan struct{}, 1)}
	switch {
	case p.client == nil:
		p.client = newClient((&net.Dialer{Timeout: cfg.Timeout}).DialContext)
	case cfg.Token != "":
		p.client = keepInTLS(cfg.Client)
	}
	return p
}

// Add adds an nsqlookupd, which is polled at once. u is what [ParseAddr] returned.
// first is closed once the first response or failure is published, or when
// neither will come because the nsqlookupd was removed or the Poller has ended.
// added is false if the Poller has this nsqlookupd already, or has ended.
func (p *Poller) Add(u *url.URL) (first <-chan struct{}, added bool) {
	l := &lookupd{key: u.String(), name: redact(u), first: make(chan struct{})}
	switch {
	case p.cfg.Topics:
		topics := besideLookup(u, "topics")
		l.name, l.request = redact(topics), topics.String()
	case p.cfg.Topic != "":
		l.request = lookupURL(u, p.cfg.Topic)
	default:
		nodes := besideLookup(u, "nodes")
		l.name, l.request = redact(nodes), nodes.String()
	}
	l.closeFirst = sync.OnceFunc(func() { close(l.first) })
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := p.find(l.key); i >= 0 {
		return p.lookupds[i].first, false
	}
	if p.ended {
		l.closeFirst()
		return l.first, false
	}
	p.lookupds = append(slices.Clone(p.lookupds), l)
	p.signal()
	return l.first, true
}

// Remove removes an nsqlookupd, even the last one, and cancels its request. The next
// result comes at once, without the nsqds that only this nsqlookupd listed.
// Remove reports whether the Poller had it.
func (p *Poller) Remove(u *url.URL) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.find(u.String())
	if i < 0 {
		return false
	}
	p.lookupds[i].closeFirst()
	p.lookupds = slices.Delete(slices.Clone(p.lookupds), i, i+1)
	p.signal()
	return true
}

// Poke requests an extra poll at once, for an owner that has lost an nsqd. How often is
// up to the owner. An nsqlookupd that has not responded yet is not asked again.
func (p *Poller) Poke() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.poked = true
	p.signal()
}

// find returns the index of the nsqlookupd with this key, or -1. Callers hold mu.
func (p *Poller) find(key string) int {
	return slices.IndexFunc(p.lookupds, func(l *lookupd) bool { return l.key == key })
}

// signal makes Run load the changes. It never blocks.
func (p *Poller) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
