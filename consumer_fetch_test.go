package nsq

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// taker makes the scene's Consumer, without a handler, connected to these nsqds.
func (s *scene) taker(nsqds ...*nsqtest.Nsqd) *Consumer {
	s.Helper()
	c := s.consumer(0, nil)
	for _, d := range nsqds {
		if err := c.Connect(s.Context(), d.Addr()); err != nil {
			s.Fatal(err)
		}
	}
	return c
}

// publishMany publishes n numbered messages.
func publishMany(d *nsqtest.Nsqd, n int) {
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = fmt.Sprintf("%s %d", d.Addr(), i)
	}
	d.Publish("t", bodies...)
}

func (s *scene) fetch(c *Consumer, limits BatchLimits) []*Message {
	s.Helper()
	messages, err := c.Fetch(s.Context(), limits)
	if err != nil {
		s.Fatal(err)
	}
	return messages
}

// delivered returns how many messages nsqds have sent in all.
func delivered(nsqds []*nsqtest.Nsqd) (n int) {
	for _, d := range nsqds {
		n += d.Stats("t", "c").Delivered
	}
	return n
}

// "Just the next 10" is 10, whatever max_in_flight, the number of nsqds and of those that
// have messages, and however long the messages take.
func TestFetchJustTheNextTen(t *testing.T) {
	for _, maxInFlight := range []int{1, 10, 200} {
		for _, nsqds := range []int{1, 2, 20} {
			for _, full := range []int{1, 20} {
				for _, takes := range []time.Duration{0, time.Second} {
					t.Run(fmt.Sprintf("max_in_flight=%d/%d of %d nsqds/%v", maxInFlight, full, nsqds, takes), func(t *testing.T) {
						inScene(t, func(s *scene) {
							s.cfg.MaxInFlight = maxInFlight
							all := s.nsqds(nsqds)
							c := s.taker(all...)
							for _, d := range all[:min(full, nsqds)] {
								publishMany(d, 100)
							}
							after(5 * time.Second)
							if n := delivered(all); n != 0 {
								s.Fatalf("%d messages came before any was asked for", n)
							}
							for round := range 3 {
								messages := s.fetch(c, BatchLimits{Messages: 10, Wait: 5 * time.Second})
								if len(messages) != 10 {
									s.Fatalf("got %d messages", len(messages))
								}
								for _, m := range messages {
									sleep(takes)
									m.Answer(nil)
								}
								after(5 * time.Second)
								if n := delivered(all); n != 10*(round+1) {
									s.Fatalf("after %d rounds: %d messages were sent", round+1, n)
								}
							}
						})
					})
				}
			}
		}
	}
}

// However many Fetches there are at a time, and however their messages are answered: nsqds
// never send more than was asked for.
func TestFetchNeverLeasesMore(t *testing.T) {
	for seed := range uint64(20) {
		inScene(t, func(s *scene) {
			all := s.nsqds(2)
			c := s.taker(all...)
			chance := rand.New(rand.NewPCG(seed, 1))
			var mu sync.Mutex
			asked, got := 0, 0
			var fetching sync.WaitGroup
			for range 1 + chance.IntN(4) {
				r := rand.New(rand.NewPCG(seed, chance.Uint64()))
				fetching.Go(func() {
					var held []*Message
					for range 30 {
						n := 1 + r.IntN(20)
						mu.Lock()
						asked += n
						mu.Unlock()
						ctx, cancel := context.WithTimeout(s.Context(), time.Duration(r.IntN(400))*time.Millisecond)
						messages, err := c.Fetch(ctx, BatchLimits{Messages: n, Wait: time.Duration(r.IntN(300)) * time.Millisecond})
						cancel()
						if (len(messages) == 0) == (err == nil) || len(messages) > n {
							s.Errorf("%d messages of %d, error %v", len(messages), n, err)
						}
						mu.Lock()
						asked -= n - len(messages)
						got += len(messages)
						mu.Unlock()
						held = append(held, messages...)
						sleep(time.Duration(r.IntN(50)) * time.Millisecond)
						for len(held) > 0 && r.IntN(20) > 0 {
							held[0].Answer(nil)
							held = held[1:]
						}
					}
				})
			}
			for i := range 100 {
				publishMany(all[i%2], chance.IntN(30))
				sleep(time.Duration(chance.IntN(100)) * time.Millisecond)
			}
			fetching.Wait()
			after(200 * time.Millisecond)
			late := c.Snapshot().Queued // asked for by a Fetch that had just ended
			for _, d := range all {
				late += d.Stats("t", "c").Requeued
			}
			if n := delivered(all); n != got+late {
				s.Errorf("seed %d: %d messages were sent, %d fetched, %d came late", seed, n, got, late)
			}
			after(2 * time.Second)
			if waiting := c.Snapshot().Queued; waiting > 0 {
				s.Errorf("seed %d: %d messages are leased to nobody", seed, waiting)
			}
		})
	}
}

