package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// What real sockets do with loans and with the reader's writes.

// newSocketPeer returns a peer that listens on a real socket.
func newSocketPeer(t *testing.T, network, addr string) *peer {
	t.Helper()
	p := &peer{t: t, network: nsqtest.NewNetwork()}
	var err error
	if p.l, err = new(net.ListenConfig).Listen(t.Context(), network, addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.l.Close()
		if p.conn != nil {
			_ = p.conn.Close()
		}
	})
	return p
}

// sockets runs a test over TCP and over a unix socket.
func sockets(t *testing.T, test func(t *testing.T, p *peer, cfg Config)) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			addr := "127.0.0.1:0"
			if network == "unix" {
				addr = filepath.Join(t.TempDir(), "s")
			}
			p := newSocketPeer(t, network, addr)
			cfg := p.config()
			cfg.Addr, cfg.Dial = p.l.Addr().String(), new(net.Dialer).DialContext
			if network == "unix" {
				cfg.Addr = "unix:" + addr
			}
			test(t, p, cfg)
		})
	}
}

// A socket with small buffers takes a part of what the reader writes, and then nothing. The
// writer writes the rest, every byte in order.
func TestDirectWriteToFullSocket(t *testing.T) {
	for each, loans := range map[int]int{2000: 20, 1: 10000} {
		sockets(t, func(t *testing.T, p *peer, cfg Config) { testFullSocket(t, p, cfg, each, loans) })
	}
}

// testFullSocket has the link write in so many loans, and each time so many FINs.
func testFullSocket(t *testing.T, p *peer, cfg Config, each, loans int) {
	dial := cfg.Dial
	cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err == nil {
			err = conn.(interface{ SetWriteBuffer(int) error }).SetWriteBuffer(1)
		}
		return conn, err
	}
	l := p.handshake(cfg)
	f := &loanFinisher{finisher: finisher{recorder: newRecorder(), link: l, left: 1 << 30}, times: each}
	l.Start(f)
	if (l.direct == nil) != (writeNow == nil) {
		t.Error("the reader cannot write")
	}
	for i := range loans {
		p.send(message(fmt.Sprint(i), "x"))
	}
	for i := range loans {
		p.expect(strings.Repeat(fin(fmt.Sprint(i)), each))
	}
	l.Abandon()
	p.expectEOF()
	_ = p.conn.Close()
	if err := f.wait(); err != nil {
		t.Error(err)
	}
	if s := l.Stats(); !l.Flushed() || s.Unsent != 0 {
		t.Errorf("%+v", s)
	}
}

// loanFinisher is a finisher that finishes messages on loan, each several times.
type loanFinisher struct {
	finisher
	times int
	ids   []wire.ID // used by the reader alone
}

func (f *loanFinisher) Messages(batch []wire.Message) {
	for _, m := range batch {
		f.ids = append(f.ids, slices.Repeat([]wire.ID{m.ID}, f.times)...)
	}
}

func (f *loanFinisher) Borrows() bool { return len(f.ids) > 0 }

func (f *loanFinisher) Work(Loan) {
	for i := range f.ids {
		f.link.Fin(&f.ids[i])
	}
	if f.left -= len(f.ids); f.left == 0 {
		f.link.Drain()
	}
	f.ids = f.ids[:0]
}

// The peer has ended the connection while the reader was on loan. Of a reset the socket
// tells one call only, which is the reader's write: the link does not take it for an EOF.
func TestDirectWriteAfterReset(t *testing.T) {
	if writeNow == nil {
		t.Skip("the reader does not write")
	}
	sockets(t, func(t *testing.T, p *peer, cfg Config) {
		l := p.handshake(cfg)
		b := newBorrower()
		l.Start(b)
		p.send(message("a", "x"))
		w := <-b.begun
		l.Rdy(1)
		w.end <- returns
		p.expect("RDY 1\n")
		p.send(message("b", "x"))
		w = <-b.begun
		cause := io.EOF
		if conn, ok := p.conn.(*net.TCPConn); ok {
			_ = conn.SetLinger(0) // Close resets
			cause = syscall.ECONNRESET
		}
		_ = p.conn.Close()
		l.finish("a", "b")
		w.end <- returns
		if err := b.wait(); !errors.Is(err, cause) {
			t.Errorf("down with %v, want %v", err, cause)
		}
		b.expect(t, "message a x", "work", "message b x", "work", "down")
		expectNoTimers(t, l)
	})
}

