package simulation

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// network is what clients dial. Between them and each nsqd is a link, which may be slow, or lose
// what it carries.
type network struct {
	daemons *nsqtest.Network // where nsqds and nsqlookupds listen
	ends    *nsqtest.Network // the clients' ends of links
	links   map[string]*link // by the nsqd's address

	pumps sync.WaitGroup

	mu        sync.Mutex // held while a pair is made, so that Accept returns its other end
	listeners map[string]net.Listener
}

func newNetwork() *network {
	return &network{daemons: nsqtest.NewNetwork(), ends: nsqtest.NewNetwork(), links: make(map[string]*link), listeners: make(map[string]net.Listener)}
}

// add adds a link to an nsqd.
func (n *network) add(addr string) *link {
	l := &link{network: n, conns: make(map[*carried]bool)}
	l.changed.L = &l.mu
	n.links[addr] = l
	n.listeners[addr], _ = n.ends.Listen(addr)
	return l
}

// close waits until what clients have closed is closed at nsqds, too.
func (n *network) close() {
	n.pumps.Wait()
	for _, l := range n.listeners {
		_ = l.Close()
	}
}

func (n *network) dial(ctx context.Context, kind, addr string) (net.Conn, error) {
	far, err := n.daemons.DialContext(ctx, kind, addr)
	if err != nil || n.links[addr] == nil {
		return far, err
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
	n.links[addr].carry(middle, far)
	return near, nil
}

// link carries the connections to one nsqd.
type link struct {
	network *network

	mu      sync.Mutex
	changed sync.Cond // stalled has
	delay   time.Duration
	chunk   int  // bytes in a segment; 0 stands for many
	stalled bool // nothing gets through until it ends
	swallow bool // what is sent is lost, and nobody notices
	conns   map[*carried]bool
}

// carried is a connection: its end at the client, and the one at the nsqd.
type carried struct{ near, far net.Conn }

func (c *carried) close() {
	_ = c.near.Close()
	_ = c.far.Close()
}

func (l *link) carry(near, far net.Conn) {
	c := &carried{near, far}
	l.mu.Lock()
	l.conns[c] = true
	l.mu.Unlock()
	l.network.pumps.Go(func() { l.pump(c, near, far) })
	l.network.pumps.Go(func() { l.pump(c, far, near) })
}

func (l *link) pump(c *carried, from, to net.Conn) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf[:l.segment(len(buf))])
		if n > 0 && l.pass() {
			if _, failed := to.Write(buf[:n]); failed != nil {
				err = failed
			}
		}
		if err != nil {
			c.close()
			l.mu.Lock()
			delete(l.conns, c)
			l.mu.Unlock()
			return
		}
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
func (l *link) pass() bool {
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
	return !l.swallow
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
	lossy := l.swallow
	l.stalled, l.swallow, l.delay, l.chunk = false, false, 0, 0
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
	l.mu.Unlock()
	for c := range conns {
		c.close()
	}
}
