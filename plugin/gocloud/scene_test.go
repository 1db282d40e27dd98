package nsqpubsub

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"gocloud.dev/gcerrors"
	"gocloud.dev/pubsub"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// scene is a test in virtual time: an nsqd, and what reaches it. Its topic is orders, its
// channel is billing.
type scene struct {
	*testing.T
	network *nsqtest.Network
	nsqd    *nsqtest.Nsqd
	config  *nsq.Config
}

func inScene(t *testing.T, test func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		config := nsq.NewConfig()
		config.DialContext = network.DialContext
		config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		test(&scene{
			T: t, network: network, config: config,
			nsqd: nsqtest.NewNsqd(t, nsqtest.Options{Network: network, Addr: "nsqd1:4150"}),
		})
	})
}

// pool returns a ProducerPool that stops with the test.
func (s *scene) pool() *nsq.ProducerPool {
	s.Helper()
	pool, err := nsq.NewProducerPool([]string{s.nsqd.Addr()}, s.config)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(pool.Stop)
	return pool
}

// topic returns a topic that is shut down with the test.
func (s *scene) topic(p nsq.Publisher, opts *TopicOptions) *pubsub.Topic {
	s.Helper()
	topic, err := OpenTopic(p, "orders", opts)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := topic.Shutdown(context.Background()); err != nil {
			s.Error(err)
		}
	})
	return topic
}

// subscription returns a subscription, which the test must shut down.
func (s *scene) subscription() *pubsub.Subscription {
	s.Helper()
	sub, err := OpenSubscription(context.Background(), s.config, "orders", "billing", s.options())
	if err != nil {
		s.Fatal(err)
	}
	return sub
}

func (s *scene) options() *SubscriptionOptions {
	return &SubscriptionOptions{NSQDs: []string{s.nsqd.Addr()}}
}

// driver returns a driver of a subscription, which is closed with the test.
func (s *scene) driver() *subscription {
	s.Helper()
	d, err := newSubscription(context.Background(), s.config, "orders", "billing", s.options())
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := d.Close(); err != nil {
			s.Error(err)
		}
	})
	return d
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
func (s *scene) receive(sub *pubsub.Subscription) *pubsub.Message {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	m, err := sub.Receive(ctx)
	if err != nil {
		s.Fatal(err)
	}
	return m
}

// ackNext receives the next message in the background and acks it. The channel gets its body,
// and is closed without one if none comes within a minute.
func (s *scene) ackNext(sub *pubsub.Subscription) <-chan string {
	body := make(chan string, 1)
	go func() {
		defer close(body)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		m, err := sub.Receive(ctx)
		if err != nil {
			s.Error(err)
			return
		}
		m.Ack()
		body <- string(m.Body)
	}()
	return body
}

// shutdown shuts down a subscription.
func (s *scene) shutdown(sub *pubsub.Subscription) {
	s.Helper()
	if err := sub.Shutdown(context.Background()); err != nil {
		s.Error(err)
	}
}

// after lets virtual time pass and waits until everything has settled.
func after(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // inside a synctest bubble
	synctest.Wait()
}

// wantCode fails the test unless an error has a code.
func wantCode(t testing.TB, err error, want gcerrors.ErrorCode) {
	t.Helper()
	if got := gcerrors.Code(err); got != want {
		t.Errorf("error %v has code %v, want %v", err, got, want)
	}
}
