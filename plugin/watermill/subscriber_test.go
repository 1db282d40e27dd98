package nsqwatermill

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestAck(t *testing.T) {
	inScene(t, func(s *scene) {
		_, messages := s.subscribe(s.Context())
		sent := message.NewMessage("uuid-1", message.Payload("pay"))
		sent.Metadata.Set("correlation_id", "c-1")
		if err := s.publisher().Publish("orders", sent); err != nil {
			t.Fatal(err)
		}
		got := receive(t, messages)
		if !got.Equals(sent) {
			t.Errorf("received %+v, want %+v", got, sent)
		}
		s.stats(nsqtest.Stats{InFlight: 1, Clients: 1, Delivered: 1})
		got.Ack()
		s.stats(nsqtest.Stats{Clients: 1, Delivered: 1, Finished: 1})
	})
}

// A nack delays the message by 100 ms for each attempt. The Consumer does not back off:
// another message comes meanwhile.
func TestNack(t *testing.T) {
	inScene(t, func(s *scene) {
		_, messages := s.subscribe(s.Context())
		s.nsqd.Publish("orders", "a")
		for attempt := time.Duration(1); attempt <= 3; attempt++ {
			m := receive(t, messages)
			if string(m.Payload) != "a" {
				t.Fatalf("received %s", m.Payload)
			}
			m.Nack()
			nacked := time.Now()
			s.nsqd.Publish("orders", "b")
			receive(t, messages).Ack()
			if d := time.Since(nacked); d != 0 {
				t.Errorf("the other message came after %v", d)
			}
			after(attempt*100*time.Millisecond - 1)
			none(t, messages)
			after(1)
		}
		receive(t, messages).Ack()
		s.stats(nsqtest.Stats{Clients: 1, Delivered: 7, Finished: 4, Requeued: 3})
	})
}

func TestNackDelay(t *testing.T) {
	for _, test := range []struct {
		delay, longest time.Duration
		attempts       uint16
		want           time.Duration
	}{
		{delay: time.Second, longest: time.Minute, attempts: 1, want: time.Second},
		{delay: time.Second, longest: time.Minute, attempts: 60, want: time.Minute},
		{delay: time.Second, longest: time.Minute, attempts: 61, want: time.Minute},
		{delay: time.Second, longest: time.Minute, attempts: 0, want: 0},
		{delay: time.Second, longest: 0, attempts: 1, want: 0},
		{delay: 1<<63 - 1, longest: time.Hour, attempts: 65535, want: time.Hour},
	} {
		config := nsq.NewConfig()
		config.MaxRequeueDelay = test.longest
		sub := &subscription{config: &SubscriberConfig{NackDelay: test.delay, Config: config}}
		if got := sub.nackDelay(test.attempts); got != test.want {
			t.Errorf("%+v: got %v", test, got)
		}
	}
}

// The default of max_attempts, 5, would have the Consumer ack the message unhandled.
func TestNeverGivenUp(t *testing.T) {
	inScene(t, func(s *scene) {
		_, messages := s.subscribe(s.Context())
		s.nsqd.Publish("orders", "a")
		for range 20 {
			receive(t, messages).Nack()
		}
		last := receive(t, messages)
		if m, ok := FromContext(last.Context()); !ok || m.Attempts != 21 {
			t.Errorf("attempts: %v, %v, want 21", m, ok)
		}
		last.Ack()
		s.stats(nsqtest.Stats{Clients: 1, Delivered: 21, Finished: 1, Requeued: 20})
	})
}

func TestConcurrency(t *testing.T) {
	inScene(t, func(s *scene) {
		s.config.Concurrency = 3
		_, messages := s.subscribe(s.Context())
		s.nsqd.Publish("orders", "a", "b", "c", "d", "e")
		first := receive(t, messages)
		receive(t, messages)
		receive(t, messages)
		none(t, messages)
		first.Ack()
		receive(t, messages)
		none(t, messages)
	})
}

