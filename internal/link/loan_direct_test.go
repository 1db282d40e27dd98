package link

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// lendDirect is lend, with a reader that can write. In place of a system call it calls
// take, which returns how much it took.
func (p *peer) lendDirect(cfg Config, take func(l *Link, data []byte) int) (*Link, *borrower, *lentWork) {
	p.t.Helper()
	l := p.handshake(cfg)
	b := newBorrower()
	l.startDirect(b, take)
	return l, b, p.lendAgain(b, "a")
}

// startDirect is Start with a reader that can write over any connection.
func (l *Link) startDirect(r Receiver, take func(l *Link, data []byte) int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Start(r)
	w := &directWriter{socket: playedSocket{}}
	w.try = func(uintptr) bool {
		w.n = take(l, w.data)
		return true
	}
	l.direct = w
}

// playedSocket is a socket without a file descriptor.
type playedSocket struct{ syscall.RawConn }

func (playedSocket) Write(f func(uintptr) bool) error {
	f(0)
	return nil
}

// takes returns a take that passes on at most n bytes.
func takes(n int) func(*Link, []byte) int {
	return func(l *Link, data []byte) int {
		n, _ := l.conn.Conn.Write(data[:min(n, len(data))])
		return n
	}
}

// The reader writes what the socket takes at once, and the writer the rest: every byte, in
// order and once. The counts of what was sent are right at any time.
func TestDirectWriteOfAPart(t *testing.T) {
	want := fin("a") + "RDY 7\n" + fin("b")
	for n := range len(want) + 1 {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			l, b, w := p.lendDirect(p.config(), takes(n))
			for range 3 {
				sent, writes := l.Progress().sent, l.Stats().Writes
				l.finish("a")
				l.Rdy(7)
				l.finish("b")
				p.expectWithheld()
				w.end <- returns
				p.expectSoon(want)
				if !l.Flushed() || l.Progress().sent-sent != uint64(len(want)) || !l.acks.empty() {
					t.Errorf("%d bytes taken: %+v", n, l.Progress())
				}
				wantWrites := uint64(2)
				if n == len(want) {
					wantWrites = 1
				}
				if got := l.Stats().Writes - writes; got != wantWrites {
					t.Errorf("%d bytes taken: %d writes, want %d", n, got, wantWrites)
				}
				l.Rdy(8) // the writer is in order
				p.expectSoon("RDY 8\n")
				w = p.lendAgain(b, "b")
			}
			w.end <- returns
			l.Close(nil)
			_ = b.wait()
		})
	}
}

// While the reader writes, other goroutines append commands, within the chunk and beyond
// it, and wake the writer. It waits, and then writes what is left.
func TestAppendDuringDirectWrite(t *testing.T) {
	for _, taken := range []int{0, 1, len(fin("a")) - 1, len(fin("a"))} {
		for _, more := range []int{1, 10, chunkSize/len(fin("")) - 1, chunkSize / len(fin("")), 10000} {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				p.network.Capacity = 1 << 20
				begun, goOn := make(chan bool), make(chan bool)
				l, b, w := p.lendDirect(p.config(), func(l *Link, data []byte) int {
					begun <- true
					<-goOn
					return takes(taken)(l, data)
				})
				l.finish("a")
				w.end <- returns
				<-begun
				var want strings.Builder
				want.WriteString(fin("a"))
				for i := range more {
					l.finish(fmt.Sprint(i))
					want.WriteString(fin(fmt.Sprint(i)))
					if i == 0 {
						l.Expire() // signals the writer
					}
				}
				p.expectWithheld()
				goOn <- true
				p.expectSoon(want.String())
				l.Rdy(1)
				p.expectSoon("RDY 1\n")
				l.Close(nil)
				_ = b.wait()
			})
		}
	}
}

// A pause in what was appended while the reader wrote comes where it should.
func TestPauseAfterDirectWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, b, w := p.lendDirect(p.config(), func(l *Link, data []byte) int {
			l.SetLimits(Limits{Message: 1, Body: 1})
			l.Pub("t", []byte("body"), newRecorder().replier(""))
			return takes(5)(l, data)
		})
		l.finish("a")
		w.end <- returns
		p.expectSoon(fin("a") + "PUB t\n\x00\x00\x00\x04")
		pass(mostPause)
		p.expectSoon("body")
		l.Close(nil)
		_ = b.wait()
	})
}

// The writer leaves alone a write of the reader that precedes its own first step.
func TestWriterBeginsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l := p.handshake(p.config())
		r := newRecorder()
		l.mu.Lock() // holds up the writer
		l.Start(r)
		if !l.writing {
			t.Error("the reader may write before the writer has begun")
		}
		l.mu.Unlock()
		synctest.Wait()
		if l.writing {
			t.Error("the reader can never write")
		}
		l.Close(nil)
		_ = r.wait()
	})
}

