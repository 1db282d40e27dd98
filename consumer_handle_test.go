package nsq

import (
	"errors"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

func TestRequeue(t *testing.T) {
	boom := errors.New("boom")
	tests := []struct {
		name    string
		handle  HandlerFunc
		command string // what follows "REQ <id>", or "FIN"
	}{
		{"error", func(*Message) error { return boom }, " 90000"},
		{"panic", func(*Message) error { panic(boom) }, " 90000"},
		{"delay", func(m *Message) error { m.Requeue(1500 * time.Millisecond); return nil }, " 1500"},
		{"negative delay", func(m *Message) error { m.Requeue(-time.Second); return nil }, " 0"},
		{"without backoff", func(m *Message) error { m.RequeueWithoutBackoff(0); return boom }, " 0"},
		{"first answer wins", func(m *Message) error { m.Finish(); m.Requeue(0); return boom }, "FIN"},
		{"by hand, later", func(m *Message) error {
			m.DisableAutoResponse()
			go m.Requeue(7 * time.Millisecond)
			return boom
		}, " 7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1")
				s.consumer(1, tt.handle)
				s.connect(d)
				id := d.Publish("t", "m")[0]
				synctest.Wait()
				want := "REQ " + id + tt.command
				if tt.command == "FIN" {
					want = "FIN " + id
				}
				if got := commands(d, "REQ", "FIN"); len(got) == 0 || got[0] != want {
					t.Errorf("sent %q, want %q", got, want)
				}
			})
		})
	}
}

// The automatic delay grows with the attempts, up to its cap.
func TestAutomaticRequeueDelay(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.DefaultRequeueDelay, s.cfg.MaxRequeueDelay = time.Second, 2500*time.Millisecond
		s.cfg.MaxBackoffDuration = 0
		d := s.nsqd("a:1")
		s.consumer(1, func(*Message) error { return errors.New("no") })
		s.connect(d)
		id := d.Publish("t", "m")[0]
		after(time.Minute)
		want := []string{"REQ " + id + " 1000", "REQ " + id + " 2000", "REQ " + id + " 2500", "REQ " + id + " 2500", "REQ " + id + " 2500", "FIN " + id}
		if got := commands(d, "REQ", "FIN"); !slices.Equal(got, want) {
			t.Errorf("sent %q, want %q", got, want)
		}
	})
}

type failedLogger struct {
	HandlerFunc
	failed []uint16
}

func (f *failedLogger) LogFailedMessage(m *Message) { f.failed = append(f.failed, m.Attempts) }

// D33: the handler sees attempts 1 to max; the next delivery is given up.
func TestMaxAttempts(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxAttempts, s.cfg.DefaultRequeueDelay, s.cfg.MaxBackoffDuration = 3, 0, 0
		d := s.nsqd("a:1")
		var seen []uint16
		h := &failedLogger{HandlerFunc: func(m *Message) error { seen = append(seen, m.Attempts); return errors.New("no") }}
		s.consumer(0, nil)
		s.c.AddHandler(h)
		s.connect(d)
		d.Publish("t", "m")
		after(time.Second)
		if !slices.Equal(seen, []uint16{1, 2, 3}) || !slices.Equal(h.failed, []uint16{4}) {
			t.Errorf("handled at %v, given up at %v", seen, h.failed)
		}
		if st := d.Stats("t", "c"); st.Finished != 1 || st.Requeued != 3 {
			t.Errorf("%+v", st)
		}
	})
}

// D34: neither a panic nor Goexit costs the worker or the message.
func TestHandlerPanics(t *testing.T) {
	for name, fail := range map[string]func(t *testing.T){
		"panic":  func(*testing.T) { panic("poison") },
		"goexit": func(t *testing.T) { runtime.Goexit() },
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.DefaultRequeueDelay, s.cfg.MaxBackoffDuration = 0, 0
				d := s.nsqd("a:1")
				s.consumer(1, func(m *Message) error {
					if m.Attempts <= 2 {
						fail(t)
					}
					return nil
				})
				s.connect(d)
				d.Publish("t", "m", "n")
				after(time.Second)
				if st := d.Stats("t", "c"); st.Finished != 2 || st.Requeued != 4 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

func TestTouch(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", func(o *nsqtest.Options) { o.MsgTimeout = 10 * time.Second })
		s.consumer(1, func(m *Message) error {
			for range 3 {
				sleep(6 * time.Second)
				m.Touch()
			}
			m.Finish()
			m.Touch() // too late, not sent
			return nil
		})
		s.connect(d)
		d.Publish("t", "m")
		after(time.Minute)
		if st := d.Stats("t", "c"); st.Finished != 1 || st.TimedOut != 0 {
			t.Errorf("%+v", st)
		}
		if n := len(commands(d, "TOUCH")); n != 3 {
			t.Errorf("%d TOUCHes", n)
		}
	})
}
