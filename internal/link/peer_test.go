package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testAddr is where a peer listens.
const testAddr = "127.0.0.1:4150"

// A peer is an nsqd that the test plays step by step, in a synctest bubble. When the
// test ends, the peer checks that the link closed every connection once.
type peer struct {
	t       *testing.T
	network *nsqtest.Network
	l       net.Listener
	conn    net.Conn // the last one accepted, or the layers above it
	owed    int      // after open: how many NOPs at most the link sends first when it starts; one at least, if any
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	p := &peer{t: t, network: nsqtest.NewNetwork()}
	var err error
	if p.l, err = p.network.Listen(testAddr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.l.Close()
		if p.conn != nil {
			_ = p.conn.Close()
		}
		for i, c := range p.network.Conns() {
			if n := c.Closes(); n != 1 {
				t.Errorf("connection %d was closed %d times", i+1, n)
			}
		}
	})
	return p
}

// config returns the Config of a subscriber. Its only timeout is the handshake's.
func (p *peer) config() Config {
	return Config{
		Addr:             testAddr,
		Dial:             p.network.DialContext,
		Identify:         wire.Identify{ClientID: "c", FeatureNegotiation: true},
		Topic:            "t",
		Channel:          "ch",
		HandshakeTimeout: time.Minute,
	}
}

// hello returns what a link with that config sends first.
func hello(cfg Config) string {
	b, err := wire.AppendIdentify([]byte(wire.MagicV2), &cfg.Identify)
	if err != nil {
		panic(err) // a struct of numbers and strings always encodes
	}
	return string(b)
}

// dial starts a Dial, and returns a function that waits for its result.
func (p *peer) dial(ctx context.Context, cfg Config) (result func() (*Link, error)) {
	var (
		l    *Link
		err  error
		done = make(chan struct{})
	)
	go func() {
		l, err = Dial(ctx, cfg)
		close(done)
	}()
	return func() (*Link, error) {
		<-done
		return l, err
	}
}

// accept accepts the connection that was dialled.
func (p *peer) accept() {
	p.t.Helper()
	conn, err := p.l.Accept()
	if err != nil {
		p.t.Fatal(err)
	}
	p.conn = conn
}

// expect checks that the next bytes from the link are want.
func (p *peer) expect(want string) {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(time.Hour))
	got := make([]byte, len(want))
	if n, err := io.ReadFull(p.conn, got); err != nil {
		p.t.Fatalf("read %q and %v, want %q", got[:n], err, want)
	}
	if string(got) != want {
		p.t.Fatalf("read %q, want %q", got, want)
	}
}

// expectNothing checks that the link has neither written more than was read nor
// ended the stream. Call it after synctest.Wait.
func (p *peer) expectNothing() {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(time.Nanosecond))
	got := make([]byte, 1<<10)
	if n, err := p.conn.Read(got); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Fatalf("read %q and %v, want nothing", got[:n], err)
	}
}

// expectNOPs checks that the link writes NOPs and nothing else: most of them, or fewer
// if heartbeats came while a NOP was still to be sent, but no fewer than least.
func (p *peer) expectNOPs(least, most int) {
	p.t.Helper()
	synctest.Wait()
	got := make([]byte, 1<<10)
	_ = p.conn.SetReadDeadline(time.Now().Add(time.Nanosecond))
	n, _ := p.conn.Read(got)
	nops := n / len("NOP\n")
	if string(got[:n]) != strings.Repeat("NOP\n", nops) || nops < least || nops > most {
		p.t.Fatalf("read %q, want %d to %d NOPs", got[:n], least, most)
	}
}

// expectEOF checks that the link writes nothing more and ends the stream.
func (p *peer) expectEOF() {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(time.Hour))
	got := make([]byte, 1<<10)
	if n, err := p.conn.Read(got); n > 0 || !errors.Is(err, io.EOF) {
		p.t.Fatalf("read %q and %v, want EOF", got[:n], err)
	}
}

// send writes frames to the link, in one Write.
func (p *peer) send(frames ...[]byte) {
	p.t.Helper()
	if _, err := p.conn.Write(bytes.Join(frames, nil)); err != nil {
		p.t.Fatal(err)
	}
}

