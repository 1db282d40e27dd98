package link

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// N2: before SubAfter no SUB is sent, but a NOP each second, for heartbeats.
func TestSubAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		cfg := p.config()
		cfg.SubAfter, cfg.HandshakeTimeout = time.Now().Add(2500*time.Millisecond), time.Second
		result := p.dial(t.Context(), cfg)
		p.accept()
		p.expect(hello(cfg))
		p.send(heartbeat, okFrame, heartbeat)
		synctest.Wait()
		p.expectNothing()
		pass(999 * time.Millisecond)
		synctest.Wait()
		p.expectNothing()
		pass(time.Millisecond)
		synctest.Wait()
		p.expect("NOP\n") // it is also the one that is owed for the first heartbeat
		p.expectNothing()
		pass(time.Second)
		p.expect("NOP\n")
		pass(499 * time.Millisecond)
		synctest.Wait()
		p.expectNothing()
		pass(time.Millisecond)
		p.expect("SUB t ch\n")
		pass(900 * time.Millisecond) // the timeout does not count the wait
		p.send(okFrame)
		l, err := result()
		if err != nil {
			t.Fatal(err)
		}
		l.Close(nil)
	})
}

// Over every transport, and with the shortest heartbeats, nsqd keeps a connection that
// waits for SubAfter. One that has passed delays nothing.
func TestSubAfterWithNsqd(t *testing.T) {
	for _, tr := range transports() {
		t.Run(tr.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network, ca := nsqtest.NewNetwork(), newAuthority(t, "127.0.0.1")
				d := nsqtest.NewNsqd(t, nsqtest.Options{
					Network: network, Addr: testAddr, TLSConfig: ca.server, Snappy: true, Deflate: true,
					HeartbeatInterval: time.Second,
				})
				cfg := tr.want(Config{
					Addr: testAddr, Dial: network.DialContext, Topic: "t", Channel: "c", TLS: ca.client(),
					HandshakeTimeout: time.Second, Identify: wire.Identify{FeatureNegotiation: true},
				})
				for _, wait := range []time.Duration{10 * time.Second, -time.Hour} {
					start := time.Now()
					cfg.SubAfter = start.Add(wait)
					l, err := Dial(t.Context(), cfg)
					if err != nil {
						t.Fatal(err)
					}
					if took := time.Since(start); took != max(0, wait) {
						t.Errorf("subscribed after %v, want %v", took, wait)
					}
					d.Publish("t", "m")
					r := newRecorder()
					l.Start(r)
					l.Rdy(1)
					synctest.Wait()
					if len(r.events) != 1 {
						t.Errorf("told %q, want one message", r.events)
					}
					l.Close(nil)
					<-r.down
				}
			})
		})
	}
}

// The context ends the wait, an nsqd that takes no NOP is subject to the timeout, and one
// that goes away fails the handshake.
func TestSubAfterFails(t *testing.T) {
	cause := errors.New("stopping")
	for name, tt := range map[string]struct {
		act  func(p *peer, cancel context.CancelCauseFunc)
		want error
		took time.Duration
	}{
		"cancelled": {
			func(_ *peer, cancel context.CancelCauseFunc) { pass(1200 * time.Millisecond); cancel(cause) }, cause,
			1200 * time.Millisecond,
		},
		"stuck": {func(*peer, context.CancelCauseFunc) {}, ErrHandshakeTimeout, 63 * time.Second},
		"gone":  {func(p *peer, _ context.CancelCauseFunc) { _ = p.conn.Close() }, nil, time.Second},
		"half gone": {func(p *peer, _ context.CancelCauseFunc) {
			_ = p.conn.(interface{ CloseWrite() error }).CloseWrite()
		}, io.EOF, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				if name == "stuck" {
					p.network.Capacity = 4
				}
				cfg := p.config()
				start := time.Now()
				cfg.SubAfter = start.Add(3 * time.Second)
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				result := p.dial(ctx, cfg)
				p.accept()
				p.expect(hello(cfg))
				p.send(okFrame)
				tt.act(p, cancel)
				_, err := result()
				expectError(t, err, OpSub, tt.want)
				if took := time.Since(start); took != tt.took {
					t.Errorf("ended after %v, want %v", took, tt.took)
				}
			})
		})
	}
}
