package nsq

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// onReader reports whether it is called on the goroutine of a link's reader.
func onReader() bool {
	stack := make([]byte, 16<<10)
	return strings.Contains(string(stack[:runtime.Stack(stack, false)]), "(*Link).readLoop")
}

// publishEach publishes messages one at a time, each when the one before is handled.
func (s *scene) publishEach(d *nsqtest.Nsqd, n int) {
	for i := range n {
		d.Publish("t", fmt.Sprint(i))
		synctest.Wait()
	}
}

// blocked makes a Consumer whose reader handles messages, and has it begin the message "slow",
// whose handler returns when release is closed. others counts the other messages.
func (s *scene) blocked(handlers int) (d *nsqtest.Nsqd, release chan struct{}, others *atomic.Int32) {
	s.Helper()
	d = s.nsqd("a:1")
	release, others = make(chan struct{}), new(atomic.Int32)
	var begun atomic.Bool
	s.consumer(handlers, func(m *Message) error {
		if string(m.Body) != "slow" {
			others.Add(1)
			return nil
		}
		begun.Store(onReader())
		m.Touch()
		<-release
		return nil
	})
	s.connect(d)
	s.publishEach(d, 20)
	after(time.Second) // nothing is left of what has gone before
	others.Store(0)
	d.Publish("t", "slow")
	synctest.Wait()
	if !begun.Load() {
		s.Fatal("the reader has not begun the message")
	}
	return d, release, others
}

// A stop does not wait for the timer that replaces a reader whose handler is slow: CLS leaves at
// once, and what nsqd has sent by then is requeued.
func TestStopReadsOn(t *testing.T) {
	inScene(t, func(s *scene) {
		d, release, others := s.blocked(1)
		d.Publish("t", "1", "2", "3")
		synctest.Wait()
		s.c.Stop()
		synctest.Wait()
		if st := d.Stats("t", "c"); st.InFlight != 1 || st.Depth != 3 || others.Load() != 0 {
			s.Errorf("%+v, %d handled: want three requeued and one in flight", st, others.Load())
		}
		close(release)
		<-s.c.StopChan
		if c := s.balanced(); c.Finished != 21 {
			s.Errorf("%+v", c)
		}
	})
}

// The reader handles messages itself once it is known that handlers are quick.
func TestReaderHandlesQuickMessages(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		var byReader []bool
		s.consumer(1, func(*Message) error { byReader = append(byReader, onReader()); return nil })
		s.connect(d)
		s.publishEach(d, 10)
		if fmt.Sprint(byReader) != "[false true true true true true true true true true]" {
			s.Errorf("handled by the reader: %v", byReader)
		}
		if c := s.balanced(); c.Finished != 10 {
			s.Errorf("%+v", c)
		}
	})
}

// The reader handles no message if handlers are slow, or if there are several of them: each
// may only be called by its own goroutines.
func TestReaderOnlyReads(t *testing.T) {
	for name, handlers := range map[string]func(c *Consumer, h HandlerFunc){
		"slow": func(c *Consumer, h HandlerFunc) {
			c.AddHandler(HandlerFunc(func(m *Message) error { sleep(time.Millisecond); return h(m) }))
		},
		"several": func(c *Consumer, h HandlerFunc) { c.AddHandler(h); c.AddHandler(h) },
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1")
				handled := 0
				handlers(s.consumer(0, nil), func(*Message) error {
					if handled++; onReader() {
						s.Error("the reader calls the handler")
					}
					return nil
				})
				s.connect(d)
				for range 20 {
					d.Publish("t", "x")
					after(10 * time.Millisecond)
				}
				if handled != 20 {
					s.Errorf("%d handled", handled)
				}
			})
		})
	}
}

// A reader whose handler turns out to be slow reads on within two milliseconds, and what the
// handler has sent leaves by then.
func TestSlowHandlerGivesTheReaderBack(t *testing.T) {
	inScene(t, func(s *scene) {
		d, release, others := s.blocked(2)
		d.Publish("t", "next")
		after(2 * time.Millisecond)
		if n := others.Load(); n != 1 {
			s.Errorf("%d messages handled beside the slow one, want 1", n)
		}
		if lines := commands(d, "TOUCH"); len(lines) != 1 {
			s.Errorf("sent %q", lines)
		}
		if c := s.c.Snapshot(); c.Busy != 1 || c.Handlers != 2 {
			s.Errorf("%d of %d handlers are busy", c.Busy, c.Handlers)
		}
		close(release)
		synctest.Wait()
		if c := s.balanced(); c.Finished != 22 {
			s.Errorf("%+v", c)
		}
	})
}

