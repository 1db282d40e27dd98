package link

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// rdyPeer is a link whose nsqd sends messages whatever its RDY.
type rdyPeer struct {
	*peer
	l    *Link
	r    *recorder
	sent int
}

const rdyLease = time.Minute

func newRDYPeer(t *testing.T) *rdyPeer {
	p := &rdyPeer{peer: newPeer(t)}
	p.l = p.handshake(p.config())
	p.l.EnforceRDY(rdyLease)
	p.r = newRecorder()
	p.l.Start(p.r)
	return p
}

// deliver sends n messages in one piece, and waits until the link has read them.
func (p *rdyPeer) deliver(n int) {
	p.t.Helper()
	var frames [][]byte
	for range n {
		p.sent++
		frames = append(frames, message(fmt.Sprint(p.sent), "x"))
	}
	p.send(frames...)
	synctest.Wait()
}

// beat sends heartbeats for a while.
func (p *rdyPeer) beat(d time.Duration) {
	for ; d > 0; d -= rdyLease / 2 {
		pass(min(d, rdyLease/2))
		p.send(heartbeat)
	}
	synctest.Wait()
}

// alive checks whether the link still lives, and ends it.
func (p *rdyPeer) alive(want bool) {
	p.t.Helper()
	synctest.Wait()
	p.l.Close(nil)
	err := p.r.wait()
	if want != (err == nil) || err != nil && !errors.Is(err, ErrBeyondRDY) {
		p.t.Errorf("the link ended with %v, want it alive: %v", err, want)
	}
	if s := p.l.Stats(); s.Received+s.Unsent != s.Finished+s.Lost+s.Expired || s.InFlight != 0 {
		p.t.Errorf("out of balance: %+v", s)
	}
}

// N9: an nsqd may have twice its RDY in flight, or 16 messages more. One more ends the
// link, and the receiver is not given the messages of that read.
func TestBeyondRDY(t *testing.T) {
	for _, tt := range []struct{ rdy, most int }{{0, 16}, {1, 17}, {16, 32}, {17, 34}, {200, 400}} {
		for _, extra := range []int{0, 1} {
			synctest.Test(t, func(t *testing.T) {
				p := newRDYPeer(t)
				p.l.Rdy(tt.rdy)
				p.deliver(tt.most - 1)
				p.deliver(1 + extra)
				told := tt.most + 1 // Down is the last event
				if extra > 0 {
					told = tt.most
				}
				p.alive(extra == 0)
				if n := len(p.r.events); n != told {
					t.Errorf("RDY %d, %d in flight: the receiver was told %d things, want %d", tt.rdy, tt.most+extra, n, told)
				}
			})
		}
	}
}

// A flood in one read counts as one in many.
func TestFloodBeyondRDY(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRDYPeer(t)
		p.l.Rdy(10)
		p.deliver(500)
		p.alive(false)
		if len(p.r.events) != 1 {
			t.Errorf("the receiver was told %.200q", p.r.events)
		}
	})
}

// A message that is too big is in flight like any other.
func TestTooBigBeyondRDY(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &rdyPeer{peer: newPeer(t)}
		cfg := p.config()
		cfg.MaxBody = 1
		p.l = p.handshake(cfg)
		p.l.EnforceRDY(rdyLease)
		p.r = newRecorder()
		p.l.Start(p.r)
		for i := range 17 {
			p.send(message(fmt.Sprint(i), "xx"))
		}
		p.alive(false)
		if n := len(p.r.events); n != 17 {
			t.Errorf("the receiver was told %d things, want 16 messages and the end", n)
		}
	})
}

