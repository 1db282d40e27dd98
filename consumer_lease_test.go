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

// D31: a message whose lease is over when a handler is free is not handled: nsqd
// has given it to somebody else. While handlers hang, what waits does not grow.
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
		after(10 * time.Minute)
		if c := s.balanced(); c.Received < 500 || c.Expired < 500 || c.Lost != 1 {
			t.Errorf("after 10 minutes of one hanging handler: %+v", c)
		}
		if n := s.c.queue.queued(); n > 10 {
			t.Errorf("%d messages wait for a handler", n)
		}
		close(release)
		after(time.Second / 2)
		c := s.balanced()
		if c.Finished != 10 || c.Lost != 1 {
			t.Errorf("in the end %+v", c)
		}
		if len(attempts) != 11 || attempts[0] != 1 || attempts[1] < 50 {
			t.Errorf("handled at attempts %v", attempts)
		}
	})
}

// queued is how many messages nobody has begun.
func (d *deliveryQueue) queued() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unclaimAll()
	n := 0
	for _, slab := range d.queue[d.head:] {
		n += len(slab)
	}
	return n
}

// With more messages in hand than its handlers get through within a lease the
// Consumer takes fewer, so that hardly any is given up with nobody having begun
// it.
func TestOverrunTakesFewer(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 50
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		handled := map[MessageID]bool{}
		// Not a tenth of the lease: a handler that ends just when it does is in time
		// or not by chance.
		s.consumer(1, func(m *Message) error { handled[m.ID] = true; sleep(97 * time.Millisecond); return nil })
		log := s.logged(LogLevelWarning)
		s.connect(d)
		flood(d, 400)
		after(5 * time.Minute)
		c := s.balanced()
		if len(handled) != 400 || c.Expired > 400 {
			t.Errorf("%d handled of 400: %+v", len(handled), c)
		}
		warned := slices.DeleteFunc(log.take(), func(line string) bool { return !strings.Contains(line, "taking fewer") })
		if len(warned) != 1 || !strings.Contains(warned[0], "max_in_flight=50") || !strings.Contains(warned[0], "handlers=1") {
			t.Errorf("warned %q", warned)
		}
		after(5 * time.Minute) // without trouble all slots come back
		if rdyOf(d) != 50 {
			t.Errorf("RDY %d in the end", rdyOf(d))
		}
	})
}

// A late answer is lost: it is not sent, for nsqd may have delivered the message
// to this same connection again, and would take it for an answer to that.
func TestLateAnswersAreNotSent(t *testing.T) {
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
		after(1600 * time.Millisecond) // the first has answered, the second delivery is at work
		if c := s.balanced(); c.Received != 2 || c.Lost != 1 || c.Finished != 0 || len(commands(d, "FIN", "REQ")) != 0 {
			t.Errorf("%+v, sent %q", c, commands(d, "FIN", "REQ"))
		}
		after(time.Minute)
		if c := s.balanced(); c.Received != 2 || c.Lost != 1 || c.Finished != 1 || c.Refused != 0 {
			t.Errorf("%+v", c)
		}
	})
}

// Handlers at work keep to max_in_flight although nsqd, which has given up on
// what they work on, sends more.
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
				sleep(10 * time.Second)
			}
			return nil
		})
		s.connect(d)
		flood(d, 6)
		after(5 * time.Minute)
		if most.Load() != 3 {
			t.Errorf("%d handlers at work at a time", most.Load())
		}
		if st := d.Stats("t", "c"); st.Finished != 6 {
			t.Errorf("%+v", st)
		}
		s.balanced()

		d.Disconnect(1) // nsqd will send again what is lost with a connection, too
		after(time.Second)
		flood(d, 3)
		after(time.Second / 2)
		d.Disconnect(2)
		after(time.Minute)
		if most.Load() != 3 {
			t.Errorf("%d handlers at work at a time over a lost connection", most.Load())
		}
	})
}

// A message that is never answered is given up when its lease is over; nothing
// waits for it.
func TestNeverAnswered(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		var kept *Message
		s.consumer(1, func(m *Message) error {
			m.DisableAutoResponse()
			if m.Attempts == 1 {
				kept = m
				return nil
			}
			time.AfterFunc(500*time.Millisecond, m.Finish)
			return nil
		})
		s.connect(d)
		flood(d, 1)
		after(900 * time.Millisecond)
		if c := s.balanced(); c.Received != 1 || s.c.Snapshot().InFlight != 1 {
			t.Errorf("%+v", c)
		}
		after(time.Minute)
		if c := s.balanced(); c.Received != 2 || c.Lost != 1 || c.Finished != 1 || s.c.Snapshot().InFlight != 0 {
			t.Errorf("%+v", c)
		}
		kept.Finish()
		kept.Requeue(0)
		kept.Touch()
		synctest.Wait()
		if c := s.balanced(); c.Lost != 1 || c.Refused != 0 || len(commands(d, "FIN", "REQ", "TOUCH")) != 1 {
			t.Errorf("%+v, sent %q", c, commands(d, "FIN", "REQ", "TOUCH"))
		}
		if n := len(s.c.queue.detached); n != 0 {
			t.Errorf("%d messages are still watched", n)
		}
		if took := s.stopped(); took > time.Second {
			t.Errorf("stop took %v", took)
		}
	})
}

