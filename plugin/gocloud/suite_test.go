package nsqpubsub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"gocloud.dev/pubsub"
	"gocloud.dev/pubsub/driver"
	"gocloud.dev/pubsub/drivertest"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/broker"
)

// TestConformance runs the Go CDK's conformance suite against a real nsqd.
func TestConformance(t *testing.T) {
	nsqd := startNSQD(t)
	count := 0
	newHarness := func(_ context.Context, t *testing.T) (drivertest.Harness, error) {
		count++
		return newHarness(t, nsqd, fmt.Sprint("topic", count)), nil
	}
	drivertest.RunConformanceTests(t, newHarness, []drivertest.AsTest{asTest{}})
}

// startNSQD starts a real nsqd that stops with the test, and returns its address.
func startNSQD(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, err := broker.Start(ctx, broker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
	return b.NSQDs()[0].TCPAddr
}

// harness is the suite's access to the driver, for one test.
type harness struct {
	config        *nsq.Config
	nsqd, topic   string
	pool          *nsq.ProducerPool
	nowhere       *nsq.Producer // of an nsqd whose host does not exist
	subscriptions int
}

func newHarness(t *testing.T, nsqd, topic string) *harness {
	t.Helper()
	config := nsq.NewConfig()
	config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	pool, err := nsq.NewProducerPool([]string{nsqd}, config)
	if err != nil {
		t.Fatal(err)
	}
	nowhere, err := nsq.NewProducer("nsqd.invalid:4150", noSuchHost(config))
	if err != nil {
		t.Fatal(err)
	}
	return &harness{config: config, nsqd: nsqd, topic: topic, pool: pool, nowhere: nowhere}
}

// noSuchHost returns a copy of a config with which no name of a host is known.
func noSuchHost(config *nsq.Config) *nsq.Config {
	c := *config
	c.DialContext = func(_ context.Context, network, addr string) (net.Conn, error) {
		return nil, unknownHost(network, addr)
	}
	return &c
}

// unknownHost returns the error of a dial whose host does not exist.
func unknownHost(network, addr string) error {
	host, _, _ := net.SplitHostPort(addr)
	return &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}}
}

func (h *harness) CreateTopic(context.Context, string) (driver.Topic, func(), error) {
	t, err := newTopic(h.pool, h.topic)
	return t, func() {}, err
}

// MakeNonexistentTopic returns a topic of an nsqd whose host does not exist: nsqd creates
// topics when they are used.
func (h *harness) MakeNonexistentTopic(context.Context) (driver.Topic, error) {
	return newTopic(h.nowhere, h.topic)
}

func (h *harness) CreateSubscription(ctx context.Context, t driver.Topic, _ string) (driver.Subscription, func(), error) {
	h.subscriptions++
	channel := fmt.Sprint("channel", h.subscriptions)
	s, err := newSubscription(ctx, h.config, t.(*topic).name, channel, &SubscriptionOptions{NSQDs: []string{h.nsqd}})
	return s, func() { _ = s.Close() }, err
}

func (h *harness) MakeNonexistentSubscription(ctx context.Context) (driver.Subscription, func(), error) {
	s, err := newSubscription(ctx, noSuchHost(h.config), h.topic, "channel", &SubscriptionOptions{NSQDs: []string{"nsqd.invalid:4150"}})
	return s, func() {}, err
}

func (h *harness) Close() {
	h.pool.Stop()
	h.nowhere.Stop()
}

func (*harness) MaxBatchSizes() (send, ack int)      { return 0, 0 }
func (*harness) SupportsMultipleSubscriptions() bool { return true }

// asTest checks the types that doc.go lists.
type asTest struct{}

func (asTest) Name() string { return "nsq" }

func (asTest) TopicCheck(t *pubsub.Topic) error {
	var p nsq.Publisher
	if !t.As(&p) || p == nil {
		return errors.New("a topic has no nsq.Publisher")
	}
	return nil
}

func (asTest) SubscriptionCheck(s *pubsub.Subscription) error {
	var c *nsq.Consumer
	if !s.As(&c) || c == nil {
		return errors.New("a subscription has no *nsq.Consumer")
	}
	return nil
}

func (asTest) TopicErrorCheck(t *pubsub.Topic, err error) error {
	if !errors.Is(err, nsq.ErrNotSent) {
		return fmt.Errorf("error %w is no nsq.ErrNotSent", err)
	}
	var refused *nsq.ProtocolError
	if t.ErrorAs(err, &refused) {
		return fmt.Errorf("error %w is a *nsq.ProtocolError, but no nsqd was there", err)
	}
	return nil
}

func (asTest) SubscriptionErrorCheck(s *pubsub.Subscription, err error) error {
	var refused *nsq.ProtocolError
	if s.ErrorAs(err, &refused) {
		return fmt.Errorf("error %w is a *nsq.ProtocolError, but no nsqd was there", err)
	}
	return nil
}

func (asTest) MessageCheck(m *pubsub.Message) error {
	var received *nsq.Message
	if !m.As(&received) || received.Attempts != 1 {
		return fmt.Errorf("a message has %v, want an *nsq.Message with 1 attempt", received)
	}
	return nil
}

func (asTest) BeforeSend(as func(any) bool) error {
	var m *nsq.Message
	if as(&m) {
		return errors.New("BeforeSend has a type")
	}
	return nil
}

func (t asTest) AfterSend(as func(any) bool) error { return t.BeforeSend(as) }
