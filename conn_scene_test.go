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

// recordingDelegate is a ConnDelegate that records its calls as events, such as "message
// x". It then calls the functions in on for the event's name, "message", and for the
// whole event, if there are any.
type recordingDelegate struct {
	on map[string]func(c *Conn, m *Message) // set before Connect

	mu     sync.Mutex // guards the fields below
	events []string   // since the last take
	got    []*Message // from OnMessage
	closed bool       // OnClose was called
}

// record panics after OnClose, which has to be the last call.

func (d *recordingDelegate) record(c *Conn, m *Message, name, detail string) {
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

func (d *recordingDelegate) OnResponse(c *Conn, data []byte) {
	d.record(c, nil, "response", string(data))
}
func (d *recordingDelegate) OnError(c *Conn, data []byte)  { d.record(c, nil, "error", string(data)) }
func (d *recordingDelegate) OnMessage(c *Conn, m *Message) { d.record(c, m, "message", string(m.Body)) }
func (d *recordingDelegate) OnMessageFinished(c *Conn, m *Message) {
	d.record(c, m, "finished", string(m.Body))
}
func (d *recordingDelegate) OnMessageRequeued(c *Conn, m *Message) {
	d.record(c, m, "requeued", string(m.Body))
}
func (d *recordingDelegate) OnBackoff(c *Conn)            { d.record(c, nil, "backoff", "") }
func (d *recordingDelegate) OnContinue(c *Conn)           { d.record(c, nil, "continue", "") }
func (d *recordingDelegate) OnResume(c *Conn)             { d.record(c, nil, "resume", "") }
func (d *recordingDelegate) OnIOError(c *Conn, err error) { d.record(c, nil, "io", err.Error()) }
func (d *recordingDelegate) OnHeartbeat(c *Conn)          { d.record(c, nil, "heartbeat", "") }
func (d *recordingDelegate) OnClose(c *Conn)              { d.record(c, nil, "close", "") }

// take waits until all goroutines are idle and returns the events since the last take.
func (d *recordingDelegate) take() []string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	events := d.events
	d.events = nil
	return events
}

// message returns the i-th message that OnMessage was called with.
func (d *recordingDelegate) message(i int) *Message {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.got[i]
}

// connScene is a scene with one nsqd, at a:1, and one Conn to it.
type connScene struct {
	*scene
	d    *nsqtest.Nsqd
	conn *Conn
	told *recordingDelegate
}

// inConnScene runs a test in a bubble and closes the Conn at the end. The bubble waits
// for the goroutines of the Conn.
func inConnScene(t *testing.T, test func(s *connScene), change ...func(*Config, *nsqtest.Options)) {
	t.Helper()
	inScene(t, func(base *scene) {
		s := &connScene{scene: base, told: &recordingDelegate{on: map[string]func(*Conn, *Message){}}}
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

func (s *connScene) connect() *IdentifyResponse {
	s.Helper()
	r, err := s.conn.Connect()
	if err != nil {
		s.Fatal(err)
	}
	return r
}

func (s *connScene) send(commands ...*Command) {
	s.Helper()
	for _, cmd := range commands {
		if err := s.conn.WriteCommand(cmd); err != nil {
			s.Errorf("%s: %v", cmd, err)
		}
	}
}

// startConsuming connects, subscribes, and waits for the delivery of these messages.
func (s *connScene) startConsuming(bodies ...string) {
	s.Helper()
	s.connect()
	s.send(Subscribe("t", "c"), Ready(10))
	s.d.Publish("t", bodies...)
	want := []string{"response OK"}
	for _, b := range bodies {
		want = append(want, "message "+b)
	}
	s.expectHeard(want...)
}

func (s *connScene) expectHeard(want ...string) {
	s.Helper()
	if got := s.told.take(); !slices.Equal(got, want) {
		s.Errorf("heard %q, want %q", got, want)
	}
}

// expectOpen checks how many connections are open.
func (s *connScene) expectOpen(want int) {
	s.Helper()
	synctest.Wait()
	if n := s.net.OpenConns(); n != want {
		s.Errorf("%d open connections, want %d", n, want)
	}
}