// connect plays the handshake and starts the link.
func (p *peer) connect(cfg Config) (*Link, *recorder) {
	p.t.Helper()
	l := p.handshake(cfg)
	r := newRecorder()
	l.Start(r)
	return l, r
}

// handshake plays the handshake only.
func (p *peer) handshake(cfg Config) *Link {
	p.t.Helper()
	result := p.dial(context.Background(), cfg)
	p.accept()
	p.expect(hello(cfg))
	p.send(okFrame)
	if cfg.Topic != "" {
		p.expect("SUB " + cfg.Topic + " " + cfg.Channel + "\n")
		p.send(okFrame)
	}
	l, err := result()
	if err != nil {
		p.t.Fatal(err)
	}
	return l
}

// The frames that nsqd sends.
var (
	okFrame        = nsqtest.ResponseFrame(wire.OK)
	closeWaitFrame = nsqtest.ResponseFrame(wire.CloseWait)
	heartbeat      = nsqtest.ResponseFrame(wire.Heartbeat)
)

// testID returns the ID of the message with that name: the name, padded.
func testID(name string) wire.ID {
	var id wire.ID
	copy(id[:], name+strings.Repeat("-", len(id)))
	return id
}

// message returns a message frame.
func message(name, body string) []byte {
	return wire.AppendMessage(nil, &wire.Message{Timestamp: 1, Attempts: 1, ID: testID(name), Body: []byte(body)})
}

// name returns the name that testID made id from.
func name(id wire.ID) string { return strings.TrimRight(string(id[:]), "-") }

// fin returns the command that finishes the message with that name.
func fin(name string) string {
	id := testID(name)
	return string(wire.AppendFin(nil, &id))
}

// A recorder is a Receiver that records what it and its repliers are told.
type recorder struct {
	hold chan struct{} // if not nil, Messages waits until it is closed
	down chan struct{} // closed by Down

	mu     sync.Mutex // guards what follows
	events []string
	err    error // what Down was given
}

func newRecorder() *recorder { return &recorder{down: make(chan struct{})} }

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, fmt.Sprintf(format, args...))
}

func (r *recorder) Messages(batch []wire.Message) {
	for _, m := range batch {
		r.note("message %s %.20s", name(m.ID), m.Body)
	}
	if r.hold != nil {
		<-r.hold
	}
}

func (r *recorder) TooBig(m wire.Message, size int) { r.note("too big %s %d", name(m.ID), size) }

func (r *recorder) Failed(err *wire.Error) { r.note("failed %v", err) }

func (r *recorder) Down(err error) {
	r.note("down")
	r.mu.Lock()
	r.err = err
	r.mu.Unlock()
	close(r.down) // panics the second time
}

// wait waits for Down and returns what it was given.
func (r *recorder) wait() error {
	<-r.down
	return r.err
}

// replier returns a Replier that records its reply under a name.
func (r *recorder) replier(name string) Replier { return &recordedReply{r, name} }

type recordedReply struct {
	r    *recorder
	name string
}

func (n *recordedReply) Reply(data []byte, err error) {
	if open, ok := errors.AsType[*UnansweredError](err); ok {
		n.r.note("%s: unanswered, sent %t", n.name, open.Sent)
	} else if err != nil {
		n.r.note("%s: %v", n.name, err)
	} else {
		n.r.note("%s: %s", n.name, data)
	}
}

// expect checks everything that was recorded so far.
func (r *recorder) expect(t *testing.T, want ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.events, want) {
		t.Errorf("receiver was told %q, want %q", r.events, want)
	}
}

// expectError checks that err is an *Error with that op and cause. A nil cause
// stands for any.
func expectError(t *testing.T, err error, op string, cause error) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Op != op || e.Addr != testAddr || cause != nil && !errors.Is(err, cause) {
		t.Errorf("error %v, want an *Error of op %q and cause %v", err, op, cause)
	}
}

// expectRefusal checks that err carries nsqd's error of that code.
func expectRefusal(t *testing.T, err error, op string, code wire.Code) {
	t.Helper()
	expectError(t, err, op, nil)
	if e, ok := errors.AsType[*wire.Error](err); !ok || e.Code != code {
		t.Errorf("error %v, want nsqd's %s", err, code)
	}
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // inside a synctest bubble
}
