package nsqpubsub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gocloud.dev/gcerrors"
	"gocloud.dev/pubsub/driver"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestOpenSubscriptionRefuses(t *testing.T) {
	inScene(t, func(s *scene) {
		invalid := *s.config
		invalid.MaxInFlight = -1
		for name, tt := range map[string]struct {
			config         *nsq.Config
			topic, channel string
			opts           *SubscriptionOptions
		}{
			"no address":        {s.config, "orders", "billing", &SubscriptionOptions{}},
			"no options":        {s.config, "orders", "billing", nil},
			"an invalid topic":  {s.config, "all orders", "billing", s.options()},
			"no channel":        {s.config, "orders", "", s.options()},
			"an invalid config": {&invalid, "orders", "billing", s.options()},
			"a bad lookupd":     {s.config, "orders", "billing", &SubscriptionOptions{Lookupds: []string{"ftp://x"}}},
		} {
			sub, err := OpenSubscription(context.Background(), tt.config, tt.topic, tt.channel, tt.opts)
			if err == nil || sub != nil || !strings.HasPrefix(err.Error(), "open subscription to topic") {
				s.Errorf("%s: error %v", name, err)
			}
		}
		if n := s.network.Dials(); n != 0 {
			s.Errorf("%d dials", n)
		}
	})
}

// The context bounds how long OpenSubscription waits for nsqds.
func TestOpenSubscriptionContextEnds(t *testing.T) {
	inScene(t, func(s *scene) {
		s.network.Blackhole(s.nsqd.Addr())
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := OpenSubscription(ctx, s.config, "orders", "billing", s.options())
		if took := time.Since(start); took != 100*time.Millisecond || !errors.Is(err, context.DeadlineExceeded) {
			s.Errorf("after %v: %v", took, err)
		}
	})
}

// The channel exists when OpenSubscription returns, and takes no message before a Receive.
func TestOpenSubscriptionCreatesChannel(t *testing.T) {
	inScene(t, func(s *scene) {
		sub := s.subscription()
		s.nsqd.Publish("orders", "a pen")
		after(time.Minute)
		s.stats(nsqtest.Stats{Depth: 1, Clients: 1})
		s.shutdown(sub)
	})
}

func TestReceive(t *testing.T) {
	inScene(t, func(s *scene) {
		sub := s.subscription()
		s.nsqd.Publish("orders", "a pen", "NSQ-Envelope: 1\ntraceparent: 00-1\n\na pencil")
		plain := s.receive(sub)
		if string(plain.Body) != "a pen" || plain.Metadata != nil || !plain.Nackable() {
			s.Errorf("received %+v", plain)
		}
		sealed := s.receive(sub)
		if string(sealed.Body) != "a pencil" || len(sealed.Metadata) != 1 || sealed.Metadata["traceparent"] != "00-1" {
			s.Errorf("received %+v", sealed)
		}
		var m *nsq.Message
		if !sealed.As(&m) || string(m.ID[:]) != sealed.LoggableID {
			s.Errorf("LoggableID is %q, want the ID of %+v", sealed.LoggableID, m)
		}
		plain.Ack()
		sealed.Ack()
		s.stats(nsqtest.Stats{Clients: 1, Delivered: 2, Finished: 2})
		s.shutdown(sub)
	})
}

// A Nack has nsqd deliver the message again at once, however often.
func TestNack(t *testing.T) {
	inScene(t, func(s *scene) {
		sub := s.subscription()
		s.nsqd.Publish("orders", "a pen")
		start := time.Now()
		const nacks = 20 // more than max_attempts
		for i := range nacks {
			m := s.receive(sub)
			var received *nsq.Message
			if !m.As(&received) || int(received.Attempts) != i+1 {
				s.Fatalf("receive %d: %+v", i, received)
			}
			m.Nack()
		}
		s.receive(sub).Ack()
		if took := time.Since(start); took > time.Second { // without backoff
			s.Errorf("it took %v", took)
		}
		s.stats(nsqtest.Stats{Clients: 1, Delivered: nacks + 1, Requeued: nacks, Finished: 1})
		s.shutdown(sub)
	})
}

// A program may requeue NSQ's message with a delay. The Ack that package pubsub wants then
// has no effect.
func TestRequeueWithDelay(t *testing.T) {
	inScene(t, func(s *scene) {
		sub := s.subscription()
		s.nsqd.Publish("orders", "a pen")
		m := s.receive(sub)
		var received *nsq.Message
		if !m.As(&received) {
			s.Fatal("a message has no *nsq.Message")
		}
		received.RequeueWithoutBackoff(10 * time.Second)
		m.Ack()
		s.stats(nsqtest.Stats{Clients: 1, Deferred: 1, Delivered: 1, Requeued: 1})
		start := time.Now()
		s.receive(sub).Ack()
		if took := time.Since(start); took < 10*time.Second || took > 11*time.Second {
			s.Errorf("it came after %v", took)
		}
		s.shutdown(sub)
	})
}

