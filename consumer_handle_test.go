package nsq

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Only the first ack or requeue of a message is sent, whether it comes from a call in the
// handler, from a later call, or from the handler's result.
func TestFirstAckIsSent(t *testing.T) {
	tests := []struct {
		name    string
		handle  HandlerFunc
		command string // what follows "REQ <id>", or "FIN"
	}{
		{"error", func(*Message) error { return errBoom }, " 90000"},
		{"panic", func(*Message) error { panic(errBoom) }, " 90000"},
		{"delay", func(m *Message) error { m.Requeue(1500 * time.Millisecond); return nil }, " 1500"},
		{"negative delay", func(m *Message) error { m.Requeue(-time.Second); return nil }, " 0"},
		{"without backoff", func(m *Message) error { m.RequeueWithoutBackoff(0); return errBoom }, " 0"},
		{"ack, then requeue", func(m *Message) error { m.Finish(); m.Requeue(0); return errBoom }, "FIN"},
		{"later", func(m *Message) error {
			m.DisableAutoResponse()
			go m.Requeue(7 * time.Millisecond)
			return errBoom
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
					s.Errorf("sent %q, want %q", got, want)
				}
			})
		})
	}
}

// The delay of an automatic requeue grows with the attempts, up to max_requeue_delay.
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
			s.Errorf("sent %q, want %q", got, want)
		}
	})
}

// failedLogger is a handler that records the attempts of the messages that are given up.
type failedLogger struct {
	HandlerFunc
	failed []uint16
}

func (f *failedLogger) LogFailedMessage(m *Message) { f.failed = append(f.failed, m.Attempts) }

// D33: a handler sees attempts 1 to max_attempts. The delivery after that is given up and
// finished.
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
			s.Errorf("handled at %v, given up at %v", seen, h.failed)
		}
		if st := d.Stats("t", "c"); st.Finished != 1 || st.Requeued != 3 {
			s.Errorf("%+v, want 3 requeued and one finished", st)
		}
	})
}

// The log tells a discard from a failure.
func TestHandlerErrorsAreLogged(t *testing.T) {
	for want, err := range map[string]error{
		"handler returned an error":        errBoom,
		"message discarded by its handler": Discard(errBoom),
	} {
		inScene(t, func(s *scene) {
			s.cfg.MaxBackoffDuration = 0
			d := s.nsqd("a:1")
			s.consumer(1, func(m *Message) error {
				if m.Attempts > 1 {
					return nil
				}
				return err
			})
			log := s.logged(LogLevelError)
			s.connect(d)
			d.Publish("t", "m")
			after(time.Minute * 3)
			if got := log.take(); len(got) != 1 || !strings.Contains(got[0], want) || !strings.Contains(got[0], "boom") {
				s.Errorf("logged %q, want %q", got, want)
			}
		})
	}
}

// A panic of LogFailedMessage is logged, and the message is given up all the same.
func TestLogFailedMessagePanics(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxAttempts, s.cfg.DefaultRequeueDelay, s.cfg.MaxBackoffDuration = 1, 0, 0
		d := s.nsqd("a:1")
		s.consumer(0, nil)
		s.c.AddHandler(&ackingLogger{
			HandlerFunc: func(*Message) error { return errBoom },
			ack:         func(*Message) { panic("poison") },
		})
		log := s.logged(LogLevelError)
		s.connect(d)
		d.Publish("t", "m")
		after(time.Second)
		if st := d.Stats("t", "c"); st.Finished != 1 || st.Requeued != 1 {
			s.Errorf("%+v, want one requeued and then finished", st)
		}
		got := log.take()
		if len(got) == 0 || !strings.Contains(got[len(got)-1], "LogFailedMessage panicked") || !strings.Contains(got[len(got)-1], "poison") {
			s.Errorf("logged %q, want the panic last", got)
		}
	})
}

// D34: neither a panic nor Goexit of a handler costs its goroutine or the message, which
// is requeued. Each is logged with the message and the stack.
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
				log := s.logged(LogLevelError)
				s.connect(d)
				d.Publish("t", "m", "n")
				after(time.Second)
				if st := d.Stats("t", "c"); st.Finished != 2 || st.Requeued != 4 {
					s.Errorf("%+v, want 4 requeued and 2 finished", st)
				}
				lines := log.take()
				if len(lines) != 4 {
					s.Fatalf("logged %q, want 4 panics", lines)
				}
				for _, line := range lines {
					for _, want := range []string{"handler panicked", "id=", "(a:1)", "TestHandlerPanics"} {
						if !strings.Contains(line, want) {
							s.Errorf("logged %q without %s", line, want)
						}
					}
				}
			})
		})
	}
}

