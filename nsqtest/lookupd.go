package nsqtest

import (
	"cmp"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// tombstoneLifetime is how long nsqlookupd hides a producer.
const tombstoneLifetime = 45 * time.Second

// LookupdOptions describe a fake nsqlookupd. The zero value listens on a free
// loopback port.
type LookupdOptions struct {
	Network *Network // where to listen; nil is loopback TCP, which a synctest bubble cannot use
	Addr    string   // host:port of its HTTP side; empty is "127.0.0.1:0", a free port

	// Envelope makes it answer as nsqlookupd did before 1.0 to clients that did
	// not ask for more: {"status_code":200,"status_txt":"OK","data":…}.
	Envelope bool
}

// A Lookupd is the HTTP side of a fake nsqlookupd: /lookup, /topics, /channels,
// /nodes, /ping and /info. What it lists is what the test registers; fake nsqds
// do not announce themselves. Make one with [NewLookupd].
//
// Its methods may be called from any goroutine; those documented to fail the
// test only from the test's own, as testing asks for.
type Lookupd struct {
	tb      testing.TB
	opts    LookupdOptions
	addr    string
	running sync.WaitGroup // the server's accept loop

	mu       sync.Mutex // guards what follows
	server   *http.Server
	topics   map[string]*lookupTopic
	requests []*http.Request
	instead  http.Handler // answers all requests; nil is the usual
}

// lookupTopic is what a Lookupd knows of one topic.
type lookupTopic struct {
	channels   []string // sorted
	producers  []Producer
	tombstones map[string]time.Time // when they end, by the producer's address
}

// A Producer is an nsqd as an nsqlookupd lists it.
type Producer struct {
	RemoteAddress    string `json:"remote_address"` // of nsqd's connection to nsqlookupd
	Hostname         string `json:"hostname"`
	BroadcastAddress string `json:"broadcast_address"`
	TCPPort          int    `json:"tcp_port"`
	HTTPPort         int    `json:"http_port"`
	Version          string `json:"version"`
	TopologyZone     string `json:"topology_zone,omitempty"`
	TopologyRegion   string `json:"topology_region,omitempty"`
}

// Addr is the address that clients connect to.
func (p Producer) Addr() string {
	return net.JoinHostPort(p.BroadcastAddress, strconv.Itoa(p.TCPPort))
}

// NewLookupd starts a fake nsqlookupd, which the test's cleanup kills. It fails
// the test if it cannot listen.
func NewLookupd(tb testing.TB, opts LookupdOptions) *Lookupd {
	tb.Helper()
	l := &Lookupd{tb: tb, opts: opts, topics: make(map[string]*lookupTopic)}
	listener := l.listen(cmp.Or(opts.Addr, "127.0.0.1:0"))
	l.addr = listener.Addr().String()
	l.start(listener)
	tb.Cleanup(l.Kill)
	return l
}

// Addr is the address to connect to, as host:port.
func (l *Lookupd) Addr() string { return l.addr }

// URL is the same as a URL, without a path.
func (l *Lookupd) URL() string { return "http://" + l.addr }

func (l *Lookupd) listen(addr string) net.Listener {
	l.tb.Helper()
	listener, err := listen(l.opts.Network, addr)
	if err != nil {
		l.tb.Fatalf("nsqtest: %v", err)
	}
	return listener
}

func (l *Lookupd) start(listener net.Listener) {
	server := &http.Server{Handler: http.HandlerFunc(l.serve)} // #nosec G112 -- a test
	l.mu.Lock()
	l.server = server
	l.mu.Unlock()
	l.running.Go(func() { _ = server.Serve(listener) })
}

// Kill stops listening and closes every connection at once, whatever is under
// way. What is registered stays, as if all nsqds came back with a
// [Lookupd.Restart].
func (l *Lookupd) Kill() {
	l.mu.Lock()
	server := l.server
	l.server = nil
	l.mu.Unlock()
	if server != nil {
		_ = server.Close()
		l.running.Wait()
	}
}

// Restart listens again after [Lookupd.Kill], at the same address. It does
// nothing if the nsqlookupd is running, and fails the test if it cannot listen.
func (l *Lookupd) Restart() {
	l.tb.Helper()
	l.mu.Lock()
	running := l.server != nil
	l.mu.Unlock()
	if !running {
		l.start(l.listen(l.addr))
	}
}

// Register lists nsqds, given as host:port, as producers of a topic. It fails
// the test if the topic's name or an address is invalid.
func (l *Lookupd) Register(topic string, addrs ...string) {
	l.tb.Helper()
	for _, addr := range addrs {
		host, port, err := net.SplitHostPort(addr)
		number, errPort := strconv.Atoi(port)
		if err != nil || errPort != nil {
			l.tb.Fatalf("nsqtest: Register: invalid address %q", addr)
		}
		l.RegisterProducer(topic, Producer{
			RemoteAddress: net.JoinHostPort(host, "40000"), Hostname: host, BroadcastAddress: host,
			TCPPort: number, HTTPPort: number + 1, Version: "1.3.0",
		})
	}
}

// RegisterProducer lists a producer of a topic with all that there is to say of
// it, in place of one with the same address. Only the topic's name is checked:
// it fails the test if that is invalid.
func (l *Lookupd) RegisterProducer(topic string, p Producer) {
	l.tb.Helper()
	t := l.lockTopic(topic)
	defer l.mu.Unlock()
	if i := t.find(p.Addr()); i >= 0 {
		t.producers[i] = p
	} else {
		t.producers = append(t.producers, p)
	}
}

// Unregister takes producers of a topic off the list. The topic stays known, as
// it does with a real nsqlookupd.
func (l *Lookupd) Unregister(topic string, addrs ...string) {
	l.tb.Helper()
	t := l.lockTopic(topic)
	defer l.mu.Unlock()
	t.producers = slices.DeleteFunc(t.producers, func(p Producer) bool {
		return slices.Contains(addrs, p.Addr())
	})
}

// CreateChannel makes a channel of a topic known, and the topic. It fails the
// test if a name is invalid.
func (l *Lookupd) CreateChannel(topic, channel string) {
	l.tb.Helper()
	if !wire.ValidName(channel) {
		l.tb.Fatalf("nsqtest: CreateChannel: invalid name: %q", channel)
	}
	t := l.lockTopic(topic)
	defer l.mu.Unlock()
	if !slices.Contains(t.channels, channel) {
		t.channels = append(t.channels, channel)
		slices.Sort(t.channels)
	}
}

// DeleteTopic forgets a topic: to look it up is TOPIC_NOT_FOUND again.
func (l *Lookupd) DeleteTopic(topic string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.topics, topic)
}

