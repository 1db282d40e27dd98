//go:build unix

package e2e

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy passes connections on to an nsqd. A test can make the network between fail.
type proxy struct {
	t        *testing.T
	listener net.Listener
	to       string
	wg       sync.WaitGroup

	delay   atomic.Int64 // how long each read waits before it is passed on
	single  atomic.Bool  // bytes are passed on one by one
	stalled atomic.Pointer[chan struct{}]

	mu    sync.Mutex // guards what follows
	conns map[*proxied]bool
}

// proxied is a connection that is passed on.
type proxied struct {
	client, server *net.TCPConn
	vanish         [2]atomic.Bool // bytes to the server, and to the client, vanish
}

// The directions of a proxied connection.
const (
	toServer = iota
	toClient
)

// startProxy starts a proxy to an address. It ends with the test.
func startProxy(t *testing.T, to string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, listener: listener, to: to, conns: map[*proxied]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.resume()
		p.reset()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) port() int { return p.listener.Addr().(*net.TCPAddr).Port }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // the test ends
		}
		server, err := net.Dial("tcp", p.to) //nolint:noctx // to this machine
		if err != nil {
			_ = client.Close()
			continue
		}
		c := &proxied{client: client.(*net.TCPConn), server: server.(*net.TCPConn)}
		p.mu.Lock()
		p.conns[c] = true
		p.mu.Unlock()
		p.wg.Go(func() { p.pass(c) })
	}
}

// pass passes a connection on until one end has closed it.
func (p *proxy) pass(c *proxied) {
	var wg sync.WaitGroup
	wg.Go(func() { p.pump(c, toServer, c.client, c.server) })
	wg.Go(func() { p.pump(c, toClient, c.server, c.client) })
	wg.Wait()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
	_, _ = c.client.Close(), c.server.Close()
}

// pump passes on what comes from one end. An end that closes closes the other one.
func (p *proxy) pump(c *proxied, direction int, from, to *net.TCPConn) {
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		if stalled := p.stalled.Load(); stalled != nil {
			<-*stalled
		}
		time.Sleep(time.Duration(p.delay.Load()))
		if n > 0 && !c.vanish[direction].Load() {
			if failed := p.write(to, buffer[:n]); failed != nil {
				_ = from.Close()
				return
			}
		}
		if errors.Is(err, io.EOF) {
			_ = to.CloseWrite()
			return
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}

func (p *proxy) write(to *net.TCPConn, data []byte) error {
	for p.single.Load() && len(data) > 0 {
		if _, err := to.Write(data[:1]); err != nil {
			return err
		}
		data = data[1:]
	}
	_, err := to.Write(data)
	return err
}

// reset ends all connections by RST.
func (p *proxy) reset() {
	for _, c := range p.all() {
		for _, end := range []*net.TCPConn{c.client, c.server} {
			_ = end.SetLinger(0)
			_ = end.Close()
		}
	}
}

// finish ends all connections by FIN.
func (p *proxy) finish() {
	for _, c := range p.all() {
		_, _ = c.client.CloseWrite(), c.server.CloseWrite()
	}
}

// vanish has all bytes of one direction vanish on the connections that are open, as when a
// NAT has forgotten them.
func (p *proxy) vanish(direction int) {
	for _, c := range p.all() {
		c.vanish[direction].Store(true)
	}
}

// stall has nothing pass until resume.
func (p *proxy) stall() {
	stalled := make(chan struct{})
	p.stalled.Store(&stalled)
}

func (p *proxy) resume() {
	if stalled := p.stalled.Swap(nil); stalled != nil {
		close(*stalled)
	}
}

func (p *proxy) all() (conns []*proxied) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		conns = append(conns, c)
	}
	return conns
}