// F9: the error that a handler returns, alone, wrapped or combined, decides what is sent
// for the message and whether backoff counts it.
func TestOutcomes(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("while trying: %w", err) }
	for _, tt := range []struct {
		name    string
		err     error
		command string // what is sent, the ID left out
		backoff bool
	}{
		{"error", errBoom, "REQ 90000", true},
		{"retry after", RetryAfter(1500*time.Millisecond, errBoom), "REQ 1500", false},
		{"retry after, negative", RetryAfter(-1, errBoom), "REQ 0", false},
		{"retry after, the longest", RetryAfter(1<<63-1, errBoom), "REQ 9223372036854", false},
		{"no backoff", NoBackoff(errBoom), "REQ 90000", false},
		{"both", NoBackoff(wrap(RetryAfter(time.Second, errBoom))), "REQ 1000", false},
		{"both, wrapped the other way round", wrap(RetryAfter(time.Second, wrap(NoBackoff(errBoom)))), "REQ 1000", false},
		{"the outermost delay", RetryAfter(time.Second, RetryAfter(time.Minute, errBoom)), "REQ 1000", false},
		{"joined", errors.Join(errBoom, RetryAfter(time.Second, errBoom)), "REQ 1000", false},
		{"discard", Discard(errBoom), "FIN", false},
		{"discard, wrapped in everything", wrap(RetryAfter(time.Second, NoBackoff(Discard(errBoom)))), "FIN", false},
		{"nothing", RetryAfter(time.Second, NoBackoff(Discard(nil))), "FIN", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1")
				s.consumer(1, func(m *Message) error {
					if m.Attempts > 1 { // after a requeue without a delay
						m.DisableAutoResponse()
						return nil
					}
					return tt.err
				})
				s.connect(d)
				id := d.Publish("t", "m")[0]
				synctest.Wait()
				got := strings.Join(commands(d, "REQ", "FIN"), ",")
				if got = strings.Replace(got, " "+id, "", 1); got != tt.command {
					s.Errorf("sent %q, want %q", got, tt.command)
				}
				if level := s.c.Snapshot().BackoffLevel; level > 0 != tt.backoff {
					s.Errorf("backoff level %d, want backoff: %v", level, tt.backoff)
				}
				if tt.err != nil && !errors.Is(tt.err, errBoom) {
					s.Error("errors.Is does not find the cause")
				}
			})
		})
	}
}

// F9: a discard leaves the backoff level as it is.
func TestDiscardInBackoff(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.DefaultRequeueDelay = 0
		d := s.nsqd("a:1")
		s.consumer(1, func(m *Message) error {
			if m.Attempts == 1 {
				return errBoom
			}
			return Discard(errBoom)
		})
		s.connect(d)
		flood(d, 1)
		after(10 * time.Second)
		if st := d.Stats("t", "c"); st.Finished != 1 || s.c.Snapshot().BackoffLevel != 1 || rdyOf(d) != 1 {
			s.Errorf("%+v, level %d, RDY %d, want it finished and 1 and 1", st, s.c.Snapshot().BackoffLevel, rdyOf(d))
		}
	})
}

// F9: a planned retry leaves the backoff level as it is, and costs no further pause: the
// messages behind it are still tried, one at a time, so one that is handled ends the
// backoff at once. After NoBackoff each of them waits for a pause of its own.
func TestRetryAfterInBackoff(t *testing.T) {
	for name, tt := range map[string]struct {
		retry error
		begun int
	}{
		"RetryAfter":           {RetryAfter(time.Hour, errBoom), 101},
		"RetryAfter NoBackoff": {NoBackoff(RetryAfter(time.Hour, errBoom)), 101},
		"NoBackoff":            {NoBackoff(errBoom), 2},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1")
				begun := 0
				s.consumer(1, func(*Message) error {
					if begun++; begun == 1 {
						return errBoom
					}
					return tt.retry
				})
				s.connect(d)
				flood(d, 1)
				synctest.Wait()
				flood(d, 100)
				after(3 * time.Second) // one pause takes 2 s
				if shown := s.c.Snapshot(); begun != tt.begun || shown.BackoffLevel != 1 {
					s.Errorf("%d begun at level %d, want %d at 1", begun, shown.BackoffLevel, tt.begun)
				}
			})
		})
	}
}

// A planned retry is no error: it is logged at level Info.
func TestRetryAfterIsLoggedAtInfo(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(1, func(*Message) error { return RetryAfter(time.Minute, errBoom) })
		warnings := &logLines{}
		lines := s.logged(LogLevelInfo)
		s.c.SetLoggerForLevel(warnings, LogLevelWarning)
		s.c.SetLoggerForLevel(warnings, LogLevelError)
		s.connect(d)
		flood(d, 1)
		synctest.Wait()
		if got := strings.Join(lines.take(), "\n"); !strings.Contains(got, `handler asked for a retry err="boom (retry after 1m0s)"`) {
			s.Errorf("logged %s", got)
		}
		if got := warnings.take(); got != nil {
			s.Errorf("logged as warnings or errors: %q", got)
		}
	})
}

// oddError is an error whose methods panic if the pointer is nil, a common mistake.
type oddError struct{ err error }

func (e *oddError) Error() string { return "odd: " + e.err.Error() }
func (e *oddError) Unwrap() error { return e.err }

// D34: a panic in a method of the handler's error costs neither the process nor the
// message.
func TestTypedNilError(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(1, func(*Message) error { var e *oddError; return e })
		s.connect(d)
		flood(d, 1)
		after(time.Second)
		if c := s.balanced(); c.Requeued != 1 {
			s.Errorf("%+v, want the message requeued", c)
		}
	})
}

// A handler that passes a message of its own on, with another body, gives it the
// Delegate of the one that it was given. What is done with it is done with that ID.
func TestDelegateInOwnMessage(t *testing.T) {
	for name, tt := range map[string]struct {
		ack     func(own *Message)
		want    string
		backoff int
	}{
		"Finish":                {(*Message).Finish, "FIN %s", 0},
		"Requeue":               {func(own *Message) { own.Requeue(2 * time.Second) }, "REQ %s 2000", 1},
		"RequeueWithoutBackoff": {func(own *Message) { own.RequeueWithoutBackoff(-1) }, "REQ %s 90000", 0},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1")
				d.Publish("t", "m")
				var id string
				s.consumer(1, func(m *Message) error {
					id = string(m.ID[:])
					m.DisableAutoResponse()
					own := NewMessage(m.ID, []byte("another body"))
					own.Attempts, own.Delegate = m.Attempts, m.Delegate
					own.Touch()
					tt.ack(own)
					return nil
				})
				s.connect(d)
				synctest.Wait()
				want := []string{"TOUCH " + id, fmt.Sprintf(tt.want, id)}
				if got := commands(d, "TOUCH", "FIN", "REQ"); !slices.Equal(got, want) {
					s.Errorf("nsqd got %q, want %q", got, want)
				}
				if got := s.c.Snapshot().BackoffLevel; got != tt.backoff {
					s.Errorf("backoff level %d, want %d", got, tt.backoff)
				}
			})
		})
	}
}

// heardDelegate is a user's Delegate in front of the Consumer's own.
type heardDelegate struct {
	MessageDelegate
	heard []string
}

func (d *heardDelegate) OnFinish(m *Message) {
	d.heard = append(d.heard, "finish")
	d.MessageDelegate.OnFinish(m)
}

func (d *heardDelegate) OnRequeue(m *Message, delay time.Duration, backoff bool) {
	d.heard = append(d.heard, fmt.Sprint("requeue ", delay, backoff))
	d.MessageDelegate.OnRequeue(m, delay, backoff)
}

// If a handler has replaced a message's Delegate, the new one also receives the ack or
// requeue that follows the handler's return.
func TestReplacedDelegateHearsOfTheReturn(t *testing.T) {
	for name, tt := range map[string]struct {
		err            error
		heard, command string
	}{
		"success": {nil, "finish", "FIN"},
		"error":   {RetryAfter(time.Minute, NoBackoff(errBoom)), "requeue 1m0s false", "REQ"},
		"discard": {Discard(errBoom), "finish", "FIN"},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1")
				d.Publish("t", "m")
				told := &heardDelegate{}
				s.consumer(1, func(m *Message) error {
					told.MessageDelegate = m.Delegate
					m.Delegate = told
					return tt.err
				})
				s.connect(d)
				synctest.Wait()
				if !slices.Equal(told.heard, []string{tt.heard}) || len(commands(d, tt.command)) != 1 {
					s.Errorf("told %q, sent %q", told.heard, commands(d, "FIN", "REQ"))
				}
			})
		})
	}
}
