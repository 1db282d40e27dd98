package nsq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// batches makes the scene's Consumer with a batch handler on so many goroutines, connected.
func (s *scene) batches(limits BatchLimits, concurrency int, h BatchHandlerFunc, nsqds ...*nsqtest.Nsqd) *Consumer {
	s.Helper()
	c := s.consumer(0, nil)
	c.AddBatchHandler(h, limits, concurrency)
	s.connect(nsqds...)
	return c
}

// A batch of 100 of which 3 fail: 97 FINs in one write, 3 REQs, one step of backoff.
func TestBatchFailsInPart(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 100
		s.cfg.DefaultRequeueDelay = time.Hour
		s.cfg.OutputBufferTimeout = -1
		d := s.nsqd("a:1")
		calls := 0
		c := s.batches(BatchLimits{Messages: 100, Wait: time.Hour}, 1, func(ctx context.Context, batch []*Message) error {
			calls++
			if len(batch) != 100 {
				s.Errorf("%d messages", len(batch))
			}
			for _, m := range batch[:3] {
				m.Answer(errBoom)
			}
			return nil
		}, d)
		publishMany(d, 100)
		synctest.Wait()
		if st := d.Stats("t", "c"); calls != 1 || st.Finished != 97 || st.Deferred != 3 {
			s.Errorf("%d calls, %+v", calls, st)
		}
		if level := c.Snapshot().BackoffLevel; level != 1 {
			s.Errorf("backoff level %d", level)
		}
	})
}

// All FINs of a batch leave in one write.
func TestBatchIsOneWrite(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 300
		d := s.nsqd("a:1")
		release := make(chan struct{})
		s.batches(BatchLimits{Messages: 100, Wait: time.Hour}, 1, func(ctx context.Context, batch []*Message) error {
			<-release
			return nil
		}, d)
		publishMany(d, 300)
		synctest.Wait()
		for i := range 3 {
			before := s.net.Writes()
			release <- struct{}{}
			synctest.Wait()
			if st := d.Stats("t", "c"); st.Finished != 100*(i+1) {
				s.Fatalf("%+v", st)
			}
			if writes := s.net.Writes() - before; writes != 1 {
				s.Errorf("%d writes", writes)
			}
		}
	})
}

// A batch that fails is requeued as its error says, and is one failure for backoff.
func TestBatchFails(t *testing.T) {
	for _, test := range []struct {
		name  string
		err   error
		panic func()
		level int
		want  nsqtest.Stats
	}{
		{"error", errBoom, nil, 1, nsqtest.Stats{Deferred: 10, Requeued: 10}},
		{"retry after", RetryAfter(time.Minute, errBoom), nil, 0, nsqtest.Stats{Deferred: 10, Requeued: 10}},
		{"no backoff", NoBackoff(errBoom), nil, 0, nsqtest.Stats{Deferred: 10, Requeued: 10}},
		{"discard", Discard(errBoom), nil, 0, nsqtest.Stats{Finished: 10}},
		{"panic", nil, func() { panic("no") }, 1, nsqtest.Stats{Deferred: 10, Requeued: 10}},
		{"goexit", nil, runtime.Goexit, 1, nsqtest.Stats{Deferred: 10, Requeued: 10}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				all := s.nsqds(2)
				s.cfg.RDYStrategy = RDYUniform
				calls := 0
				c := s.batches(BatchLimits{Messages: 10, Wait: time.Second}, 1, func(ctx context.Context, batch []*Message) error {
					if calls++; calls > 1 {
						return nil
					}
					if test.panic != nil {
						test.panic()
					}
					return test.err
				}, all...)
				after(rdyMoves)
				for _, d := range all {
					publishMany(d, 5)
				}
				after(time.Millisecond)
				st, b := all[0].Stats("t", "c"), all[1].Stats("t", "c")
				st.Deferred, st.Requeued, st.Finished = st.Deferred+b.Deferred, st.Requeued+b.Requeued, st.Finished+b.Finished
				if st.Deferred != test.want.Deferred || st.Requeued != test.want.Requeued || st.Finished != test.want.Finished {
					s.Errorf("%+v", st)
				}
				if level := c.Snapshot().BackoffLevel; level != test.level {
					s.Errorf("backoff level %d", level)
				}
				after(10 * time.Minute)
				if level := c.Snapshot().BackoffLevel; level != 0 {
					s.Errorf("backoff level %d after a success", level)
				}
				if n := s.balanced().Finished; n != 10 {
					s.Errorf("%d finished in the end", n)
				}
			})
		})
	}
}

