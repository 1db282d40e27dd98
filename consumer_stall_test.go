package nsq

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// takings are the ways to take messages. Each takes up to 20 messages in 10 ms, or as many as
// it is given, until ctx ends.
var takings = []struct {
	name string
	take func(ctx context.Context, s *scene, done *atomic.Int64)
}{
	{"handlers", func(ctx context.Context, s *scene, done *atomic.Int64) {
		s.c.AddConcurrentHandlers(HandlerFunc(func(*Message) error {
			sleep(offBeat)
			done.Add(1)
			return nil
		}), 20)
	}},
	{"loops", func(ctx context.Context, s *scene, done *atomic.Int64) {
		for range 20 {
			go func() {
				for m := range s.c.Messages(ctx) {
					sleep(offBeat)
					done.Add(1)
					m.Answer(nil)
				}
			}()
		}
	}},
	{"batches", takeByBatches},
	{"fetches", takeByFetches},
}

func takeByBatches(_ context.Context, s *scene, done *atomic.Int64) {
	s.c.AddBatchHandler(BatchHandlerFunc(func(_ context.Context, batch []*Message) error {
		sleep(offBeat)
		done.Add(int64(len(batch)))
		return nil
	}), BatchLimits{Messages: 20, Wait: time.Hour}, 1)
}

func takeByFetches(ctx context.Context, s *scene, done *atomic.Int64) {
	go func() {
		for {
			messages, err := s.c.Fetch(ctx, BatchLimits{Messages: 20, Wait: time.Hour})
			if err != nil {
				return // ctx has ended
			}
			sleep(offBeat)
			for _, m := range messages {
				m.Answer(nil)
			}
			done.Add(int64(len(messages)))
		}
	}()
}

// N8: takers do not wait for messages that the byte budget keeps from coming. After a second
// in which sizes are learnt, each round has as many messages as the budget has room for.
func TestTakersDoNotWaitForBudget(t *testing.T) {
	const seconds = 1
	for _, size := range []struct{ budget, body int }{
		{64 << 10, 200}, {1 << 20, 200}, {64 << 20, 200},
		{64 << 10, 10 << 10}, {256 << 10, 10 << 10}, {3 << 20, 10 << 10},
		{3 << 20, 1 << 20},
	} {
		for _, taking := range takings {
			t.Run(fmt.Sprintf("%d bytes of %d/%s", size.body, size.budget, taking.name), func(t *testing.T) {
				inScene(t, func(s *scene) {
					s.cfg.MaxInFlight, s.cfg.MaxBytesInFlight = 100, int64(size.budget)
					d := s.nsqd("a:1")
					s.consumer(0, nil)
					ctx, cancel := context.WithCancel(s.Context())
					defer cancel()
					var done atomic.Int64
					taking.take(ctx, s, &done)
					if err := s.c.Connect(ctx, d.Addr()); err != nil {
						s.Fatal(err)
					}
					most := s.watchMemory()
					more := func() {
						for d.Stats("t", "c").Depth < 20 {
							publishSized(d, 40, size.body)
						}
						sleep(time.Millisecond)
					}
					for range 1000 {
						more()
					}
					before := done.Load()
					for range seconds * 1000 {
						more()
					}
					fits := min(20, size.budget*7/8/size.body)
					if n, want := done.Load()-before, int64(seconds*100*fits); n < want {
						s.Errorf("%d messages in %d s, want %d", n, seconds, want)
					}
					if n := most.Load(); n > int64(size.budget) {
						s.Errorf("%d bytes in hand of %d", n, size.budget)
					}
				})
			})
		}
	}
}