// While a handler is at work on a message whose lease is over, no other one takes its place.
func TestOverdueMessageKeepsItsPlace(t *testing.T) {
	inScene(t, func(s *scene) {
		_, messages := s.subscribe(s.Context())
		s.nsqd.Publish("orders", "a", "b")
		overdue := receive(t, messages)
		after(2 * time.Minute)
		none(t, messages)
		overdue.Ack() // in vain
		receive(t, messages).Ack()
		receive(t, messages).Ack()
		s.stats(nsqtest.Stats{Clients: 1, Delivered: 4, Finished: 2, TimedOut: 2})
	})
}

// A message that waits for a receiver is not handed over after its lease.
func TestStaleMessageIsNotHandedOver(t *testing.T) {
	inScene(t, func(s *scene) {
		_, messages := s.subscribe(s.Context())
		s.nsqd.Publish("orders", "a")
		after(59 * time.Second)
		s.stats(nsqtest.Stats{InFlight: 1, Clients: 1, Delivered: 1})
		after(2 * time.Second)
		m := receive(t, messages)
		if received, _ := FromContext(m.Context()); received.Attempts != 2 {
			t.Errorf("received delivery %d, want 2", received.Attempts)
		}
		if err := m.Context().Err(); err != nil {
			t.Error(err)
		}
		m.Ack()
		s.stats(nsqtest.Stats{Clients: 1, Delivered: 2, Finished: 1, TimedOut: 1})
	})
}

func TestMessageContextEnds(t *testing.T) {
	stop := errors.New("stop")
	for name, test := range map[string]struct {
		end  func(s *scene, m *message.Message, cancel context.CancelCauseFunc)
		want error
	}{
		"ack":       {func(_ *scene, m *message.Message, _ context.CancelCauseFunc) { m.Ack() }, context.Canceled},
		"nack":      {func(_ *scene, m *message.Message, _ context.CancelCauseFunc) { m.Nack() }, context.Canceled},
		"lease":     {func(*scene, *message.Message, context.CancelCauseFunc) { after(time.Minute) }, nsq.ErrMessageTimedOut},
		"loss":      {func(s *scene, _ *message.Message, _ context.CancelCauseFunc) { s.nsqd.Disconnect(1) }, nsq.ErrConnectionLost},
		"subscribe": {func(_ *scene, _ *message.Message, cancel context.CancelCauseFunc) { cancel(stop) }, stop},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				ctx, cancel := context.WithCancelCause(s.Context())
				_, messages := s.subscribe(ctx)
				s.nsqd.Publish("orders", "a")
				m := receive(t, messages)
				defer m.Ack()
				synctest.Wait()
				if err := m.Context().Err(); err != nil {
					t.Fatal(err)
				}
				test.end(s, m, cancel)
				synctest.Wait()
				if got := context.Cause(m.Context()); !errors.Is(got, test.want) {
					t.Errorf("the context ended with %v, want %v", got, test.want)
				}
			})
		})
	}
}

type key string

// The context of a message has the values of Subscribe's, and those of a middleware of the
// Consumer, which are nearer to the message.
func TestMessageContextValues(t *testing.T) {
	inScene(t, func(s *scene) {
		s.config.Configure = func(c *nsq.Consumer) {
			c.Use(func(next nsq.Handler) nsq.Handler {
				return nsq.HandlerFunc(func(m *nsq.Message) error {
					return next.HandleMessage(m.WithContext(context.WithValue(m.Context(), key("both"), "middleware")))
				})
			})
		}
		ctx := context.WithValue(context.WithValue(s.Context(), key("both"), "caller"), key("one"), "caller")
		_, messages := s.subscribe(ctx)
		s.nsqd.Publish("orders", "a")
		m := receive(t, messages)
		defer m.Ack()
		for name, want := range map[key]any{"one": "caller", "both": "middleware", "none": nil} {
			if got := m.Context().Value(name); got != want {
				t.Errorf("value %s: %v, want %v", name, got, want)
			}
		}
		child, cancel := context.WithCancel(m.Context())
		defer cancel()
		if received, ok := FromContext(child); !ok || string(received.Body) != "a" {
			t.Errorf("the message: %v, %v", received, ok)
		}
		if _, ok := FromContext(s.Context()); ok {
			t.Error("another context has a message")
		}
	})
}

