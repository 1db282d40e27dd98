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

// tombstoneLifetime is how long nsqlookupd hides a tombstoned producer.
const tombstoneLifetime = 45 * time.Second

// LookupdOptions configure a fake nsqlookupd. The zero value listens on a free
// loopback port.
type LookupdOptions struct {
	Network *Network // where to listen; nil means loopback TCP, which a synctest bubble cannot use
	Addr    string   // host:port for HTTP; empty means "127.0.0.1:0", a free port

	// Envelope makes it respond as versions before 1.0 did to clients that did
	// not ask for the newer form: {"status_code":200,"status_txt":"OK","data":…}.
	Envelope bool
}

// A Lookupd is the HTTP side of a fake nsqlookupd: /lookup, /topics, /channels,
// /nodes, /ping and /info. It lists what the test registers; fake nsqds do not
// register themselves. Make one with [NewLookupd].
//
// Its methods may be called from any goroutine, except that those documented to
// fail the test must be called from the test's own, as package testing requires.
type Lookupd struct {
	tb      testing.TB
	opts    LookupdOptions
	addr    string
	running sync.WaitGroup // the server's accept loop

	mu       sync.Mutex   // guards what follows
	server   *http.Server // nil after Kill
	topics   map[string]*lookupTopic
	requests []*http.Request
	override http.Handler // handles all requests, unless nil
}