// N8: messages that suddenly are a thousand times as heavy find readers that stop at twice the
// budget, however messages are taken. Afterwards the budget holds again.
func TestTakersOfHeavierMessages(t *testing.T) {
	const budget, heavy = 1 << 20, 200_000
	for _, taking := range takings {
		t.Run(taking.name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.MaxInFlight, s.cfg.MaxBytesInFlight = 100, budget
				d := s.nsqd("a:1")
				s.consumer(0, nil)
				ctx, cancel := context.WithCancel(s.Context())
				defer cancel()
				var done atomic.Int64
				taking.take(ctx, s, &done)
				if err := s.c.Connect(ctx, d.Addr()); err != nil {
					s.Fatal(err)
				}
				publishSized(d, 1000, 200)
				most := s.watchMemory()
				after(time.Minute)
				if n := done.Load(); n != 1000 {
					s.Fatalf("%d of 1,000 small messages are done", n)
				}
				publishSized(d, 200, heavy)
				after(time.Second)
				if n := most.Swap(0); n > 2*budget+3*heavy {
					s.Errorf("%d bytes in hand, want about %d at most", n, 2*budget)
				}
				after(10 * time.Minute)
				if n := most.Load(); n > budget {
					s.Errorf("%d bytes in hand when it was known how heavy messages are", n)
				}
				if n := done.Load(); n != 1200 {
					s.Errorf("%d of 1,200 messages are done", n)
				}
			})
		})
	}
}

// N8: a Fetch waits for what other nsqds may bring. It leaves with less than it has asked for
// only if the byte budget has no room for more.
func TestFetchLeavesWhenTheBudgetIsSpent(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxBytesInFlight = 100_000
		all := s.nsqds(3)
		c := s.taker(all...)
		after(time.Second)
		publishSized(all[0], 100, 20_000)
		for i, want := range []int{1, 1, 1} { // nothing is known: as if the next were 1 MiB
			if n := len(s.fetch(c, BatchLimits{Messages: 3, Wait: time.Hour})); n != want {
				s.Errorf("Fetch %d: %d messages", i, n)
			}
		}
	})
	inScene(t, func(s *scene) {
		s.cfg.MaxBytesInFlight = 8 << 20
		all := s.nsqds(3)
		c := s.taker(all...)
		all[0].Publish("t", strings.Split(strings.Repeat("x", 100), "")...)
		if n := len(s.fetch(c, BatchLimits{Messages: 100, Wait: time.Hour})); n != 100 {
			s.Errorf("%d of 100 small messages", n)
		}
	})
}

// distantConn is a connection from which what was sent comes after a delay.
type distantConn struct {
	net.Conn
	delay time.Duration
	last  time.Time // when something came; what was sent together comes together
}

func (c *distantConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if time.Since(c.last) > c.delay {
		sleep(c.delay)
	}
	c.last = time.Now()
	return n, err
}

// N8: when the budget is spent, a Fetch does not leave before the messages of distant nsqds
// that it has asked for. They would be requeued, because the next Fetch comes much later.
func TestFetchWaitsForDistantNSQDs(t *testing.T) {
	for _, far := range []time.Duration{5 * time.Millisecond, 20 * time.Millisecond} {
		inScene(t, func(s *scene) {
			s.cfg.MaxBytesInFlight = 1 << 20
			all := s.nsqds(3)
			s.cfg.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := s.net.DialContext(ctx, network, addr)
				if err == nil && addr == all[0].Addr() {
					conn = &distantConn{Conn: conn, delay: far}
				}
				return conn, err
			}
			c := s.taker(all...)
			for _, d := range all {
				publishSized(d, 2000, 10<<10)
			}
			requeued := func() (n int) {
				for _, d := range all {
					n += d.Stats("t", "c").Requeued
				}
				return n
			}
			before := 0
			for round := range 20 {
				messages := s.fetch(c, BatchLimits{Messages: 200, Wait: time.Hour})
				for _, m := range messages {
					m.Answer(nil)
				}
				if round < 10 { // what messages weigh is learnt
					continue
				}
				after(5 * time.Second)
				if n := requeued() - before; round > 10 && (n > 0 || len(messages) < 80) {
					s.Errorf("%v away: Fetch %d: %d messages, and %d came too late", far, round, len(messages), n)
				}
				before = requeued()
			}
		})
	}
}