// auto_touch keeps the lease of a handler at work, for as long as it says and no
// longer than nsqd allows.
func TestAutoTouch(t *testing.T) {
	for _, tt := range []struct {
		name               string
		touch, works, most time.Duration
		deliveries         uint64 // in a minute
	}{
		{"off", 0, 2500 * time.Millisecond, time.Hour, 20},
		{"enough", time.Minute, 10 * time.Second, time.Hour, 1},
		{"short work needs none", time.Minute, 400 * time.Millisecond, time.Hour, 1},
		{"up to auto_touch", 3 * time.Second, 10 * time.Second, time.Hour, 3},
		{"up to max-msg-timeout", time.Minute, 10 * time.Second, 3 * time.Second, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.AutoTouch, s.cfg.MaxAttempts, s.cfg.MaxInFlight = tt.touch, 0, 1
				d := s.nsqd("a:1", leases(time.Second, tt.most))
				s.consumer(1, func(m *Message) error { sleep(tt.works); return nil })
				s.connect(d)
				flood(d, 1)
				after(time.Minute)
				c := s.balanced()
				if tt.deliveries == 1 && (c.Received != 1 || c.Finished != 1 || c.Refused != 0) {
					t.Errorf("%+v, want one delivery", c)
				}
				if tt.deliveries > 1 && (c.Received < tt.deliveries || c.Lost == 0) {
					t.Errorf("%+v, want more deliveries", c)
				}
				touches := len(commands(d, "TOUCH"))
				if least := int(tt.touch / (2 * time.Second)); tt.works > time.Second && tt.most > time.Minute && tt.touch > 0 && touches < min(least, 10) ||
					touches > 200 || tt.works < time.Second/2 && touches > 0 {
					t.Errorf("%d TOUCHes", touches)
				}
			})
		})
	}
}

// A user's TOUCH moves the lease here as it does at nsqd.
// Handlers that wrap others copy a message to give it another body. A copy is the
// same message: it has its lease, its answer and its context.
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
			case "answered":
				decoded.Finish()
			case "answered later":
				m.DisableAutoResponse()
				time.AfterFunc(500*time.Millisecond, decoded.Finish)
			}
			return nil
		})
		s.connect(d)
		for _, body := range []string{"touched", "answered", "answered later"} {
			d.Publish("t", body)
			after(10 * time.Second)
			if ctx.Err() == nil || context.Cause(ctx) != context.Canceled { //nolint:errorlint // it is that very one
				t.Errorf("%s: the context ended with %v", body, context.Cause(ctx))
			}
		}
		if c := s.balanced(); c.Received != 3 || c.Finished != 3 || s.c.Snapshot().InFlight != 0 {
			t.Errorf("%+v", c)
		}
		if got := commands(d, "FIN"); len(got) != 3 {
			t.Errorf("%q", got)
		}
		if s.c.contexts.any() {
			t.Error("a context is left")
		}
	})
}

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
				t.Errorf("the context ended after %v", took)
			}
			return nil
		})
		s.connect(d)
		flood(d, 1)
		after(10 * time.Second)
		if want := slices.Repeat([]time.Duration{time.Second}, 5); !slices.Equal(deadlines, want) {
			t.Errorf("deadlines %v, want %v: they do not move", deadlines, want)
		}
		if c := s.balanced(); c.Received != 2 || c.Lost != 1 || c.Finished != 1 {
			t.Errorf("%+v", c)
		}
	})
}

// The context of a message ends with its lease, its connection, the stop or its
// answer, and says with which.
func TestMessageContext(t *testing.T) {
	for _, tt := range []struct {
		name  string
		end   func(s *scene, d *nsqtest.Nsqd, m *Message)
		cause error
		err   error
	}{
		{"lease", func(*scene, *nsqtest.Nsqd, *Message) {}, ErrMessageTimedOut, context.DeadlineExceeded},
		{"connection", func(_ *scene, d *nsqtest.Nsqd, _ *Message) { d.Disconnect(1) }, ErrConnectionLost, context.Canceled},
		{"stop", func(s *scene, _ *nsqtest.Nsqd, _ *Message) { s.c.Stop() }, ErrStopped, context.Canceled},
		{"answer", func(_ *scene, _ *nsqtest.Nsqd, m *Message) { m.Finish() }, context.Canceled, context.Canceled},
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
						t.Error("another context each time")
					}
					child, cancel := context.WithTimeout(ctx, time.Hour)
					defer cancel()
					<-child.Done()
					if !errors.Is(context.Cause(ctx), tt.cause) || !errors.Is(context.Cause(child), tt.cause) || !errors.Is(ctx.Err(), tt.err) {
						t.Errorf("cause %v, of the child %v, error %v", context.Cause(ctx), context.Cause(child), ctx.Err())
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
				if took := time.Since(begin); tt.name == "lease" && took != 4*time.Second || tt.name == "stop" && took != 2*time.Second ||
					tt.name != "lease" && tt.name != "stop" && took != 0 {
					t.Errorf("ended after %v", took)
				}
				if tt.name == "connection" && !strings.Contains(text, "a:1") {
					t.Errorf("cause %q does not name nsqd", text)
				}
				synctest.Wait()
				if n := len(s.c.contexts.open); n != 0 {
					t.Errorf("%d contexts left", n)
				}
				if err := first.Context().Err(); err == nil {
					t.Error("a context of an answered message has not ended")
				}
			})
		})
	}
	if NewMessage(MessageID{}, nil).Context() != context.Background() {
		t.Error("a message of no Consumer has a context")
	}
}

