// Package scene has what the tests of the recipes share: a fake nsqd in virtual time. The
// recipe ../../testing shows how to do without it.
package scene

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// Scene is a test in virtual time, with an nsqd and a Config that reaches it.
type Scene struct {
	*testing.T
	Network *nsqtest.Network
	NSQD    *nsqtest.Nsqd
	Config  *nsq.Config
}

// Run runs a test in a bubble, with an nsqd of these options.
func Run(t *testing.T, opts nsqtest.Options, test func(s *Scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		opts.Network, opts.Addr = nsqtest.NewNetwork(), "nsqd:4150"
		s := &Scene{T: t, Network: opts.Network, NSQD: nsqtest.NewNsqd(t, opts), Config: nsq.NewConfig()}
		s.Config.DialContext = s.Network.DialContext
		s.Config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		test(s)
	})
}

// Start runs a recipe until stop is called or the test ends, and waits until it is idle. stop
// waits for the recipe and fails the test if that returns an error.
func (s *Scene) Start(recipe func(ctx context.Context) error) (stop func()) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan error, 1)
	go func() { done <- recipe(ctx) }()
	ended := false
	stop = func() {
		s.Helper()
		cancel()
		if ended {
			return
		}
		ended = true
		if err := <-done; err != nil {
			s.Error(err)
		}
	}
	s.Cleanup(stop)
	synctest.Wait()
	return stop
}

// Publish publishes messages to topic orders, and returns their IDs.
func (s *Scene) Publish(bodies ...string) []string { return s.NSQD.Publish("orders", bodies...) }

// Stats returns nsqd's figures of channel billing of topic orders.
func (s *Scene) Stats() nsqtest.Stats { return s.NSQD.Stats("orders", "billing") }

// Sleep lets virtual time pass. It is for handlers.
func Sleep(d time.Duration) {
	time.Sleep(d) // inside a synctest bubble
}

// After lets virtual time pass and waits until everything is idle. It is for the test's own
// goroutine.
func After(d time.Duration) {
	Sleep(d)
	synctest.Wait()
}
