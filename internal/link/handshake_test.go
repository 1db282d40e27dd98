package link

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestHandshakeBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		cfg := p.config()
		cfg.Identify = wire.Identify{
			ClientID: "c", Hostname: "h", UserAgent: "u/1", FeatureNegotiation: true,
			HeartbeatInterval: 30000, OutputBufferTimeout: 250, SampleRate: 3, MsgTimeout: 60000,
		}
		result := p.dial(t.Context(), cfg)
		p.accept()
		p.expect("  V2IDENTIFY\n\x00\x00\x01\x00" +
			`{"client_id":"c","hostname":"h","user_agent":"u/1","feature_negotiation":true,` +
			`"heartbeat_interval":30000,"output_buffer_size":0,"output_buffer_timeout":250,` +
			`"tls_v1":false,"snappy":false,"deflate":false,"deflate_level":0,"sample_rate":3,"msg_timeout":60000}`)
		synctest.Wait()
		p.expectNothing()
		p.send(nsqtest.ResponseFrame(`{"max_rdy_count":2500,"version":"1.3.0","max_msg_timeout":900000,"msg_timeout":60000}`))
		p.expect("SUB t ch\n")
		synctest.Wait()
		p.expectNothing()
		p.send(okFrame)
		l, err := result()
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close(nil)
		want := wire.IdentifyResponse{MaxRdyCount: 2500, Version: "1.3.0", MaxMsgTimeout: 900000, MsgTimeout: 60000}
		if got, ok := l.Granted(); !ok || got != want {
			t.Errorf("granted %+v, %t, want %+v", got, ok, want)
		}
		if l.Addr() != testAddr || l.RemoteAddr().String() != testAddr {
			t.Errorf("addresses %q, %q", l.Addr(), l.RemoteAddr())
		}
		if n := p.network.Writes(); n != 2 {
			t.Errorf("%d writes, want 2", n)
		}
	})
}

// An nsqd that does not negotiate only says OK.
func TestHandshakePlainOK(t *testing.T) {
	for _, topic := range []string{"", "t"} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			cfg := p.config()
			cfg.Topic = topic
			l := p.handshake(cfg)
			defer l.Close(nil)
			if got, ok := l.Granted(); ok || got != (wire.IdentifyResponse{}) {
				t.Errorf("granted %+v, %t, want nothing", got, ok)
			}
			synctest.Wait()
			p.expectNothing()
		})
	}
}

// Heartbeats may come anywhere between the replies. One NOP serves for all that came since
// the last one (N10), but no NOP is sent before the reply to IDENTIFY.
func TestHandshakeHeartbeats(t *testing.T) {
	nop := func(heartbeats int) string { return strings.Repeat("NOP\n", min(heartbeats, 1)) }
	for _, topic := range []string{"", "t"} {
		for i := range 3 * 3 * 3 {
			before, between, behind := i%3, i/3%3, i/9
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				cfg := p.config()
				cfg.Topic = topic
				beat := func(n int) {
					for range n {
						p.send(heartbeat)
					}
					synctest.Wait()
				}
				result := p.dial(t.Context(), cfg)
				p.accept()
				p.expect(hello(cfg))
				beat(before)
				p.expectNothing()
				p.send(okFrame)
				owed := before
				if topic != "" {
					p.expect(nop(before) + "SUB t ch\n")
					beat(between)
					p.expectNothing()
					p.send(okFrame)
					owed = between
				}
				beat(behind)
				l, err := result()
				if err != nil {
					t.Fatal(err)
				}
				r := newRecorder()
				l.Start(r)
				// The writer may send a NOP for each before the reader comes to the next one.
				p.expectNOPs(min(owed+behind, 1), min(owed, 1)+behind)
				l.Close(nil)
				_ = r.wait()
				r.expect(t, "down")
			})
		}
	}
}

// A frame that arrives together with SUB's OK is not lost.
func TestHandshakeFrameBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		result := p.dial(t.Context(), p.config())
		p.accept()
		p.send(okFrame, okFrame, message("a", "x"))
		l, err := result()
		if err != nil {
			t.Fatal(err)
		}
		r := newRecorder()
		l.Start(r)
		synctest.Wait()
		l.Close(nil)
		_ = r.wait()
		r.expect(t, "message a x", "down")
	})
}

// handshakeStep is a step of the handshake.
type handshakeStep struct {
	op     string // of an error at this step
	before []byte // nsqd's replies before it
}

var handshakeSteps = []handshakeStep{{OpIdentify, nil}, {OpSub, okFrame}}

