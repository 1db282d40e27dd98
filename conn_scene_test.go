package nsq

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// delegate is a ConnDelegate that takes down what it is told. For each event it
// also calls the function of its name, or its name and detail, if there is one.
type delegate struct {
	on map[string]func(c *Conn, m *Message)

	mu     sync.Mutex // guards what follows
	events []string
	got    []*Message
	closed bool
}

func (d *delegate) note(c *Conn, m *Message, name, detail string) {
	d.mu.Lock()
	if d.closed {
		panic("called after OnClose: " + name)
	}
	d.closed = name == "close"
	event := strings.TrimSpace(name + " " + detail)
	d.events = append(d.events, event)
	if name == "message" {
		d.got = append(d.got, m)
	}
	d.mu.Unlock()
	for _, key := range slices.Compact([]string{name, event}) {
		if f := d.on[key]; f != nil {
			f(c, m)
		}
	}
}

func (d *delegate) OnResponse(c *Conn, data []byte) { d.note(c, nil, "response", string(data)) }
func (d *delegate) OnError(c *Conn, data []byte)    { d.note(c, nil, "error", string(data)) }
func (d *delegate) OnMessage(c *Conn, m *Message)   { d.note(c, m, "message", string(m.Body)) }
func (d *delegate) OnMessageFinished(c *Conn, m *Message) {
	d.note(c, m, "finished", string(m.Body))
}
func (d *delegate) OnMessageRequeued(c *Conn, m *Message) {
	d.note(c, m, "requeued", string(m.Body))
}
func (d *delegate) OnBackoff(c *Conn)            { d.note(c, nil, "backoff", "") }
func (d *delegate) OnContinue(c *Conn)           { d.note(c, nil, "continue", "") }
func (d *delegate) OnResume(c *Conn)             { d.note(c, nil, "resume", "") }
func (d *delegate) OnIOError(c *Conn, err error) { d.note(c, nil, "io", err.Error()) }
func (d *delegate) OnHeartbeat(c *Conn)          { d.note(c, nil, "heartbeat", "") }
func (d *delegate) OnClose(c *Conn)              { d.note(c, nil, "close", "") }

// take returns what was noted since the last take, when all is quiet.
func (d *delegate) take() []string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	events := d.events
	d.events = nil
	return events
}

// message is the i-th that came.
func (d *delegate) message(i int) *Message {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.got[i]
}

// speaking is a scene with one nsqd, at a:1, and one Conn.
type speaking struct {
	*scene
	d    *nsqtest.Nsqd
	conn *Conn
	told *delegate
}

// speak runs a test in a bubble and closes the Conn. The bubble does not end
// before its goroutines do.
func speak(t *testing.T, test func(s *speaking), change ...func(*Config, *nsqtest.Options)) {
	t.Helper()
	inScene(t, func(base *scene) {
		s := &speaking{scene: base, told: &delegate{on: map[string]func(*Conn, *Message){}}}
		s.d = base.nsqd("a:1", func(o *nsqtest.Options) {
			for _, f := range change {
				f(base.cfg, o)
			}
		})
		s.conn = NewConn("a:1", base.cfg, s.told)
		test(s)
		if err := s.conn.Close(); err != nil {
			s.Error(err)
		}
		sleep(time.Hour)
	})
}

func (s *speaking) connect() *IdentifyResponse {
	s.Helper()
	r, err := s.conn.Connect()
	if err != nil {
		s.Fatal(err)
	}
	return r
}

func (s *speaking) send(commands ...*Command) {
	s.Helper()
	for _, cmd := range commands {
		if err := s.conn.WriteCommand(cmd); err != nil {
			s.Errorf("%s: %v", cmd, err)
		}
	}
}

// consumes connects, subscribes, and has these messages delivered.
func (s *speaking) consumes(bodies ...string) {
	s.Helper()
	s.connect()
	s.send(Subscribe("t", "c"), Ready(10))
	s.d.Publish("t", bodies...)
	want := []string{"response OK"}
	for _, b := range bodies {
		want = append(want, "message "+b)
	}
	s.heard(want...)
}

func (s *speaking) heard(want ...string) {
	s.Helper()
	if got := s.told.take(); !slices.Equal(got, want) {
		s.Errorf("heard %q, want %q", got, want)
	}
}

// open tells how many connections nobody has closed.
func (s *speaking) open(want int) {
	s.Helper()
	synctest.Wait()
	if n := s.net.OpenConns(); n != want {
		s.Errorf("%d open connections, want %d", n, want)
	}
}
