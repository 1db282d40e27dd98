package nsqtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// errBlackhole marks an address whose dials never come to an end.
var errBlackhole = errors.New("blackhole")

// A Network connects clients and listeners within the process. Its connections
// are buffered and behave like TCP as far as a client can tell. It may be used
// inside a testing/synctest bubble: whatever waits on it waits durably.
//
// Make one with [NewNetwork]. Its methods may be called from any goroutine.
type Network struct {
	// Capacity is how many bytes each direction of a connection holds before a
	// Write waits for the peer to read. It is read by each dial; set it before
	// the first. 0 means 64 KiB.
	Capacity int

	mu        sync.Mutex
	listeners map[string]*listener
	faults    map[string]error
	attempts  map[string]int
	dialled   []*Conn // the clients' ends
	lastPort  int     // given to a listener that asked for port 0
}

// NewNetwork returns a network on which nobody listens yet.
func NewNetwork() *Network {
	return &Network{
		listeners: make(map[string]*listener),
		faults:    make(map[string]error),
		attempts:  make(map[string]int),
		lastPort:  4149,
	}
}

// DialContext connects to the listener at addr, and fits the client's
// Config.DialContext. A connection is made at once, accepted or not. Without a
// listener the error is ECONNREFUSED; every error is a [*net.OpError].
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

// Listen accepts connections dialled to addr, which is compared as a string.
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

// listen is in the network, or without one on TCP.
func listen(n *Network, addr string) (net.Listener, error) {
	if n == nil {
		return net.Listen("tcp", addr)
	}
	return n.Listen(addr)
}

// Refuse makes dials to addr fail with err; nil stands for ECONNREFUSED.
// Connections that exist stay.
func (n *Network) Refuse(addr string, err error) {
	if err == nil {
		err = syscall.ECONNREFUSED
	}
	n.setFault(addr, err)
}

// Blackhole makes dials to addr wait until their context ends.
func (n *Network) Blackhole(addr string) { n.setFault(addr, errBlackhole) }

// Allow takes back [Network.Refuse] or [Network.Blackhole] for dials to come.
func (n *Network) Allow(addr string) { n.setFault(addr, nil) }

func (n *Network) setFault(addr string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults[addr] = err
}

// Attempts is how often addr was dialled, with success or not.
func (n *Network) Attempts(addr string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.attempts[addr]
}

// Conns are the clients' ends of all connections so far, in the order they
// were dialled, the closed ones included.
func (n *Network) Conns() []*Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]*Conn(nil), n.dialled...)
}

// Dials is how many dials succeeded.
func (n *Network) Dials() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.dialled)
}

// Closes is how often clients called Close, second calls on the same
// connection included. A client without leaks ends with as many as [Network.Dials].
func (n *Network) Closes() int {
	sum := 0
	for _, c := range n.Conns() {
		sum += c.Closes()
	}
	return sum
}

// OpenConns is how many connections their client has not closed, whether or
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

// Writes is how many Write calls clients made, over all connections.
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

// Close ends Accept and closes the connections that nobody accepted.
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

// An address looks like that of a TCP socket, so that nothing depends on the
// network being in memory.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }
