package nsqwatermill

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/rdyhq/nsq/nsqtest"
)

// While the Router closes, it lets handlers finish. It closes their publisher when the channel
// of messages is closed, which must not be before what they produce is published. It also ends
// their contexts.
func TestRouterClosesAfterItsHandlers(t *testing.T) {
	inScene(t, func(s *scene) {
		router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
		if err != nil {
			t.Fatal(err)
		}
		begun := make(chan struct{})
		router.AddHandler("bill", "orders", s.subscriber(), "invoices", s.publisher(),
			func(m *message.Message) ([]*message.Message, error) {
				close(begun)
				<-m.Context().Done()
				<-time.After(5 * time.Second)
				return message.Messages{message.NewMessage("invoice", m.Payload)}, nil
			})
		ended := make(chan error)
		go func() { ended <- router.Run(context.Background()) }()
		<-router.Running()
		s.nsqd.Publish("orders", "a")
		<-begun
		if err := router.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.stats(nsqtest.Stats{Delivered: 1, Finished: 1})
		if got := s.nsqd.Queued("invoices", ""); len(got) != 1 {
			t.Errorf("the invoices are %q, want one", got)
		}
	})
}

// A handler's error is a Nack.
func TestRouterRetries(t *testing.T) {
	inScene(t, func(s *scene) {
		router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
		if err != nil {
			t.Fatal(err)
		}
		var attempts []uint16
		router.AddConsumerHandler("bill", "orders", s.subscriber(), func(m *message.Message) error {
			received, _ := FromContext(m.Context())
			if attempts = append(attempts, received.Attempts); len(attempts) < 3 {
				return errors.New("the bank is closed")
			}
			return nil
		})
		ended := make(chan error)
		go func() { ended <- router.Run(context.Background()) }()
		<-router.Running()
		s.nsqd.Publish("orders", "a")
		after(time.Second)
		s.stats(nsqtest.Stats{Clients: 1, Delivered: 3, Finished: 1, Requeued: 2})
		if err := router.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if len(attempts) != 3 || attempts[2] != 3 {
			t.Errorf("attempts %v, want 1, 2 and 3", attempts)
		}
	})
}
