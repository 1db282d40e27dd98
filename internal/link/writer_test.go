package link

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Each command as it is on the wire. A single one leaves at once, in one Write.
func TestWriteCommands(t *testing.T) {
	id := testID("a")
	tests := []struct {
		send func(*Link, *recorder) bool
		want string
	}{
		{func(l *Link, _ *recorder) bool { return l.Rdy(5) }, "RDY 5\n"},
		{func(l *Link, _ *recorder) bool { return l.Fin(&id) }, "FIN a---------------\n"},
		{func(l *Link, _ *recorder) bool { return l.Req(&id, 1500*time.Millisecond) }, "REQ a--------------- 1500\n"},
		{func(l *Link, _ *recorder) bool { return l.Req(&id, -time.Second) }, "REQ a--------------- 0\n"},
		{func(l *Link, _ *recorder) bool { return l.Touch(&id) }, "TOUCH a---------------\n"},
		{func(l *Link, _ *recorder) bool { return l.Nop() }, "NOP\n"},
		{func(l *Link, r *recorder) bool { return l.Pub("t", []byte("x"), r.replier("")) }, "PUB t\n\x00\x00\x00\x01x"},
		{func(l *Link, r *recorder) bool { return l.Mpub("t", [][]byte{[]byte("x")}, r.replier("")) },
			"MPUB t\n\x00\x00\x00\x09\x00\x00\x00\x01\x00\x00\x00\x01x"},
		{func(l *Link, r *recorder) bool { return l.Dpub("t", 1500*time.Millisecond, []byte("x"), r.replier("")) },
			"DPUB t 1500\n\x00\x00\x00\x01x"},
	}
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r := p.connect(p.config())
		before := p.network.Writes()
		for i, tt := range tests {
			if !tt.send(l, r) {
				t.Errorf("%q was refused", tt.want)
			}
			synctest.Wait()
			p.expect(tt.want)
			p.expectNothing()
			if n := p.network.Writes() - before; n != i+1 {
				t.Errorf("%q: %d writes, want %d", tt.want, n, i+1)
			}
		}
		if s := l.Stats(); s.Writes != uint64(len(tests)) || s.RDY != 5 || s.Finished != 1 || s.Requeued != 2 {
			t.Errorf("%+v", s)
		}
		l.Close(nil)
		_ = r.wait()
	})
}

// What is appended during one Write waits for the next, in order.
func TestWritesCoalesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l := p.handshake(p.config())
		r := newRecorder()
		l.Start(r)
		// One FIN more than the connection holds: the second Write is stuck.
		held := (64 << 10) / len(fin("0"))
		var want strings.Builder
		send := func(name string) {
			id := testID(name)
			l.Fin(&id)
			want.WriteString(fin(name))
		}
		for i := range held + 1 {
			send(fmt.Sprint(i))
		}
		synctest.Wait()
		before := p.network.Writes()
		for i := range 1000 {
			send(fmt.Sprint("gathered", i))
		}
		synctest.Wait()
		if n := p.network.Writes() - before; n != 0 {
			t.Fatalf("%d writes while one was stuck", n)
		}
		p.expect(want.String())
		synctest.Wait()
		p.expectNothing()
		if n := p.network.Writes() - before; n != 1 {
			t.Errorf("1000 FINs left in %d writes", n)
		}
		l.Close(nil)
		_ = r.wait()
	})
}

// Each goroutine's commands keep their order, whatever others send in between.
func TestWriteOrder(t *testing.T) {
	const senders, each = 8, 500
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		p.network.Capacity = 100
		l, r := p.connect(p.config())
		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() {
				for i := range each {
					id := testID(fmt.Sprint(s, ".", i))
					l.Fin(&id)
				}
			})
		}
		stream := make([]byte, senders*each*len(fin("")))
		if _, err := io.ReadFull(p.conn, stream); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		var next [senders]int
		for line := range strings.Lines(string(stream)) {
			var s, i int
			if n, err := fmt.Sscanf(line, "FIN %d.%d-", &s, &i); n != 2 {
				t.Fatalf("%q: %v", line, err)
			}
			if i != next[s] {
				t.Fatalf("%q after %d", line, next[s]-1)
			}
			next[s]++
		}
		if s := l.Stats(); s.Finished != senders*each || s.Writes > senders*each/2 {
			t.Errorf("%+v", s)
		}
		l.Close(nil)
		_ = r.wait()
	})
}

// The link never gives up on a peer that takes any byte in time, however long the whole
// Write takes (D45).
func TestWriteToSlowPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		cfg := p.config()
		cfg.WriteTimeout = time.Second
		l := p.slow(cfg)
		r := newRecorder()
		l.Start(r)
		body := strings.Repeat("x", 1000)
		l.Pub("t", []byte(body), r.replier("pub"))
		start := time.Now()
		for _, b := range []byte("PUB t\n\x00\x00\x03\xe8" + body) {
			pass(cfg.WriteTimeout / 2)
			p.expect(string([]byte{b}))
		}
		if took := time.Since(start); took < 500*time.Second {
			t.Errorf("took only %v", took)
		}
		p.send(okFrame)
		synctest.Wait()
		r.expect(t, "pub: OK")
		l.Close(nil)
		_ = r.wait()
	})
}

// slow plays a handshake over a connection that holds one FIN, 21 bytes.
func (p *peer) slow(cfg Config) *Link {
	p.network.Capacity = len(fin(""))
	return p.handshake(cfg)
}

// The link gives up on a peer that takes nothing for WriteTimeout.
func TestWriteToStuckPeer(t *testing.T) {
	tests := []struct {
		name string
		fins int
		took time.Duration
	}{
		{"full", 1, time.Second},
		{"some room left", 0, 2 * time.Second}, // the peer took something in the first second
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				cfg := p.config()
				cfg.WriteTimeout = time.Second
				l := p.slow(cfg)
				r := newRecorder()
				l.Start(r)
				id := testID("a")
				for range tt.fins {
					l.Fin(&id)
				}
				synctest.Wait()
				start := time.Now()
				l.Pub("t", []byte("a body of some length"), r.replier("pub"))
				expectError(t, r.wait(), OpWrite, os.ErrDeadlineExceeded)
				if took := time.Since(start); took != tt.took {
					t.Errorf("ended after %v, want %v", took, tt.took)
				}
				r.expect(t, fmt.Sprintf("pub: unanswered, sent %t", tt.fins == 0), "down")
			})
		})
	}
}
