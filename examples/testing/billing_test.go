package billing

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// A handler is an ordinary method, so a test can call it without NSQ.
func TestHandleMessage(t *testing.T) {
	b := &Biller{Charge: func(context.Context, string) error { return ErrBusy }}
	m := nsq.NewMessage(nsq.MessageID{}, []byte("order 1"))
	if err := b.HandleMessage(m); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
}

// To see what becomes of a message, a test needs an nsqd. With a fake one, an
// in-memory network and virtual time, the hour passes at once and the result is
// always the same.
func TestBusyBank(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		nsqd := nsqtest.NewNsqd(t, nsqtest.Options{Network: network})

		cfg := nsq.NewConfig()
		cfg.DialContext = network.DialContext
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		consumer, err := nsq.NewConsumer("orders", "billing", cfg)
		if err != nil {
			t.Fatal(err)
		}
		var charged []time.Duration
		start := time.Now()
		consumer.AddHandler(&Biller{Charge: func(context.Context, string) error {
			charged = append(charged, time.Since(start))
			if len(charged) < 3 {
				return ErrBusy
			}
			return nil
		}})
		if err := consumer.ConnectToNSQD(nsqd.Addr()); err != nil {
			t.Fatal(err)
		}

		nsqd.Publish("orders", "order 1")
		time.Sleep(time.Hour) //nolint:forbidigo // inside a synctest bubble
		consumer.Stop()
		<-consumer.StopChan

		if len(charged) != 3 || charged[2] != 10*time.Minute {
			t.Errorf("charged at %v", charged)
		}
		if got := nsqd.Stats("orders", "billing"); got.Finished != 1 || got.Requeued != 2 {
			t.Errorf("%+v", got)
		}
	})
}

// When the bank does not answer at all, the context ends with the message's lease:
// nsqd's msg-timeout, after which nsqd delivers the order again.
func TestSilentBank(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		nsqd := nsqtest.NewNsqd(t, nsqtest.Options{Network: network, MsgTimeout: time.Minute})

		cfg := nsq.NewConfig()
		cfg.DialContext = network.DialContext
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		consumer, err := nsq.NewConsumer("orders", "billing", cfg)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 10)
		consumer.AddHandler(&Biller{Charge: func(ctx context.Context, _ string) error {
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return ctx.Err()
		}})
		if err := consumer.ConnectToNSQD(nsqd.Addr()); err != nil {
			t.Fatal(err)
		}

		start := time.Now()
		nsqd.Publish("orders", "order 1")
		if err := <-ended; !errors.Is(err, nsq.ErrMessageTimedOut) || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		consumer.Stop()
		<-consumer.StopChan
	})
}