// Over TLS and compression the reader writes nothing, and all else is the same.
func TestLoansOverTransports(t *testing.T) {
	const messages = 500
	for _, tr := range transports() {
		t.Run(tr.String(), func(t *testing.T) {
			ca := newAuthority(t, "127.0.0.1")
			d := nsqtest.NewNsqd(t, nsqtest.Options{TLSConfig: ca.server, Snappy: true, Deflate: true})
			d.CreateChannel("t", "ch")
			cfg := tr.want(Config{
				Addr: d.Addr(), Dial: new(net.Dialer).DialContext, Topic: "t", Channel: "ch", TLS: ca.client(),
			})
			cfg.Identify.FeatureNegotiation = true
			l, err := Dial(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			f := &loanFinisher{finisher: finisher{recorder: newRecorder(), link: l, left: messages}, times: 1}
			l.Start(f)
			if (l.direct != nil) != (tr == transport{} && writeNow != nil) {
				t.Errorf("the reader writes: %t", l.direct != nil)
			}
			l.Rdy(7)
			d.Publish("t", slices.Repeat([]string{"x"}, messages)...)
			if err := f.wait(); err != nil {
				t.Error(err)
			}
			if got := d.Stats("t", "ch"); got.Finished != messages || got.InFlight != 0 {
				t.Errorf("nsqd has %+v", got)
			}
		})
	}
}

// Over a real socket, loans end and are recalled while other goroutines send: nsqd gets each
// FIN once.
func TestLoansUnderLoad(t *testing.T) {
	const messages = 3000
	d := nsqtest.NewNsqd(t, nsqtest.Options{})
	d.CreateChannel("t", "ch")
	l, err := Dial(t.Context(), Config{Addr: d.Addr(), Dial: new(net.Dialer).DialContext, Topic: "t", Channel: "ch"})
	if err != nil {
		t.Fatal(err)
	}
	f := &busyBorrower{recorder: newRecorder(), link: l, finished: make(chan struct{})}
	f.left.Store(messages)
	l.Start(f)
	l.Rdy(20)
	for range messages / 100 {
		d.Publish("t", slices.Repeat([]string{"x"}, 100)...)
	}
	<-f.finished
	f.works.Wait()
	l.Drain()
	if err := f.wait(); err != nil {
		t.Error(err)
	}
	if got := d.Stats("t", "ch"); got.Finished != messages || got.InFlight != 0 {
		t.Errorf("nsqd has %+v", got)
	}
}

// busyBorrower is a recorder that finishes messages on loan, while others send and recall.
type busyBorrower struct {
	*recorder
	link     *Link
	ids      []wire.ID // used by the reader alone
	left     atomic.Int64
	finished chan struct{}  // closed when none is left
	works    sync.WaitGroup // counts the calls of Work, and what they have started
}

func (f *busyBorrower) Messages(batch []wire.Message) {
	for _, m := range batch {
		f.ids = append(f.ids, m.ID)
	}
}

func (f *busyBorrower) Borrows() bool { return len(f.ids) > 0 }

func (f *busyBorrower) Work(loan Loan) {
	f.works.Add(1)
	defer f.works.Done()
	ids := f.ids
	f.ids = nil
	f.works.Go(func() { f.link.Rdy(20) })
	f.works.Go(func() { f.link.Nop() })
	if loan%2 == 0 {
		f.works.Go(func() { f.link.Recall(loan) })
	}
	for i := range ids {
		f.link.Fin(&ids[i])
		runtime.Gosched()
	}
	if f.left.Add(-int64(len(ids))) == 0 {
		close(f.finished)
	}
	if loan%3 == 0 {
		runtime.Goexit()
	}
}
