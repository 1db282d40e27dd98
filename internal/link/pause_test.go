package link

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

var someLimits = Limits{Message: 10, Body: 40, Delay: time.Minute}

// doubtful are publishes that exceed someLimits: the parts of each, between which the
// writer pauses.
var doubtful = map[string]struct {
	send  func(l *Link, to Replier) bool
	parts []string
}{
	"PUB": {
		func(l *Link, to Replier) bool { return l.Pub("t", []byte("eleven byte"), to) },
		[]string{"PUB t\n\x00\x00\x00\x0b", "eleven byte"}},
	"PUB within": {
		func(l *Link, to Replier) bool { return l.Pub("t", []byte("ten bytes."), to) },
		[]string{"PUB t\n\x00\x00\x00\x0aten bytes."}},
	"DPUB": {
		func(l *Link, to Replier) bool { return l.Dpub("t", time.Second, []byte("eleven byte"), to) },
		[]string{"DPUB t 1000\n\x00\x00\x00\x0b", "eleven byte"}},
	"DPUB, late": {
		func(l *Link, to Replier) bool { return l.Dpub("t", time.Hour, []byte("x"), to) },
		[]string{"DPUB t 3600000\n\x00\x00\x00\x01", "x"}},
	"MPUB": {
		func(l *Link, to Replier) bool {
			return l.Mpub("t", bytes.Fields([]byte("eight... eight... eight... eight")), to)
		},
		[]string{"MPUB t\n\x00\x00\x00\x31\x00\x00\x00\x04",
			"\x00\x00\x00\x08eight...\x00\x00\x00\x08eight...\x00\x00\x00\x08eight...\x00\x00\x00\x05eight"}},
	"MPUB, messages": {
		func(l *Link, to Replier) bool {
			return l.Mpub("t", bytes.Fields([]byte("x elevenbytes elevenbytes thirteenbytes")), to)
		},
		[]string{"MPUB t\n\x00\x00\x00\x38\x00\x00\x00\x04", "\x00\x00\x00\x01x\x00\x00\x00\x0b",
			"elevenbytes\x00\x00\x00\x0belevenbytes\x00\x00\x00\x0d", "thirteenbytes"}},
}

// N15: the writer pauses where nsqd may refuse, for as long as nsqd takes to reply three
// times, and writes what was queued meanwhile behind the publish.
func TestPausesWhereNSQDMayRefuse(t *testing.T) {
	for name, tt := range doubtful {
		for roundTrip, pause := range map[time.Duration]time.Duration{0: leastPause, 100 * time.Millisecond: 300 * time.Millisecond, time.Second: mostPause} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newPeer(t)
					l, r := p.connectAfter(roundTrip)
					l.SetLimits(someLimits)
					if !tt.send(l, r.replier("it")) {
						t.Fatal("not taken")
					}
					last := len(tt.parts) - 1
					for i, part := range tt.parts[:last] {
						p.expect(part)
						if i == 0 {
							p.send(heartbeat)
						}
						pass(pause - 10)
						synctest.Wait()
						p.expectNothing()
						pass(10)
					}
					p.expect(tt.parts[last] + strings.Repeat("NOP\n", min(last, 1)))
					synctest.Wait()
					p.expectNothing()
					l.Close(nil)
					_ = r.wait()
				})
			})
		}
	}
}

// slowlyClosed is a connection whose Close takes a millisecond.
type slowlyClosed struct{ net.Conn }

func (c slowlyClosed) Close() error {
	pass(time.Millisecond)
	return c.Conn.Close()
}

// N15: the rest is not sent once nsqd has refused, not even while the connection is being
// closed. The refusal ends the pause.
func TestRefusedInAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r := p.connectAfter(0, func(cfg *Config) {
			cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := p.network.DialContext(ctx, network, addr)
				return slowlyClosed{conn}, err
			}
		})
		l.SetLimits(someLimits)
		l.Pub("t", []byte(strings.Repeat("x", 100)), r.replier("it"))
		synctest.Wait()
		p.expect("PUB t\n\x00\x00\x00\x64")
		start := time.Now()
		p.send(nsqtest.ErrorFrame("E_BAD_MESSAGE", "too big"))
		expectRefusal(t, r.wait(), OpRead, wire.BadMessage)
		if d := time.Since(start); d != time.Millisecond {
			t.Errorf("the link ended %v after the refusal, want 1ms", d)
		}
		p.expectEOF()
		r.expect(t, "it: E_BAD_MESSAGE too big", "down")
	})
}

// connectAfter connects a publisher to a peer that takes this long to reply to IDENTIFY.
func (p *peer) connectAfter(roundTrip time.Duration, change ...func(*Config)) (*Link, *recorder) {
	p.t.Helper()
	cfg := p.config()
	cfg.Topic = ""
	for _, f := range change {
		f(&cfg)
	}
	result := p.dial(context.Background(), cfg)
	p.accept()
	p.expect(hello(cfg))
	pass(roundTrip)
	p.send(okFrame)
	l, err := result()
	if err != nil {
		p.t.Fatal(err)
	}
	r := newRecorder()
	l.Start(r)
	return l, r
}
