package nsq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// keepLoopBusy is holdLoop for a handler, which must not call synctest.Wait.
func (s *scene) keepLoopBusy() (release func()) {
	held := make(chan struct{})
	s.c.post(func(time.Time) { <-held })
	return func() { close(held) }
}

// many returns n bodies.
func many(n int) (bodies []string) {
	for i := range n {
		bodies = append(bodies, fmt.Sprint(i))
	}
	return bodies
}

// N19: the handler that stops the Consumer is the last one to begin a message, even while
// the run loop is busy: in that time messages still arrive. They are requeued, but only
// after CLS.
func TestStopBeginsNoMoreMessages(t *testing.T) {
	for name, stop := range map[string]func(c *Consumer){
		"Stop":             (*Consumer).Stop,
		"Shutdown of ever": func(c *Consumer) { go func() { _ = c.Shutdown(context.Background()) }(); sleep(time.Millisecond) },
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.MaxInFlight = 200
				d := s.nsqd("a:1")
				begun, release := 0, func() {}
				s.consumer(1, func(*Message) error {
					if begun++; begun == 50 {
						release = s.keepLoopBusy()
						stop(s.c)
					}
					return nil
				})
				s.connect(d)
				d.Publish("t", many(500)...)
				after(10 * time.Millisecond)
				if begun != 50 {
					release()
					s.Fatalf("%d messages begun, want 50", begun)
				}
				if got := commands(d, "REQ"); len(got) != 0 {
					s.Errorf("%d messages requeued before CLS", len(got))
				}
				if err := s.c.ConnectToNSQD("b:1"); !errors.Is(err, ErrStopped) {
					s.Errorf("ConnectToNSQD: error %v", err)
				}
				if err := s.c.SetConcurrency(3); !errors.Is(err, ErrStopped) {
					s.Errorf("SetConcurrency: error %v", err)
				}
				release()
				<-s.c.StopChan
				if st := d.Stats("t", "c"); begun != 50 || st.Finished != 50 || st.Depth != 450 || st.InFlight != 0 {
					s.Errorf("%d begun, %+v, want 50 finished", begun, st)
				}
				if got := commands(d, "CLS", "REQ"); len(got) < 2 || got[0] != "CLS" {
					s.Errorf("sent %.40q, want CLS before every REQ", got)
				}
				s.balanced()
			})
		})
	}
}

// Workers leave as soon as the queue is sealed. If the run loop hears of that before it hears
// of the stop, it sends no RDY 0: go-nsq sends none before CLS.
func TestWorkersLeaveBeforeStop(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 5
		d := s.nsqd("a:1")
		s.consumer(3, func(*Message) error { return nil })
		s.connect(d)
		synctest.Wait()
		before := commands(d, "RDY")
		s.c.queue.seal()
		synctest.Wait()
		if n := s.c.queue.workerCount(); n != 0 {
			s.Fatalf("%d workers left", n)
		}
		s.c.Stop()
		<-s.c.StopChan
		if got := commands(d, "RDY"); !slices.Equal(got, before) {
			s.Errorf("sent %q, want only %q", got, before)
		}
	})
}

