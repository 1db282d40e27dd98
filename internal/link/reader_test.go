package link

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// The receiver is told everything in the order of the wire, whether it comes at once or
// byte by byte.
func TestReadOrder(t *testing.T) {
	frames := [][]byte{
		message("a", "x"), heartbeat, okFrame, message("b", "y"),
		message("c", strings.Repeat("z", 101)), message("d", "z"),
		nsqtest.ErrorFrame("E_FIN_FAILED", "FIN a failed"), message("e", "z"), nsqtest.ResponseFrame("{}"), message("f", "z"),
	}
	stream := slices.Concat(frames...)
	for _, size := range []int{1, 7, 100, len(stream)} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			cfg := p.config()
			cfg.MaxBody = 100
			l, r := p.connect(cfg)
			l.Pub("t", []byte("x"), r.replier("first"))
			l.Pub("t", []byte("x"), r.replier("second"))
			synctest.Wait()
			for i := 0; i < len(stream); i += size {
				p.send(stream[i:min(i+size, len(stream))])
				if size < len(stream) {
					synctest.Wait()
				}
			}
			synctest.Wait()
			if s := l.Stats(); s.Received != 6 || s.InFlight != 6 || s.LastMessage != time.Now() {
				t.Errorf("%+v", s)
			}
			l.Close(nil)
			if err := r.wait(); err != nil {
				t.Error(err)
			}
			r.expect(t, "message a x", "first: OK", "message b y", "too big c 101", "message d z",
				"failed E_FIN_FAILED FIN a failed", "message e z", "second: {}", "message f z", "down")
			if s := l.Stats(); s.Received != 6 || s.InFlight != 0 || s.Lost != 6 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// Messages count as in flight before the receiver is given them: it may finish them at
// once.
func TestReadCountsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		cfg := p.config()
		cfg.MaxBody = 100
		r := &counting{recorder: newRecorder(), link: p.handshake(cfg)}
		r.link.Start(r)
		p.send(message("a", "x"), message("b", "x"), message("c", strings.Repeat("x", 101)))
		synctest.Wait()
		r.expect(t, "message a x", "message b x", "2 in flight", "too big c 101", "3 in flight")
		r.link.Close(nil)
		_ = r.wait()
	})
}

// counting is a recorder that also records how many messages are in flight.
type counting struct {
	*recorder
	link *Link
}

func (c *counting) Messages(batch []wire.Message) {
	c.recorder.Messages(batch)
	c.note("%d in flight", c.link.Stats().InFlight)
}

func (c *counting) TooBig(m wire.Message, size int) {
	c.recorder.TooBig(m, size)
	c.note("%d in flight", c.link.Stats().InFlight)
}

// What ends the link, and the error that Down is given. Frames before that are handled.
func TestReadEnds(t *testing.T) {
	tests := []struct {
		name  string
		send  []byte
		cause error
	}{
		{"unexpected reply", nsqtest.ResponseFrame("OK"), ErrUnexpectedReply},
		{"unexpected empty reply", nsqtest.ResponseFrame(""), ErrUnexpectedReply},
		{"HTTP", []byte("HTTP/1.1"), wire.ErrHTTP},
		{"garbage", []byte("\x00\x00\x00\x06\x00\x00\x00\x09OK"), wire.ErrFrame},
		{"EOF", nil, io.EOF},
		{"EOF within a frame", okFrame[:7], io.EOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				_, r := p.connect(p.config())
				p.send(message("a", "x"), tt.send)
				if errors.Is(tt.cause, io.EOF) {
					_ = p.conn.Close()
				}
				expectError(t, r.wait(), OpRead, tt.cause)
				r.expect(t, "message a x", "down")
			})
		})
	}
}

// The error for a refused FIN, REQ or TOUCH is no reply: the other commands still await
// theirs.
func TestReadFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r := p.connect(p.config())
		l.Pub("t", []byte("x"), r.replier("pub"))
		synctest.Wait()
		p.send(nsqtest.ErrorFrame("E_FIN_FAILED", "1"), nsqtest.ErrorFrame("E_REQ_FAILED", "2"),
			nsqtest.ErrorFrame("E_TOUCH_FAILED", ""), okFrame, nsqtest.ErrorFrame("E_FIN_FAILED", "3"))
		synctest.Wait()
		r.expect(t, "failed E_FIN_FAILED 1", "failed E_REQ_FAILED 2", "failed E_TOUCH_FAILED", "pub: OK", "failed E_FIN_FAILED 3")
		l.Close(nil)
		_ = r.wait()
	})
}

