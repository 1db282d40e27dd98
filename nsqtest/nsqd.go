package nsqtest

import (
	"cmp"
	"crypto/tls"
	"hash/fnv"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// Options configure a fake nsqd. The zero value has the defaults of nsqd 1.3.0 and
// listens on a free loopback port.
type Options struct {
	Network *Network // where to listen; nil means loopback TCP, which a synctest bubble cannot use
	Addr    string   // host:port; empty means "127.0.0.1:0", a free port

	Version    string // as IDENTIFY reports it; empty means "1.3.0"
	AuthSecret string // if not empty, clients must AUTH with it before they SUB or publish

	// What the nsqd grants to clients that ask for it; TLS needs a TLSConfig. With
	// TLSRequired a client may send only IDENTIFY until it has TLS.
	TLSConfig       *tls.Config
	TLSRequired     bool
	Snappy, Deflate bool

	HeartbeatInterval time.Duration // for clients that ask for none; 0 means 30 s
	MsgTimeout        time.Duration // for clients that ask for none; 0 means 60 s
	MaxMsgTimeout     time.Duration // limit for IDENTIFY's msg_timeout, and for TOUCHes; 0 means 15 min
	MaxReqTimeout     time.Duration // a longer REQ is cut to it, a longer DPUB refused; 0 means 1 h
	MaxRdyCount       int           // 0 means 2500
	MaxMsgSize        int           // bytes of a message's body; 0 means 1 MiB
	MaxBodySize       int           // bytes of the body of IDENTIFY, AUTH or MPUB; 0 means 5 MiB

	// What clients may ask for in IDENTIFY. The nsqd refuses more, and less than
	// MinOutputBufferTimeout. It has no output buffer, whatever they ask for.
	MaxHeartbeatInterval   time.Duration // 0 means 60 s
	MaxOutputBufferSize    int           // bytes; 0 means 64 KiB
	MinOutputBufferTimeout time.Duration // 0 means 25 ms
	MaxOutputBufferTimeout time.Duration // 0 means 30 s

	// Straggler makes the nsqd send one more message to a connection that lowers
	// its RDY to 0 or sends CLS, as soon as there is one, and within the RDY that
	// the connection had. A real nsqd does so now and then.
	Straggler bool
}

func (o Options) withDefaults() Options {
	o.Addr = cmp.Or(o.Addr, "127.0.0.1:0")
	o.Version = cmp.Or(o.Version, "1.3.0")
	o.HeartbeatInterval = cmp.Or(o.HeartbeatInterval, 30*time.Second)
	o.MsgTimeout = cmp.Or(o.MsgTimeout, time.Minute)
	o.MaxMsgTimeout = cmp.Or(o.MaxMsgTimeout, 15*time.Minute)
	o.MaxReqTimeout = cmp.Or(o.MaxReqTimeout, time.Hour)
	o.MaxRdyCount = cmp.Or(o.MaxRdyCount, 2500)
	o.MaxMsgSize = cmp.Or(o.MaxMsgSize, wire.DefaultLimits.MsgSize)
	o.MaxBodySize = cmp.Or(o.MaxBodySize, wire.DefaultLimits.BodySize)
	o.MaxHeartbeatInterval = cmp.Or(o.MaxHeartbeatInterval, time.Minute)
	o.MaxOutputBufferSize = cmp.Or(o.MaxOutputBufferSize, 64<<10)
	o.MinOutputBufferTimeout = cmp.Or(o.MinOutputBufferTimeout, 25*time.Millisecond)
	o.MaxOutputBufferTimeout = cmp.Or(o.MaxOutputBufferTimeout, 30*time.Second)
	return o
}

// An Nsqd is a fake nsqd. Make one with [NewNsqd].
//
// Its methods may be called from any goroutine, except that those documented to
// fail the test must be called from the test's own, as package testing requires.
type Nsqd struct {
	tb      testing.TB
	opts    Options
	addr    string
	running sync.WaitGroup // the accept loop and every client

	mu       sync.Mutex   // guards what follows, and all clients, topics and channels
	changed  sync.Cond    // version changed
	version  int          // counts the changes of the state
	listener net.Listener // nil after Kill
	clients  []*client    // connected, in the order they were accepted
	lastConn int          // the number of the newest connection
	topics   map[string]*topic
	lastID   uint64 // the ID of the newest message
	agenda   agenda
	commands []receivedCommand
	faults   []*fault
	cuts     cuts // for the next connection

	readingStopped    bool // by StopReading
	heartbeatsStopped bool // by StopHeartbeats
}

// A receivedCommand is what Commands shows of a command.
type receivedCommand struct {
	conn int
	line string
}

// NewNsqd starts a fake nsqd and kills it when the test ends. It fails the test if
// it cannot listen.
func NewNsqd(tb testing.TB, opts Options) *Nsqd {
	tb.Helper()
	d := &Nsqd{
		tb:     tb,
		opts:   opts.withDefaults(),
		topics: make(map[string]*topic),
		cuts:   noCuts,
	}
	d.changed.L = &d.mu
	d.agenda.update = d.update
	l := listen(tb, d.opts.Network, d.opts.Addr, 0)
	d.addr = l.Addr().String()
	// As with real nsqds, no two issue the same message IDs.
	h := fnv.New32a()
	_, _ = h.Write([]byte(d.addr))
	d.lastID = uint64(h.Sum32()) << 32
	d.start(l)
	tb.Cleanup(d.Kill)
	return d
}

// Addr returns the address to connect to, as host:port.
func (d *Nsqd) Addr() string { return d.addr }

func (d *Nsqd) limits() wire.Limits {
	return wire.Limits{MsgSize: d.opts.MaxMsgSize, BodySize: d.opts.MaxBodySize}
}

func (d *Nsqd) start(l net.Listener) {
	d.update(func() { d.listener = l })
	d.running.Go(func() { d.serve(l) })
}

func (d *Nsqd) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if !d.admit(l, conn) {
			_ = conn.Close()
		}
	}
}

