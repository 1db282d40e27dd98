package billing

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A handler is a function: call it.
func TestHandler(t *testing.T) {
	h := &Handler{Charge: func(context.Context, string) error { return ErrBusy }}
	m := nsq.NewMessage(nsq.MessageID{}, []byte("order 1"))
	if err := h.HandleMessage(m); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
}

// run runs a test against Consume and a fake nsqd, in virtual time.
func run(t *testing.T, h *Handler, test func(t *testing.T, d *nsqtest.Nsqd)) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network})
		cfg := nsq.NewConfig()
		cfg.DialContext = network.DialContext
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- Consume(ctx, cfg, d.Addr(), h) }()
		test(t, d)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// after lets virtual time pass. Every timer of the client and of nsqd runs meanwhile.
func after(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // inside a synctest bubble
	synctest.Wait()
}

// An order is charged again five minutes after the bank was busy. The test takes no time.
func TestBusy(t *testing.T) {
	begun := 0
	h := &Handler{Charge: func(context.Context, string) error {
		if begun++; begun == 1 {
			return ErrBusy
		}
		return nil
	}}
	run(t, h, func(t *testing.T, d *nsqtest.Nsqd) {
		d.Publish("orders", "order 1")
		after(4 * time.Minute)
		if st := d.Stats("orders", "billing"); st.Finished != 0 || st.Deferred != 1 {
			t.Errorf("too early: %+v", st)
		}
		after(2 * time.Minute)
		if st := d.Stats("orders", "billing"); st.Finished != 1 || begun != 2 {
			t.Errorf("charged %d times, %+v", begun, st)
		}
	})
}

// The consumer survives a restart of nsqd, and a lost ack costs a second delivery.
func TestRestart(t *testing.T) {
	charged := 0
	h := &Handler{Charge: func(context.Context, string) error { charged++; return nil }}
	run(t, h, func(t *testing.T, d *nsqtest.Nsqd) {
		after(time.Second)
		d.Inject(nsqtest.Fault{Command: "FIN", Times: 1, Reply: []byte{}}) // nsqd does not get it
		d.Publish("orders", "order 1")
		after(time.Second)
		d.Kill()
		after(time.Minute)
		d.Restart()
		after(2 * time.Minute)
		if st := d.Stats("orders", "billing"); st.Finished != 1 || charged != 2 {
			t.Errorf("charged %d times, %+v", charged, st)
		}
	})
}