// What a handler returns, alone, wrapped and combined.
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
		{"both, the other way round, wrapped", wrap(RetryAfter(time.Second, wrap(NoBackoff(errBoom)))), "REQ 1000", false},
		{"the outermost delay", RetryAfter(time.Second, RetryAfter(time.Minute, errBoom)), "REQ 1000", true},
		{"joined", errors.Join(errBoom, RetryAfter(time.Second, errBoom)), "REQ 1000", true},
		{"discard", Discard(errBoom), "FIN", false},
		{"discard, wrapped in all", wrap(RetryAfter(time.Second, NoBackoff(Discard(errBoom)))), "FIN", false},
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
					t.Errorf("backoff level %d", level)
				}
				if tt.err != nil && !errors.Is(tt.err, errBoom) {
					t.Error("the cause is lost")
				}
			})
		})
	}
}

// A discard in backoff leaves it as it is.
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
			t.Errorf("%+v, level %d, RDY %d", st, s.c.Snapshot().BackoffLevel, rdyOf(d))
		}
	})
}

// auto_touch also keeps the lease of a message that had waited for its handler.
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
			t.Errorf("%+v %q", c, commands(d, "TOUCH"))
		}
	})
	inScene(t, func(s *scene) { // and touches it well before its end
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
		id := d.Publish("t", "2")[0] // half over at 510 ms, begun at 505 ms
		after(800 * time.Millisecond)
		if !slices.Contains(commands(d, "TOUCH"), "TOUCH "+id) {
			t.Error("not touched at 0.8 of its lease")
		}
		after(20 * time.Second)
	})
}

// Between two looks of the run loop no message is begun whose lease is over.
func TestNotBegunAfterItsLease(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		var late atomic.Int32
		var first atomic.Bool
		s.consumer(1, func(m *Message) error {
			if s.c.elapsed() >= m.leaseEnds() {
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
			t.Errorf("%d begun late: %+v", late.Load(), c)
		}
	})
}

// A timeout that a handler derives from the message's context fires although
// auto_touch prolongs the lease.
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

// Contexts of messages that went with their connection are let go of.
func TestContextsOfLostMessages(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", leases(time.Hour, 2*time.Hour)) // nothing comes again meanwhile
		s.consumer(1, func(m *Message) error { m.DisableAutoResponse(); _ = m.Context(); return nil })
		s.connect(d)
		for range 5 {
			flood(d, 2)
			after(time.Second)
			d.Disconnect(d.Clients()[0].Conn)
			after(20 * time.Second)
		}
		if n := len(s.c.contexts.open); n != 0 {
			t.Errorf("%d contexts kept", n)
		}
	})
}

// oddError is an error whose methods panic when it is nil: a common slip.
type oddError struct{ err error }

func (e *oddError) Error() string { return "odd: " + e.err.Error() }
func (e *oddError) Unwrap() error { return e.err }

// D34: nor does a panic in a method of the error cost the process.
func TestTypedNilError(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(1, func(*Message) error { var e *oddError; return e })
		s.connect(d)
		flood(d, 1)
		after(time.Second)
		if c := s.balanced(); c.Requeued != 1 {
			t.Errorf("%+v", c)
		}
	})
}

// The FIN of a message that is done does not wait for the handler of another
// that its worker had taken with it.
func TestFinishedBehindASlowMessage(t *testing.T) {
	inScene(t, func(s *scene) {
		a := s.nsqd("a:1")
		for i := range 200 {
			a.Publish("t", fmt.Sprint(i))
		}
		s.cfg.MaxInFlight = 200
		s.consumer(1, func(m *Message) error {
			if string(m.Body) == "190" {
				sleep(30 * time.Second)
			}
			return nil
		})
		s.connect(a)
		after(time.Second)
		if c := s.balanced(); c.Finished != 190 {
			t.Errorf("%d finished while the handler of the next is at work, want 190", c.Finished)
		}
		after(time.Minute)
		if c := s.balanced(); c.Finished != 200 {
			t.Errorf("%d finished in the end", c.Finished)
		}
		s.stopped()
	})
}
