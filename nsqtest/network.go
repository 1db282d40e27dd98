package nsqtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// errBlackhole marks an address whose dials hang.
var errBlackhole = errors.New("blackhole")

// A Network connects clients and listeners in this process. Its connections are
// buffered and, to a client, behave like TCP. In a testing/synctest bubble every
// wait on it is a durable one, so that virtual time can pass.
//
// Make one with [NewNetwork]. Its methods may be called from any goroutine.
type Network struct {
	// Capacity is how many bytes each direction of a connection buffers before
	// Write waits for the peer to read. 0 means 64 KiB. Set it before the first
	// dial.
	Capacity int

	mu        sync.Mutex           // guards what follows, and all listeners
	listeners map[string]*listener // by address, as are faults and attempts
	faults    map[string]error     // what dials fail with, or errBlackhole
	attempts  map[string]int
	dialled   []*Conn // the clients' ends, including closed ones
	lastPort  int     // the newest that Listen chose
}

// NewNetwork returns a network without listeners.
func NewNetwork() *Network {
	return &Network{
		listeners: make(map[string]*listener),
		faults:    make(map[string]error),
		attempts:  make(map[string]int),
		lastPort:  4149,
	}
}

// DialContext connects to the listener at addr. It is meant for the client's
// Config.DialContext. It returns a connection at once, without waiting for Accept.
// If nothing listens at addr the error is ECONNREFUSED. Every error is a
// [*net.OpError].
func (n *Network) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := n.dial(ctx, addr)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: address(addr), Err: err}
	}
	return conn, nil
}

func (n *Network) dial(ctx context.Context, addr string) (*Conn, error) {
	n.mu.Lock()
	n.attempts[addr]++
	fault := n.faults[addr]
	n.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(fault, errBlackhole):
		<-ctx.Done()
		return nil, ctx.Err()
	case fault != nil:
		return nil, fault
	}

	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.listeners[addr]
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	capacity := n.Capacity
	if capacity <= 0 {
		capacity = 64 << 10
	}
	client, server := newPair(address(fmt.Sprintf("127.0.0.1:%d", 32768+len(n.dialled))), l.addr, capacity)
	n.dialled = append(n.dialled, client)
	l.backlog = append(l.backlog, server)
	l.arrived.Signal()
	return client, nil
}

// Listen listens at addr. Dials reach it if they use the same string.
// With port 0 it picks a free port: 4150, 4151 and so on.
func (n *Network) Listen(addr string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if host, port, err := net.SplitHostPort(addr); err == nil && port == "0" {
		n.lastPort++
		addr = net.JoinHostPort(host, fmt.Sprint(n.lastPort))
	}
	if n.listeners[addr] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: address(addr), Err: syscall.EADDRINUSE}
	}
	l := &listener{network: n, addr: address(addr)}
	l.arrived.L = &n.mu
	n.listeners[addr] = l
	return l, nil
}

// restartWait bounds how long a restart waits for its port. On Unix a process that the test
// starts is first a copy of the test program, with copies of all its sockets, until it executes
// its own program. If a listener is closed during that time, its port stays in use until then.
const restartWait = 10 * time.Second

// listen listens on n, or on TCP if n is nil. On TCP it tries again until wait is over while
// the port is in use. It fails the test if it cannot listen.
func listen(tb testing.TB, n *Network, addr string, wait time.Duration) net.Listener {
	tb.Helper()
	try := func() (net.Listener, error) { return net.Listen("tcp", addr) }
	if n != nil {
		try, wait = func() (net.Listener, error) { return n.Listen(addr) }, 0
	}
	l, err := try()
	for end := time.Now().Add(wait); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(end); l, err = try() {
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		tb.Fatalf("nsqtest: %v", err)
	}
	return l
}

// Refuse makes dials to addr fail with err, or with ECONNREFUSED if err is nil.
// Existing connections stay.
func (n *Network) Refuse(addr string, err error) {
	if err == nil {
		err = syscall.ECONNREFUSED
	}
	n.setFault(addr, err)
}

// Blackhole makes dials to addr wait until their context ends.
func (n *Network) Blackhole(addr string) { n.setFault(addr, errBlackhole) }

// Allow ends [Network.Refuse] or [Network.Blackhole] for further dials.
func (n *Network) Allow(addr string) { n.setFault(addr, nil) }

func (n *Network) setFault(addr string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults[addr] = err
}

// Attempts returns how often addr was dialled, successfully or not.
func (n *Network) Attempts(addr string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.attempts[addr]
}

// Conns returns the clients' ends of all connections so far, in the order they were
// dialled, including closed ones.
func (n *Network) Conns() []*Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]*Conn(nil), n.dialled...)
}

// Dials returns how many dials succeeded.
func (n *Network) Dials() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.dialled)
}

// Closes returns how often clients called Close, including further calls on the
// same connection. A client that closes each connection once ends with as many as
// [Network.Dials].
func (n *Network) Closes() int {
	sum := 0
	for _, c := range n.Conns() {
		sum += c.Closes()
	}
	return sum
}

// OpenConns returns how many connections their clients have not closed, whether or
// not the other side has.
func (n *Network) OpenConns() int {
	open := 0
	for _, c := range n.Conns() {
		if c.Closes() == 0 {
			open++
		}
	}
	return open
}

// Writes returns how often clients called Write, over all connections.
func (n *Network) Writes() int {
	sum := 0
	for _, c := range n.Conns() {
		sum += c.Writes()
	}
	return sum
}

// A listener is one address of a Network. The network's mutex guards it.
type listener struct {
	network *Network
	addr    address
	arrived sync.Cond
	backlog []*Conn // dialled and not yet accepted
	closed  bool
}

func (l *listener) Accept() (net.Conn, error) {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	for len(l.backlog) == 0 && !l.closed {
		l.arrived.Wait()
	}
	if l.closed {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	conn := l.backlog[0]
	l.backlog = l.backlog[1:]
	return conn, nil
}

// Close ends Accept and closes the connections that were not accepted.
func (l *listener) Close() error {
	l.network.mu.Lock()
	if l.closed {
		l.network.mu.Unlock()
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	l.closed = true
	delete(l.network.listeners, string(l.addr))
	orphans := l.backlog
	l.backlog = nil
	l.arrived.Broadcast()
	l.network.mu.Unlock()

	for _, conn := range orphans {
		_ = conn.Close()
	}
	return nil
}

func (l *listener) Addr() net.Addr { return l.addr }

// An address looks like a TCP socket's, so that clients cannot tell the difference.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }
