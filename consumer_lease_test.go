package nsq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// D31: a message whose lease ends before a handler is free is not handled, for nsqd has
// delivered it again. While handlers hang the Consumer does not gather more messages.
func TestExpiredMessagesAreNotHandled(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxAttempts = 0
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		release := make(chan struct{})
		var attempts []uint16
		s.consumer(1, func(m *Message) error {
			attempts = append(attempts, m.Attempts)
			<-release
			return nil
		})
		s.connect(d)
		flood(d, 10)
		after(10*time.Minute + 300*time.Millisecond) // leases end at full seconds
		if c := s.balanced(); c.Received < 500 || c.Expired < 500 || c.Lost != 1 {
			t.Errorf("after 10 minutes of one hanging handler: %+v", c)
		}
		if n := s.c.Snapshot().InFlight; n > 10 {
			t.Errorf("%d messages in hand of max_in_flight 10", n)
		}
		close(release)
		after(time.Second / 2)
		if c := s.balanced(); c.Finished != 10 || c.Lost != 1 {
			t.Errorf("after the handler returned: %+v, want 10 finished", c)
		}
		if len(attempts) != 11 || attempts[0] != 1 || attempts[1] < 50 {
			t.Errorf("handled at attempts %v, want one late return and 10 late deliveries", attempts)
		}
	})
}

// F15: with more messages in hand than its handlers manage within a lease the Consumer
// takes fewer, so that hardly any lease ends before a handler begins the message. It warns
// once, and goes back to max_in_flight when the overload is over.
func TestOverloadTakesFewer(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 50
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		handled := map[MessageID]bool{}
		// Not a tenth of the lease: whether a handler that ends just when the lease does
		// is in time would be chance.
		s.consumer(1, func(m *Message) error { handled[m.ID] = true; sleep(97 * time.Millisecond); return nil })
		log := s.logged(LogLevelWarning)
		s.connect(d)
		flood(d, 400)
		after(5 * time.Minute)
		c := s.balanced()
		if len(handled) != 400 || c.Expired > 400 {
			t.Errorf("%d handled of 400, want all, and 400 expired at most: %+v", len(handled), c)
		}
		warned := slices.DeleteFunc(log.take(), func(line string) bool { return !strings.Contains(line, "taking fewer") })
		if len(warned) != 1 || !strings.Contains(warned[0], "max_in_flight=50") || !strings.Contains(warned[0], "handlers=1") {
			t.Errorf("warned %q, want one warning", warned)
		}
		after(5 * time.Minute)
		if rdyOf(d) != 50 {
			t.Errorf("RDY %d after five minutes without overload, want 50", rdyOf(d))
		}
	})
}

// An ack after the lease is lost: it is not sent. nsqd may have delivered the message over
// the same connection again, and would take it for an ack of that delivery.
func TestLateAcksAreNotSent(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		var runs atomic.Int32
		s.consumer(2, func(m *Message) error {
			if runs.Add(1) == 1 {
				sleep(1500 * time.Millisecond)
				return nil
			}
			sleep(900 * time.Millisecond)
			return nil
		})
		s.connect(d)
		flood(d, 1)
		after(1600 * time.Millisecond) // the first call has returned, the second one runs
		if c := s.balanced(); c.Received != 2 || c.Lost != 1 || c.Finished != 0 || len(commands(d, "FIN", "REQ")) != 0 {
			t.Errorf("%+v, sent %q, want the late FIN lost", c, commands(d, "FIN", "REQ"))
		}
		after(time.Minute)
		if c := s.balanced(); c.Received != 2 || c.Lost != 1 || c.Finished != 1 || c.Refused != 0 {
			t.Errorf("%+v, want one lost and one finished", c)
		}
	})
}

// D31: no more than max_in_flight handlers run at a time although nsqd sends more: it has
// given up the messages of the overdue ones, or has lost their connection.
func TestOverdueHandlersCount(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight, s.cfg.MaxAttempts = 3, 0
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		var running, most atomic.Int32
		s.consumer(20, func(m *Message) error {
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer running.Add(-1)
			if m.Attempts == 1 {
				sleep(9700 * time.Millisecond) // not when a lease ends
			}
			return nil
		})
		s.connect(d)
		flood(d, 6)
		after(5 * time.Minute)
		if most.Load() != 3 {
			t.Errorf("%d handlers ran at a time, want 3", most.Load())
		}
		if st := d.Stats("t", "c"); st.Finished != 6 {
			t.Errorf("%+v, want 6 finished", st)
		}
		s.balanced()

		d.Disconnect(1)
		after(time.Second)
		flood(d, 3)
		after(time.Second / 2)
		d.Disconnect(2)
		after(time.Minute)
		if most.Load() != 3 {
			t.Errorf("%d handlers ran at a time after a lost connection, want 3", most.Load())
		}
	})
}

// D2: a message that is never acked is lost when its lease ends. Calls of its methods after
// that send nothing. The Consumer forgets it, as it does one that was acked late: a stop
// neither waits for them nor lists them.
func TestMessageThatIsNeverAcked(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		var kept []*Message
		s.consumer(1, func(m *Message) error {
			switch {
			case string(m.Body) == "hang":
				sleep(time.Minute)
			case m.Attempts == 1:
				m.DisableAutoResponse()
				kept = append(kept, m)
			default:
				m.DisableAutoResponse()
				time.AfterFunc(500*time.Millisecond, m.Finish)
			}
			return nil
		})
		s.connect(d)
		flood(d, 2)
		after(900 * time.Millisecond)
		if c := s.balanced(); c.Received != 2 || s.c.Snapshot().InFlight != 2 {
			t.Errorf("%+v, want both in flight until their leases end", c)
		}
		after(time.Minute)
		if c := s.balanced(); c.Received != 4 || c.Lost != 2 || c.Finished != 2 || s.c.Snapshot().InFlight != 0 {
			t.Errorf("%+v, want two lost and two finished", c)
		}
		kept[0].Finish()
		kept[0].Requeue(0)
		kept[0].Touch()
		synctest.Wait()
		if c := s.balanced(); c.Lost != 2 || c.Refused != 0 || len(commands(d, "FIN", "REQ", "TOUCH")) != 2 {
			t.Errorf("%+v, sent %q", c, commands(d, "FIN", "REQ", "TOUCH"))
		}
		d.Publish("t", "hang")
		synctest.Wait()
		took, err := s.shutdown(time.Second / 2)
		left, ok := errors.AsType[*StopError](err)
		if took != time.Second/2 || !ok || len(left.Running) != 1 || len(left.Unanswered) != 0 {
			t.Errorf("error %v after %v, want only the hanging handler left", err, took)
		}
		sleep(time.Hour) // until it returns
	})
}

// auto_touch keeps the lease of a message while its handler runs, for as long as it says
// and no longer than nsqd allows, and sends no TOUCH that is not needed.
func TestAutoTouch(t *testing.T) {
	const long = 10317 * time.Millisecond // ends neither with a lease nor when a TOUCH is due
	for _, tt := range []struct {
		name               string
		touch, works, most time.Duration
		deliveries         uint64 // in a minute: 1, or so many at least
		touches            [2]int // at least and at most
	}{
		{"off", 0, 2517 * time.Millisecond, time.Hour, 20, [2]int{0, 0}},
		{"long enough", time.Minute, long, time.Hour, 1, [2]int{10, 25}},
		{"not needed", time.Minute, 417 * time.Millisecond, time.Hour, 1, [2]int{0, 0}},
		{"shorter than the work", 3 * time.Second, long, time.Hour, 3, [2]int{1, 200}},
		{"longer than max-msg-timeout", time.Minute, long, 3 * time.Second, 3, [2]int{1, 200}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.AutoTouch, s.cfg.MaxAttempts, s.cfg.MaxInFlight = tt.touch, 0, 1
				d := s.nsqd("a:1", leases(time.Second, tt.most))
				s.consumer(1, func(*Message) error { sleep(tt.works); return nil })
				s.connect(d)
				flood(d, 1)
				after(time.Minute)
				c := s.balanced()
				if tt.deliveries == 1 && (c.Received != 1 || c.Finished != 1 || c.Refused != 0) {
					t.Errorf("%+v, want one delivery", c)
				}
				if tt.deliveries > 1 && (c.Received < tt.deliveries || c.Lost == 0) {
					t.Errorf("%+v, want %d deliveries at least, and some lost", c, tt.deliveries)
				}
				if n := len(commands(d, "TOUCH")); n < tt.touches[0] || n > tt.touches[1] {
					t.Errorf("%d TOUCHes, want %d to %d", n, tt.touches[0], tt.touches[1])
				}
			})
		})
	}
}