// The reader takes the place of a handler's goroutine: no more handlers run at a time than
// were added, or are set meanwhile.
func TestReaderTakesAPlace(t *testing.T) {
	inScene(t, func(s *scene) {
		d, release, others := s.blocked(1)
		d.Publish("t", "1", "2", "3")
		after(time.Second)
		if n := others.Load(); n != 0 {
			s.Errorf("%d messages were handled beside the slow one", n)
		}
		if err := s.c.SetConcurrency(2); err != nil {
			s.Fatal(err)
		}
		synctest.Wait()
		if n := others.Load(); n != 3 {
			s.Errorf("%d messages were handled, want 3", n)
		}
		if err := s.c.SetConcurrency(1); err != nil {
			s.Fatal(err)
		}
		d.Publish("t", "4")
		after(time.Second)
		if n := others.Load(); n != 3 {
			s.Errorf("%d messages were handled, want 3", n)
		}
		close(release)
		synctest.Wait()
		if n := others.Load(); n != 4 {
			s.Errorf("%d messages were handled, want 4", n)
		}
	})
}

// A stop waits for the handler that the reader runs, and its FIN is sent.
func TestStopWaitsForTheReader(t *testing.T) {
	inScene(t, func(s *scene) {
		d, release, _ := s.blocked(1)
		s.c.Stop()
		after(time.Second)
		select {
		case <-s.c.Stopped():
			s.Error("stopped")
		default:
		}
		close(release)
		synctest.Wait()
		after(100 * time.Millisecond)
		select {
		case <-s.c.Stopped():
		default:
			s.Error("not stopped")
		}
		if st := d.Stats("t", "c"); st.Finished != 21 || st.InFlight != 0 {
			s.Errorf("%+v", st)
		}
	})
}

// A handler that panics or ends its goroutine on the reader's costs neither messages nor the
// reader.
func TestReaderSurvivesHandlers(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.MaxBackoffDuration = 0
				s.cfg.DefaultRequeueDelay = 0
				d := s.nsqd("a:1")
				byReader, handled := 0, 0
				s.consumer(1, func(m *Message) error {
					if m.Attempts == 1 && handled%3 == 2 {
						if onReader() {
							byReader++
						}
						handled++
						end()
					}
					handled++
					return nil
				})
				s.connect(d)
				s.publishEach(d, 30)
				after(time.Second)
				if st := d.Stats("t", "c"); st.Finished != 30 || byReader < 5 {
					s.Errorf("%+v, %d handlers were ended on the reader's goroutine", st, byReader)
				}
			})
		})
	}
}

// In real time and with one processor: a message is handled while the reader's goroutine is
// blocked in the handler of another one, which waits for that.
func TestBlockedReaderIsReplaced(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	d := nsqtest.NewNsqd(t, nsqtest.Options{})
	cfg := NewConfig()
	cfg.MaxInFlight = 2
	c, err := NewConsumer("t", "c", cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.SetLogger(nil, LogLevelError)
	begun, next := make(chan bool), make(chan struct{})
	c.AddConcurrentHandlers(HandlerFunc(func(m *Message) error {
		if string(m.Body) == "next" {
			close(next)
			return nil
		}
		begun <- onReader()
		<-next
		return nil
	}), 2)
	if err := c.ConnectToNSQD(d.Addr()); err != nil {
		t.Fatal(err)
	}
	for idle := 0; idle < 2; runtime.Gosched() {
		c.queue.mu.Lock()
		c.queue.loans.cost = 0 // as if handlers had been quick
		idle = c.queue.idle
		c.queue.mu.Unlock()
	}
	d.Publish("t", "slow")
	if !<-begun {
		t.Error("the reader has not begun the message")
	}
	d.Publish("t", "next")
	<-next
	c.Stop()
	<-c.StopChan
}

// A message does not wait while the reader deals with what it has read behind it, a refused
// FIN for instance, which may take time to log.
func TestWorkersHandleWhileTheReaderLogs(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		handled := 0
		s.consumer(1, func(*Message) error { handled++; return nil })
		s.connect(d)
		s.publishEach(d, 20)
		conn := s.c.connected.Load().open[0]
		conn.Messages([]wire.Message{{ID: wire.ID([]byte("0123456789abcdef")), Attempts: 1}})
		synctest.Wait()
		if handled != 20 {
			s.Fatalf("%d messages were handled, want 20: the reader has not come to this one", handled)
		}
		conn.Failed(&wire.Error{Code: wire.FinFailed})
		synctest.Wait()
		if handled != 21 {
			s.Errorf("%d messages were handled, want 21", handled)
		}
	})
}
