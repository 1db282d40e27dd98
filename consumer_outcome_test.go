package nsq

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// What Message.Outcome says to a middleware is what hooks are told, for each way in which a
// handler can end.
func TestOutcomeIsWhatHooksHear(t *testing.T) {
	bodies := []string{"good", "fails", "retries", "discards", "panics", "panics with a result", "acks", "leaves", "leaves and panics", "acks and fails"}
	inScene(t, func(s *scene) {
		foretold, heard := map[string]string{}, map[string]string{}
		s.cfg.Hooks = []Hooks{{Handled: func(e HandledEvent) {
			heard[string(e.Message.Body)] = fmt.Sprint(e.Outcome, " ", e.Delay)
		}}}
		s.cfg.MaxBackoffDuration = 0
		s.consumer(1, handlerOfOutcomes).Use(func(next Handler) Handler {
			return HandlerFunc(func(m *Message) error {
				var err error = &PanicError{Value: Discard(errBoom)}
				defer func() {
					outcome, delay := m.Outcome(err)
					foretold[string(m.Body)] = fmt.Sprint(outcome, " ", delay)
				}()
				err = next.HandleMessage(m.WithContext(m.Context()))
				return err
			})
		})
		d := s.nsqd("a:1")
		if err := s.c.ConnectToNSQD("a:1"); err != nil {
			t.Fatal(err)
		}
		d.Publish("t", bodies...)
		after(time.Second)
		for _, body := range bodies {
			if heard[body] == "" || foretold[body] != heard[body] {
				t.Errorf("%s: foretold %q, hooks heard %q", body, foretold[body], heard[body])
			}
		}
		if got := heard["fails"]; got != "requeued 1m30s" {
			t.Errorf("fails: %q", got)
		}
	})
}

// handlerOfOutcomes does what a message's body says.
func handlerOfOutcomes(m *Message) error {
	switch string(m.Body) {
	case "fails":
		return errors.New("fails")
	case "retries":
		return RetryAfter(time.Hour, errors.New("fails"))
	case "discards":
		return Discard(errors.New("fails"))
	case "panics":
		panic("oops")
	case "panics with a result":
		panic(Discard(errBoom))
	case "acks":
		m.Finish()
	case "leaves":
		m.DisableAutoResponse()
	case "leaves and panics":
		m.DisableAutoResponse()
		panic("oops")
	case "acks and fails":
		m.Finish()
		return errors.New("fails")
	}
	return nil
}

// Outcome works for messages that no Consumer delivered, as in a test of a middleware.
func TestOutcomeWithoutConsumer(t *testing.T) {
	m := NewMessage(MessageID{}, nil)
	for _, tt := range []struct {
		err     error
		outcome Outcome
		delay   time.Duration
	}{
		{nil, OutcomeFinished, 0},
		{errors.New("fails"), OutcomeRequeued, 0},
		{RetryAfter(time.Minute, errors.New("fails")), OutcomeRequeued, time.Minute},
	} {
		if outcome, delay := m.Outcome(tt.err); outcome != tt.outcome || delay != tt.delay {
			t.Errorf("%v: %s %v, want %s %v", tt.err, outcome, delay, tt.outcome, tt.delay)
		}
	}
}