// N19: the handler that cancels the context of Run is the last one to begin a message,
// although Run learns of it only later.
func TestRunBeginsNoMoreMessages(t *testing.T) {
	type key struct{}
	for name, derive := range map[string]func(context.Context) context.Context{
		"its own": func(ctx context.Context) context.Context { return ctx },
		"derived": func(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, 1) },
	} {
		for _, handlers := range []int{1, 4} {
			t.Run(fmt.Sprint(name, handlers), func(t *testing.T) {
				inScene(t, func(s *scene) {
					s.cfg.MaxInFlight = 200
					d := s.nsqd("a:1")
					ctx, cancel := context.WithCancel(s.Context())
					defer cancel()
					var mu sync.Mutex
					begun, late, release := 0, 0, func() {}
					s.consumer(handlers, func(*Message) error {
						mu.Lock()
						defer mu.Unlock()
						if begun++; begun == 50 {
							release = s.keepLoopBusy()
							cancel()
						} else if begun > 50 {
							late++
						}
						return nil
					})
					s.connect(d)
					result := make(chan error, 1)
					go func() { result <- s.c.Run(derive(ctx)) }()
					synctest.Wait()
					d.Publish("t", many(500)...)
					synctest.Wait()
					if late >= handlers {
						s.Errorf("%d messages begun after the cancel, want fewer than %d", late, handlers)
					}
					release()
					if err := <-result; err != nil {
						s.Errorf("Run: error %v", err)
					}
					st := d.Stats("t", "c")
					if st.Finished != begun || st.Depth != 500-begun || st.InFlight != 0 {
						s.Errorf("%d begun, %+v", begun, st)
					}
					s.balanced()
				})
			})
		}
	}
}

// N19: a message that a worker took just before the context of Run ended goes back to the
// queue, in its place.
func TestTakenBeforeRunEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newQueuePlayer(t, nil)
		p.tell("workers 1 batch=3", "put a 1-4", "take w1")
		w := p.worker("w1")
		q := p.c.queue
		q.giveBack(w.worker)
		if n := len(q.busy) + len(q.prefetching); n != 0 || w.current() != nil {
			t.Errorf("the worker still has messages")
		}
		var left []string
		for _, m := range q.close() {
			left = append(left, strings.TrimLeft(string(m.ID[:]), "0"))
		}
		if want := []string{"1", "2", "3", "4"}; !slices.Equal(left, want) {
			t.Errorf("left %q, want %q", left, want)
		}
	})
}

// N19: if the run loop has closed the queue before that, the message goes back to nsqd.
// Nobody would take it out of the queue again until its lease ends, and the stop would
// wait for it.
func TestTakenBeforeTheQueueWasClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newQueuePlayer(t, nil)
		p.tell("workers 1 batch=3", "put a 1-4", "take w1")
		q := p.c.queue
		if n := len(q.close()); n != 3 {
			t.Errorf("%d messages left in the queue, want 3", n)
		}
		returned := q.giveBack(p.worker("w1").worker)
		if len(returned) != 1 || returned[0].ID[MsgIDLength-1] != '1' || !q.lanes.empty() {
			t.Errorf("%d messages returned, queue empty: %v", len(returned), q.lanes.empty())
		}
	})
}

// N19: when DisconnectFromNSQD returns, no handler begins another of the messages that
// the nsqd has sent.
func TestDisconnectBeginsNoMoreMessages(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 200
		d := s.nsqd("a:1", func(o *nsqtest.Options) { o.Straggler = true })
		begun := 0
		s.consumer(1, func(*Message) error {
			if begun++; begun == 50 {
				if err := s.c.DisconnectFromNSQD("a:1"); err != nil {
					s.Errorf("error %v", err)
				}
			}
			return nil
		})
		s.connect(d)
		d.Publish("t", many(500)...)
		after(time.Second)
		if st := d.Stats("t", "c"); begun != 50 || st.Finished != 50 || st.Clients != 0 {
			s.Errorf("%d begun, %+v, want 50", begun, st)
		}
	})
}

// N12: a worker that leaves takes the place of no other: however many leave, each costs
// the same.
func TestWorkersKnowTheirPlaces(t *testing.T) {
	inScene(t, func(s *scene) {
		s.consumer(100, noError)
		for _, n := range []int{37, 90, 1, 50} {
			if err := s.c.SetConcurrency(n); err != nil {
				s.Fatal(err)
			}
			synctest.Wait()
			workers := s.c.queue.workers
			if len(workers) != n {
				s.Errorf("%d workers, want %d", len(workers), n)
			}
			for i, w := range workers {
				if w.index != i {
					s.Errorf("worker %d of %d takes itself for %d", i, n, w.index)
				}
			}
		}
	})
}