// Handlers that wrap others copy a message to give it another body. A copy is the same
// message: it shares the lease, the ack and the context.
func TestCopiesOfAMessage(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", leases(time.Second, time.Minute))
		var ctx context.Context
		s.consumer(1, func(m *Message) error {
			decoded := *m
			decoded.Body = []byte("decoded")
			ctx = decoded.Context()
			switch string(m.Body) {
			case "touched":
				for range 5 {
					sleep(700 * time.Millisecond)
					decoded.Touch()
				}
			case "acked":
				decoded.Finish()
			case "acked later":
				m.DisableAutoResponse()
				time.AfterFunc(500*time.Millisecond, decoded.Finish)
			}
			return nil
		})
		s.connect(d)
		for _, body := range []string{"touched", "acked", "acked later"} {
			d.Publish("t", body)
			after(10 * time.Second)
			if ctx.Err() == nil || context.Cause(ctx) != context.Canceled { //nolint:errorlint // it is that very value
				t.Errorf("%s: the context ended with %v, want context.Canceled", body, context.Cause(ctx))
			}
		}
		if c := s.balanced(); c.Received != 3 || c.Finished != 3 || s.c.Snapshot().InFlight != 0 {
			t.Errorf("%+v, want 3 finished", c)
		}
		if got := commands(d, "FIN"); len(got) != 3 {
			t.Errorf("sent %q, want 3 FINs", got)
		}
	})
}

// Touch makes the lease last longer here as it does at nsqd, max-msg-timeout included. A
// context's deadline stays what it was, but the context ends with the lease.
func TestTouchMovesTheLease(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", leases(time.Second, 3*time.Second))
		var deadlines []time.Duration
		s.consumer(1, func(m *Message) error {
			if m.Attempts > 1 {
				return nil
			}
			ctx, start := m.Context(), time.Now()
			ended := make(chan time.Time, 1)
			context.AfterFunc(ctx, func() { ended <- time.Now() })
			for range 5 {
				deadline, _ := ctx.Deadline()
				deadlines = append(deadlines, deadline.Sub(start))
				sleep(700 * time.Millisecond)
				m.Touch()
			}
			if took := (<-ended).Sub(start); took != 3*time.Second {
				t.Errorf("the context ended after %v, want 3s", took)
			}
			return nil
		})
		s.connect(d)
		flood(d, 1)
		after(10 * time.Second)
		if want := slices.Repeat([]time.Duration{time.Second}, 5); !slices.Equal(deadlines, want) {
			t.Errorf("deadlines %v, want %v", deadlines, want)
		}
		if c := s.balanced(); c.Received != 2 || c.Lost != 1 || c.Finished != 1 {
			t.Errorf("%+v, want one lost and one finished", c)
		}
	})
}

// D13: the context of a message ends with its lease, its connection, the stop or its ack,
// and its cause says which. A message that no Consumer received has context.Background.
func TestMessageContext(t *testing.T) {
	for _, tt := range []struct {
		name  string
		end   func(s *scene, d *nsqtest.Nsqd, m *Message)
		after time.Duration
		cause error
		err   error
	}{
		{"lease", func(*scene, *nsqtest.Nsqd, *Message) {}, 4 * time.Second, ErrMessageTimedOut, context.DeadlineExceeded},
		{"connection", func(_ *scene, d *nsqtest.Nsqd, _ *Message) { d.Disconnect(1) }, 0, ErrConnectionLost, context.Canceled},
		{"stop", func(s *scene, _ *nsqtest.Nsqd, _ *Message) { s.c.Stop() }, 2 * time.Second, ErrStopped, context.Canceled},
		{"ack", func(_ *scene, _ *nsqtest.Nsqd, m *Message) { m.Finish() }, 0, context.Canceled, context.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.StopTimeout = 2 * time.Second
				d := s.nsqd("a:1", leases(5*time.Second, time.Hour))
				ended := make(chan string, 10)
				var first *Message
				s.consumer(0, nil)
				s.c.AddHandler(ContextHandlerFunc(func(ctx context.Context, m *Message) error {
					if first != nil {
						return nil
					}
					first = m
					if ctx != m.Context() {
						t.Error("Context returns a different context each time")
					}
					child, cancel := context.WithTimeout(ctx, time.Hour)
					defer cancel()
					<-child.Done()
					if !errors.Is(context.Cause(ctx), tt.cause) || !errors.Is(context.Cause(child), tt.cause) || !errors.Is(ctx.Err(), tt.err) {
						t.Errorf("cause %v, of a child %v, error %v", context.Cause(ctx), context.Cause(child), ctx.Err())
					}
					ended <- fmt.Sprint(context.Cause(ctx))
					return ctx.Err()
				}))
				s.connect(d)
				flood(d, 1)
				after(time.Second)
				begin := time.Now()
				tt.end(s, d, first)
				text := <-ended
				if took := time.Since(begin); took != tt.after {
					t.Errorf("the context ended after %v, want %v", took, tt.after)
				}
				if tt.name == "connection" && !strings.Contains(text, "a:1") {
					t.Errorf("cause %q does not name nsqd", text)
				}
				synctest.Wait()
				if err := first.Context().Err(); err == nil {
					t.Error("the context of a message that is done with has not ended")
				}
			})
		})
	}
	if NewMessage(MessageID{}, nil).Context() != context.Background() {
		t.Error("a message of no Consumer has a context")
	}
}