// The writer is at work, or there is more to do than one write to the socket: the reader
// leaves all to the writer.
func TestNoDirectWrite(t *testing.T) {
	tests := []struct {
		name   string
		before func(*Link) string // appends, and returns what is written
		during func(*Link) string
	}{
		{"the writer writes", func(l *Link) string {
			l.finish("1", "2")
			return fin("1") + fin("2")
		}, func(l *Link) string {
			l.finish("a")
			return fin("a")
		}},
		{"two chunks", nil, func(l *Link) string {
			body := strings.Repeat("x", chunkSize)
			l.Pub("t", []byte(body), newRecorder().replier(""))
			return string(wire.AppendPub(nil, "t", []byte(body)))
		}},
		{"the link closes", nil, func(l *Link) string {
			l.finish("a")
			l.Close(nil)
			return ""
		}},
		{"a pause", nil, func(l *Link) string {
			l.SetLimits(Limits{Message: 1, Body: 1})
			l.Pub("t", []byte("body"), newRecorder().replier(""))
			return string(wire.AppendPub(nil, "t", []byte("body")))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				p.network.Capacity = len(fin(""))
				l := p.handshake(p.config())
				b := newBorrower()
				l.startDirect(b, func(*Link, []byte) int {
					t.Error("the reader writes")
					return 0
				})
				want := ""
				if tt.before != nil {
					want = tt.before(l)
				}
				synctest.Wait()
				w := p.sendSlowly(b, "a")
				want += tt.during(l)
				w.end <- returns
				synctest.Wait()
				p.expect(want)
				l.Close(nil)
				_ = b.wait()
			})
		})
	}
}

// A link that ends while the reader writes is down once the reader is back.
func TestEndDuringDirectWrite(t *testing.T) {
	tests := []struct {
		name  string
		taken int
		end   func(*Link)
		rest  string
		err   error
	}{
		{"Close", 0, func(l *Link) { l.Close(errEnough) }, "", errEnough},
		{"Close, some taken", 5, func(l *Link) { l.Close(errEnough) }, fin("a")[:5], errEnough},
		{"Close, all taken", 100, func(l *Link) { l.Close(errEnough) }, fin("a"), errEnough},
		{"Drain", 0, (*Link).Drain, fin("a") + "CLS\n", nil},
		{"Drain, all taken", 100, (*Link).Drain, fin("a") + "CLS\n", nil},
		{"Abandon", 5, (*Link).Abandon, fin("a"), nil},
		{"Abandon, all taken", 100, (*Link).Abandon, fin("a"), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				begun, goOn := make(chan bool), make(chan bool)
				l, b, w := p.lendDirect(p.config(), func(l *Link, data []byte) int {
					n := takes(tt.taken)(l, data)
					begun <- true
					<-goOn
					return n
				})
				l.finish("a")
				w.end <- returns
				<-begun
				tt.end(l)
				synctest.Wait()
				b.expect(t, "message a x", "work")
				goOn <- true
				p.playEnd(tt.rest)
				if err := b.wait(); !errors.Is(err, tt.err) || tt.err == nil && err != nil {
					t.Errorf("down with %v, want %v", err, tt.err)
				}
				b.expect(t, "message a x", "work", "down")
				if s := l.Stats(); s.Finished != 1 || (s.Lost == 0) != (len(tt.rest) >= len(fin("a"))) {
					t.Errorf("%+v", s)
				}
				expectNoTimers(t, l)
			})
		})
	}
}

// A drain whose last message is given up while the reader writes ends: the writer that this
// woke had to wait for the reader.
func TestDrainEndsDuringDirectWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		begun, goOn := make(chan bool), make(chan bool)
		l, b, w := p.lendDirect(p.config(), func(l *Link, data []byte) int {
			begun <- true
			<-goOn
			return takes(1000)(l, data)
		})
		l.Drain()
		l.Recall(w.loan)
		p.expectSoon("CLS\n")
		p.send(closeWaitFrame)
		pass(time.Minute)
		second := p.lendAgain(b, "b")
		l.finish("a")
		second.end <- returns
		<-begun
		l.Expire() // b
		synctest.Wait()
		goOn <- true
		p.expect(fin("a"))
		p.expectEOF()
		_ = p.conn.Close()
		if err := b.wait(); err != nil {
			t.Error(err)
		}
		w.end <- returns
	})
}

// nsqd replies to a command that the reader has written, and those who wait for the socket
// learn that it was written.
func TestReplyAfterDirectWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, b, w := p.lendDirect(p.config(), takes(1000))
		l.Pub("t", []byte("x"), b.replier("pub"))
		sent := make(chan error)
		go func() { sent <- l.Sent(l.Progress().queued) }()
		p.expectWithheld()
		w.end <- returns
		p.expectSoon("PUB t\n\x00\x00\x00\x01x")
		if err := <-sent; err != nil {
			t.Error(err)
		}
		p.send(okFrame)
		w = <-b.begun
		w.end <- returns
		synctest.Wait()
		b.expect(t, "message a x", "work", "pub: OK", "work")
		l.Close(nil)
		_ = b.wait()
	})
}

// After a write of the reader that failed, nsqd's last words still count, and an EOF does
// not.
func TestLastWordsAfterDirectWrite(t *testing.T) {
	for _, words := range [][]byte{nil, nsqtest.ErrorFrame("E_INVALID", "why")} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			l, b, w := p.lendDirect(p.config(), func(l *Link, _ []byte) int {
				l.direct.failed = syscall.ECONNRESET
				return 0
			})
			l.finish("a")
			p.send(words)
			_ = p.conn.Close()
			w.end <- returns
			if err := b.wait(); words == nil {
				expectError(t, err, OpWrite, syscall.ECONNRESET)
			} else {
				expectRefusal(t, err, OpRead, wire.Invalid)
			}
		})
	}
}