// When Subscribe's context ends, messages that the program has not taken are requeued at once,
// and an Ack still counts. The channel is closed after that.
func TestSubscribeContextEnds(t *testing.T) {
	inScene(t, func(s *scene) {
		s.config.Concurrency = 2
		ctx, cancel := context.WithCancel(s.Context())
		_, messages := s.subscribe(ctx)
		s.nsqd.Publish("orders", "taken", "untaken")
		m := receive(t, messages)
		synctest.Wait()
		cancel()
		none(t, messages)
		s.stats(nsqtest.Stats{Depth: 1, InFlight: 1, Clients: 1, Delivered: 2, Requeued: 1})
		m.Ack()
		after(100 * time.Millisecond) // the Consumer notices that all is done
		closed(t, messages)
		s.stats(nsqtest.Stats{Depth: 1, Delivered: 2, Finished: 1, Requeued: 1})
	})
}

// Close lets handlers finish: their contexts live on until CloseTimeout.
func TestCloseWaitsForAcks(t *testing.T) {
	inScene(t, func(s *scene) {
		subscriber, messages := s.subscribe(s.Context())
		s.nsqd.Publish("orders", "a", "b")
		m := receive(t, messages)
		ended := make(chan error)
		go func() { ended <- subscriber.Close() }()
		after(9 * time.Second)
		none(t, messages)
		if err := m.Context().Err(); err != nil {
			t.Error(err)
		}
		m.Ack()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		closed(t, messages)
		s.stats(nsqtest.Stats{Depth: 1, Delivered: 1, Finished: 1})
	})
}

func TestCloseGivesUp(t *testing.T) {
	inScene(t, func(s *scene) {
		subscriber, messages := s.subscribe(s.Context())
		s.nsqd.Publish("orders", "a")
		m := receive(t, messages)
		begun := time.Now()
		if err := subscriber.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("Close took %v, want 10 s", took)
		}
		if m.Context().Err() == nil {
			t.Error("the message's context has not ended")
		}
		m.Ack() // in vain
		closed(t, messages)
		s.stats(nsqtest.Stats{Depth: 1, Delivered: 1, Requeued: 1})
		if err := subscriber.Close(); err != nil {
			t.Error(err)
		}
	})
}

// slow is a Marshaler that takes a minute for each message.
type slow struct{ Envelope }

func (slow) Unmarshal(m *nsq.Message) (*message.Message, error) {
	<-time.After(time.Minute)
	return Envelope{}.Unmarshal(m)
}

// reportPanics is a middleware that fails the test if a handler panics.
func (s *scene) reportPanics(next nsq.Handler) nsq.Handler {
	return nsq.HandlerFunc(func(m *nsq.Message) error {
		defer func() {
			if p := recover(); p != nil {
				s.Error(p)
			}
		}()
		return next.HandleMessage(m)
	})
}

// Close returns the errors of Consumers that could not finish. Handlers that outlive their
// Consumer do not send to the closed channel, which would panic.
func TestCloseReportsUnfinishedWork(t *testing.T) {
	inScene(t, func(s *scene) {
		s.config.Marshaler, s.config.Concurrency = slow{}, 20
		s.config.Configure = func(c *nsq.Consumer) { c.Use(s.reportPanics) }
		subscriber, err := NewSubscriber(s.config)
		if err != nil {
			t.Fatal(err)
		}
		messages, err := subscriber.Subscribe(s.Context(), "orders")
		if err != nil {
			t.Fatal(err)
		}
		s.nsqd.Publish("orders", strings.Split(strings.Repeat("x", 20), "")...)
		synctest.Wait()
		for range 2 {
			err := subscriber.Close()
			if _, unfinished := errors.AsType[*nsq.StopError](err); !unfinished {
				t.Errorf("Close returned %v, want a StopError", err)
			}
		}
		closed(t, messages)
		after(time.Minute) // the handlers end
	})
}