// What nsqd sent before it knew of a lower RDY, or sends at once when leases end, is no
// violation.
func TestWithinRDY(t *testing.T) {
	stories := map[string]func(p *rdyPeer){
		"RDY was lowered": func(p *rdyPeer) {
			p.l.Rdy(100)
			p.deliver(50)
			p.l.Rdy(0)
			p.deliver(50)
			pass(2 * rdyLease)
			p.deliver(1) // nsqd's leases ended sooner than ours
		},
		"RDY was lowered step by step": func(p *rdyPeer) {
			p.l.Rdy(100)
			for n := 99; n >= 0; n-- {
				p.l.Rdy(n)
			}
			p.deliver(100)
		},
		"messages are touched for long after RDY was lowered": func(p *rdyPeer) {
			p.l.Rdy(100)
			p.deliver(100)
			p.l.Rdy(1)
			for range 10 {
				pass(2*rdyLease + time.Second)
				p.deliver(1)
			}
		},
		"all leases end at nsqd": func(p *rdyPeer) {
			p.l.Rdy(100)
			p.deliver(100)
			pass(rdyLease)
			p.deliver(100)
		},
		"the network stood still, and leases ended at nsqd": func(p *rdyPeer) {
			p.l.Rdy(100)
			p.deliver(100)
			pass(3*rdyLease + time.Second)
			p.deliver(300)
		},
		"the network stood still before the first message": func(p *rdyPeer) {
			p.l.Rdy(0)
			p.l.Rdy(20)
			pass(4*rdyLease + time.Second)
			p.deliver(5 * 20)
			p.beat(3 * rdyLease) // they are touched
			p.deliver(20)
		},
		"nobody asked for RDY to be enforced": func(p *rdyPeer) {
			p.l.mu.Lock()
			p.l.limit.lease = 0
			p.l.mu.Unlock()
			p.deliver(1000)
		},
	}
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newRDYPeer(t)
				story(p)
				p.alive(true)
			})
		})
	}
}

// A former RDY is forgotten after two leases, once its messages are acked.
func TestFormerRDYIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRDYPeer(t)
		p.l.Rdy(100)
		p.deliver(100)
		p.l.Rdy(1)
		for i := range 100 {
			id := testID(fmt.Sprint(i + 1))
			p.l.Fins([]wire.ID{id})
		}
		p.beat(2*rdyLease + time.Second)
		p.deliver(18)
		p.alive(false)
	})
}

// So is a time in which nothing was read. What nsqd may have sent in it is bounded.
func TestTimeWithoutReadIsForgotten(t *testing.T) {
	for _, beats := range []time.Duration{0, 3 * rdyLease} {
		synctest.Test(t, func(t *testing.T) {
			p := newRDYPeer(t)
			p.l.Rdy(100)
			pass(3*rdyLease + time.Second)
			p.beat(beats)
			n := 2 * 4 * 100
			if beats > 0 {
				n = 2 * 100
			}
			p.deliver(n)
			p.deliver(1)
			p.alive(false)
			if got := len(p.r.events); got != n+1 {
				t.Errorf("after %v the receiver was told %d things, want %d messages and the end", beats, got, n)
			}
		})
	}
}

// N8, N9: what nsqd sends while the reader waits for room it may give up and send again,
// lease after lease. All of that arrives when there is room.
func TestBurstAfterRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &rdyPeer{peer: newPeer(t)}
		c := &crowded{freed: make(chan struct{})}
		cfg := p.config()
		cfg.Room, cfg.Identify.HeartbeatInterval = c.room, (10 * time.Minute).Milliseconds()
		p.l = p.handshake(cfg)
		p.l.EnforceRDY(time.Second)
		p.r = newRecorder()
		p.l.Start(p.r)
		p.l.Rdy(10)
		go func() { _, _ = io.Copy(io.Discard, p.conn) }()
		for range 8 {
			for range 10 {
				p.send(message("a", strings.Repeat("x", 1000)))
			}
			pass(time.Second)
			for range p.l.Stats().InFlight {
				p.l.Expire()
			}
		}
		if s := p.l.Stats(); s.Received > 40 {
			t.Fatalf("%d messages were read: the reader does not wait", s.Received)
		}
		c.leave()
		synctest.Wait()
		if s := p.l.Stats(); s.Received != 80 {
			t.Errorf("%d messages were read, want all 80", s.Received)
		}
		p.alive(true)
	})
}
