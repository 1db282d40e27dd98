// Package scene has what the tests of this module share: a Consumer and a fake nsqd in
// virtual time, and the checks that every middleware must pass.
package scene

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// Scene is a test in virtual time: an nsqd, and a Config that reaches it and neither backs
// off nor delays what it requeues.
type Scene struct {
	*testing.T
	NSQD   *nsqtest.Nsqd
	Config *nsq.Config
}

// Run runs a test in a bubble, with an nsqd of these options. The Consumers of the test are
// stopped when it ends.
func Run(t *testing.T, opts nsqtest.Options, test func(s *Scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		opts.Network, opts.Addr = nsqtest.NewNetwork(), "nsqd:4150"
		s := &Scene{T: t, NSQD: nsqtest.NewNsqd(t, opts), Config: nsq.NewConfig()}
		s.Config.DialContext = opts.Network.DialContext
		s.Config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		s.Config.MaxInFlight = 10
		s.Config.DefaultRequeueDelay = 0
		s.Config.MaxBackoffDuration = 0
		test(s)
	})
}

// Consumer returns a new Consumer of topic orders and channel billing.
func (s *Scene) Consumer() *nsq.Consumer {
	s.Helper()
	c, err := nsq.NewConsumer("orders", "billing", s.Config)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		c.Stop()
		<-c.StopChan
	})
	return c
}

// Handle connects a Consumer with this handler, called by n goroutines.
func (s *Scene) Handle(c *nsq.Consumer, n int, h nsq.Handler) {
	s.Helper()
	c.AddConcurrentHandlers(h, n)
	if err := c.ConnectToNSQD(s.NSQD.Addr()); err != nil {
		s.Fatal(err)
	}
}

// Consume returns a new, connected Consumer with this handler, called by n goroutines, and
// this middleware.
func (s *Scene) Consume(n int, h nsq.HandlerFunc, mw ...nsq.Middleware) *nsq.Consumer {
	s.Helper()
	c := s.Consumer()
	c.Use(mw...)
	s.Handle(c, n, h)
	return c
}

// Publish publishes messages.
func (s *Scene) Publish(bodies ...string) { s.NSQD.Publish("orders", bodies...) }

// Stats returns nsqd's figures of the channel.
func (s *Scene) Stats() nsqtest.Stats { return s.NSQD.Stats("orders", "billing") }

// Requeues returns the delays of all REQs that nsqd has received, in milliseconds.
func (s *Scene) Requeues() (delays []string) {
	for _, line := range s.NSQD.Commands() {
		if fields := strings.Fields(line); fields[1] == "REQ" {
			delays = append(delays, fields[3])
		}
	}
	return delays
}

// Errors collects what handlers, or the middleware inside of its own, return.
type Errors struct {
	mu   sync.Mutex // guards errs
	errs []error
}

// Middleware collects the results.
func (e *Errors) Middleware(next nsq.Handler) nsq.Handler {
	return nsq.HandlerFunc(func(m *nsq.Message) error {
		err := next.HandleMessage(m)
		e.mu.Lock()
		defer e.mu.Unlock()
		e.errs = append(e.errs, err)
		return err
	})
}

// All returns the results so far, nil for a success.
func (e *Errors) All() []error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.errs)
}

// Last returns the last result, which is nil for a success or if there is none.
func (e *Errors) Last() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.errs) == 0 {
		return nil
	}
	return e.errs[len(e.errs)-1]
}

// Sleep lets virtual time pass. It is for handlers.
func Sleep(d time.Duration) {
	time.Sleep(d) // inside a synctest bubble
}

// After lets virtual time pass and waits until everything has settled. It is for the test's own
// goroutine.
func After(d time.Duration) {
	Sleep(d)
	synctest.Wait()
}

// StartNSQD starts a fake nsqd on a free port of this machine, with these messages in topic
// orders, for an example. stop stops it.
func StartNSQD(messages ...string) (d *nsqtest.Nsqd, stop func()) {
	tb := &exampleTB{}
	d = nsqtest.NewNsqd(tb, nsqtest.Options{})
	d.CreateChannel("orders", "billing")
	d.Publish("orders", messages...)
	return d, tb.stop
}

// exampleTB is the testing.TB that nsqtest asks for: an example has none.
type exampleTB struct {
	testing.TB
	cleanups []func()
}

func (*exampleTB) Helper()                      {}
func (*exampleTB) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
func (*exampleTB) Fatal(args ...any)            { panic(fmt.Sprint(args...)) }
func (tb *exampleTB) Cleanup(f func())          { tb.cleanups = append(tb.cleanups, f) }
func (tb *exampleTB) stop() {
	for _, f := range tb.cleanups {
		f()
	}
}