// ReceiveBatch takes as many messages as it may, and leaves the others to nsqd.
func TestReceiveBatch(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.driver()
		for i := range 10 {
			s.nsqd.Publish("orders", fmt.Sprint(i))
		}
		for _, want := range []int{4, 4, 2} {
			ms, err := d.ReceiveBatch(context.Background(), 4)
			if err != nil || len(ms) != want {
				s.Fatalf("%d messages, error %v, want %d", len(ms), err, want)
			}
			s.ack(d, ms)
		}
		s.stats(nsqtest.Stats{Clients: 1, Delivered: 10, Finished: 10})
	})
}

// ack acks messages, twice: the second time has no effect.
func (s *scene) ack(d *subscription, ms []*driver.Message) {
	s.Helper()
	var ids []driver.AckID
	for _, m := range ms {
		ids = append(ids, m.AckID)
	}
	for range 2 {
		if err := d.SendAcks(context.Background(), ids); err != nil {
			s.Error(err)
		}
	}
}

// Without messages ReceiveBatch waits for a second. With few it does not wait for more.
func TestReceiveBatchWaits(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.driver()
		start := time.Now()
		ms, err := d.ReceiveBatch(context.Background(), 100)
		if took := time.Since(start); took != pollTime || len(ms) != 0 || err != nil {
			s.Errorf("%d messages, error %v, after %v", len(ms), err, took)
		}
		s.nsqd.Publish("orders", "a pen")
		start = time.Now()
		ms, err = d.ReceiveBatch(context.Background(), 100)
		if took := time.Since(start); took > gatherTime || len(ms) != 1 || err != nil {
			s.Errorf("%d messages, error %v, after %v", len(ms), err, took)
		}
		s.ack(d, ms)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := d.ReceiveBatch(ctx, 100); !errors.Is(err, context.Canceled) {
			s.Errorf("error %v", err)
		}
	})
}

// While nsqd cannot be reached, Receive waits.
func TestReceiveWhileNSQDIsDown(t *testing.T) {
	inScene(t, func(s *scene) {
		s.config.LookupdPollInterval = 5 * time.Second // the longest delay between dials
		s.nsqd.Kill()
		sub := s.subscription()
		for _, body := range []string{"a pen", "a pencil"} {
			received := s.ackNext(sub)
			after(20 * time.Second)
			s.nsqd.Restart()
			s.nsqd.Publish("orders", body)
			if got := <-received; got != body {
				s.Errorf("received %q, want %q", got, body)
			}
			synctest.Wait()
			s.nsqd.Kill()
		}
		s.shutdown(sub)
	})
}

// If no nsqd was ever reached, and that lasts until somebody does something about it, Receive
// says so.
func TestReceiveErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(s *scene)
		want    gcerrors.ErrorCode
	}{
		"no such host": {func(s *scene) {
			s.network.Refuse(s.nsqd.Addr(), unknownHost("tcp", s.nsqd.Addr()))
		}, gcerrors.NotFound},
		"unauthorized":     {func(s *scene) { s.nsqd.Reject("SUB", "E_UNAUTHORIZED", "no") }, gcerrors.PermissionDenied},
		"no TLS":           {func(s *scene) { s.config.TlsV1 = true }, gcerrors.FailedPrecondition},
		"a refused option": {func(s *scene) { s.config.MsgTimeout = time.Hour }, gcerrors.InvalidArgument},
		"no port": {func(s *scene) {
			s.network.Refuse(s.nsqd.Addr(), &net.AddrError{Err: "missing port in address", Addr: "nsqd1"})
		}, gcerrors.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				tt.prepare(s)
				sub := s.subscription()
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				_, err := sub.Receive(ctx)
				wantCode(s, err, tt.want)
				var refused *nsq.ProtocolError
				if got, want := sub.ErrorAs(err, &refused), strings.Contains(err.Error(), " E_"); got != want {
					s.Errorf("error %v: ErrorAs says %v, want %v", err, got, want)
				}
				s.shutdown(sub)
			})
		})
	}
}

// Once an nsqd was reached, nothing of that ends Receive.
func TestReceiveOutlastsErrors(t *testing.T) {
	inScene(t, func(s *scene) {
		s.config.LookupdPollInterval = 5 * time.Second
		sub := s.subscription()
		s.nsqd.Kill()
		s.nsqd.Restart()
		s.nsqd.Reject("SUB", "E_UNAUTHORIZED", "the authorization server is down")
		s.nsqd.Publish("orders", "a pen")
		received := s.ackNext(sub)
		after(20 * time.Second)
		s.nsqd.ClearFaults()
		if got := <-received; got != "a pen" {
			s.Errorf("received %q", got)
		}
		s.stats(nsqtest.Stats{Clients: 1, Delivered: 1, Finished: 1})
		s.shutdown(sub)
	})
}

