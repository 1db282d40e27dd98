package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// Full batches are stored at once, the last one after a second. Only the messages that
// failed are delivered again, and a stop lets a store finish that takes longer than a lease.
func TestConsume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network})
		cfg := nsq.NewConfig()
		cfg.DialContext = network.DialContext
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		cfg.MaxInFlight, cfg.AutoTouch, cfg.StopTimeout = 200, 15*time.Minute, 5*time.Minute
		cfg.MaxBackoffDuration = 0

		var mu sync.Mutex
		var sizes []int
		var slow bool
		failed := map[string]bool{}
		store := func(_ context.Context, batch []*nsq.Message) (errs []error) {
			mu.Lock()
			defer mu.Unlock()
			sizes = append(sizes, len(batch))
			if slow {
				mu.Unlock()
				sleep(2 * time.Minute)
				mu.Lock()
			}
			for _, m := range batch {
				var err error
				if body := string(m.Body); body == "order 7" && !failed[body] {
					failed[body] = true
					err = errors.New("no room")
				}
				errs = append(errs, err)
			}
			return errs
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- consume(ctx, cfg, d.Addr(), store) }()
		synctest.Wait()

		var orders []string
		for i := range 150 {
			orders = append(orders, fmt.Sprintf("order %d", i))
		}
		d.Publish("orders", orders...)
		sleep(10 * time.Minute)
		mu.Lock()
		if got := fmt.Sprint(sizes); got != "[100 50 1]" {
			t.Errorf("batches of %s", got)
		}
		slow = true
		mu.Unlock()
		if st := d.Stats("orders", "archive"); st.Finished != 150 || st.Requeued != 1 || st.TimedOut != 0 {
			t.Errorf("%+v", st)
		}

		d.Publish("orders", orders[:100]...)
		sleep(time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if st := d.Stats("orders", "archive"); st.Finished != 250 || st.InFlight != 0 || st.TimedOut != 0 {
			t.Errorf("after the stop: %+v", st)
		}
	})
}

// sleep lets virtual time pass.
func sleep(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // inside a synctest bubble
}
