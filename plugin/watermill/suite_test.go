package nsqwatermill

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"

	"github.com/rdyhq/nsq"
)

// TestPubSub runs Watermill's acceptance suite against a real nsqd, but for TestReconnect,
// which is below. NSQ does not guarantee order: messages that are requeued, or that nsqd had
// to write to disk, are overtaken by others.
func TestPubSub(t *testing.T) {
	nsqd := startNSQD(t)
	tests.TestPubSub(t, tests.Features{ConsumerGroups: true, Persistent: true},
		func(t *testing.T) (message.Publisher, message.Subscriber) {
			return pubSub(t, SubscriberConfig{NSQDs: []string{nsqd.addr()}, Channel: "tests"})
		},
		func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
			return pubSub(t, SubscriberConfig{NSQDs: []string{nsqd.addr()}, Channel: group})
		})
}

// TestNoAck runs the suite's test that a message comes after the Ack of the one before. The
// suite expects that only where order is guaranteed.
func TestNoAck(t *testing.T) {
	nsqd := startNSQD(t)
	tCtx := tests.TestContext{TestID: tests.NewTestID(), Features: tests.Features{GuaranteedOrder: true}}
	tests.TestNoAck(t, tCtx, func(t *testing.T) (message.Publisher, message.Subscriber) {
		return pubSub(t, SubscriberConfig{NSQDs: []string{nsqd.addr()}, Channel: "tests"})
	})
}

// TestReconnect runs the suite's test of the same name, which restarts nsqd under load.
//
// As soon as the last message has been received, that test compares what was received with a
// list of what was published, to which another goroutine may be about to add that message.
// The detector reports this race. Without it the comparison fails once in a few runs, unless
// messages come a while after they were published.
func TestReconnect(t *testing.T) {
	if raceDetector {
		t.Skip("the suite has a data race")
	}
	nsqd := startNSQD(t)
	tCtx := tests.TestContext{
		TestID:   tests.NewTestID(),
		Features: tests.Features{RestartServiceCommand: nsqd.restartCommand(t)},
	}
	tests.TestReconnect(t, tCtx, func(t *testing.T) (message.Publisher, message.Subscriber) {
		return pubSub(t, SubscriberConfig{
			NSQDs: []string{nsqd.addr()}, Channel: "tests", Concurrency: 1000,
			Configure: func(c *nsq.Consumer) { c.Use(delayed) },
		})
	})
}

// delayed is a middleware that hands over messages half a second after their receipt.
func delayed(next nsq.Handler) nsq.Handler {
	return nsq.HandlerFunc(func(m *nsq.Message) error {
		<-time.After(500 * time.Millisecond)
		return next.HandleMessage(m)
	})
}

// pubSub returns a Publisher and a Subscriber. The suite also calls it from goroutines of its
// own, so it must not end the test.
func pubSub(t *testing.T, config SubscriberConfig) (*Publisher, *Subscriber) {
	config.Config = nsq.NewConfig()
	config.Config.Logger = slog.New(slog.DiscardHandler)
	producer, err := nsq.NewProducer(config.NSQDs[0], config.Config)
	if err != nil {
		t.Error(err)
	}
	t.Cleanup(producer.Stop)
	subscriber, err := NewSubscriber(config)
	if err != nil {
		t.Error(err)
	}
	t.Cleanup(func() {
		if err := subscriber.Close(); err != nil {
			t.Error(err)
		}
	})
	return NewPublisher(producer, PublisherConfig{}), subscriber
}

// TestRestart is like the suite's TestReconnect, for the race detector: no message is lost
// while nsqd is restarted twice.
func TestRestart(t *testing.T) {
	nsqd := startNSQD(t)
	publisher, subscriber := pubSub(t, SubscriberConfig{NSQDs: []string{nsqd.addr()}, Channel: "tests", Concurrency: 4})
	messages, err := subscriber.Subscribe(context.Background(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	const publishers, each = 20, 100
	var publishing sync.WaitGroup
	for i := range publishers {
		publishing.Go(func() {
			for j := range each {
				if i == 0 && j%40 == 20 {
					if err := nsqd.restart(); err != nil {
						t.Error(err)
						return
					}
				}
				publishUntilStored(t, publisher, message.NewMessage(fmt.Sprint(i, "-", j), nil))
			}
		})
	}
	received := map[string]bool{}
	for len(received) < publishers*each {
		m := receive(t, messages)
		received[m.UUID] = true
		m.Ack()
	}
	publishing.Wait()
}

// publishUntilStored publishes a message, more than once if its outcome is unknown, until the
// test ends.
func publishUntilStored(t *testing.T, p *Publisher, m *message.Message) {
	for p.Publish("orders", m) != nil && t.Context().Err() == nil {
		<-time.After(20 * time.Millisecond)
	}
}