// A fatal error is the reply to the oldest command without one. It ends the link before
// the others get theirs.
func TestReadFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r := p.connect(p.config())
		for _, name := range []string{"first", "second", "third"} {
			l.Pub("t", []byte("x"), &packedReply{recordedReply{r, name}})
		}
		synctest.Wait()
		p.send(okFrame, nsqtest.ErrorFrame("E_BAD_MESSAGE", "why"), okFrame)
		expectRefusal(t, r.wait(), OpRead, wire.BadMessage)
		r.expect(t, "first: OK", "second: E_BAD_MESSAGE why", "third: unanswered, sent true", "down")
	})
	synctest.Test(t, func(t *testing.T) { // no command awaits a reply
		p := newPeer(t)
		_, r := p.connect(p.config())
		p.send(nsqtest.ErrorFrame("E_INVALID", "why"))
		expectRefusal(t, r.wait(), OpRead, wire.Invalid)
		r.expect(t, "down")
	})
}

// Silence ends the link after the read timeout. Any byte from nsqd restarts the timeout.
func TestReadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = time.Minute
		p := newPeer(t)
		cfg := p.config()
		cfg.ReadTimeout = timeout
		_, r := p.connect(cfg)
		for _, b := range heartbeat {
			pass(timeout - 1)
			p.send([]byte{b})
		}
		start := time.Now()
		expectError(t, r.wait(), OpRead, os.ErrDeadlineExceeded)
		if took := time.Since(start); took != timeout {
			t.Errorf("ended after %v", took)
		}
	})
}

// Without a read timeout, as an owner that switches heartbeats off configures it, an
// idle link stays connected (D43).
func TestReadWithoutTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		cfg := p.config()
		cfg.Topic = ""
		l, r := p.connect(cfg)
		pass(24 * time.Hour)
		l.Pub("t", []byte("x"), r.replier("pub"))
		synctest.Wait()
		p.send(okFrame)
		synctest.Wait()
		r.expect(t, "pub: OK")
		l.Close(nil)
		_ = r.wait()
	})
}

// Each heartbeat gets its NOP at once, however many messages are in flight (D1).
func TestReadHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network, HeartbeatInterval: 30 * time.Second, MsgTimeout: time.Hour, MaxMsgTimeout: time.Hour})
		l, err := Dial(t.Context(), Config{
			Addr: d.Addr(), Dial: network.DialContext, Topic: "t", Channel: "ch",
			ReadTimeout: time.Minute, WriteTimeout: time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		r := newRecorder()
		l.Start(r)
		l.Rdy(1000)
		d.Publish("t", slices.Repeat([]string{"x"}, 1000)...)
		pass(10*time.Minute + time.Second)
		var nops int
		for _, cmd := range d.CommandsOf(1) {
			if cmd == "NOP" {
				nops++
			}
		}
		if s := l.Stats(); nops != 20 || s.InFlight != 1000 || network.OpenConns() != 1 {
			t.Errorf("%d NOPs, %d open connections, %+v", nops, network.OpenConns(), s)
		}
		l.Close(nil)
		_ = r.wait()
	})
}

// A message whose body is skipped is in flight like any other.
func TestReadTooBig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		cfg := p.config()
		cfg.MaxBody = 100
		l, r := p.connect(cfg)
		big := message("a", strings.Repeat("x", 1<<20))
		fixed := wire.HeaderLen + wire.MessageDataLen(0)
		p.send(big[:fixed])
		synctest.Wait()
		r.expect(t, "too big a 1048576") // before the rest of the body comes
		id := testID("a")
		l.Req(&id, 90*time.Second)
		p.expect("REQ a--------------- 90000\n")
		p.send(big[fixed:], message("b", "x"))
		synctest.Wait()
		r.expect(t, "too big a 1048576", "message b x")
		if s := l.Stats(); s.Received != 2 || s.Requeued != 1 || s.InFlight != 1 {
			t.Errorf("%+v", s)
		}
		l.Close(nil)
		_ = r.wait()
	})
}

// Once idle, a link has no large buffers, neither for reading nor for writing.
func TestIdleLinkIsSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		p.network.Capacity = 1 << 20
		l := p.handshake(p.config())
		id := testID("a")
		for range 1000 { // given before Start, they leave in one Write
			l.Fin(&id)
		}
		r := newRecorder()
		l.Start(r)
		p.send(bytes.Repeat(message("a", strings.Repeat("x", 200)), 1000))
		synctest.Wait()
		l.Fin(&id)
		synctest.Wait()
		if len(l.in.buf) < busyBuffer {
			t.Fatalf("busy: a buffer of %d", len(l.in.buf))
		}
		for range 2 {
			p.send(heartbeat)
			synctest.Wait()
		}
		if len(l.in.buf) > idleBuffer || len(l.pending.chunks) > 0 {
			t.Errorf("idle: a buffer of %d, and %d chunks", len(l.in.buf), len(l.pending.chunks))
		}
		l.Close(nil)
		_ = r.wait()
	})
}
