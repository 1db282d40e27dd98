package link

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// endless is a socket from which the same messages come without end, or up to
// a number of bytes, and which swallows what is written.
type endless struct {
	net.Conn
	messages []byte
	at       int
	left     int // negative for no end
}

func newEndless(left int) *endless {
	return &endless{messages: message("a", strings.Repeat("x", 200)), left: left}
}

func (e *endless) Read(p []byte) (n int, err error) {
	if e.left >= 0 {
		p = p[:min(len(p), e.left)]
		e.left -= len(p)
	}
	for n < len(p) {
		k := copy(p[n:], e.messages[e.at:])
		n += k
		e.at = (e.at + k) % len(e.messages)
	}
	if n == 0 {
		err = io.EOF
	}
	return n, err
}

func (*endless) Write(p []byte) (int, error)      { return len(p), nil }
func (*endless) Close() error                     { return nil }
func (*endless) SetReadDeadline(time.Time) error  { return nil }
func (*endless) SetWriteDeadline(time.Time) error { return nil }

// sink is a Receiver that finishes all it gets, if it has a link.
type sink struct {
	link *Link
	n    int
	down chan struct{}
}

func (s *sink) Messages(batch []wire.Message) {
	s.n += len(batch)
	for i := range batch {
		if s.link != nil {
			s.link.Fin(&batch[i].ID)
		}
	}
}

func (*sink) TooBig(wire.Message, int) {}
func (*sink) Failed(*wire.Error)       {}
func (s *sink) Down(error)             { close(s.down) }

// rawLink is a link that needs no handshake.
func rawLink(socket net.Conn, r Receiver) *Link {
	l := &Link{conn: newConn(socket), receiver: r}
	l.more = sync.NewCond(&l.mu)
	l.in.init(l.conn, 1<<20)
	return l
}

// A message costs the link no memory, neither when it comes nor when it is
// answered.
func TestAllocations(t *testing.T) {
	l := rawLink(newEndless(-1), &sink{})
	id := testID("a")
	var batch []wire.Message
	tests := []struct {
		name string
		do   func()
	}{
		{"read", func() {
			if err := l.in.fill(); err != nil {
				t.Fatal(err)
			}
			if err := l.parse(&batch); err != nil {
				t.Fatal(err)
			}
		}},
		{"FIN", func() { l.Fin(&id) }},
		{"REQ", func() { l.Req(&id, time.Second) }},
		{"TOUCH", func() { l.Touch(&id) }},
		{"RDY", func() { l.Rdy(2500) }},
		{"NOP", func() { l.Nop() }},
	}
	for _, tt := range tests {
		l.pending = make([]byte, 0, 1<<20)
		for range 10 { // the buffers grow
			tt.do()
		}
		if n := testing.AllocsPerRun(1000, tt.do); n > 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
}

func BenchmarkFin(b *testing.B) {
	l := rawLink(newEndless(0), &sink{})
	l.pending = make([]byte, 0, 1<<20)
	id := testID("a")
	b.ReportAllocs()
	for b.Loop() {
		if l.Fin(&id); len(l.pending) > 1<<19 {
			l.pending = l.pending[:0]
		}
	}
}

// BenchmarkRead reads 64 KiB of messages of 200 bytes.
func BenchmarkRead(b *testing.B) {
	s := &sink{}
	l := rawLink(newEndless(-1), s)
	var batch []wire.Message
	b.SetBytes(busyBuffer)
	b.ReportAllocs()
	for b.Loop() {
		if err := l.in.fill(); err != nil {
			b.Fatal(err)
		}
		if err := l.parse(&batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(s.n), "ns/message")
}

// BenchmarkReadAndFinish has the whole link at work: messages of 200 bytes come
// as fast as they are read, and each is finished.
func BenchmarkReadAndFinish(b *testing.B) {
	size := len(newEndless(0).messages)
	s := &sink{down: make(chan struct{})}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	l := rawLink(newEndless(b.N*size), s)
	s.link = l
	l.Start(s)
	<-s.down
	b.ReportMetric(float64(l.Stats().Writes)/float64(s.n), "writes/message")
}
