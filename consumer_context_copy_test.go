package nsq

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type testKey string

// A copy with another context stands for the same message: it shares the lease, the ack, the
// topic and the channel. Copies of the copy have its context.
func TestWithContext(t *testing.T) {
	for name, tt := range map[string]struct {
		handle func(copied *Message) error
		want   string // the ID left out
	}{
		"finished by its handler":  {func(*Message) error { return nil }, "FIN"},
		"requeued by its handler":  {func(*Message) error { return NoBackoff(errBoom) }, "REQ 90000"},
		"the copy finished":        {func(m *Message) error { m.Finish(); return errBoom }, "FIN"},
		"the copy requeued":        {func(m *Message) error { m.RequeueWithoutBackoff(time.Minute); return nil }, "REQ 60000"},
		"the copy touched":         {func(m *Message) error { m.Touch(); return nil }, "TOUCH,FIN"},
		"finished later":           {func(m *Message) error { m.DisableAutoResponse(); time.AfterFunc(time.Second, m.Finish); return nil }, "FIN"},
		"a copy of the copy, too":  {func(m *Message) error { c := *m; c.Finish(); m.Requeue(0); return nil }, "FIN"},
		"finished twice, and late": {func(m *Message) error { time.AfterFunc(time.Second, m.Finish); return nil }, "FIN"},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1")
				var delivered, copied *Message
				s.consumer(0, nil)
				s.c.AddHandler(HandlerFunc(func(m *Message) error {
					delivered = m
					copied = m.WithContext(context.WithValue(m.Context(), testKey("a"), "1"))
					copied.Body = []byte("another")
					return tt.handle(copied)
				}))
				s.connect(d)
				id := d.Publish("t", "body")[0]
				after(10 * time.Second)
				got := strings.Join(commands(d, "FIN", "REQ", "TOUCH"), ",")
				if got = strings.ReplaceAll(got, " "+id, ""); got != tt.want {
					s.Errorf("sent %q, want %q", got, tt.want)
				}
				if string(delivered.Body) != "body" || string(copied.Body) != "another" || !copied.HasResponded() || !delivered.HasResponded() {
					s.Errorf("bodies %q and %q, acked: %v and %v", delivered.Body, copied.Body, delivered.HasResponded(), copied.HasResponded())
				}
				if context.Cause(copied.Context()) != context.Canceled { //nolint:errorlint // not one that wraps it
					s.Errorf("the copy's context ended with %v, want context.Canceled", context.Cause(copied.Context()))
				}
				s.balanced()
			})
		})
	}
}

// Context returns what the last WithContext was given, and copies keep it.
func TestContextOfCopies(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		show := func(m *Message) string {
			return fmt.Sprint(m.Context().Value(testKey("a")), m.Context().Value(testKey("b")), " ", m.Topic(), m.Channel(), " ", m.Attempts, m.NSQDAddress)
		}
		var got []string
		s.consumer(0, nil)
		s.c.AddHandler(HandlerFunc(func(m *Message) error {
			first := m.WithContext(context.WithValue(m.Context(), testKey("a"), 1))
			plain := *first
			second := plain.WithContext(context.WithValue(plain.Context(), testKey("b"), 2))
			for _, m := range []*Message{m, first, &plain, second} {
				got = append(got, show(m))
			}
			return ContextHandlerFunc(func(ctx context.Context, m *Message) error {
				if ctx != second.Context() || m != second {
					s.Error("a ContextHandlerFunc got another context than the copy's")
				}
				return nil
			}).HandleMessage(second)
		}))
		s.connect(d)
		d.Publish("t", "m")
		synctest.Wait()
		want := []string{"<nil> <nil> tc 1a:1", "1 <nil> tc 1a:1", "1 <nil> tc 1a:1", "1 2 tc 1a:1"}
		if !slices.Equal(got, want) {
			s.Errorf("contexts and names %q, want %q", got, want)
		}
	})
}

// A message that no Consumer delivered, as in a test of a handler, and its copy stand for
// one message as well.
func TestWithContextOfOwnMessage(t *testing.T) {
	told := &acksTold{}
	m := NewMessage(MessageID{1}, []byte("body"))
	m.Delegate = told
	ctx := context.WithValue(context.Background(), testKey("a"), "1")
	copied := m.WithContext(ctx)
	if copied.Context() != ctx || m.Context() != context.Background() || copied.Topic() != "" || copied.Channel() != "" {
		t.Errorf("contexts %v and %v, names %q, %q", copied.Context(), m.Context(), copied.Topic(), copied.Channel())
	}
	copied.DisableAutoResponse()
	if !m.IsAutoResponseDisabled() {
		t.Error("the message does not know what was called on its copy")
	}
	copied.Finish()
	m.Finish()
	m.Requeue(0)
	copied.Touch()
	if want := []*Message{copied}; !slices.Equal(told.finished, want) || !m.HasResponded() {
		t.Errorf("the Delegate was told of %v, want one FIN of the copy", told.finished)
	}
	defer func() {
		if recover() == nil {
			t.Error("a nil context did not panic")
		}
	}()
	m.WithContext(nil) //nolint:staticcheck // what it is about
}

// acksTold is a Delegate that notes FINs, and expects nothing else.
type acksTold struct{ finished []*Message }

func (a *acksTold) OnFinish(m *Message)                   { a.finished = append(a.finished, m) }
func (*acksTold) OnRequeue(*Message, time.Duration, bool) { panic("requeued") }
func (*acksTold) OnTouch(*Message)                        { panic("touched") }

// A message may be copied while the run loop moves its lease: the race detector watches.
func TestWithContextDuringAutoTouch(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.AutoTouch = time.Hour
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		s.consumer(1, func(m *Message) error {
			for range 1000 {
				sleep(10 * time.Millisecond)
				m = m.WithContext(m.Context())
			}
			return nil
		})
		s.connect(d)
		d.Publish("t", "m")
		after(11 * time.Second)
		if c := s.balanced(); c.Finished != 1 || len(commands(d, "TOUCH")) < 10 {
			s.Errorf("%+v after %d TOUCHes, want one finished after at least 10", c, len(commands(d, "TOUCH")))
		}
	})
}
