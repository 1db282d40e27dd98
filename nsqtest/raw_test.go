package nsqtest_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble runs a test in virtual time with one fake nsqd on a network.
func bubble(t *testing.T, opts nsqtest.Options, test func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if opts.Network == nil {
			opts.Network = nsqtest.NewNetwork()
		}
		test(t, nsqtest.NewNsqd(t, opts), opts.Network)
	})
}

// A raw is a client that sends bytes and reads frames.
type raw struct {
	t    *testing.T
	conn net.Conn
	buf  []byte
	ids  map[string]wire.ID // by the body of the messages received
}

// dial returns a client that has connected and sent the magic.
func dial(t *testing.T, n *nsqtest.Network, addr string) *raw {
	t.Helper()
	conn, err := n.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	r := newRaw(t, conn)
	r.send(wire.MagicV2)
	return r
}

func newRaw(t *testing.T, conn net.Conn) *raw {
	t.Cleanup(func() { _ = conn.Close() })
	return &raw{t: t, conn: conn, ids: make(map[string]wire.ID)}
}

// consumer returns a client that has also sent SUB, for topic t and channel c, and
// RDY.
func consumer(t *testing.T, n *nsqtest.Network, d *nsqtest.Nsqd, rdy int) *raw {
	t.Helper()
	r := dial(t, n, d.Addr())
	r.send("SUB t c\n")
	r.want("OK")
	r.sendBytes(wire.AppendRdy(nil, rdy))
	synctest.Wait()
	return r
}

func (r *raw) send(text string) {
	r.t.Helper()
	r.sendBytes([]byte(text))
}

func (r *raw) sendBytes(b []byte) {
	r.t.Helper()
	if _, err := r.conn.Write(b); err != nil {
		r.t.Fatalf("write %q: %v", b, err)
	}
}

func (r *raw) identify(id wire.Identify) {
	r.t.Helper()
	b, err := wire.AppendIdentify(nil, &id)
	if err != nil {
		r.t.Fatal(err)
	}
	r.sendBytes(b)
}

// fin, touch and req are about the message with the given body.
func (r *raw) fin(body string)   { r.t.Helper(); r.sendBytes(wire.AppendFin(nil, r.id(body))) }
func (r *raw) touch(body string) { r.t.Helper(); r.sendBytes(wire.AppendTouch(nil, r.id(body))) }
func (r *raw) req(body string, delay time.Duration) {
	r.t.Helper()
	r.sendBytes(wire.AppendReq(nil, r.id(body), delay.Milliseconds()))
}

func (r *raw) id(body string) *wire.ID {
	r.t.Helper()
	id, ok := r.ids[body]
	if !ok {
		r.t.Fatalf("message %q was not received", body)
	}
	return &id
}

// next reads one frame and returns the data of a response, "error " and the data of
// an error, or "message ", the attempts and the body. Without a frame it returns
// how the stream ended, or "nothing" at the read deadline.
func (r *raw) next() string {
	r.t.Helper()
	for {
		f, n, err := wire.ParseFrame(r.buf)
		if err == nil {
			r.buf = r.buf[n:]
			return r.describe(f)
		}
		if !errors.Is(err, wire.ErrShort) {
			return "malformed: " + err.Error()
		}
		chunk := make([]byte, 4096)
		got, err := r.conn.Read(chunk)
		r.buf = append(r.buf, chunk[:got]...)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
			if len(r.buf) > 0 {
				return fmt.Sprintf("closed after %q", r.buf)
			}
			return "closed"
		case errors.Is(err, os.ErrDeadlineExceeded):
			return "nothing"
		default:
			return err.Error()
		}
	}
}

func (r *raw) describe(f wire.Frame) string {
	r.t.Helper()
	switch f.Type {
	case wire.FrameResponse:
		return string(f.Data)
	case wire.FrameError:
		return "error " + string(f.Data)
	}
	m, err := wire.ParseMessage(f.Data)
	if err != nil {
		r.t.Fatal(err)
	}
	r.ids[string(m.Body)] = m.ID
	return fmt.Sprintf("message %d %s", m.Attempts, m.Body)
}

// want checks that the next frames are these.
func (r *raw) want(frames ...string) {
	r.t.Helper()
	for _, want := range frames {
		if got := r.next(); got != want {
			r.t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// wantNothing checks that no frame is left to read once the bubble is idle.
func (r *raw) wantNothing() {
	r.t.Helper()
	synctest.Wait()
	if err := r.conn.SetReadDeadline(time.Now().Add(time.Nanosecond)); err != nil {
		r.t.Fatal(err)
	}
	r.want("nothing")
	if err := r.conn.SetReadDeadline(time.Time{}); err != nil {
		r.t.Fatal(err)
	}
}

// idle lets virtual time pass, and sends NOPs so that nsqd keeps the connection.
func (r *raw) idle(d time.Duration) {
	r.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		r.send("NOP\n")
		pass(min(time.Second, time.Until(end)))
	}
	synctest.Wait()
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // called in bubbles only
}

// wantStats checks the figures of topic t, channel c.
func wantStats(t *testing.T, d *nsqtest.Nsqd, want nsqtest.Stats) {
	t.Helper()
	synctest.Wait()
	if got := d.Stats("t", "c"); got != want {
		t.Fatalf("stats %+v\nwant  %+v", got, want)
	}
}

func wantLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
}
