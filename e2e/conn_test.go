package e2e

import (
	"bytes"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
)

// recorder is a ConnDelegate that passes what it is told to the test.
type recorder struct {
	responses, errors chan string
	messages          chan *nsq.Message
	closed            chan struct{}
}

func newRecorder() *recorder {
	return &recorder{
		responses: make(chan string, 100), errors: make(chan string, 100),
		messages: make(chan *nsq.Message, 100), closed: make(chan struct{}),
	}
}

func (d *recorder) OnResponse(_ *nsq.Conn, data []byte)           { d.responses <- string(data) }
func (d *recorder) OnError(_ *nsq.Conn, data []byte)              { d.errors <- string(data) }
func (d *recorder) OnMessage(_ *nsq.Conn, m *nsq.Message)         { d.messages <- m }
func (d *recorder) OnMessageFinished(_ *nsq.Conn, _ *nsq.Message) {}
func (d *recorder) OnMessageRequeued(_ *nsq.Conn, _ *nsq.Message) {}
func (d *recorder) OnBackoff(*nsq.Conn)                           {}
func (d *recorder) OnContinue(*nsq.Conn)                          {}
func (d *recorder) OnResume(*nsq.Conn)                            {}
func (d *recorder) OnIOError(_ *nsq.Conn, err error)              { d.errors <- "io: " + err.Error() }
func (d *recorder) OnHeartbeat(*nsq.Conn)                         {}
func (d *recorder) OnClose(*nsq.Conn)                             { close(d.closed) }

// next returns the next value of a channel. It ends the test if none comes.
func next[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatalf("nothing came within %v", patience)
	}
	return v
}

// A program that speaks the protocol itself publishes, consumes and closes
// gracefully.
func TestConn(t *testing.T) {
	n := StartNSQD(t, nil)
	d := newRecorder()
	conn := nsq.NewConn(n.TCPAddr(), testConfig(t), d)
	r, err := conn.Connect()
	if err != nil || r.MaxRdyCount != conn.MaxRDY() || conn.RemoteAddr().String() != n.TCPAddr() {
		t.Fatalf("%+v, %v", r, err)
	}
	send := func(commands ...*nsq.Command) {
		t.Helper()
		for _, c := range commands {
			if err := conn.WriteCommand(c); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(nsq.Subscribe(topic, "c"), nsq.Publish(topic, []byte("done")), nsq.DeferredPublish(topic, time.Millisecond, []byte("again")))
	for range 3 {
		if got := next(t, d.responses); got != "OK" {
			t.Errorf("%q", got)
		}
	}
	send(nsq.Ready(1))
	for finished := 0; finished < 2; {
		switch m := next(t, d.messages); {
		case string(m.Body) == "again" && m.Attempts == 1:
			m.RequeueWithoutBackoff(0)
		default:
			m.Touch()
			m.Finish()
			finished++
		}
	}
	send(nsq.Finish(nsq.MessageID([]byte("0123456789abcdef"))))
	if got := next(t, d.errors); got != "E_FIN_FAILED FIN 0123456789abcdef failed ID not in flight" {
		t.Errorf("%q", got)
	}
	send(nsq.StartClose())
	if got := next(t, d.responses); got != "CLOSE_WAIT" {
		t.Errorf("%q", got)
	}
	_ = conn.Close()
	next(t, d.closed)
	if len(d.errors) != 0 {
		t.Errorf("%q", <-d.errors)
	}
	if s := n.Stats(topic, "c"); s.Depth+s.InFlight+s.Deferred != 0 || s.RequeueCount != 1 {
		t.Errorf("%+v", s)
	}
}

// Commands and frames work on a connection that the program has dialled itself, as
// nsqd's tests and tools do.
func TestCommandsOnASocket(t *testing.T) {
	n := StartNSQD(t, nil)
	socket, err := net.Dial("tcp", n.TCPAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	_ = socket.SetDeadline(time.Now().Add(patience))
	out := bytes.NewBuffer(nsq.MagicV2[:4:4])
	identify, err := nsq.Identify(map[string]any{"client_id": "c", "feature_negotiation": false})
	if err != nil {
		t.Fatal(err)
	}
	many, err := nsq.MultiPublish(topic, [][]byte{[]byte("x"), []byte("y")})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*nsq.Command{identify, nsq.Subscribe(topic, "c"), many, nsq.Nop(), nsq.Ready(2)} {
		_, _ = c.WriteTo(out)
	}
	if _, err := out.WriteTo(socket); err != nil {
		t.Fatal(err)
	}
	var responses, bodies []string
	for len(responses) < 3 || len(bodies) < 2 {
		frame, data, err := nsq.ReadUnpackedResponse(socket, 0)
		if err != nil {
			t.Fatal(err)
		}
		if frame != nsq.FrameTypeMessage {
			responses = append(responses, string(data))
			continue
		}
		m, err := nsq.DecodeMessage(data)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, string(m.Body))
		if _, err := nsq.Finish(m.ID).WriteTo(socket); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(bodies)
	if !slices.Equal(responses, []string{"OK", "OK", "OK"}) || !slices.Equal(bodies, []string{"x", "y"}) {
		t.Errorf("%q, %q", responses, bodies)
	}
	if _, err := nsq.Subscribe("t$", "c").WriteTo(socket); err != nil {
		t.Fatal(err)
	}
	if frame, data, err := nsq.ReadUnpackedResponse(socket, 0); frame != nsq.FrameTypeError || err != nil {
		t.Errorf("%d, %q, %v", frame, data, err)
	}
	if _, err := nsq.ReadResponse(socket, 0); err != io.EOF { //nolint:errorlint // as documented
		t.Error(err)
	}
}