// When a batch is handled that is not full.
func TestBatchLeaves(t *testing.T) {
	for _, test := range []struct {
		name   string
		limits BatchLimits
		want   string // the sizes of batches, and when they are handled
	}{
		{"wait", BatchLimits{Messages: 100, Wait: 200 * time.Millisecond}, "[5 after 200ms]"},
		{"no wait", BatchLimits{Messages: 100}, "[5 after 0s]"},
		{"half of the lease", BatchLimits{Messages: 100, Wait: 10 * time.Second}, "[5 after 500ms]"},
		{"full", BatchLimits{Messages: 2, Wait: 100 * time.Millisecond}, "[2 after 0s 2 after 0s 1 after 100ms]"},
		{"bytes", BatchLimits{Messages: 100, Bytes: 10, Wait: 100 * time.Millisecond}, "[2 after 0s 2 after 0s 1 after 100ms]"},
		{"large bodies", BatchLimits{Messages: 100, Bytes: 1, Wait: 100 * time.Millisecond}, "[1 after 0s 1 after 0s 1 after 0s 1 after 0s 1 after 0s]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.MaxInFlight = 100
				s.cfg.OutputBufferTimeout = -1
				d := s.nsqd("a:1", leases(time.Second, time.Minute))
				var begin time.Time
				var handled []string
				s.batches(test.limits, 1, func(ctx context.Context, batch []*Message) error {
					handled = append(handled, fmt.Sprintf("%d after %v", len(batch), time.Since(begin).Round(5*time.Millisecond)))
					return nil
				}, d)
				begin = time.Now()
				d.Publish("t", "12345", "12345", "12345", "12345", "12345")
				after(2 * time.Second)
				if fmt.Sprint(handled) != test.want {
					s.Errorf("%v, want %v", handled, test.want)
				}
				if st := d.Stats("t", "c"); st.Finished != 5 || st.Delivered != 5 {
					s.Errorf("%+v", st)
				}
			})
		})
	}
}

// If max_in_flight is too low for full batches, they do not wait in vain, and a warning names
// the figure. The same holds while a backoff tries single messages.
func TestBatchThatCannotFill(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 30
		all := s.nsqds(2)
		c := s.consumer(0, nil)
		log := s.logged(LogLevelWarning)
		var mu sync.Mutex
		total, fails := 0, true
		c.AddBatchHandler(BatchHandlerFunc(func(_ context.Context, batch []*Message) error {
			mu.Lock()
			defer mu.Unlock()
			if fails {
				fails = false
				return errBoom
			}
			total += len(batch)
			return nil
		}), BatchLimits{Messages: 100, Wait: time.Hour}, 2)
		s.connect(all...)
		publishMany(all[0], 500)
		begin := time.Now()
		enough := func() bool {
			mu.Lock()
			defer mu.Unlock()
			return total >= 400
		}
		for !enough() && time.Since(begin) < time.Hour {
			sleep(time.Second)
		}
		if took := time.Since(begin); took > time.Minute {
			s.Errorf("%d messages took %v", total, took)
		}
		if got := fmt.Sprint(log.take()); !strings.Contains(got, "set_at_least=200") {
			s.Errorf("logged %s", got)
		}
	})
}

// A stop gives back what is gathered, at once and with one attempt more. A batch that is being
// handled may finish.
func TestStopWhileGathering(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 100
		d := s.nsqd("a:1")
		s.batches(BatchLimits{Messages: 10, Wait: time.Hour}, 1, func(ctx context.Context, batch []*Message) error {
			sleep(2 * time.Second)
			return ctx.Err()
		}, d)
		publishMany(d, 10)
		synctest.Wait()
		publishMany(d, 5)
		synctest.Wait()
		if took := s.stopped(); took > 2100*time.Millisecond {
			s.Errorf("the stop took %v", took)
		}
		if st := d.Stats("t", "c"); st.Finished != 10 || st.Depth != 5 || st.Delivered != 15 || st.Requeued != 5 {
			s.Errorf("%+v", st)
		}
	})
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.batches(BatchLimits{Messages: 10, Wait: time.Hour}, 1, func(context.Context, []*Message) error {
			s.Error("handled")
			return nil
		}, d)
		publishMany(d, 5)
		after(time.Second)
		if took := s.stopped(); took > time.Second {
			s.Errorf("the stop took %v", took)
		}
		if st := d.Stats("t", "c"); st.Depth != 5 || st.Requeued != 5 {
			s.Errorf("%+v", st)
		}
	})
}