func TestSubscribeErrors(t *testing.T) {
	inScene(t, func(s *scene) {
		s.network.Refuse("nsqd2:4150", errors.New("refused"))
		s.config.NSQDs = []string{"nsqd2:4150"}
		subscriber := s.subscriber()
		failed, cancel := context.WithCancelCause(s.Context())
		cancel(errors.New("no time"))
		for _, test := range []struct {
			ctx   context.Context
			topic string
			want  string
		}{
			{s.Context(), strings.Repeat("x", 65), "of 65 bytes: NSQ allows 1 to 64"},
			{s.Context(), "a/b", `invalid topic name "a/b"`},
			{s.Context(), "orders", "subscribe to topic orders, channel billing: [nsqd2:4150] failed to connect - "},
			{failed, "orders", "no time"},
		} {
			if _, err := subscriber.Subscribe(test.ctx, test.topic); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("topic %s: %v, want %q", test.topic, err, test.want)
			}
		}
		if err := subscriber.Close(); err != nil {
			t.Error(err)
		}
		if _, err := subscriber.Subscribe(s.Context(), "orders"); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if err := subscriber.SubscribeInitialize("orders"); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if n := s.network.Attempts("nsqd2:4150"); n != 1 {
			t.Errorf("%d dials, want one: the other calls could not succeed", n)
		}
	})
}