// admit starts a client on conn. It reports false if l was killed meanwhile.
func (d *Nsqd) admit(l net.Listener, conn net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener != l {
		return false
	}
	d.lastConn++
	c := newClient(d, d.lastConn, conn)
	d.clients = append(d.clients, c)
	d.bump()
	d.running.Go(c.run)
	return true
}

// Kill stops listening and closes every connection at once; output that is not yet
// sent is lost. Kill returns when all connections have ended.
//
// The messages survive, as in a real nsqd that is shut down: those in flight or
// deferred return to the queue with their attempts but without their delay. To
// lose them as in a crash, call [Nsqd.Empty] before [Nsqd.Restart].
func (d *Nsqd) Kill() {
	var l net.Listener
	var conns []net.Conn
	d.update(func() {
		l, d.listener = d.listener, nil
		for _, c := range d.clients {
			conns = append(conns, c.abort())
		}
	})
	if l == nil {
		return
	}
	_ = l.Close()
	closeAll(conns)
	d.running.Wait()
	d.update(func() {
		for _, t := range d.topics {
			for _, ch := range t.channels {
				ch.requeueAll()
			}
		}
	})
}

// Restart listens again after [Nsqd.Kill], at the same address. It does nothing if the nsqd
// is running, and fails the test if it cannot listen. On Unix a process that the test has
// just started may still hold the port; Restart then waits for it, 10 s at most. Do not call
// Kill before Restart has returned.
func (d *Nsqd) Restart() {
	d.tb.Helper()
	d.mu.Lock()
	running := d.listener != nil
	d.mu.Unlock()
	if !running {
		d.start(listen(d.tb, d.opts.Network, d.addr, restartWait))
	}
}

func closeAll(conns []net.Conn) {
	for _, conn := range conns {
		_ = conn.Close()
	}
}

// update calls change with the mutex held.
func (d *Nsqd) update(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	d.bump()
}

// bump wakes WaitFor after a change. Callers hold the mutex.
func (d *Nsqd) bump() {
	d.version++
	d.changed.Broadcast()
}
