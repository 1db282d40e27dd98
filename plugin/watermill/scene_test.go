package nsqwatermill

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// scene is a test in virtual time: an nsqd, and what reaches it. Its topic is orders, its
// channel is billing.
type scene struct {
	*testing.T
	network *nsqtest.Network
	nsqd    *nsqtest.Nsqd
	config  SubscriberConfig
}

func inScene(t *testing.T, test func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		config := nsq.NewConfig()
		config.DialContext = network.DialContext
		config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		test(&scene{
			T: t, network: network,
			nsqd:   nsqtest.NewNsqd(t, nsqtest.Options{Network: network, Addr: "nsqd1:4150"}),
			config: SubscriberConfig{NSQDs: []string{"nsqd1:4150"}, Channel: "billing", Config: config},
		})
	})
}

// subscriber returns a Subscriber with the scene's config, which is closed with the test.
func (s *scene) subscriber() *Subscriber {
	s.Helper()
	subscriber, err := NewSubscriber(s.config)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := subscriber.Close(); err != nil {
			s.Error(err)
		}
	})
	return subscriber
}

// subscribe returns the messages of a new Subscriber's subscription.
func (s *scene) subscribe(ctx context.Context) (*Subscriber, <-chan *message.Message) {
	s.Helper()
	subscriber := s.subscriber()
	messages, err := subscriber.Subscribe(ctx, "orders")
	if err != nil {
		s.Fatal(err)
	}
	return subscriber, messages
}

// publisher returns a Publisher whose Producer stops with the test.
func (s *scene) publisher() *Publisher {
	s.Helper()
	producer, err := nsq.NewProducer(s.nsqd.Addr(), s.config.Config)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(producer.Stop)
	return NewPublisher(producer, PublisherConfig{})
}

// stats fails the test unless the channel has these figures when nothing is left to do.
func (s *scene) stats(want nsqtest.Stats) {
	s.Helper()
	synctest.Wait()
	if got := s.nsqd.Stats("orders", "billing"); got != want {
		s.Errorf("nsqd has\n%+v, want\n%+v", got, want)
	}
}

// receive returns the next message. It fails the test if none comes within a minute.
func receive(t testing.TB, messages <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case m, open := <-messages:
		if !open {
			t.Fatal("the channel is closed")
		}
		return m
	case <-time.After(time.Minute):
		t.Fatal("no message")
	}
	return nil
}

// none fails the test if there is a message, or if the channel is closed.
func none(t testing.TB, messages <-chan *message.Message) {
	t.Helper()
	synctest.Wait()
	select {
	case m, open := <-messages:
		t.Errorf("message %v, channel open %v", m, open)
	default:
	}
}

// closed fails the test unless the channel is closed.
func closed(t testing.TB, messages <-chan *message.Message) {
	t.Helper()
	synctest.Wait()
	select {
	case m, open := <-messages:
		if open {
			t.Errorf("message %v", m)
		}
	default:
		t.Error("the channel is open")
	}
}

// after lets virtual time pass and waits until everything has settled.
func after(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // inside a synctest bubble
	synctest.Wait()
}
