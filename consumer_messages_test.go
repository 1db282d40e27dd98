package nsq

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// While no loop ranges nothing is leased. A loop gets messages as a handler does.
func TestMessages(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		c := s.taker(d)
		publishMany(d, 100)
		after(time.Minute)
		if st := d.Stats("t", "c"); st.Delivered != 0 {
			s.Fatalf("nobody takes, and %+v", st)
		}
		ctx, cancel := context.WithCancel(s.Context())
		defer cancel()
		n := 0
		for m := range c.Messages(ctx) {
			if inFlight := d.Stats("t", "c").InFlight; inFlight > s.cfg.MaxInFlight {
				s.Errorf("%d in flight", inFlight)
			}
			m.Answer(nil)
			if n++; n == 100 {
				cancel()
			}
		}
		after(2 * time.Second)
		if st := d.Stats("t", "c"); st.Finished != 100 || st.Delivered != 100 {
			s.Errorf("%+v", st)
		}
		for range c.Messages(ctx) {
			s.Error("a message after the end of the context")
		}
	})
}

// break, return and a panic of the loop's body lose nothing: the message in hand stays leased,
// and those that wait go to the next loop or back to nsqd.
func TestMessagesLeft(t *testing.T) {
	for name, leave := range map[string]func(messages iter.Seq[*Message]){
		"break": func(messages iter.Seq[*Message]) {
			for range messages {
				break
			}
		},
		"panic": func(messages iter.Seq[*Message]) {
			defer func() { _ = recover() }()
			for range messages {
				panic("no")
			}
		},
		"goexit": func(messages iter.Seq[*Message]) {
			var left sync.WaitGroup
			left.Go(func() {
				for range messages {
					runtime.Goexit()
				}
			})
			left.Wait()
		},
		"pull": func(messages iter.Seq[*Message]) {
			next, stop := iter.Pull(messages)
			next()
			stop()
		},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1", leases(10*time.Second, time.Minute))
				c := s.taker(d)
				publishMany(d, 20)
				leave(c.Messages(s.Context()))
				synctest.Wait()
				if st := d.Stats("t", "c"); st.InFlight != 10 || st.Requeued != 0 {
					s.Fatalf("right after the loop: %+v", st)
				}
				after(2 * time.Second)
				if st := d.Stats("t", "c"); st.InFlight != 1 || st.Requeued != 9 || st.Depth != 19 {
					s.Fatalf("two seconds later: %+v", st)
				}
				after(10 * time.Second)
				if st := d.Stats("t", "c"); st.InFlight != 0 || st.TimedOut != 1 || st.Depth != 20 {
					s.Fatalf("when the lease is over: %+v", st)
				}
			})
		})
	}
}

// A loop that begins again soon finds the messages that the last one left.
func TestMessagesAgain(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		c := s.taker(d)
		publishMany(d, 20)
		for range 20 {
			for m := range c.Messages(s.Context()) {
				m.Answer(nil)
				break
			}
			sleep(900 * time.Millisecond)
		}
		after(time.Second)
		if st := d.Stats("t", "c"); st.Delivered != 20 || st.Finished != 20 {
			s.Errorf("%+v", st)
		}
	})
}

// Eight loops, one of them slow, share the messages. Some answers come from other goroutines.
func TestMessagesOnManyGoroutines(t *testing.T) {
	inScene(t, func(s *scene) {
		const n = 2000
		s.cfg.MaxInFlight = 100
		all := s.nsqds(2)
		c := s.taker(all...)
		for _, d := range all {
			publishMany(d, n/2)
		}
		ctx, cancel := context.WithCancel(s.Context())
		defer cancel()
		var handled atomic.Int32
		var loops, answers sync.WaitGroup
		for i := range 8 {
			loops.Go(func() {
				for m := range c.Messages(ctx) {
					if i == 0 {
						sleep(time.Second)
					}
					answer := func() {
						m.Answer(nil)
						if handled.Add(1) == n {
							cancel()
						}
					}
					if i%2 == 0 {
						answers.Go(answer)
					} else {
						answer()
					}
				}
			})
		}
		loops.Wait()
		answers.Wait()
		after(time.Second)
		finished := 0
		for _, d := range all {
			finished += d.Stats("t", "c").Finished
		}
		if finished != n || delivered(all) != n {
			s.Errorf("%d finished, %d delivered", finished, delivered(all))
		}
		s.balanced()
	})
}