// F9: what a handler returns, alone, wrapped or combined, says what is sent for the
// message and whether it counts for backoff.
func TestOutcomes(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("while trying: %w", err) }
	for _, tt := range []struct {
		name    string
		err     error
		command string // what is sent, the ID left out
		backoff bool
	}{
		{"error", errBoom, "REQ 90000", true},
		{"retry after", RetryAfter(1500*time.Millisecond, errBoom), "REQ 1500", true},
		{"retry after, negative", RetryAfter(-1, errBoom), "REQ 0", true},
		{"retry after, as long as can be", RetryAfter(1<<63-1, errBoom), "REQ 9223372036854", true},
		{"no backoff", NoBackoff(errBoom), "REQ 90000", false},
		{"both", NoBackoff(wrap(RetryAfter(time.Second, errBoom))), "REQ 1000", false},
		{"both, wrapped the other way round", wrap(RetryAfter(time.Second, wrap(NoBackoff(errBoom)))), "REQ 1000", false},
		{"the outermost delay", RetryAfter(time.Second, RetryAfter(time.Minute, errBoom)), "REQ 1000", true},
		{"joined", errors.Join(errBoom, RetryAfter(time.Second, errBoom)), "REQ 1000", true},
		{"discard", Discard(errBoom), "FIN", false},
		{"discard, wrapped in everything", wrap(RetryAfter(time.Second, NoBackoff(Discard(errBoom)))), "FIN", false},
		{"nothing", RetryAfter(time.Second, NoBackoff(Discard(nil))), "FIN", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1")
				s.consumer(1, func(*Message) error { return tt.err })
				s.connect(d)
				id := d.Publish("t", "m")[0]
				synctest.Wait()
				got := strings.Join(commands(d, "REQ", "FIN"), ",")
				if got = strings.Replace(got, " "+id, "", 1); got != tt.command {
					t.Errorf("sent %q, want %q", got, tt.command)
				}
				if level := s.c.Snapshot().BackoffLevel; level > 0 != tt.backoff {
					t.Errorf("backoff level %d, want one: %v", level, tt.backoff)
				}
				if tt.err != nil && !errors.Is(tt.err, errBoom) {
					t.Error("errors.Is does not find the cause")
				}
			})
		})
	}
}

// F9: a discard leaves a backoff as it is.
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
			t.Errorf("%+v, level %d, RDY %d, want it finished and 1 and 1", st, s.c.Snapshot().BackoffLevel, rdyOf(d))
		}
	})
}