// Tombstone hides a producer of a topic from /lookup for 45 s, registered again
// or not.
func (l *Lookupd) Tombstone(topic, addr string) {
	l.tb.Helper()
	t := l.lockTopic(topic)
	defer l.mu.Unlock()
	t.tombstones[addr] = time.Now().Add(tombstoneLifetime)
}

// lockTopic finds or makes a topic, and leaves the mutex locked.
func (l *Lookupd) lockTopic(topic string) *lookupTopic {
	l.tb.Helper()
	if !wire.ValidName(topic) {
		l.tb.Fatalf("nsqtest: invalid topic name: %q", topic)
	}
	l.mu.Lock()
	t := l.topics[topic]
	if t == nil {
		t = &lookupTopic{tombstones: make(map[string]time.Time)}
		l.topics[topic] = t
	}
	return t
}

func (t *lookupTopic) find(addr string) int {
	return slices.IndexFunc(t.producers, func(p Producer) bool { return p.Addr() == addr })
}

func (t *lookupTopic) tombstoned(p Producer) bool {
	return time.Now().Before(t.tombstones[p.Addr()])
}

// Requests are all requests received so far, the oldest first, those to which
// there was no answer included.
func (l *Lookupd) Requests() []*http.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.requests)
}

// Handle has h answer every request from now on, until [Lookupd.Recover].
func (l *Lookupd) Handle(h http.HandlerFunc) { l.setHandler(h) }

// Hang accepts requests from now on and never answers them. Those that hang do
// so until their client gives up or [Lookupd.Kill], a [Lookupd.Recover] in
// between or not.
func (l *Lookupd) Hang() {
	l.Handle(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
}

// Fail answers every request with an error from now on: an HTTP status, and the
// message that nsqlookupd would give, such as "INTERNAL_ERROR".
func (l *Lookupd) Fail(status int, message string) {
	l.Handle(func(w http.ResponseWriter, _ *http.Request) {
		l.answer(w, nil, &lookupError{status, message})
	})
}

// Reply answers every request with this body from now on, whatever it is, as a
// success.
func (l *Lookupd) Reply(body string) {
	l.Handle(func(w http.ResponseWriter, _ *http.Request) { l.write(w, http.StatusOK, []byte(body)) })
}

// Recover ends [Lookupd.Handle], [Lookupd.Hang], [Lookupd.Fail] and
// [Lookupd.Reply] for requests to come.
func (l *Lookupd) Recover() { l.setHandler(nil) }

func (l *Lookupd) setHandler(h http.Handler) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.instead = h
}
