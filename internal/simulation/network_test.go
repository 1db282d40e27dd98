package simulation

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// network is what clients dial. Between them and each nsqd is a link, which may be slow, or lose
// what it carries.
type network struct {
	daemons *nsqtest.Network // where nsqds and nsqlookupds listen
	ends    *nsqtest.Network // the clients' ends of links

	pumps sync.WaitGroup

	mu        sync.Mutex       // held while a pair is made, so that Accept returns its other end
	links     map[string]*link // by the address that clients dial; nil if nothing is there any more
	listeners map[string]net.Listener
}

func newNetwork() *network {
	return &network{daemons: nsqtest.NewNetwork(), ends: nsqtest.NewNetwork(), links: make(map[string]*link), listeners: make(map[string]net.Listener)}
}

// add adds a link to the nsqd that listens at an address.
func (n *network) add(addr string) *link {
	l := &link{network: n, far: addr, conns: make(map[*carried]bool)}
	l.changed.L = &l.mu
	n.lead(addr, l)
	return l
}

// lead makes an address lead to a link, or with nil to nothing.
func (n *network) lead(addr string, to *link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[addr] = to
	if n.listeners[addr] == nil {
		n.listeners[addr], _ = n.ends.Listen(addr)
	}
}

// close waits until nsqds have closed their ends of the connections that clients have closed.
func (n *network) close() {
	n.pumps.Wait()
	for _, l := range n.listeners {
		_ = l.Close()
	}
}

// dialer returns a DialContext. seen is called for each message that comes over its connections,
// unless it is nil or they are compressed.
func (n *network) dialer(seen func(from *link, m wire.Message)) func(ctx context.Context, kind, addr string) (net.Conn, error) {
	return func(ctx context.Context, kind, addr string) (net.Conn, error) {
		n.mu.Lock()
		l, known := n.links[addr]
		n.mu.Unlock()
		if known && l == nil {
			return nil, &net.OpError{Op: "dial", Net: kind, Err: syscall.ECONNREFUSED}
		}
		if l == nil {
			return n.daemons.DialContext(ctx, kind, addr)
		}
		far, err := n.daemons.DialContext(ctx, kind, l.far)
		if err != nil {
			return nil, err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		near, err := n.ends.DialContext(context.WithoutCancel(ctx), kind, addr)
		if err != nil {
			return nil, err
		}
		middle, err := n.listeners[addr].Accept()
		if err != nil {
			return nil, err
		}
		l.carry(&carried{near: middle, far: far, seen: seen})
		return near, nil
	}
}

// link carries the connections to one nsqd.
type link struct {
	network *network
	far     string // where the nsqd listens

	mu      sync.Mutex
	changed sync.Cond // stalled has
	delay   time.Duration
	chunk   int  // bytes in a segment; 0 stands for many
	stalled bool // nothing gets through until it ends
	// What goes this way is lost, and nobody notices.
	loseSent, loseReceived bool
	conns                  map[*carried]bool
}

// carried is a connection: its end at the client, and the one at the nsqd.
type carried struct {
	near, far net.Conn
	seen      func(from *link, m wire.Message)
	half      bool // the nsqd has left, and the client does not know; guarded by the link's mu
}

func (c *carried) close() {
	_ = c.near.Close()
	_ = c.far.Close()
}

func (l *link) carry(c *carried) {
	l.mu.Lock()
	l.conns[c] = true
	l.mu.Unlock()
	l.network.pumps.Go(func() { l.pump(c, c.near, c.far, &l.loseSent, nil) })
	l.network.pumps.Go(func() { l.pump(c, c.far, c.near, &l.loseReceived, &scanner{}) })
}

// pump carries one direction of a connection. scan is nil unless it is that of messages.
func (l *link) pump(c *carried, from, to net.Conn, lose *bool, scan *scanner) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf[:l.segment(len(buf))])
		if n > 0 && l.pass(lose) {
			if _, failed := to.Write(buf[:n]); failed != nil {
				err = failed
			} else if scan != nil && c.seen != nil {
				scan.add(buf[:n], func(m wire.Message) { c.seen(l, m) })
			}
		}
		if err == nil {
			continue
		}
		l.mu.Lock()
		half := c.half
		if !half || from == c.near {
			delete(l.conns, c)
		}
		l.mu.Unlock()
		switch {
		case !half:
			c.close()
		case n > 0 && from == c.near:
			continue // it talks to nobody
		case from == c.near:
			_ = c.near.Close()
		}
		return
	}
}

func (l *link) segment(most int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.chunk > 0 {
		return l.chunk
	}
	return most
}

// pass waits as long as the link takes, and reports whether what was sent gets through.
func (l *link) pass(lose *bool) bool {
	l.mu.Lock()
	delay := l.delay
	l.mu.Unlock()
	if delay > 0 {
		sleep(delay)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.stalled {
		l.changed.Wait()
	}
	return !*lose
}

func (l *link) set(change func(*link)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
	l.changed.Broadcast()
}

// mend ends what is wrong with the link. Connections that have lost something end.
func (l *link) mend() {
	l.mu.Lock()
	lossy := l.loseSent || l.loseReceived
	l.stalled, l.loseSent, l.loseReceived, l.delay, l.chunk = false, false, false, 0, 0
	l.changed.Broadcast()
	l.mu.Unlock()
	if lossy {
		l.cut()
	}
}

// cut ends all connections.
func (l *link) cut() {
	l.mu.Lock()
	conns := l.conns
	l.conns = make(map[*carried]bool)
	for c := range conns {
		c.half = false
	}
	l.mu.Unlock()
	for c := range conns {
		c.close()
	}
}

// halve ends all connections at the nsqd, of which the clients do not learn.
func (l *link) halve() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.half = true
		_ = c.far.Close()
	}
}

// scanner finds the messages in what an nsqd sends.
type scanner struct{ rest []byte }

func (s *scanner) add(p []byte, found func(wire.Message)) {
	s.rest = append(s.rest, p...)
	for {
		frame, n, err := wire.ParseFrame(s.rest)
		if err != nil || n == 0 {
			return
		}
		if frame.Type == wire.FrameMessage {
			m, err := wire.ParseMessage(frame.Data)
			if err != nil {
				panic(fmt.Sprint("nsqtest sends: ", err))
			}
			found(m)
		}
		s.rest = s.rest[n:]
	}
}
