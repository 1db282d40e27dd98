package link

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// frames is a recorder that is a FrameReceiver.
type frames struct{ *recorder }

func (f frames) Frame(frame wire.Frame) { f.note("frame %d %s", frame.Type, frame.Data) }

// raw plays the handshake of a link that does not subscribe, and starts it with a
// FrameReceiver.
func (p *peer) raw() (*Link, *recorder) {
	p.t.Helper()
	cfg := p.config()
	cfg.Topic = ""
	l, r := p.handshake(cfg), newRecorder()
	l.Start(frames{r})
	return l, r
}

// A FrameReceiver sees everything in the order of the wire. No frame ends the link, and
// the link sends the NOPs for heartbeats.
func TestFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r := p.raw()
		p.send(okFrame, message("a", "x"), heartbeat, nsqtest.ErrorFrame("E_INVALID", "no"), closeWaitFrame,
			nsqtest.ErrorFrame("E_FIN_FAILED", ""), message("b", "y"))
		p.expect("NOP\n")
		synctest.Wait()
		want := []string{
			"frame 0 OK", "message a x", "frame 0 _heartbeat_", "frame 1 E_INVALID no", "frame 0 CLOSE_WAIT",
			"frame 1 E_FIN_FAILED", "message b y",
		}
		if !slices.Equal(r.events, want) {
			t.Errorf("%q", r.events)
		}
		l.Drain()
		for _, name := range []string{"a", "b"} {
			id := testID(name)
			l.Fin(&id)
		}
		p.expect(fin("a") + fin("b"))
		p.expectEOF()
		_ = p.conn.Close()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
	})
}

// Sent returns to all its callers when the socket has taken the commands, not before.
func TestSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		p.network.Capacity = 1 << 10
		l, r := p.raw()
		big := strings.Repeat("x", 4<<10)
		end, ok := l.Append([]byte(big))
		sent := make(chan error, 2)
		for range cap(sent) {
			go func() { sent <- l.Sent(end) }()
		}
		synctest.Wait()
		if !ok || len(sent) > 0 {
			t.Fatalf("%v, returned at once: %v", ok, len(sent) > 0)
		}
		p.expect(big)
		for range cap(sent) {
			if err := <-sent; err != nil {
				t.Error(err)
			}
		}
		again, ok := l.Append(nil)
		if err := l.Sent(again); again != end || !ok || err != nil {
			t.Errorf("appended nothing: end %d, want %d; %v, %v", again, end, ok, err)
		}
		l.Close(nil)
		_ = r.wait()
	})
}

// If the commands will never be sent, Sent says why, whatever ended the link.
func TestNotSent(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(p *peer, l *Link)
		want error
	}{
		"closed":              {func(_ *peer, l *Link) { l.Close(nil) }, net.ErrClosed},
		"closed for a reason": {func(_ *peer, l *Link) { l.Close(io.ErrNoProgress) }, io.ErrNoProgress},
		"nsqd closed":         {func(p *peer, _ *Link) { _ = p.conn.(*nsqtest.Conn).CloseWrite() }, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				p.network.Capacity = 1 << 10
				l, r := p.raw()
				end, _ := l.Append(make([]byte, 4<<10))
				synctest.Wait()
				time.AfterFunc(time.Second, func() { c.end(p, l) })
				if err := l.Sent(end); !errors.Is(err, c.want) {
					t.Error(err)
				}
				_ = r.wait()
				if _, ok := l.Append([]byte("NOP\n")); ok {
					t.Error("a command was accepted after the end")
				}
			})
		})
	}
}

// Sent returns when the link is closed before the writer takes the commands.
func TestNotSentBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l := p.handshake(p.config())
		end, _ := l.Append([]byte("NOP\n"))
		time.AfterFunc(time.Second, func() { l.Close(io.ErrNoProgress) })
		if err := l.Sent(end); !errors.Is(err, io.ErrNoProgress) {
			t.Error(err)
		}
	})
}