// Failures back off as with handlers, and messages that were delivered too often are given up.
func TestMessagesFail(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxAttempts = 2
		s.cfg.DefaultRequeueDelay = 0
		d := s.nsqd("a:1")
		c := s.taker(d)
		d.Publish("t", "bad", "good")
		ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
		defer cancel()
		var got []string
		for m := range c.Messages(ctx) {
			got = append(got, fmt.Sprint(string(m.Body), m.Attempts))
			if string(m.Body) == "bad" {
				m.Answer(errBoom)
				synctest.Wait()
				if c.Snapshot().BackoffLevel == 0 {
					s.Error("no backoff")
				}
				continue
			}
			m.Answer(nil)
		}
		if counts := s.balanced(); counts.GivenUp != 1 || len(got) != 3 || counts.Requeued != 2 {
			s.Errorf("%v, %+v", got, counts)
		}
	})
}

// A stop ends loops. The body that is at work may finish, and auto_touch keeps its message.
func TestStopWhileRanging(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.AutoTouch, s.cfg.MaxInFlight = time.Hour, 1
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		c := s.taker(d)
		publishMany(d, 5)
		ended := make(chan int)
		go func() {
			n := 0
			for m := range c.Messages(context.Background()) {
				n++
				sleep(10 * time.Second)
				m.Answer(nil)
			}
			ended <- n
		}()
		after(5 * time.Second)
		c.Stop()
		if n := <-ended; n != 1 {
			s.Errorf("%d messages were begun", n)
		}
		<-c.StopChan
		if st := d.Stats("t", "c"); st.Finished != 1 || st.Depth != 4 || st.TimedOut != 0 {
			s.Errorf("%+v", st)
		}
		for range c.Messages(context.Background()) {
			s.Error("a message after the stop")
		}
	})
}

// The end of Run's context ends loops.
func TestRunEndsLoops(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		c := s.taker(d)
		publishMany(d, 50)
		ctx, cancel := context.WithCancel(s.Context())
		defer cancel()
		var running sync.WaitGroup
		running.Go(func() {
			if err := c.Run(ctx); err != nil {
				s.Error(err)
			}
		})
		synctest.Wait()
		n := 0
		for m := range c.Messages(context.Background()) {
			m.Answer(nil)
			if n++; n == 10 {
				cancel()
			}
		}
		running.Wait()
		if n != 10 {
			s.Errorf("%d messages", n)
		}
	})
}

// What cannot work panics at once.
func TestMessagesMisuse(t *testing.T) {
	panics := func(f func()) (p any) {
		defer func() { p = recover() }()
		f()
		return nil
	}
	inScene(t, func(s *scene) {
		c := s.consumer(1, noError)
		if p := panics(func() {
			for range c.Messages(s.Context()) {
				s.Error("a message")
			}
		}); p == nil {
			s.Error("ranging beside handlers does not panic")
		}
	})
	inScene(t, func(s *scene) {
		c := s.consumer(0, nil)
		ctx, cancel := context.WithCancel(s.Context())
		defer cancel()
		cancel()
		for range c.Messages(ctx) {
			s.Error("a message")
		}
		if p := panics(func() { c.AddHandler(HandlerFunc(noError)) }); p == nil {
			s.Error("a handler beside loops does not panic")
		}
		if p := panics(func() { c.Use(func(h Handler) Handler { return h }) }); p == nil {
			s.Error("middleware beside loops does not panic")
		}
	})
	inScene(t, func(s *scene) {
		c := s.consumer(0, nil)
		c.Use(func(h Handler) Handler { return h })
		if p := panics(func() {
			for range c.Messages(s.Context()) {
				s.Error("a message")
			}
		}); p == nil {
			s.Error("ranging beside middleware does not panic")
		}
		if _, err := c.Fetch(s.Context(), BatchLimits{Messages: 1}); err == nil {
			s.Error("Fetch beside middleware does not fail")
		}
	})
}

