package link

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// identifyFrame is a full reply to IDENTIFY.
var identifyFrame = nsqtest.ResponseFrame(`{"max_rdy_count":2500,"version":"1.3.0","msg_timeout":60000}`)

// The connection ends after each byte that nsqd sends during the handshake.
func TestHandshakeCutWhileReading(t *testing.T) {
	for n := range len(identifyFrame) + len(heartbeat) + len(okFrame) {
		synctest.Test(t, func(t *testing.T) {
			said := slices.Concat(identifyFrame, heartbeat, okFrame)
			err := newPeer(t).play(t.Context(), true, said[:n])
			op := OpIdentify
			if n >= len(identifyFrame) {
				op = OpSub
			}
			cause := io.ErrUnexpectedEOF
			if n == 0 || n == len(identifyFrame) || n == len(identifyFrame)+len(heartbeat) { // between frames
				cause = io.EOF
			}
			expectError(t, err, op, cause)
		})
	}
}

// The connection ends after each byte that the link sends during the handshake.
func TestHandshakeCutWhileWriting(t *testing.T) {
	cfg := Config{Identify: wire.Identify{FeatureNegotiation: true}}
	length := len(hello(cfg) + "SUB t ch\n")
	for n := range length {
		synctest.Test(t, func(t *testing.T) {
			network := nsqtest.NewNetwork()
			d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network})
			d.CutAfterReceived(n)
			_, err := Dial(t.Context(), Config{
				Addr: d.Addr(), Dial: network.DialContext, Identify: cfg.Identify, Topic: "t", Channel: "ch",
			})
			op := OpIdentify
			if n > len(hello(cfg)) {
				op = OpSub
			}
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Op != op {
				t.Errorf("cut after %d bytes: %v, want an error of op %s", n, err, op)
			}
			if network.Dials() != 1 || network.Closes() != 1 {
				t.Errorf("cut after %d bytes: %d dials, %d closes", n, network.Dials(), network.Closes())
			}
		})
	}
}

func TestDialFails(t *testing.T) {
	tests := []struct {
		name  string
		fault func(*nsqtest.Network)
		cause error
	}{
		{"refused", func(n *nsqtest.Network) { n.Refuse(testAddr, nil) }, syscall.ECONNREFUSED},
		{"unreachable", func(n *nsqtest.Network) { n.Refuse(testAddr, syscall.EHOSTUNREACH) }, syscall.EHOSTUNREACH},
		{"cancelled in a black hole", func(n *nsqtest.Network) { n.Blackhole(testAddr) }, context.DeadlineExceeded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				tt.fault(p.network)
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				_, err := Dial(ctx, p.config())
				expectError(t, err, OpDial, tt.cause)
				if n := p.network.Dials(); n != 0 {
					t.Errorf("%d connections", n)
				}
			})
		})
	}
}

// stalls are the ways in which nsqd can leave a handshake hanging.
var stalls = []struct {
	name    string
	op      string // the step that hangs
	replies [][]byte
	beat    bool // nsqd keeps sending heartbeats
}{
	{"silence", OpIdentify, nil, false},
	{"half a frame", OpIdentify, [][]byte{identifyFrame[:9]}, false},
	{"heartbeats only", OpIdentify, nil, true},
	{"no reply to SUB", OpSub, [][]byte{identifyFrame}, false},
	{"half a reply to SUB", OpSub, [][]byte{identifyFrame, okFrame[:9]}, false},
	{"heartbeats for SUB", OpSub, [][]byte{identifyFrame}, true},
}

// stall runs a handshake against an nsqd that leaves it hanging. It returns how long
// the handshake took and how it ended.
func (p *peer) stall(ctx context.Context, cfg Config, replies [][]byte, beat bool) (time.Duration, error) {
	start := time.Now()
	result := p.dial(ctx, cfg)
	p.accept()
	p.send(replies...)
	if beat {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for range 9 {
			<-ticker.C
			p.send(heartbeat)
		}
	}
	l, err := result()
	if err == nil {
		l.Close(nil)
	}
	return time.Since(start), err
}

func TestHandshakeTimeout(t *testing.T) {
	for _, tt := range stalls {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				cfg := p.config()
				cfg.HandshakeTimeout = 10 * time.Second
				took, err := p.stall(t.Context(), cfg, tt.replies, tt.beat)
				expectError(t, err, tt.op, ErrHandshakeTimeout)
				if took != 10*time.Second {
					t.Errorf("ended after %v", took)
				}
			})
		})
	}
}

// Without a HandshakeTimeout, the context bounds the handshake.
func TestHandshakeCancelled(t *testing.T) {
	cause := errors.New("stopping")
	for _, tt := range stalls {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				cfg := p.config()
				cfg.HandshakeTimeout = 0
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(10*time.Second, func() { cancel(cause) })
				took, err := p.stall(ctx, cfg, tt.replies, tt.beat)
				expectError(t, err, tt.op, cause)
				if took != 10*time.Second {
					t.Errorf("ended after %v", took)
				}
			})
		})
	}
}

// nsqd reads nothing, and the connection holds less than the link has to send.
func TestHandshakeTimeoutWhileWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		p.network.Capacity = 16
		cfg := p.config()
		cfg.HandshakeTimeout = 10 * time.Second
		_, err := Dial(t.Context(), cfg)
		expectError(t, err, OpIdentify, ErrHandshakeTimeout)
	})
}

// A context that is cancelled during the dial ends the handshake at once, even if the
// dial ignores it.
func TestHandshakeCancelledBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		cfg := p.config()
		cfg.Dial = func(_ context.Context, network, addr string) (net.Conn, error) {
			return p.network.DialContext(context.Background(), network, addr)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := Dial(ctx, cfg)
		expectError(t, err, OpIdentify, context.Canceled)
	})
}

// If the context is cancelled just as the last reply comes, Dial returns a link or an
// error. Either way the socket is closed once.
func TestHandshakeCancelledAtTheEnd(t *testing.T) {
	var links, errs int
	for i := range 300 {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			ctx, cancel := context.WithCancel(t.Context())
			result := p.dial(ctx, p.config())
			p.accept()
			p.send(okFrame)
			synctest.Wait()
			go func() {
				for range i * 7 {
					_ = ctx.Err()
				}
				cancel()
			}()
			_, _ = p.conn.Write(okFrame) // the link may have closed already
			l, err := result()
			if err != nil {
				errs++
				expectError(t, err, OpSub, context.Canceled)
				return
			}
			links++
			r := newRecorder()
			l.Start(r)
			l.Close(nil)
			_ = r.wait()
		})
	}
	t.Logf("%d links, %d errors", links, errs)
}
