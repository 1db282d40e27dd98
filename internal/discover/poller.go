// Package discover finds the nsqds of a topic, or all there are: it asks nsqlookupds over HTTP,
// again and again, and hands over what they list. It never connects to an nsqd
// and decides nothing about connections.
//
// Each poll asks all nsqlookupds at once, and each answer is published as it
// comes, together with what the others said last: one that hangs delays nobody.
// An nsqlookupd that fails is taken to still list what it listed when it
// answered, so that its failure makes no nsqd disappear.
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

// Config says what to look up, and how often.
type Config struct {
	Topic    string        // empty is all nsqds, whatever their topics
	Interval time.Duration // from poll to poll; must be positive
	Jitter   float64       // the second poll is late by up to this share of Interval, by chance
	Timeout  time.Duration // of one request; 0 is no bound
	Client   *http.Client  // used as it is, but that no redirect leaves TLS with a Token; nil is one of the Poller's own
	Token    string        // sent to every nsqlookupd as a bearer token; empty is none
	Seed     uint64        // of the jitter

	// Publish is given each result, by the goroutine of [Poller.Run]. It must
	// not block. The slices are its own.
	Publish func(Result)
}

// A Result is what is known after an nsqlookupd answered, failed or was removed.
type Result struct {
	// Producers are the nsqds in the last answers of all nsqlookupds, by
	// address, each address once.
	Producers []Producer

	Asked   int      // nsqlookupds that there are
	Waiting int      // of these, how many are still to answer
	Failed  []*Error // and those that failed when they were asked last
	Skipped []*Error // producers in the answers that cannot be used; each wraps a [ProducerError]
}

// Conclusive tells whether an nsqd that is not among the Producers is known to
// be listed by nobody: there are nsqlookupds, and all of them have answered.
//
// Polls can follow each other fast ([Poller.Poke], [Poller.Add]), and an nsqd
// that restarts is missing for a moment. Whoever lets go of missing nsqds should
// do so by how long they are missing rather than by how often.
func (r *Result) Conclusive() bool {
	return r.Asked > 0 && r.Waiting == 0 && len(r.Failed) == 0
}

// A Poller polls a set of nsqlookupds. Make one with [New] and have a goroutine
// [Poller.Run] it; the other methods may be called from any goroutine, before
// that, too, and never wait.
type Poller struct {
	cfg    Config
	client *http.Client
	wake   chan struct{} // holds a token when there may be news for Run

	mu       sync.Mutex // guards what follows
	lookupds []*lookupd // in the order they were added; replaced, never changed in place
	poked    bool
	ended    bool
}

// A lookupd is one nsqlookupd, from Add to Remove.
type lookupd struct {
	key     string // its URL
	name    string // the same without a password
	request string // the URL to get

	first  chan struct{} // closed by settle
	settle func()        // may be called again

	// The rest is owned by Run.
	cancel    context.CancelFunc // of the request under way, nil without one
	asked     bool
	err       *Error // of the last request
	producers []Producer
	skipped   []*Error
}

// New returns a Poller without nsqlookupds.
func New(cfg Config) *Poller {
	p := &Poller{cfg: cfg, client: cfg.Client, wake: make(chan struct{}, 1)}
	switch {
	case p.client == nil:
		p.client = newClient((&net.Dialer{Timeout: cfg.Timeout}).DialContext)
	case cfg.Token != "":
		p.client = guarded(cfg.Client)
	}
	return p
}

// Add has one more nsqlookupd polled, the first time at once. u is what
// [ParseAddr] returned. first is closed when its first answer was published, or
// its first failure, or when neither will come any more because it was removed
// or the Poller has ended. added is false if it was there already.
func (p *Poller) Add(u *url.URL) (first <-chan struct{}, added bool) {
	l := &lookupd{key: u.String(), name: u.Redacted(), first: make(chan struct{})}
	if p.cfg.Topic != "" {
		l.request = lookupURL(u, p.cfg.Topic)
	} else {
		nodes := nodesURL(u)
		l.name, l.request = nodes.Redacted(), nodes.String()
	}
	l.settle = sync.OnceFunc(func() { close(l.first) })
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := p.find(l.key); i >= 0 {
		return p.lookupds[i].first, false
	}
	if p.ended {
		l.settle()
		return l.first, false
	}
	p.lookupds = append(slices.Clone(p.lookupds), l)
	p.signal()
	return l.first, true
}

// Remove ends what [Poller.Add] began. A request under way is given up, and what
// only this nsqlookupd listed is missing from the next result, which comes at
// once. The last one can be removed, too. It reports whether it was there.
func (p *Poller) Remove(u *url.URL) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.find(u.String())
	if i < 0 {
		return false
	}
	p.lookupds[i].settle()
	p.lookupds = slices.Delete(slices.Clone(p.lookupds), i, i+1)
	p.signal()
	return true
}

// Poke asks for a poll before its time, because an nsqd was lost. It comes at
// once, or a second after the poll before it, and several calls in that time
// make one poll. An nsqlookupd that still owes an answer is not asked again.
func (p *Poller) Poke() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.poked = true
	p.signal()
}

// find needs the mutex.
func (p *Poller) find(key string) int {
	return slices.IndexFunc(p.lookupds, func(l *lookupd) bool { return l.key == key })
}

// signal wakes Run. It never waits.
func (p *Poller) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
