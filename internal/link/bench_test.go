package link

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// endless is a socket that delivers the same messages over and over, for ever or up to
// a number of bytes, and swallows what is written.
type endless struct {
	net.Conn
	messages []byte
	at       int
	left     int // bytes still to deliver; negative for no limit
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

// sink is a Receiver that finishes every message, if it has a link.
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

// rawLink returns a link over a socket, without a handshake.
func rawLink(socket net.Conn, r Receiver) *Link {
	l := &Link{cfg: Config{Topic: "t"}, conn: newConn(socket), receiver: r}
	l.out = l.conn
	l.writerWake = sync.NewCond(&l.mu)
	l.in.init(l.conn, 1<<20)
	return l
}

// A message makes the link allocate nothing: not when it arrives, and not when it is
// finished, requeued or touched.
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
			if err := l.handleFrames(&batch); err != nil {
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
		for range 10 { // let the buffers grow
			tt.do()
		}
		if n := testing.AllocsPerRun(1000, tt.do); n > 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
}

func BenchmarkFin(b *testing.B) {
	l := rawLink(newEndless(0), &sink{})
	id := testID("a")
	var taken [][]byte
	b.ReportAllocs()
	for b.Loop() {
		if l.Fin(&id); l.pending.len > 1<<19 {
			taken, _ = l.pending.takeAll(taken[:0])
			for _, chunk := range taken {
				releaseChunk(chunk)
			}
		}
	}
}

// BenchmarkRead reads 64 KiB of 200-byte messages at a time.
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
		if err := l.handleFrames(&batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(s.n), "ns/message")
}

// BenchmarkReadAndFinish runs the whole link: 200-byte messages come as fast as it
// reads them, and each is finished. A compressed chunk holds 64 of them, about what
// nsqd's buffer holds.
func BenchmarkReadAndFinish(b *testing.B) {
	for _, compression := range []string{"", OpSnappy, OpDeflate} {
		b.Run("compression="+compression, func(b *testing.B) {
			b.ReportAllocs()
			s := &sink{down: make(chan struct{})}
			socket := newEndless(0)
			size := len(socket.messages)
			b.SetBytes(int64(size))
			var l *Link
			if compression == "" {
				socket.left = b.N * size
				l = rawLink(socket, s)
			} else {
				const batch = 64
				socket.messages = compressed(compression, bytes.Repeat(socket.messages, batch))
				socket.left = (b.N + batch - 1) / batch * len(socket.messages)
				l = rawLink(socket, s)
				l.compress(b, compression)
			}
			s.link = l
			l.Start(s)
			<-s.down
			b.ReportMetric(float64(l.Stats().Writes)/float64(s.n), "writes/message")
		})
	}
}

// compressed returns one flush of a compressed stream. It may be repeated.
func compressed(compression string, data []byte) []byte {
	var z bytes.Buffer
	_, _ = compressTo(&z, compression).Write(data)
	return z.Bytes()
}

// compress puts compression between the link and its socket, as an upgrade does.
func (l *Link) compress(tb testing.TB, compression string) {
	out, err := newEncoder(l.out, compression, 6)
	if err != nil {
		tb.Fatal(err)
	}
	l.in.src, l.out = newDecoder(l.in.src, compression), out
}

// With compression, messages cost next to no allocations: the encoder makes a small one
// per flush.
func TestCompressedAllocations(t *testing.T) {
	for _, compression := range []string{OpSnappy, OpDeflate} {
		socket := newEndless(-1)
		socket.messages = compressed(compression, bytes.Repeat(socket.messages, 64))
		l := rawLink(socket, &sink{})
		l.compress(t, compression)
		var batch []wire.Message
		fins := []byte(strings.Repeat(fin("a"), 64))
		cycle := func() {
			if err := l.in.fill(); err != nil {
				t.Fatal(err)
			}
			if err := l.handleFrames(&batch); err != nil {
				t.Fatal(err)
			}
			if _, err := l.out.Write(fins); err != nil {
				t.Fatal(err)
			}
		}
		for range 10 { // let the buffers grow
			cycle()
		}
		if n := testing.AllocsPerRun(1000, cycle); n > 2 {
			t.Errorf("%s: %v allocations for a flush in each direction", compression, n)
		}
	}
}