// A batch handler that ignores a stop is named in its error, and one that obeys ctx ends it.
func TestStopTimesOutOnABatch(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		release := make(chan struct{})
		s.batches(BatchLimits{Messages: 3}, 1, func(context.Context, []*Message) error {
			<-release
			return nil
		}, d)
		d.Publish("t", "one", "two", "three")
		synctest.Wait()
		_, err := s.shutdown(time.Second)
		stop, ok := errors.AsType[*StopError](err)
		if !ok || len(stop.Running) != 3 {
			s.Errorf("error %v", err)
		}
		close(release)
	})
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.batches(BatchLimits{Messages: 3}, 1, func(ctx context.Context, _ []*Message) error {
			<-ctx.Done()
			if cause := context.Cause(ctx); !errors.Is(cause, ErrStopped) {
				s.Errorf("cause %v", cause)
			}
			return ctx.Err()
		}, d)
		d.Publish("t", "one", "two", "three")
		synctest.Wait()
		if _, err := s.shutdown(time.Second); err != nil {
			s.Errorf("error %v", err)
		}
		if st := d.Stats("t", "c"); st.Requeued != 3 {
			s.Errorf("%+v", st)
		}
	})
}

// The context of a batch ends with the first lease. With auto_touch all messages of a batch
// that is being handled are touched.
func TestBatchLeases(t *testing.T) {
	for _, autoTouch := range []time.Duration{0, time.Minute} {
		t.Run(fmt.Sprint(autoTouch), func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.AutoTouch, s.cfg.MaxBackoffDuration = autoTouch, 0
				d := s.nsqd("a:1", leases(time.Second, time.Hour))
				first := true
				c := s.batches(BatchLimits{Messages: 5}, 1, func(ctx context.Context, batch []*Message) error {
					if !first {
						return nil
					}
					first = false
					select {
					case <-time.After(10 * time.Second):
						if autoTouch == 0 {
							s.Error("ctx has not ended")
						}
					case <-ctx.Done():
						if autoTouch > 0 || !errors.Is(context.Cause(ctx), ErrMessageTimedOut) || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
							s.Errorf("ctx ended: %v", context.Cause(ctx))
						}
						sleep(time.Millisecond) // nsqd ends the lease at this instant: a FIN now could be in time
					}
					return nil
				}, d)
				publishMany(d, 5)
				after(20 * time.Second)
				st := d.Stats("t", "c")
				if autoTouch > 0 && (st.TimedOut != 0 || st.Delivered != 5) || autoTouch == 0 && st.TimedOut != 5 || st.Finished != 5 {
					s.Errorf("%+v", st)
				}
				if held := c.memory.held.Load(); held != 0 {
					s.Errorf("%d bytes are still held", held)
				}
				s.balanced()
			})
		})
	}
}

// A lost connection takes the messages of a batch that is being gathered, and ends those of one
// that is being handled. Nothing is acked that nsqd delivers again.
func TestBatchOverALostConnection(t *testing.T) {
	inScene(t, func(s *scene) {
		all := s.nsqds(2)
		s.cfg.MaxInFlight = 100
		var sizes []int
		c := s.batches(BatchLimits{Messages: 6, Wait: time.Minute}, 1, func(_ context.Context, batch []*Message) error {
			sizes = append(sizes, len(batch))
			sleep(5 * time.Second)
			return nil
		}, all...)
		publishMany(all[0], 3)
		publishMany(all[1], 5) // six are handled, two are gathered
		after(time.Second)
		all[0].Kill()
		after(time.Minute + 10*time.Second)
		if held := c.memory.held.Load(); held != 0 {
			s.Errorf("%d bytes are still held", held)
		}
		counts := s.balanced()
		if counts.Lost != 3 || counts.Finished != 5 {
			s.Errorf("%v, %+v", sizes, counts)
		}
	})
}