// play runs a handshake against an nsqd that sends all replies at once, and then
// closes if hangUp is set. It returns the error of Dial, which must fail.
func (p *peer) play(ctx context.Context, hangUp bool, replies ...[]byte) error {
	p.t.Helper()
	result := p.dial(ctx, p.config())
	p.accept()
	p.expect(hello(p.config()))
	p.send(replies...)
	if hangUp {
		synctest.Wait() // read what the link still sends, or closing would be a reset
		_ = p.conn.SetReadDeadline(time.Now().Add(time.Nanosecond))
		_, _ = p.conn.Read(make([]byte, 1<<10))
		_ = p.conn.Close()
	}
	l, err := result()
	if err == nil {
		l.Close(nil)
		p.t.Fatal("no error")
	}
	return err
}

func TestHandshakeRefused(t *testing.T) {
	for _, step := range handshakeSteps {
		for _, code := range []wire.Code{wire.Invalid, wire.BadTopic, wire.BadChannel, wire.Unauthorized, wire.SubFailed, wire.FinFailed, "E_NEW"} {
			synctest.Test(t, func(t *testing.T) {
				err := newPeer(t).play(t.Context(), false, step.before, nsqtest.ErrorFrame(string(code), "why"))
				expectRefusal(t, err, step.op, code)
			})
		}
	}
}

func TestHandshakeAuthRequired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := newPeer(t).play(t.Context(), false, nsqtest.ResponseFrame(`{"auth_required":true}`))
		expectError(t, err, OpAuth, ErrAuthRequired)
	})
}

func TestHandshakeGarbage(t *testing.T) {
	tests := []struct {
		name  string
		reply string
		cause error // nil for any
	}{
		{"HTTP", "HTTP/1.1 400 Bad Request\r\n\r\n", wire.ErrHTTP},
		{"text", "SSH-2.0-OpenSSH_9.9\r\n", wire.ErrFrame},
		{"size 0", "\x00\x00\x00\x00\x00\x00\x00\x00", wire.ErrFrame},
		{"size 3", "\x00\x00\x00\x03\x00\x00\x00\x00", wire.ErrFrame},
		{"size 2 GiB", "\x80\x00\x00\x00\x00\x00\x00\x00", wire.ErrFrame},
		{"response of 2 GiB", "\x7f\xff\xff\xff\x00\x00\x00\x00", wire.ErrFrame},
		{"error of 2 GiB", "\x7f\xff\xff\xff\x00\x00\x00\x01", wire.ErrFrame},
		{"unknown type", "\x00\x00\x00\x06\x00\x00\x00\x03OK", wire.ErrFrame},
		{"short message", "\x00\x00\x00\x1d\x00\x00\x00\x02", wire.ErrFrame},
		{"message", string(message("a", "x")), wire.ErrFrame},
	}
	for _, step := range handshakeSteps {
		for _, tt := range tests {
			t.Run(step.op+"/"+tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					err := newPeer(t).play(t.Context(), false, step.before, []byte(tt.reply))
					expectError(t, err, step.op, tt.cause)
				})
			})
		}
	}
}

// A message before RDY is a fault, whatever its size.
func TestHandshakeLargeMessage(t *testing.T) {
	for _, size := range []int{101, 1001} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			cfg := p.config()
			cfg.OwnAbove, cfg.MaxBody = 100, 1000
			result := p.dial(t.Context(), cfg)
			p.accept()
			p.expect(hello(cfg))
			p.send(message("a", strings.Repeat("x", size)))
			_, err := result()
			expectError(t, err, OpIdentify, wire.ErrFrame)
		})
	}
}

func TestHandshakeUnexpectedReply(t *testing.T) {
	for _, reply := range []string{"", "null", "[]", "0", "{", `{"version":1}`, "ok", "OK ", "CLOSE_WAIT"} {
		synctest.Test(t, func(t *testing.T) {
			err := newPeer(t).play(t.Context(), false, nsqtest.ResponseFrame(reply))
			expectError(t, err, OpIdentify, nil)
		})
	}
	for _, reply := range []string{"", "{}", "ok", "OK ", "CLOSE_WAIT"} {
		synctest.Test(t, func(t *testing.T) {
			err := newPeer(t).play(t.Context(), false, okFrame, nsqtest.ResponseFrame(reply))
			expectError(t, err, OpSub, ErrUnexpectedReply)
		})
	}
}

// What was read ahead of an upgrade comes first on the new stream, whatever the sizes of the
// reads, and none of it is lost.
func TestUpgradeReadsAheadFirst(t *testing.T) {
	const stream = "0123456789"
	for ahead := range len(stream) + 1 {
		for size := 1; size <= 4; size++ {
			u := &upgradeReader{src: strings.NewReader(stream[ahead:]), ahead: []byte(stream[:ahead]), skipped: true}
			var got []byte
			for p := make([]byte, size); ; {
				n, err := u.Read(p)
				got = append(got, p[:n]...)
				if err != nil {
					break
				}
			}
			if string(got) != stream {
				t.Errorf("%d bytes ahead, %d at a time: %q", ahead, size, got)
			}
		}
	}
}