// auto_touch keeps the lease of a message that has waited for its handler, too, and does
// not leave that to the last moment.
func TestAutoTouchOfAMessageThatWaited(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.AutoTouch, s.cfg.MaxInFlight = time.Minute, 2
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		s.consumer(1, func(*Message) error { sleep(800 * time.Millisecond); return nil })
		s.connect(d)
		after(400 * time.Millisecond)
		flood(d, 2)
		after(10 * time.Second)
		if c := s.balanced(); c.Received != 2 || c.Finished != 2 || c.Lost != 0 {
			t.Errorf("%+v, want 2 finished; sent %q", c, commands(d, "TOUCH"))
		}
	})
	inScene(t, func(s *scene) {
		s.cfg.AutoTouch, s.cfg.MaxInFlight = time.Minute, 2
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		s.consumer(1, func(m *Message) error {
			if string(m.Body) == "1" {
				sleep(505 * time.Millisecond)
				return nil
			}
			sleep(10 * time.Second)
			return nil
		})
		s.connect(d)
		d.Publish("t", "1")
		after(10 * time.Millisecond)
		id := d.Publish("t", "2")[0] // begun at 505 ms, half of its lease is over at 510 ms
		after(800 * time.Millisecond)
		if !slices.Contains(commands(d, "TOUCH"), "TOUCH "+id) {
			t.Error("not touched after 0.8 of its lease")
		}
		after(20 * time.Second)
	})
}

// D31: no message is begun after its lease, also between two sweeps. Here leases end a
// millisecond apart, sweeps are five apart, and the handler is free just when the fourth
// lease ends.
func TestNotBegunAfterItsLease(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		var late atomic.Int32
		var first atomic.Bool
		s.consumer(1, func(m *Message) error {
			if ends, _ := m.Context().Deadline(); !time.Now().Before(ends) {
				late.Add(1)
			}
			if first.CompareAndSwap(false, true) {
				sleep(1003 * time.Millisecond)
			}
			return nil
		})
		s.connect(d)
		for range 5 {
			flood(d, 1)
			after(time.Millisecond)
		}
		after(time.Minute)
		if c := s.balanced(); late.Load() != 0 || c.Refused != 0 {
			t.Errorf("%d messages begun after their lease: %+v", late.Load(), c)
		}
	})
}

// A timeout that a handler derives from the message's context fires, although auto_touch
// prolongs the lease.
func TestChildTimeoutWithAutoTouch(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.AutoTouch = time.Hour
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		var took time.Duration
		s.consumer(0, nil)
		s.c.AddHandler(ContextHandlerFunc(func(ctx context.Context, _ *Message) error {
			ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			begin := time.Now()
			<-ctx.Done()
			took = time.Since(begin)
			return nil
		}))
		s.connect(d)
		flood(d, 1)
		after(2 * time.Minute)
		if took != 3*time.Second {
			t.Errorf("a timeout of 3s took %v", took)
		}
	})
}

// The Consumer forgets the contexts of messages that were lost with their connection. Did
// it remember one, a stop would give that handler half a second more, though none is left.
func TestContextsOfLostMessages(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", leases(time.Hour, 2*time.Hour)) // nothing is redelivered meanwhile
		s.consumer(1, func(m *Message) error {
			if string(m.Body) == "hang" {
				sleep(time.Minute)
				return nil
			}
			m.DisableAutoResponse()
			_ = m.Context()
			return nil
		})
		s.connect(d)
		for range 5 {
			flood(d, 2)
			after(time.Second)
			d.Disconnect(d.Clients()[0].Conn)
			after(20 * time.Second)
		}
		d.Publish("t", "hang")
		synctest.Wait()
		if took, err := s.shutdown(5 * time.Second); took != 5*time.Second {
			t.Errorf("the stop took %v, want 5s: %v", took, err)
		}
		sleep(time.Hour) // until the handler returns
	})
}

// oddError is an error whose methods panic when it is nil, a common slip.
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
			t.Errorf("%+v, want the message requeued", c)
		}
	})
}

// A FIN does not wait for the handler of another message that the same worker had taken
// with it.
func TestFinishedBehindASlowMessage(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		for i := range 200 {
			d.Publish("t", fmt.Sprint(i))
		}
		s.cfg.MaxInFlight = 200
		s.consumer(1, func(m *Message) error {
			if string(m.Body) == "190" {
				sleep(30 * time.Second)
			}
			return nil
		})
		s.connect(d)
		after(time.Second)
		if c := s.balanced(); c.Finished != 190 {
			t.Errorf("%d finished while the handler of the next one runs, want 190", c.Finished)
		}
		after(time.Minute)
		if c := s.balanced(); c.Finished != 200 {
			t.Errorf("%d finished in the end, want 200", c.Finished)
		}
	})
}