// lookupTopic is what a Lookupd knows of one topic.
type lookupTopic struct {
	channels   []string // sorted
	producers  []Producer
	tombstones map[string]time.Time // when each ends, by the producer's address
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

// Addr returns the address that clients of the nsqd connect to.
func (p Producer) Addr() string {
	return net.JoinHostPort(p.BroadcastAddress, strconv.Itoa(p.TCPPort))
}

// NewLookupd starts a fake nsqlookupd and kills it when the test ends. It fails the
// test if it cannot listen.
func NewLookupd(tb testing.TB, opts LookupdOptions) *Lookupd {
	tb.Helper()
	l := &Lookupd{tb: tb, opts: opts, topics: make(map[string]*lookupTopic)}
	listener := listen(tb, opts.Network, cmp.Or(opts.Addr, "127.0.0.1:0"), 0)
	l.addr = listener.Addr().String()
	l.start(listener)
	tb.Cleanup(l.Kill)
	return l
}

// Addr returns the address to connect to, as host:port.
func (l *Lookupd) Addr() string { return l.addr }

// URL returns the same address as a URL without a path.
func (l *Lookupd) URL() string { return "http://" + l.addr }

func (l *Lookupd) start(listener net.Listener) {
	server := &http.Server{Handler: http.HandlerFunc(l.serve)} // #nosec G112 -- for tests
	l.mu.Lock()
	l.server = server
	l.mu.Unlock()
	l.running.Go(func() { _ = server.Serve(listener) })
}

// Kill stops listening and closes every connection at once, requests under way
// included. Producers stay registered, as if all nsqds had registered again by
// the time of [Lookupd.Restart].
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

// Restart listens again after [Lookupd.Kill], at the same address. It does nothing if the
// nsqlookupd is running, and fails the test if it cannot listen. It waits for a port that is
// in use as [Nsqd.Restart] does.
func (l *Lookupd) Restart() {
	l.tb.Helper()
	l.mu.Lock()
	running := l.server != nil
	l.mu.Unlock()
	if !running {
		l.start(listen(l.tb, l.opts.Network, l.addr, restartWait))
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

// RegisterProducer lists a producer of a topic exactly as given. It replaces a
// producer with the same address. It fails the test if the topic's name is
// invalid, and checks nothing else.
func (l *Lookupd) RegisterProducer(topic string, p Producer) {
	l.tb.Helper()
	t := l.lockTopic(topic)
	defer l.mu.Unlock()
	if i := t.indexOf(p.Addr()); i >= 0 {
		t.producers[i] = p
	} else {
		t.producers = append(t.producers, p)
	}
}

// Unregister removes producers of a topic, and their tombstones. As in a real
// nsqlookupd, the topic stays known unless it is ephemeral and has no producer left.
// Unregister fails the test if the topic's name is invalid.
func (l *Lookupd) Unregister(topic string, addrs ...string) {
	l.tb.Helper()
	t := l.lockTopic(topic)
	defer l.mu.Unlock()
	t.producers = slices.DeleteFunc(t.producers, func(p Producer) bool {
		return slices.Contains(addrs, p.Addr())
	})
	for _, addr := range addrs {
		delete(t.tombstones, addr)
	}
	if ephemeral(topic) && len(t.producers) == 0 {
		delete(l.topics, topic)
	}
}

// CreateChannel makes a topic and one of its channels known. It fails the test if a
// name is invalid.
func (l *Lookupd) CreateChannel(topic, channel string) {
	l.tb.Helper()
	if !wire.ValidName(channel) {
		l.tb.Fatalf("nsqtest: CreateChannel: invalid channel name %q", channel)
	}
	t := l.lockTopic(topic)
	defer l.mu.Unlock()
	if !slices.Contains(t.channels, channel) {
		t.channels = append(t.channels, channel)
		slices.Sort(t.channels)
	}
}

// DeleteTopic forgets a topic: looking it up returns TOPIC_NOT_FOUND again.
func (l *Lookupd) DeleteTopic(topic string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.topics, topic)
}

// Tombstone hides a producer of a topic from /lookup for 45 s, even if it is
// registered again meanwhile. As in a real nsqlookupd, it does nothing if the producer is
// not listed. It fails the test if the topic's name is invalid.
func (l *Lookupd) Tombstone(topic, addr string) {
	l.tb.Helper()
	t := l.lockTopic(topic)
	defer l.mu.Unlock()
	if t.indexOf(addr) >= 0 {
		t.tombstones[addr] = time.Now().Add(tombstoneLifetime)
	}
}

// lockTopic locks the mutex and returns a topic, which it creates if it does not
// exist. The caller unlocks.
func (l *Lookupd) lockTopic(topic string) *lookupTopic {
	l.tb.Helper()
	if !wire.ValidName(topic) {
		l.tb.Fatalf("nsqtest: invalid topic name %q", topic)
	}
	l.mu.Lock()
	t := l.topics[topic]
	if t == nil {
		t = &lookupTopic{tombstones: make(map[string]time.Time)}
		l.topics[topic] = t
	}
	return t
}

// indexOf returns a producer's index, or -1.
func (t *lookupTopic) indexOf(addr string) int {
	return slices.IndexFunc(t.producers, func(p Producer) bool { return p.Addr() == addr })
}

func (t *lookupTopic) tombstoned(p Producer) bool {
	return time.Now().Before(t.tombstones[p.Addr()])
}

// Requests returns all requests received so far, the oldest first, including those
// that got no response.
func (l *Lookupd) Requests() []*http.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.requests)
}

// Handle makes h handle every request, until [Lookupd.Recover].
func (l *Lookupd) Handle(h http.HandlerFunc) { l.setHandler(h) }

// Hang makes every request hang, until [Lookupd.Recover]. A request that hangs
// does so until its client gives up or [Lookupd.Kill] ends it: Recover does not
// release it.
func (l *Lookupd) Hang() {
	l.Handle(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
}

// Fail makes every request fail, until [Lookupd.Recover], with an HTTP status and a
// message as nsqlookupd would give, such as "INTERNAL_ERROR".
func (l *Lookupd) Fail(status int, message string) {
	l.Handle(func(w http.ResponseWriter, _ *http.Request) {
		l.respond(w, nil, &lookupError{status, message})
	})
}

// Reply makes every request succeed with this body, valid or not, until
// [Lookupd.Recover].
func (l *Lookupd) Reply(body string) {
	l.Handle(func(w http.ResponseWriter, _ *http.Request) { l.write(w, http.StatusOK, []byte(body)) })
}

// Recover ends [Lookupd.Handle], [Lookupd.Hang], [Lookupd.Fail] and
// [Lookupd.Reply] for further requests.
func (l *Lookupd) Recover() { l.setHandler(nil) }

func (l *Lookupd) setHandler(h http.Handler) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.override = h
}