// Connect and Discover wait as long as their context allows, need no handler, and go on after
// they return.
func TestConnectAndDiscover(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		c := s.consumer(0, nil)
		err := c.Connect(s.Context(), "a:1", "b:1")
		if got := fmt.Sprint(err); err == nil || !strings.Contains(got, "nsqd b:1") || strings.Contains(got, "a:1") {
			s.Errorf("error %v", err)
		}
		b := s.nsqd("b:1")
		publishMany(b, 1)
		publishMany(d, 1)
		if messages := s.fetch(c, BatchLimits{Messages: 2, Wait: time.Minute}); len(messages) != 2 {
			s.Errorf("%d messages", len(messages))
		} else {
			messages[0].Answer(nil)
			messages[1].Answer(nil)
		}
	})
	inScene(t, func(s *scene) {
		c := s.consumer(0, nil)
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		s.net.Blackhole("a:1")
		begin := time.Now()
		if err := c.Connect(ctx, "a:1"); err == nil || time.Since(begin) != time.Second {
			s.Errorf("error %v after %v", err, time.Since(begin))
		}
	})
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.lookupd("l:1", d)
		c := s.consumer(0, nil)
		if err := c.Discover(s.Context(), "l:1", "no address"); err == nil {
			s.Error("no error for an invalid address")
		}
		publishMany(d, 1)
		s.fetch(c, BatchLimits{Messages: 1})[0].Answer(nil)
	})
	inScene(t, func(s *scene) {
		s.cfg.LookupdPollTimeout = time.Minute
		s.net.Blackhole("l:1")
		c := s.consumer(0, nil)
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		if err := c.Discover(ctx, "l:1"); !errors.Is(err, context.DeadlineExceeded) {
			s.Errorf("error %v, although no nsqlookupd has responded", err)
		}
	})
	inScene(t, func(s *scene) {
		c := s.consumer(0, nil)
		c.Stop()
		<-c.StopChan
		if err := c.Connect(s.Context(), "a:1"); err == nil {
			s.Error("Connect after Stop")
		}
		if err := c.Discover(s.Context(), "l:1"); err == nil {
			s.Error("Discover after Stop")
		}
	})
}

// The Handled hook hears of each message that is answered, once.
func TestAnswerTellsHooks(t *testing.T) {
	inScene(t, func(s *scene) {
		var mu sync.Mutex
		var told []string
		s.cfg.Hooks = []Hooks{{Handled: func(e HandledEvent) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprintf("%s %s %v of %d after %v", e.Message.Body, e.Outcome, e.Err, e.Messages, e.Took))
		}}}
		d := s.nsqd("a:1")
		c := s.taker(d)
		d.Publish("t", "one", "two", "three")
		for i, m := range s.fetch(c, BatchLimits{Messages: 3}) {
			sleep(time.Second)
			switch i {
			case 0:
				m.Answer(nil)
				m.Answer(nil)
			case 1:
				m.Answer(Discard(errBoom))
			case 2:
				m.Answer(RetryAfter(time.Hour, errBoom))
			}
		}
		d.Publish("t", "four")
		for m := range c.Messages(s.Context()) {
			sleep(time.Second)
			m.Answer(NoBackoff(errBoom))
			break
		}
		want := []string{
			"one finished <nil> of 3 after 1s", "two discarded boom of 3 after 2s",
			"three requeued boom (retry after 1h0m0s) of 3 after 3s", "four requeued boom of 1 after 1s",
		}
		if fmt.Sprint(told) != fmt.Sprint(want) {
			s.Errorf("told %q", told)
		}
	})
}

// Answer in a handler takes precedence over what the handler returns, and hooks hear of the
// message once. For a message that no Consumer delivered its Delegate is called.
func TestAnswerInAHandler(t *testing.T) {
	inScene(t, func(s *scene) {
		var told []Outcome
		s.cfg.Hooks = []Hooks{{Handled: func(e HandledEvent) { told = append(told, e.Outcome) }}}
		d := s.nsqd("a:1")
		s.consumer(1, func(m *Message) error {
			m.Answer(RetryAfter(time.Hour, errBoom))
			return nil
		})
		s.connect(d)
		d.Publish("t", "one")
		after(time.Second)
		if st := d.Stats("t", "c"); st.Deferred != 1 || st.Finished != 0 {
			s.Errorf("%+v", st)
		}
		if fmt.Sprint(told) != "[answered]" {
			s.Errorf("told %v", told)
		}
	})
	var got []string
	for _, err := range []error{nil, errBoom, RetryAfter(time.Second, errBoom), NoBackoff(errBoom), Discard(errBoom)} {
		m := NewMessage(MessageID{}, nil)
		m.Delegate = delegateFunc(func(what string) { got = append(got, what) })
		m.Answer(err)
	}
	if fmt.Sprint(got) != "[FIN REQ -1ns true REQ 1s false REQ -1ns false FIN]" {
		t.Errorf("%q", got)
	}
}

type delegateFunc func(string)

func (f delegateFunc) OnFinish(*Message) { f("FIN") }
func (f delegateFunc) OnRequeue(_ *Message, delay time.Duration, backoff bool) {
	f(fmt.Sprint("REQ ", delay, " ", backoff))
}
func (f delegateFunc) OnTouch(*Message) { f("TOUCH") }