// Given up messages go to the batch handler's LogFailedMessage, and not into batches.
func TestBatchGivesUp(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxAttempts, s.cfg.DefaultRequeueDelay, s.cfg.MaxBackoffDuration = 1, 0, 0
		d := s.nsqd("a:1")
		c := s.consumer(0, nil)
		h := &failingBatches{}
		c.AddBatchHandler(h, BatchLimits{Messages: 10}, 1)
		s.connect(d)
		publishMany(d, 5)
		after(time.Second)
		if h.batches != 1 || h.givenUp != 5 {
			s.Errorf("%+v", h)
		}
		if st := d.Stats("t", "c"); st.Finished != 5 || st.Requeued != 5 {
			s.Errorf("%+v", st)
		}
	})
}

type failingBatches struct{ batches, givenUp int }

func (f *failingBatches) HandleBatch(context.Context, []*Message) error {
	f.batches++
	return errBoom
}

func (f *failingBatches) LogFailedMessage(*Message) { f.givenUp++ }

// Hooks hear of each message of a batch once, with what becomes of it.
func TestBatchTellsHooks(t *testing.T) {
	inScene(t, func(s *scene) {
		told := map[string]string{}
		s.cfg.Hooks = []Hooks{{Handled: func(e HandledEvent) {
			told[string(e.Message.Body)] += fmt.Sprintf("%s %v of %d after %v", e.Outcome, e.Err, e.Messages, e.Took)
		}}}
		d := s.nsqd("a:1")
		s.batches(BatchLimits{Messages: 4, Wait: time.Minute}, 1, func(_ context.Context, batch []*Message) error {
			sleep(time.Second)
			batch[0].Answer(errBoom)
			batch[1].Finish()
			batch[2].DisableAutoResponse()
			sleep(time.Second)
			return nil
		}, d)
		d.Publish("t", "one", "two", "three", "four")
		after(3 * time.Second)
		want := map[string]string{
			"one": "requeued boom of 4 after 1s", "two": "answered <nil> of 4 after 2s",
			"three": "pending <nil> of 4 after 2s", "four": "finished <nil> of 4 after 2s",
		}
		if fmt.Sprint(told) != fmt.Sprint(want) {
			s.Errorf("told %v", told)
		}
	})
}

// SetConcurrency, Snapshot and Health count batches as they count handlers.
func TestBatchesAreCounted(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.StuckAfter, s.cfg.MaxInFlight = time.Second, 20
		d := s.nsqd("a:1", leases(10*time.Second, time.Minute))
		release := make(chan struct{})
		c := s.batches(BatchLimits{Messages: 5, Wait: time.Hour}, 3, func(context.Context, []*Message) error {
			<-release
			return nil
		}, d)
		publishMany(d, 12)
		after(2 * time.Second)
		if shown := c.Snapshot(); shown.Handlers != 3 || shown.Busy != 2 || shown.Queued != 2 || shown.Oldest < 2*time.Second {
			s.Errorf("%+v", shown)
		}
		if err := c.SetConcurrency(1); err != nil {
			s.Error(err)
		}
		after(time.Second) // the idle worker leaves, and does not take its two messages along
		if shown := c.Snapshot(); shown.Handlers > 3 || shown.Queued+2*5 < 10 {
			s.Errorf("%+v", shown)
		}
		after(10 * time.Second)
		if err := c.Health(); err == nil || !strings.Contains(err.Error(), "stuck handlers: ") {
			s.Errorf("health: %v", err)
		}
		close(release)
		after(2 * time.Minute)
		if shown := c.Snapshot(); shown.Handlers != 1 || shown.InFlight != 0 {
			s.Errorf("%+v", shown)
		}
	})
}

// What cannot work panics at once.
func TestBatchMisuse(t *testing.T) {
	ok := BatchHandlerFunc(func(context.Context, []*Message) error { return nil })
	for name, misuse := range map[string]func(c *Consumer){
		"nil handler":   func(c *Consumer) { c.AddBatchHandler(nil, BatchLimits{Messages: 1}, 1) },
		"no limit":      func(c *Consumer) { c.AddBatchHandler(ok, BatchLimits{}, 1) },
		"negative wait": func(c *Consumer) { c.AddBatchHandler(ok, BatchLimits{Messages: 1, Wait: -1}, 1) },
		"handlers before": func(c *Consumer) {
			c.AddHandler(HandlerFunc(noError))
			c.AddBatchHandler(ok, BatchLimits{Messages: 1}, 1)
		},
		"handlers after": func(c *Consumer) {
			c.AddBatchHandler(ok, BatchLimits{Messages: 1}, 1)
			c.AddHandler(HandlerFunc(noError))
		},
		"middleware": func(c *Consumer) {
			c.AddBatchHandler(ok, BatchLimits{Messages: 1}, 1)
			c.Use(func(h Handler) Handler { return h })
			_ = c.ConnectToNSQD("a:1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.Logger = slog.New(slog.DiscardHandler)
				c := s.consumer(0, nil)
				defer func() {
					if recover() == nil {
						s.Error("no panic")
					}
					if s.net.Dials() > 0 {
						s.Error("it cost a connection")
					}
				}()
				misuse(c)
			})
		})
	}
}