// A Fetch that gets fewer messages than it wants returns them: a while after the first, when
// half of a lease is over, when ctx ends, or when the bytes are reached.
func TestFetchReturnsEarly(t *testing.T) {
	for _, test := range []struct {
		name    string
		limits  BatchLimits
		timeout time.Duration
		want    time.Duration
		n       int
	}{
		{"wait", BatchLimits{Messages: 10, Wait: 300 * time.Millisecond}, time.Hour, 300 * time.Millisecond, 3},
		{"round", BatchLimits{Messages: 10}, time.Hour, 500 * time.Millisecond, 3},
		{"half of the lease", BatchLimits{Messages: 10, Wait: time.Minute}, time.Hour, 2 * time.Second, 3},
		{"context", BatchLimits{Messages: 10, Wait: time.Minute}, 100 * time.Millisecond, 100 * time.Millisecond, 3},
		{"bytes", BatchLimits{Messages: 10, Bytes: 11, Wait: time.Minute}, time.Hour, 0, 2},
		{"one large body", BatchLimits{Messages: 10, Bytes: 1, Wait: time.Minute}, time.Hour, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1", leases(4*time.Second, time.Minute))
				s.cfg.OutputBufferTimeout = 0 // as nsqd does by default
				c := s.taker(d)
				d.Publish("t", "first", "second", "third")
				ctx, cancel := context.WithTimeout(s.Context(), test.timeout)
				defer cancel()
				begin := time.Now()
				messages, err := c.Fetch(ctx, test.limits)
				took := time.Since(begin).Round(10 * time.Millisecond)
				if len(messages) != test.n || err != nil || took < test.want || took > test.want+260*time.Millisecond {
					s.Errorf("%d messages, error %v after %v", len(messages), err, took)
				}
				for _, m := range messages {
					m.Answer(nil)
				}
				after(2 * time.Second)
				st := d.Stats("t", "c")
				if st.InFlight > 0 || st.Finished != test.n {
					s.Errorf("%+v", st)
				}
			})
		})
	}
}

// Errors come before anything is asked for.
func TestFetchErrors(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		c := s.taker(d)
		for _, limits := range []BatchLimits{{}, {Messages: -1}, {Messages: 1, Bytes: -1}, {Messages: 1, Wait: -1}} {
			if _, err := c.Fetch(s.Context(), limits); err == nil {
				s.Errorf("no error for %+v", limits)
			}
		}
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(s.Context())
		cancel(cause)
		if _, err := c.Fetch(ctx, BatchLimits{Messages: 1}); !errors.Is(err, cause) {
			s.Errorf("error %v", err)
		}
		ctx, cancel = context.WithCancelCause(s.Context())
		go func() {
			sleep(time.Second)
			cancel(cause)
		}()
		if _, err := c.Fetch(ctx, BatchLimits{Messages: 1}); !errors.Is(err, cause) {
			s.Errorf("error %v", err)
		}
		stopped := make(chan error)
		go func() {
			_, err := c.Fetch(context.Background(), BatchLimits{Messages: 1})
			stopped <- err
		}()
		synctest.Wait()
		c.Stop()
		if err := <-stopped; !errors.Is(err, ErrStopped) {
			s.Errorf("error %v", err)
		}
		if _, err := c.Fetch(context.Background(), BatchLimits{Messages: 1}); !errors.Is(err, ErrStopped) {
			s.Errorf("error %v after Stop", err)
		}
		<-c.StopChan
		if _, err := c.Fetch(context.Background(), BatchLimits{Messages: 1}); !errors.Is(err, ErrStopped) {
			s.Errorf("error %v once it has stopped", err)
		}
	})
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		c := s.consumer(1, noError)
		s.connect(d)
		if _, err := c.Fetch(s.Context(), BatchLimits{Messages: 1}); !errors.Is(err, errHasHandlers) {
			s.Errorf("error %v", err)
		}
	})
}

// What a stop finds half gathered goes back, with one attempt more.
func TestStopWhileFetching(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		c := s.taker(d)
		d.Publish("t", "one", "two")
		fetched := make(chan error)
		go func() {
			_, err := c.Fetch(context.Background(), BatchLimits{Messages: 10, Wait: time.Hour})
			fetched <- err
		}()
		after(time.Second)
		if n := c.Snapshot().Queued; n != 2 {
			s.Fatalf("%d messages wait", n)
		}
		c.Stop()
		if err := <-fetched; !errors.Is(err, ErrStopped) {
			s.Errorf("error %v", err)
		}
		<-c.StopChan
		if st := d.Stats("t", "c"); st.Depth != 2 || st.Requeued != 2 || st.Delivered != 2 {
			s.Errorf("%+v", st)
		}
	})
}

