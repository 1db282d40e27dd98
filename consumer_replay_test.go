package nsq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/envelope"
	"github.com/rdyhq/nsq/nsqtest"
)

// replay makes the Consumer of the dead letters of channel c of topic t.
func (s *burial) replay(h Handler) *Consumer {
	s.Helper()
	s.cfg.DeadLetter = nil
	replay, err := NewConsumer("t.c.dead", "replay", s.cfg)
	if err != nil {
		s.Fatal(err)
	}
	replay.AddHandler(h)
	if err := replay.ConnectToNSQD("b:1"); err != nil {
		s.Fatal(err)
	}
	return replay
}

// The handler of FromDeadLetters gets the messages that dead letters hold, as they were, and
// their origin in its context. No other channel of the topic gets them.
func TestFromDeadLetters(t *testing.T) {
	bury(t, func(s *burial) {
		s.source.CreateChannel("t", "other")
		broken := true
		var got []string
		handler := ContextHandlerFunc(func(ctx context.Context, m *Message) error {
			if broken {
				return DeadLetter(errBoom)
			}
			h, _ := envelope.FromContext(ctx)
			got = append(got, fmt.Sprintf("%s of %s/%s: %s", m.Body, h[HeaderOriginTopic], h[HeaderOriginChannel], h[HeaderFailedError]))
			return nil
		})
		s.consumer(0, nil)
		s.c.AddHandler(handler)
		s.connect(s.source)
		inner := string(envelope.Seal(envelope.Header{"trace": "1"}, []byte("ink")))
		s.source.Publish("t", "pen", inner)
		synctest.Wait()
		broken = false
		s.dead.Publish("t.c.dead", "bare", inner)
		replay := s.replay(FromDeadLetters(handler))
		synctest.Wait()
		want := []string{"pen of t/c: boom", inner + " of t/c: boom", "bare of /: ", inner + " of /: "}
		if !slices.Equal(got, want) {
			s.Errorf("handled %q, want %q", got, want)
		}
		if st := s.dead.Stats("t.c.dead", "replay"); st.Finished != 4 || s.source.Stats("t", "other").Depth != 2 {
			s.Errorf("%+v, other channel %+v", st, s.source.Stats("t", "other"))
		}
		replay.Stop()
		<-replay.StopChan
	})
}

// Original messages in envelopes are opened inside FromDeadLetters.
func TestFromDeadLettersInEnvelopes(t *testing.T) {
	bury(t, func(s *burial) {
		s.consumer(1, func(*Message) error { return DeadLetter(errBoom) })
		s.connect(s.source)
		s.source.Publish("t", string(envelope.Seal(envelope.Header{"trace": "1"}, []byte("ink"))))
		var got string
		replay := s.replay(FromDeadLetters(OpenEnvelopes()(ContextHandlerFunc(func(ctx context.Context, m *Message) error {
			h, _ := envelope.FromContext(ctx)
			got = string(m.Body) + h["trace"]
			return nil
		}))))
		synctest.Wait()
		if got != "ink1" {
			s.Errorf("handled %q", got)
		}
		replay.Stop()
		<-replay.StopChan
	})
}

// A dead letter whose replay fails stays in the topic of dead letters, also beyond
// max_attempts. A FailedMessageLogger is told of the original message.
func TestReplayFails(t *testing.T) {
	bury(t, func(s *burial) {
		s.cfg.MaxAttempts, s.cfg.DefaultRequeueDelay = 2, 0
		handled := 0
		h := &bodyLogger{HandlerFunc: func(*Message) error { handled++; return errors.New("still broken") }}
		s.consumer(0, nil)
		s.c.AddHandler(h)
		s.connect(s.source)
		s.source.Publish("t", "m")
		synctest.Wait()
		replay := s.replay(FromDeadLetters(h))
		after(9500 * time.Millisecond)
		st := s.dead.Stats("t.c.dead", "replay")
		if handled != 4 || st.Finished != 0 || st.Depth+st.Deferred != 1 || st.Requeued != 12 {
			s.Errorf("handled %d times, %+v", handled, st)
		}
		if !slices.Equal(h.failed, slices.Repeat([]string{"m"}, 10)) {
			s.Errorf("LogFailedMessage got %q", h.failed)
		}
		replay.Stop()
		<-replay.StopChan
	})
}

// bodyLogger is a handler that records the bodies of the messages that are given up.
type bodyLogger struct {
	HandlerFunc
	failed []string
}

func (l *bodyLogger) LogFailedMessage(m *Message) { l.failed = append(l.failed, string(m.Body)) }

// panickingLogger is a handler whose methods panic.
type panickingLogger struct{}

func (panickingLogger) HandleMessage(*Message) error { panic(errBoom) }
func (panickingLogger) LogFailedMessage(*Message)    { panic(errBoom) }

// A dead letter stays even if LogFailedMessage panics.
func TestReplayPanics(t *testing.T) {
	bury(t, func(s *burial) {
		s.cfg.DeadLetter, s.cfg.MaxAttempts = nil, 1
		s.consumer(0, nil)
		s.c.AddHandler(FromDeadLetters(panickingLogger{}))
		s.connect(s.source)
		s.source.Publish("t", "m")
		after(9500 * time.Millisecond)
		if st := s.source.Stats("t", "c"); st.Finished != 0 || st.Requeued != 10 || st.Deferred != 1 {
			s.Errorf("%+v, want 10 requeued and none acked", st)
		}
	})
}

