package main

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network})
		cfg := nsq.NewConfig()
		cfg.DialContext = network.DialContext
		cfg.MaxInFlight = 50
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- run(ctx, cfg, d.Addr()) }()
		d.Publish("orders", "pen", "later: ink", "x")
		time.Sleep(time.Minute) //nolint:forbidigo // inside a synctest bubble
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := d.Queued("invoices", ""); !slices.Equal(got, []string{"invoice for pen", "invoice for later: ink"}) {
			t.Errorf("%q", got)
		}
		if st := d.Stats("orders", "invoices"); st.Finished != 3 || st.Requeued != 1 {
			t.Errorf("%+v", st)
		}
	})
}