// A connection that is lost while messages are gathered takes them with it. The Fetch gets
// all that it asked for all the same.
func TestFetchOverALostConnection(t *testing.T) {
	inScene(t, func(s *scene) {
		all := s.nsqds(2)
		c := s.taker(all...)
		publishMany(all[0], 4)
		go func() {
			sleep(time.Second)
			all[0].Kill()
			sleep(time.Second)
			publishMany(all[1], 100)
		}()
		messages := s.fetch(c, BatchLimits{Messages: 10, Wait: 20 * time.Second})
		if len(messages) != 10 {
			s.Errorf("%d messages", len(messages))
		}
		for _, m := range messages {
			if m.NSQDAddress != all[1].Addr() {
				s.Errorf("got a message of %s", m.NSQDAddress)
			}
			m.Answer(nil)
		}
		after(time.Second)
		if st := all[1].Stats("t", "c"); st.Delivered != 10 || st.Finished != 10 {
			s.Errorf("%+v", st)
		}
	})
}

// A message that was delivered too often is given up, and does not count as one of those that
// Fetch returns.
func TestFetchGivesUp(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxAttempts = 1
		s.cfg.DefaultRequeueDelay, s.cfg.MaxBackoffDuration = 0, 0
		d := s.nsqd("a:1")
		c := s.taker(d)
		d.Publish("t", "bad")
		s.fetch(c, BatchLimits{Messages: 1})[0].Answer(errBoom)
		go func() {
			sleep(time.Minute)
			d.Publish("t", "good")
		}()
		messages := s.fetch(c, BatchLimits{Messages: 1})
		if string(messages[0].Body) != "good" {
			s.Errorf("got %q", messages[0].Body)
		}
		messages[0].Answer(nil)
		after(time.Second)
		if counts := s.balanced(); counts.GivenUp != 1 || counts.Finished != 2 {
			s.Errorf("%+v", counts)
		}
	})
}

// A pause and backoff hold up a Fetch, and what it asked for comes after.
func TestFetchWaits(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		c := s.taker(d)
		publishMany(d, 100)
		c.Pause()
		go func() {
			sleep(time.Minute)
			c.Resume()
		}()
		begin := time.Now()
		messages := s.fetch(c, BatchLimits{Messages: 2})
		if took := time.Since(begin); took < time.Minute || len(messages) != 2 {
			s.Errorf("%d messages after %v", len(messages), took)
		}
		messages[0].Answer(errBoom)
		messages[1].Answer(nil)
		synctest.Wait()
		if level := c.Snapshot().BackoffLevel; level != 1 {
			s.Fatalf("backoff level %d", level)
		}
		messages = s.fetch(c, BatchLimits{Messages: 5, Wait: 2 * time.Second})
		if len(messages) != 1 { // the probe
			s.Errorf("%d messages during backoff", len(messages))
		}
		messages[0].Answer(nil)
		messages = s.fetch(c, BatchLimits{Messages: 5})
		if len(messages) != 5 {
			s.Errorf("%d messages after backoff", len(messages))
		}
		for _, m := range messages {
			m.Answer(nil)
		}
	})
}

// A connection that is cut right after it has brought messages leaves nothing behind that
// would lease messages to no one.
func TestFetchOverACutConnection(t *testing.T) {
	for cut := 250; cut < 1000; cut += 10 {
		inScene(t, func(s *scene) {
			all := s.nsqds(2)
			for _, d := range all {
				d.CreateChannel("t", "c")
				publishMany(d, 30)
			}
			all[0].CutAfterSent(cut)
			c := s.consumer(0, nil)
			_ = c.Connect(s.Context(), all[0].Addr(), all[1].Addr()) // the handshake may be cut, too
			for _, m := range s.fetch(c, BatchLimits{Messages: 20, Wait: 100 * time.Millisecond}) {
				m.Answer(nil)
			}
			after(5 * time.Second)
			before := delivered(all)
			for _, d := range all {
				publishMany(d, 10)
			}
			after(5 * time.Second)
			if rdy, _ := granted(all); rdy != 0 || delivered(all) != before {
				s.Errorf("cut after %d bytes: RDY %d, %d messages came for no one", cut, rdy, delivered(all)-before)
			}
		})
	}
}