// One nsqd that may come back is reason to wait.
func TestReceiveWaitsForOneOfSeveral(t *testing.T) {
	inScene(t, func(s *scene) {
		s.nsqd.Kill()
		s.network.Refuse("nsqd2:4150", unknownHost("tcp", "nsqd2:4150"))
		opts := &SubscriptionOptions{NSQDs: []string{"nsqd2:4150", s.nsqd.Addr()}}
		sub, err := OpenSubscription(context.Background(), s.config, "orders", "billing", opts)
		if err != nil {
			s.Fatal(err)
		}
		received := s.ackNext(sub)
		after(time.Second)
		s.nsqd.Restart()
		s.nsqd.Publish("orders", "a pen")
		if got := <-received; got != "a pen" {
			s.Errorf("received %q", got)
		}
		s.shutdown(sub)
	})
}

// The end of a lease lets go of a message without Ack. Its late Ack has no effect.
func TestLeaseEnds(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.driver()
		s.nsqd.Publish("orders", "a pen")
		ms, err := d.ReceiveBatch(context.Background(), 1)
		if err != nil || len(ms) != 1 {
			s.Fatalf("%d messages, error %v", len(ms), err)
		}
		after(2 * time.Minute)
		d.mu.Lock()
		held := len(d.held)
		d.mu.Unlock()
		if held != 0 {
			s.Errorf("%d messages are held", held)
		}
		s.ack(d, ms)
		s.stats(nsqtest.Stats{Depth: 1, Clients: 1, Delivered: 1, TimedOut: 1})
	})
}

// A Shutdown sends the Acks before it, and has nsqd deliver at once what has none: the message
// that the program has, and the one that package pubsub keeps for it.
//
// More messages would show a fault of package pubsub: a goroutine that has fetched messages
// ahead waits for the next Receive, and so forever after a Shutdown.
func TestShutdown(t *testing.T) {
	inScene(t, func(s *scene) {
		sub := s.subscription()
		s.nsqd.Publish("orders", "1", "2", "3")
		s.receive(sub).Ack()
		held := s.receive(sub)
		s.stats(nsqtest.Stats{Clients: 1, InFlight: 2, Delivered: 3, Finished: 1})
		s.shutdown(sub)
		s.stats(nsqtest.Stats{Depth: 2, Delivered: 3, Finished: 1, Requeued: 2})
		held.Ack() // has no effect
		_, err := sub.Receive(context.Background())
		wantCode(s, err, gcerrors.FailedPrecondition)
	})
}

// Messages that arrive while a subscription closes are delivered again at once.
func TestCloseDuringReceiveBatch(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.driver()
		done := make(chan error)
		go func() {
			_, err := d.ReceiveBatch(context.Background(), 10)
			done <- err
		}()
		synctest.Wait()
		s.nsqd.Publish("orders", "a pen", "a pencil")
		if err := d.Close(); err != nil {
			s.Error(err)
		}
		if err := <-done; !errors.Is(err, nsq.ErrStopped) {
			s.Errorf("error %v", err)
		}
		synctest.Wait()
		if got := s.nsqd.Stats("orders", "billing"); got.Depth != 2 || got.InFlight != 0 {
			s.Errorf("nsqd has %+v", got)
		}
	})
}

// hold gets messages that were fetched just before Close.
func TestHoldAfterClose(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.driver()
		s.nsqd.Publish("orders", "a pen")
		fetched, err := d.consumer.Fetch(context.Background(), nsq.BatchLimits{Messages: 1})
		if err != nil {
			s.Fatal(err)
		}
		closed := make(chan error)
		go func() { closed <- d.Close() }()
		synctest.Wait()
		if ms, err := d.hold(fetched); len(ms) != 0 || !errors.Is(err, nsq.ErrStopped) {
			s.Errorf("%d messages, error %v", len(ms), err)
		}
		if err := <-closed; err != nil {
			s.Error(err)
		}
		s.stats(nsqtest.Stats{Depth: 1, Delivered: 1, Requeued: 1})
	})
}

// If the program stops the Consumer, Receive says so.
func TestReceiveAfterStop(t *testing.T) {
	inScene(t, func(s *scene) {
		sub := s.subscription()
		var c *nsq.Consumer
		if !sub.As(&c) {
			s.Fatal("a subscription has no *nsq.Consumer")
		}
		c.Stop()
		_, err := sub.Receive(context.Background())
		wantCode(s, err, gcerrors.FailedPrecondition)
		s.shutdown(sub)
	})
}

// The config of the program stays as it is.
func TestConfigIsCopied(t *testing.T) {
	inScene(t, func(s *scene) {
		s.config.RecycleBodies = true
		sub := s.subscription()
		if s.config.MaxAttempts != 5 || !s.config.RecycleBodies {
			s.Error("the config has changed")
		}
		s.nsqd.Publish("orders", strings.Repeat("a", 10<<10))
		m := s.receive(sub)
		m.Ack()
		s.stats(nsqtest.Stats{Clients: 1, Delivered: 1, Finished: 1})
		if string(m.Body) != strings.Repeat("a", 10<<10) { // with the race detector it would be overwritten
			s.Error("the body has changed after the Ack")
		}
		s.shutdown(sub)
	})
}