// Close and the end of the context interrupt a Subscribe that waits for an nsqd.
func TestSubscribeIsInterrupted(t *testing.T) {
	for name, interrupt := range map[string]func(s *Subscriber, cancel context.CancelFunc){
		"close":   func(s *Subscriber, _ context.CancelFunc) { _ = s.Close() },
		"context": func(_ *Subscriber, cancel context.CancelFunc) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.network.Blackhole("nsqd1:4150")
				subscriber := s.subscriber()
				ctx, cancel := context.WithCancel(s.Context())
				defer cancel()
				begun, failed := time.Now(), make(chan error)
				go func() {
					_, err := subscriber.Subscribe(ctx, "orders")
					failed <- err
				}()
				synctest.Wait()
				interrupted := make(chan struct{})
				go func() {
					interrupt(subscriber, cancel)
					close(interrupted)
				}()
				if err := <-failed; !errors.Is(err, ErrClosed) && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				<-interrupted
				if took := time.Since(begun); took > 0 {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// One of two nsqds that is down does not fail Subscribe. It is connected when it is back.
func TestSubscribeWithoutOneNSQD(t *testing.T) {
	inScene(t, func(s *scene) {
		second := nsqtest.NewNsqd(s.T, nsqtest.Options{Network: s.network, Addr: "nsqd2:4150"})
		second.Kill()
		s.config.NSQDs = append(s.config.NSQDs, second.Addr())
		_, messages := s.subscribe(s.Context())
		s.nsqd.Publish("orders", "a")
		receive(t, messages).Ack()
		second.Restart()
		second.Publish("orders", "b")
		receive(t, messages).Ack()
	})
}

func TestLookupd(t *testing.T) {
	inScene(t, func(s *scene) {
		lookupd := nsqtest.NewLookupd(s.T, nsqtest.LookupdOptions{Network: s.network, Addr: "lookupd:4161"})
		s.config.NSQDs, s.config.Lookupds = nil, []string{lookupd.Addr()}
		s.config.Configure = func(c *nsq.Consumer) { c.SetLookupdHttpClient(s.network.HTTPClient()) }

		subscriber, messages := s.subscribe(s.Context())
		err := subscriber.SubscribeInitialize("orders")
		if err == nil || !strings.Contains(err.Error(), "no nsqlookupd lists an nsqd with the topic") {
			t.Errorf("SubscribeInitialize of an unknown topic: %v", err)
		}
		s.nsqd.Publish("orders", "a")
		lookupd.Register("orders", s.nsqd.Addr())
		m := <-messages // after the next poll
		m.Ack()
		if err := subscriber.SubscribeInitialize("orders"); err != nil {
			t.Error(err)
		}

		s.config.Lookupds = []string{"ftp://lookupd"}
		if _, err := s.subscriber().Subscribe(s.Context(), "orders"); err == nil {
			t.Error("Subscribe accepts a bad address of an nsqlookupd")
		}
	})
}

func TestSubscribeInitialize(t *testing.T) {
	inScene(t, func(s *scene) {
		if err := s.subscriber().SubscribeInitialize("orders"); err != nil {
			t.Fatal(err)
		}
		if n := len(s.nsqd.Clients()); n != 0 {
			t.Errorf("%d connections are left", n)
		}
		// Two groups: without its channel, the second would miss the message.
		s.config.Channel = "shipping"
		shipping := s.subscriber()
		if err := shipping.SubscribeInitialize("orders"); err != nil {
			t.Fatal(err)
		}
		s.nsqd.Publish("orders", "a")
		s.stats(nsqtest.Stats{Depth: 1})
		if err := shipping.SubscribeInitialize("orders"); err != nil { // takes no message
			t.Fatal(err)
		}
		if got, want := s.nsqd.Stats("orders", "shipping"), (nsqtest.Stats{Depth: 1}); got != want {
			t.Errorf("shipping has %+v, want %+v", got, want)
		}

		dials := s.network.Dials()
		s.config.Channel = "x#ephemeral"
		if err := s.subscriber().SubscribeInitialize("orders"); err != nil || s.network.Dials() != dials {
			t.Errorf("ephemeral channel: %v, %d dials, want 0", err, s.network.Dials()-dials)
		}
		s.nsqd.Kill()
		s.config.Channel = "billing"
		err := s.subscriber().SubscribeInitialize("orders")
		if err == nil || !strings.Contains(err.Error(), "create channel billing of topic orders: [nsqd1:4150]") {
			t.Errorf("nsqd is down: %v", err)
		}
		if err := s.subscriber().SubscribeInitialize("a/b"); err == nil || !strings.Contains(err.Error(), "invalid topic name") {
			t.Errorf("bad topic: %v", err)
		}
	})
}

// failing is a Marshaler that cannot unmarshal.
type failing struct{ Envelope }

func (failing) Unmarshal(*nsq.Message) (*message.Message, error) { return nil, errors.New("not mine") }

func TestUnmarshalFails(t *testing.T) {
	inScene(t, func(s *scene) {
		s.config.Marshaler = failing{}
		_, messages := s.subscribe(s.Context())
		s.nsqd.Publish("orders", "a")
		none(t, messages)
		s.stats(nsqtest.Stats{Deferred: 1, Clients: 1, Delivered: 1, Requeued: 1})
	})
}

func TestProgramStopsTheConsumer(t *testing.T) {
	inScene(t, func(s *scene) {
		var consumer *nsq.Consumer
		s.config.Configure = func(c *nsq.Consumer) { consumer = c }
		_, messages := s.subscribe(s.Context())
		consumer.Stop()
		<-consumer.Stopped()
		closed(t, messages)
	})
}

func TestNewSubscriberErrors(t *testing.T) {
	for want, change := range map[string]func(c *SubscriberConfig){
		"no address":                 func(c *SubscriberConfig) { c.NSQDs = nil },
		`invalid channel name ""`:    func(c *SubscriberConfig) { c.Channel = "" },
		"of 65 bytes":                func(c *SubscriberConfig) { c.Channel = strings.Repeat("x", 65) },
		"Concurrency is -1":          func(c *SubscriberConfig) { c.Concurrency = -1 },
		"NackDelay is -1ns":          func(c *SubscriberConfig) { c.NackDelay = -1 },
		"CloseTimeout is -1ns":       func(c *SubscriberConfig) { c.CloseTimeout = -1 },
		"enable both Deflate and Sn": func(c *SubscriberConfig) { c.Config.Deflate, c.Config.Snappy = true, true },
	} {
		config := SubscriberConfig{NSQDs: []string{"nsqd1:4150"}, Channel: "billing", Config: nsq.NewConfig()}
		change(&config)
		if _, err := NewSubscriber(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// The caller's Config stays as it is.
func TestConfigIsCopied(t *testing.T) {
	config := nsq.NewConfig()
	config.RecycleBodies = true
	s, err := NewSubscriber(SubscriberConfig{NSQDs: []string{"nsqd1:4150"}, Channel: "billing", Config: config, Concurrency: 7})
	if err != nil {
		t.Fatal(err)
	}
	if config.MaxAttempts != 5 || !config.RecycleBodies || config.MaxInFlight != 1 || config.StopTimeout != 30*time.Second {
		t.Error("the caller's Config has changed")
	}
	if c := s.config.Config; c.MaxAttempts != 0 || c.RecycleBodies || c.MaxInFlight != 7 || c.StopTimeout != 15*time.Second {
		t.Errorf("the copy is %+v", c)
	}
}