// Messages whose leases end while a batch handler is about to get them are given up, and do
// not count against max_bytes_in_flight any longer. Whether the sweep or the worker finds
// them is chance.
func TestBatchLeaseEndsJustBefore(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxBackoffDuration, s.cfg.OutputBufferTimeout = 0, -1
		d := s.nsqd("a:1", leases(time.Second, time.Minute))
		c := s.batches(BatchLimits{Messages: 1}, 1, func(_ context.Context, batch []*Message) error {
			if string(batch[0].Body) == "slow" {
				sleep(time.Second)
			}
			return nil
		}, d)
		const rounds = 50
		for range rounds {
			d.Publish("t", "slow", "late")
			sleep(1500 * time.Millisecond)
			d.Empty("t", "c") // the slow one is delivered again
			sleep(2 * time.Second)
			if held := c.memory.held.Load(); held != 0 {
				s.Fatalf("%d bytes are still held", held)
			}
		}
		s.balanced()
	})
}

// The context of a batch ends with the lease that ends first, whichever message has it.
func TestBatchDeadlineIsTheFirst(t *testing.T) {
	for _, order := range [][]string{{"a:1", "b:1"}, {"b:1", "a:1"}} {
		inScene(t, func(s *scene) {
			s.cfg.MaxInFlight = 10
			leases := map[string]time.Duration{"a:1": time.Minute, "b:1": 10 * time.Second}
			var nsqds []*nsqtest.Nsqd
			for _, addr := range order {
				nsqds = append(nsqds, s.nsqd(addr, func(o *nsqtest.Options) { o.MsgTimeout = leases[addr] }))
			}
			calls := 0
			s.batches(BatchLimits{Messages: 2, Wait: time.Hour}, 1, func(ctx context.Context, batch []*Message) error {
				calls++
				if end, ok := ctx.Deadline(); len(batch) != 2 || !ok || time.Until(end) > 10*time.Second {
					s.Errorf("%q: %d messages, the context ends in %v", order, len(batch), time.Until(end))
				}
				return nil
			}, nsqds...)
			for _, d := range nsqds {
				d.Publish("t", "m")
				after(time.Second)
			}
			if calls != 1 {
				s.Errorf("%q: %d calls", order, calls)
			}
		})
	}
}

// A Delegate of the handler's own that takes long holds up its worker, not the Consumer.
func TestSlowDelegateInABatch(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.cfg.DefaultRequeueDelay = time.Hour
		release := make(chan struct{})
		c := s.batches(BatchLimits{Messages: 2, Wait: time.Hour}, 1, func(_ context.Context, batch []*Message) error {
			batch[0].Delegate = &slowDelegate{batch[0].Delegate, release}
			return errBoom
		}, d)
		d.Publish("t", "m", "n")
		synctest.Wait()
		for range 20 {
			after(time.Second)
			s.health("")
		}
		if s.Failed() { // Snapshot would wait for the run loop
			close(release)
			return
		}
		if n := c.Snapshot().InFlight; n != 2 {
			s.Errorf("%d messages in flight while the Delegate waits, want 2", n)
		}
		close(release)
		synctest.Wait()
		if st := d.Stats("t", "c"); st.Requeued != 2 {
			s.Errorf("%+v, want 2 requeued", st)
		}
	})
}

// slowDelegate is a user's Delegate that waits before it requeues.
type slowDelegate struct {
	MessageDelegate
	release <-chan struct{}
}

func (d *slowDelegate) OnRequeue(m *Message, delay time.Duration, backoff bool) {
	<-d.release
	d.MessageDelegate.OnRequeue(m, delay, backoff)
}
