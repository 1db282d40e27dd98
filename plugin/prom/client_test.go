package nsqprom

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// scene is a Consumer and a Producer of an nsqd in an in-memory network, with metrics.
type scene struct {
	*exporter
	nsqd     *nsqtest.Nsqd
	config   *nsq.Config
	producer *nsq.Producer
	consumer *nsq.Consumer
}

func inScene(t *testing.T, test func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		s := &scene{exporter: export(t), nsqd: nsqtest.NewNsqd(t, nsqtest.Options{Network: network, Addr: "n:1"}), config: nsq.NewConfig()}
		s.config.DialContext = network.DialContext
		s.config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		s.config.Hooks = []nsq.Hooks{s.hooks}
		var err error
		if s.producer, err = nsq.NewProducer(s.nsqd.Addr(), s.config); err != nil {
			t.Fatal(err)
		}
		s.Producer(s.producer)
		test(s)
		s.producer.Stop()
	})
}

func (s *scene) consume(handler nsq.HandlerFunc) {
	s.Helper()
	consumer, err := nsq.NewConsumer("t", "c", s.config)
	if err != nil {
		s.Fatal(err)
	}
	s.consumer = consumer
	s.Consumer(consumer)
	s.Consumer(consumer) // counts once
	consumer.AddHandler(handler)
	if err := consumer.ConnectToNSQD(s.nsqd.Addr()); err != nil {
		s.Fatal(err)
	}
}

func (s *scene) publish(n int) {
	s.Helper()
	for range n {
		if err := s.producer.PublishContext(context.Background(), "t", []byte("hello")); err != nil {
			s.Fatal(err)
		}
	}
}

// A Consumer and a Producer are exported while they run, and every message is counted.
func TestClients(t *testing.T) {
	inScene(t, func(s *scene) {
		s.config.MaxBackoffDuration = 0
		failed := false
		s.consume(func(*nsq.Message) error {
			if !failed {
				failed = true
				return nsq.RetryAfter(0, context.Canceled)
			}
			return nil
		})
		s.publish(3)
		synctest.Wait()
		time.Sleep(time.Second) //nolint:forbidigo // virtual time, until nsqd has delivered the failed one again
		synctest.Wait()
		got := s.gather()
		for name, want := range map[string]float64{
			`nsq_consumer_received_messages_total{channel="c",nsqd="n:1",topic="t"}`:        4,
			`nsq_consumer_finished_messages_total{channel="c",nsqd="n:1",topic="t"}`:        3,
			`nsq_consumer_requeued_messages_total{channel="c",nsqd="n:1",topic="t"}`:        1,
			`nsq_consumer_handled_messages_total{channel="c",outcome="finished",topic="t"}`: 3,
			`nsq_consumer_handled_messages_total{channel="c",outcome="requeued",topic="t"}`: 1,
			`nsq_consumer_connects_total{channel="c",nsqd="n:1",result="ok",topic="t"}`:     1,
			`nsq_consumer_connections{channel="c",state="connected",topic="t"}`:             1,
			`nsq_consumer_handlers{channel="c",topic="t"}`:                                  1,
			`nsq_consumer_max_in_flight_messages{channel="c",topic="t"}`:                    1,
			`nsq_producer_published_messages_total{nsqd="n:1",result="ok",topic="t"}`:       3,
			`nsq_producer_published_bytes_total{nsqd="n:1",result="ok",topic="t"}`:          15,
			`nsq_producer_pending_publishes{nsqd="n:1"}`:                                    0,
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s is %v, want %v", name, v, want)
			}
		}
		s.consumer.Stop()
		<-s.consumer.StopChan
		s.producer.Stop()
		if got := s.gather(); len(got) > 0 {
			t.Errorf("after the stops: %v", got)
		}
	})
}

// A scrape works at any time during a stop. The series end with the stop.
func TestScrapeDuringStop(t *testing.T) {
	inScene(t, func(s *scene) {
		s.config.Hooks = append(s.config.Hooks, nsq.Hooks{Stopped: func(nsq.StoppedEvent) { s.gather() }})
		stopping, stop := make(chan struct{}), make(chan struct{})
		s.consume(func(*nsq.Message) error {
			<-stopping
			s.gather() // the handler is at work, and the Consumer is stopping
			<-stop
			return nil
		})
		s.publish(2)
		synctest.Wait()
		s.consumer.Stop()
		close(stopping)
		synctest.Wait()
		if got := s.gather(); got[`nsq_consumer_connections{channel="c",state="closing",topic="t"}`] != 1 || got[`nsq_consumer_busy_handlers{channel="c",topic="t"}`] != 1 {
			t.Errorf("got %v", got)
		}
		began := time.Now()
		close(stop)
		<-s.consumer.StopChan
		if took := time.Since(began); took >= s.config.StopTimeout {
			t.Errorf("the stop took %v", took)
		}
		s.expect("nsq_consumer", nil)
	})
}
