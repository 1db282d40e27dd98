package nsq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

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
			if ctx.Err() == nil || context.Cause(ctx) != context.Canceled { //nolint:errorlint // not one that wraps it
				s.Errorf("%s: the context ended with %v, want context.Canceled", body, context.Cause(ctx))
			}
		}
		if c := s.balanced(); c.Received != 3 || c.Finished != 3 || s.c.Snapshot().InFlight != 0 {
			s.Errorf("%+v, want 3 finished", c)
		}
		if got := commands(d, "FIN"); len(got) != 3 {
			s.Errorf("sent %q, want 3 FINs", got)
		}
	})
}

// D13: the context of a message ends with its lease, its connection, a stop or its ack,
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
						s.Error("Context returned another context than the handler got")
					}
					child, cancel := context.WithTimeout(ctx, time.Hour)
					defer cancel()
					<-child.Done()
					if !errors.Is(context.Cause(ctx), tt.cause) || !errors.Is(context.Cause(child), tt.cause) || !errors.Is(ctx.Err(), tt.err) {
						s.Errorf("cause %v, of a child %v, error %v", context.Cause(ctx), context.Cause(child), ctx.Err())
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
					s.Errorf("the context ended after %v, want %v", took, tt.after)
				}
				if tt.name == "connection" && !strings.Contains(text, "a:1") {
					s.Errorf("cause %q does not name nsqd", text)
				}
				synctest.Wait()
				if err := first.Context().Err(); err == nil {
					s.Error("the context has not ended after the handler returned")
				}
			})
		})
	}
	if NewMessage(MessageID{}, nil).Context() != context.Background() {
		t.Error("a message that no Consumer received has another context than Background")
	}
}

// A timeout that a handler derives from the message's context fires although auto_touch
// extends the lease.
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
			s.Errorf("a timeout of 3s took %v", took)
		}
	})
}

// The Consumer forgets the contexts of messages that were lost with their connection. If
// it did not, the stop would allow half a second for handlers that have long returned.
func TestContextsOfLostMessages(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", leases(time.Hour, 2*time.Hour)) // so long that nothing is redelivered
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
			s.Errorf("the stop took %v, want 5s: %v", took, err)
		}
		sleep(time.Hour) // until the handler returns
	})
}

// Without auto_touch the deadline of a context is the end of the lease, which began when
// the message arrived, however long it waited for its handler.
func TestDeadlineOfAMessageThatWaited(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", leases(10*time.Second, time.Minute))
		d.Publish("t", "1", "2")
		var left []time.Duration
		s.consumer(1, func(m *Message) error {
			deadline, _ := m.Context().Deadline()
			left = append(left, time.Until(deadline))
			sleep(4 * time.Second)
			return nil
		})
		s.connect(d)
		after(20 * time.Second)
		if len(left) != 2 || left[0] != 10*time.Second || left[1] != 6*time.Second {
			s.Errorf("%v left, want 10s and 6s", left)
		}
	})
}