// A Consumer of dead letters may have dead letters of its own.
func TestReplayWithPolicy(t *testing.T) {
	bury(t, func(s *burial) {
		h := HandlerFunc(func(*Message) error { return DeadLetter(errBoom) })
		s.cfg.MaxAttempts = 1
		replay, err := NewConsumer("t.c.dead", "replay", s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		retries := HandlerFunc(func(m *Message) error {
			if strings.HasPrefix(string(m.Body), "given up") {
				return RetryAfter(0, errBoom)
			}
			return h(m)
		})
		replay.AddHandler(FromDeadLetters(retries))
		if err := replay.ConnectToNSQD("b:1"); err != nil {
			s.Fatal(err)
		}
		s.consumer(1, h)
		s.connect(s.source)
		s.source.Publish("t", "m", "given up")
		after(time.Minute)
		var got []string
		for _, letter := range s.letters("t.c.dead.replay.dead") {
			h, body, _ := envelope.Open([]byte(letter))
			got = append(got, string(body)+" of "+h[HeaderOriginTopic])
		}
		if slices.Sort(got); !slices.Equal(got, []string{"given up of t", "m of t"}) {
			s.Errorf("dead letters of the replay %q", got)
		}
		replay.Stop()
		<-replay.StopChan
	})
}

func TestFromDeadLettersOfNothingPanics(t *testing.T) {
	if panicOf(func() { FromDeadLetters(nil) }) == nil {
		t.Error("no panic")
	}
}

// In the test of a handler, without a Consumer, a dead letter that is given up is left alone.
func TestReplayWithoutConsumer(t *testing.T) {
	m := NewMessage(MessageID{}, envelope.Seal(envelope.Header{HeaderOriginTopic: "t"}, []byte("pen")))
	var got string
	h := FromDeadLetters(HandlerFunc(func(m *Message) error { got = string(m.Body); return nil }))
	if err := h.HandleMessage(m); err != nil || got != "pen" {
		t.Errorf("%q, %v", got, err)
	}
	h.(FailedMessageLogger).LogFailedMessage(m)
	if m.HasResponded() {
		t.Error("requeued")
	}
}

// While dead letters cannot be stored, messages that are given up together leave the others
// half of their leases, whether a Fetch or a batch handler takes them.
func TestGivenUpMessagesLeaveTheOthersTime(t *testing.T) {
	for _, way := range []string{"Fetch", "batch"} {
		t.Run(way, func(t *testing.T) {
			bury(t, func(s *burial) {
				s.policy.To = publisherFunc(func(ctx context.Context, _ string, _ []byte) error {
					<-ctx.Done()
					return ctx.Err()
				})
				s.cfg.MaxAttempts, s.cfg.MaxInFlight = 1, 10
				limits := BatchLimits{Messages: 10, Wait: 5 * time.Second}
				s.source.Publish("t", "m", "m", "m", "m", "m")
				s.attempt(s.source, 5)
				s.source.Publish("t", "fresh")
				took := time.Duration(0)
				began := time.Now()
				handle := func(batch []*Message) {
					took = time.Since(began)
					for _, m := range batch {
						if string(m.Body) != "fresh" || m.Context().Err() != nil {
							s.Errorf("after %v there is %q, %v", took, m.Body, context.Cause(m.Context()))
						}
						m.Finish()
					}
				}
				s.consumer(0, nil)
				if way == "batch" {
					s.c.AddBatchHandler(BatchHandlerFunc(func(_ context.Context, batch []*Message) error {
						handle(batch)
						return nil
					}), limits, 1)
				}
				if err := s.c.Connect(s.Context(), s.source.Addr()); err != nil {
					s.Fatal(err)
				}
				if way == "Fetch" {
					handle(s.fetch(s.c, limits))
				}
				after(time.Minute)
				if took < 30*time.Second || took > 36*time.Second {
					s.Errorf("the message came after %v", took)
				}
				if st := s.source.Stats("t", "c"); st.Finished != 1 || st.TimedOut != 0 {
					s.Errorf("%+v, want 1 finished and none timed out", st)
				}
			})
		})
	}
}

// attempt takes n messages and requeues them.
func (s *burial) attempt(d *nsqtest.Nsqd, n int) {
	s.Helper()
	cfg := s.cfg.clone()
	cfg.DeadLetter = nil
	c, err := NewConsumer("t", "c", cfg)
	if err != nil {
		s.Fatal(err)
	}
	c.AddHandler(HandlerFunc(func(m *Message) error {
		if n--; n == 0 {
			c.Stop()
		}
		return RetryAfter(0, errBoom)
	}))
	if err := c.ConnectToNSQD(d.Addr()); err != nil {
		s.Fatal(err)
	}
	<-c.StopChan
}

// slowLogger is a handler whose LogFailedMessage takes more than half of a lease.
type slowLogger struct{ HandlerFunc }

func (slowLogger) LogFailedMessage(*Message) { sleep(40 * time.Second) }

// The time of LogFailedMessage is not taken from that for the dead letter.
func TestDeadLetterAfterSlowLogFailedMessage(t *testing.T) {
	bury(t, func(s *burial) {
		s.cfg.MaxAttempts = 1
		s.source.Publish("t", "m")
		s.attempt(s.source, 1)
		s.consumer(0, nil)
		s.c.AddHandler(slowLogger{noError})
		s.connect(s.source)
		after(time.Minute)
		if st := s.source.Stats("t", "c"); st.Finished != 1 || !slices.Equal(s.letters("t.c.dead"), []string{"m"}) {
			s.Errorf("%+v, dead letters %q", st, s.letters("t.c.dead"))
		}
	})
}
