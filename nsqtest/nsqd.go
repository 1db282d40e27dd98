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

// Options describe a fake nsqd. The zero value has the defaults of nsqd 1.3.0
// and listens on a free loopback port.
type Options struct {
	Network *Network // where to listen; nil is loopback TCP, which a synctest bubble cannot use
	Addr    string   // host:port; empty is "127.0.0.1:0", a free port

	Version    string // as IDENTIFY reports it; empty is "1.3.0"
	AuthSecret string // if not empty, clients must AUTH with it before SUB and publishing

	// What is granted to clients that ask for it: TLS if there is a TLSConfig.
	// TLSRequired refuses every command but IDENTIFY to those without.
	TLSConfig       *tls.Config
	TLSRequired     bool
	Snappy, Deflate bool

	HeartbeatInterval time.Duration // for clients that ask for none; 0 is 30 s
	MsgTimeout        time.Duration // for clients that ask for none; 0 is 60 s
	MaxMsgTimeout     time.Duration // bounds what clients ask for, and TOUCH; 0 is 15 min
	MaxReqTimeout     time.Duration // clamps REQ, bounds DPUB; 0 is 1 h
	MaxRdyCount       int           // 0 is 2500
	MaxMsgSize        int           // bytes of a message's body; 0 is 1 MiB
	MaxBodySize       int           // bytes of an IDENTIFY, AUTH or MPUB; 0 is 5 MiB

	// Straggler sends a connection that had a RDY one message more after CLS
	// and after RDY 0, at once or as soon as there is one, within the RDY it
	// had. With a real nsqd that happens now and then.
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
	return o
}

// An Nsqd is a fake nsqd. Make one with [NewNsqd].
//
// Its methods may be called from any goroutine; those documented to fail the
// test only from the test's own, as testing asks for.
type Nsqd struct {
	tb      testing.TB
	opts    Options
	addr    string
	running sync.WaitGroup // the accept loop and every client

	mu       sync.Mutex
	changed  sync.Cond // version changed
	version  int       // counts the changes of what follows
	listener net.Listener
	clients  []*client // connected, in the order they were accepted
	accepted int       // the number of the newest connection
	topics   map[string]*topic
	lastID   uint64 // of a message
	agenda   agenda
	log      []logged
	faults   []*fault
	cuts     cuts // for the next connection
	deaf     bool // connections are not read
	silent   bool // no heartbeats are sent
}

// logged is one line of the transcript.
type logged struct {
	conn int
	line string
}

// NewNsqd starts a fake nsqd, which the test's cleanup kills. It fails the test
// if it cannot listen.
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
	l := d.listen(d.opts.Addr)
	d.addr = l.Addr().String()
	// As with real ones, no two nsqds give out the same ids.
	h := fnv.New32a()
	_, _ = h.Write([]byte(d.addr))
	d.lastID = uint64(h.Sum32()) << 32
	d.start(l)
	tb.Cleanup(d.Kill)
	return d
}

// Addr is the address to connect to, as host:port.
func (d *Nsqd) Addr() string { return d.addr }

func (d *Nsqd) limits() wire.Limits {
	return wire.Limits{MsgSize: d.opts.MaxMsgSize, BodySize: d.opts.MaxBodySize}
}

func (d *Nsqd) listen(addr string) net.Listener {
	d.tb.Helper()
	l, err := listen(d.opts.Network, addr)
	if err != nil {
		d.tb.Fatalf("nsqtest: %v", err)
	}
	return l
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

// admit starts a client, unless Kill came first.
func (d *Nsqd) admit(l net.Listener, conn net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener != l {
		return false
	}
	d.accepted++
	c := newClient(d, d.accepted, conn)
	d.clients = append(d.clients, c)
	d.bump()
	d.running.Go(c.run)
	return true
}

// Kill stops listening and closes every connection at once, without a word and
// without sending what was not sent yet. It waits until that is done.
//
// The messages survive, as those of a real nsqd do that is shut down: what was
// in flight or deferred is queued again, its attempts kept, its delay lost. To
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
				ch.restore()
			}
		}
	})
}

// Restart listens again after [Nsqd.Kill], at the same address. It does nothing
// if the nsqd is running, and fails the test if it cannot listen.
func (d *Nsqd) Restart() {
	d.tb.Helper()
	d.mu.Lock()
	running := d.listener != nil
	d.mu.Unlock()
	if !running {
		d.start(d.listen(d.addr))
	}
}

func closeAll(conns []net.Conn) {
	for _, conn := range conns {
		_ = conn.Close()
	}
}

// update changes the state.
func (d *Nsqd) update(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	d.bump()
}

// bump wakes those who wait for a change. Callers hold the mutex.
func (d *Nsqd) bump() {
	d.version++
	d.changed.Broadcast()
}
