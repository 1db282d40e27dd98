package nsq

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// heardEvents records events, each as a line.
type heardEvents struct {
	mu    sync.Mutex
	lines []string
}

func (h *heardEvents) add(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, fmt.Sprintf(format, args...))
}

// want checks the events since the last call. Those of Handled, which run on other
// goroutines, come last.
func (h *heardEvents) want(s *scene, what string, want ...string) {
	s.Helper()
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.SortStableFunc(h.lines, func(a, b string) int {
		return cmp.Compare(strings.Index(a, "handled"), strings.Index(b, "handled")) // -1 or 0
	})
	if !slices.Equal(h.lines, want) {
		s.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(h.lines, "\n"), strings.Join(want, "\n"))
	}
	h.lines = nil
}

// hooks returns hooks that record every event of a Consumer.
func (h *heardEvents) hooks() Hooks {
	return Hooks{
		Connected: func(e ConnectEvent) {
			h.add("connected %s/%s %s took %v version %q retry %t: %v", e.Topic, e.Channel, e.Addr, e.Took.Round(time.Second), e.Version, e.RetryIn > 0, e.Err)
		},
		Disconnected: func(e DisconnectEvent) {
			h.add("disconnected %s up %v lost %d retry %t: %v", e.Addr, e.Up.Round(time.Second), e.Lost, e.RetryIn > 0, e.Err)
		},
		LookedUp: func(e LookupEvent) {
			h.add("looked up %s %s took %v, %d nsqds, failed %t", e.Topic, e.Addr, e.Took, e.NSQDs, e.Err != nil)
		},
		Discovered: func(e DiscoverEvent) { h.add("discovered %v, removed %v", e.Added, e.Removed) },
		Ready:      func(e ReadyEvent) { h.add("ready %s %d, before %d", e.Addr, e.RDY, e.Before) },
		BackedOff:  func(e BackoffEvent) { h.add("backed off %d, before %d, for %v", e.Level, e.Before, e.Pause) },
		Handled: func(e HandledEvent) {
			h.add("handled %s %s delay %v age %v waited %v took %v: %v",
				e.Message.Body, e.Outcome, e.Delay, e.Age, e.Waited, e.Took, e.Err)
		},
		Abandoned: func(e AbandonedEvent) {
			h.add("abandoned attempt %d held %v begun %t: %v", e.Attempts, e.Held, e.Begun, e.Why)
		},
		Buried:    func(e BuriedEvent) { h.add("buried in %s: %v", e.DeadTopic, e.PublishErr) },
		Published: func(e PublishedEvent) { h.add("published %s", e.Topic) },
		Stopped: func(e StoppedEvent) {
			h.add("stopped %s/%s after %v, left %t", e.Topic, e.Channel, e.Took.Round(time.Second), e.Left != nil)
		},
	}
}

// Every event of a Consumer without nsqlookupds comes once, in order.
func TestHooksHearEverything(t *testing.T) {
	inScene(t, func(s *scene) {
		var h heardEvents
		s.cfg.Hooks = []Hooks{h.hooks()}
		s.cfg.MaxInFlight, s.cfg.MaxAttempts, s.cfg.MaxMsgSize = 3, 2, 100
		s.cfg.DefaultRequeueDelay, s.cfg.MaxRequeueDelay = time.Hour, time.Hour
		s.cfg.BackoffStrategy = backoffFunc(func(int) time.Duration { return time.Second })
		s.consumer(1, hookedHandler)
		s.net.Refuse("a:1", nil)
		_ = s.c.ConnectToNSQD("a:1")
		h.want(s, "refused", `connected t/c a:1 took 0s version "" retry true: [a:1] failed to connect - dial tcp a:1: connection refused`)
		s.net.Allow("a:1")
		d := s.nsqd("a:1", leases(time.Minute, time.Minute))
		after(firstRedial)
		h.want(s, "connected", `connected t/c a:1 took 0s version "1.3.0" retry false: <nil>`, "ready a:1 3, before 0")

		publish := func(body string, wait time.Duration, want ...string) {
			s.Helper()
			d.Publish("t", body)
			after(wait)
			h.want(s, body, want...)
		}
		publish("good", time.Millisecond, "handled good finished delay 0s age 0s waited 0s took 1ms: <nil>")
		publish("fails", time.Millisecond, "handled fails requeued delay 1h0m0s age 0s waited 0s took 1ms: boom")
		publish("discards", time.Millisecond, "handled discards discarded delay 0s age 0s waited 0s took 1ms: boom")
		publish("acks", time.Millisecond, "handled acks answered delay 0s age 0s waited 0s took 1ms: <nil>")
		publish("leaves", time.Minute, "abandoned attempt 1 held 1m0s begun true: message timed out",
			"handled leaves pending delay 0s age 0s waited 0s took 1ms: <nil>")
		after(time.Millisecond) // it comes again
		h.want(s, "leaves again", "handled leaves pending delay 0s age 1m0s waited 0s took 1ms: <nil>")
		after(time.Minute)
		h.want(s, "leaves at last", "abandoned attempt 2 held 1m0s begun true: message timed out",
			"handled leaves given_up delay 0s age 2m0s waited 0s took 0s: <nil>")
		publish(strings.Repeat("m", 101), 0, "abandoned attempt 1 held 0s begun false: body exceeds max_msg_size")
		d.Inject(nsqtest.Fault{Command: "FIN", Times: 1, Reply: nsqtest.ErrorFrame("E_FIN_FAILED", "FIN 0123456789abcdef failed ID not in flight")})
		publish("refused", time.Millisecond,
			"abandoned attempt 0 held 0s begun true: E_FIN_FAILED FIN 0123456789abcdef failed ID not in flight",
			"handled refused finished delay 0s age 0s waited 0s took 1ms: <nil>")

		publish("slow", 0)
		publish("cut off", 0)
		d.Disconnect(1)
		h.want(s, "cut", "abandoned attempt 1 held 0s begun false: connection lost", "abandoned attempt 1 held 0s begun true: connection lost",
			"disconnected a:1 up 2m0s lost 2 retry true: EOF")
		after(5 * time.Second)
		h.want(s, "redial", `connected t/c a:1 took 3s version "1.3.0" retry false: <nil>`, "ready a:1 3, before 0",
			"handled slow finished delay 0s age 0s waited 0s took 5s: <nil>")

		publish("panics", time.Millisecond, "ready a:1 0, before 3", "backed off 1, before 0, for 1s",
			"handled panics requeued delay 1h0m0s age 0s waited 0s took 1ms: handler panicked: oops")
		after(time.Second)
		h.want(s, "probe", "ready a:1 1, before 0")
		publish("good", time.Millisecond, "ready a:1 3, before 1", "backed off 0, before 1, for 0s",
			"handled good finished delay 0s age 0s waited 0s took 1ms: <nil>")
		s.stopped()
		h.want(s, "stopped", "disconnected a:1 up 3s lost 0 retry false: <nil>", "stopped t/c after 0s, left false")
	})
}

// hookedHandler does what a message's body says.
func hookedHandler(m *Message) error {
	sleep(time.Millisecond)
	switch text, _, _ := strings.Cut(string(m.Body), " "); text {
	case "fails":
		return NoBackoff(errBoom)
	case "discards":
		return Discard(errBoom)
	case "panics":
		panic("oops")
	case "acks":
		m.Finish()
	case "leaves":
		m.DisableAutoResponse()
	case "slow":
		sleep(4999 * time.Millisecond)
	}
	return nil
}

// Hooks are told of each response of an nsqlookupd, and of the nsqds that a Consumer uses or
// leaves because of it.
func TestHooksHearDiscovery(t *testing.T) {
	inScene(t, func(s *scene) {
		var h heardEvents
		all := h.hooks()
		s.cfg.Hooks = []Hooks{{LookedUp: all.LookedUp, Discovered: all.Discovered}}
		s.cfg.LookupdPollInterval, s.cfg.LookupdPollJitter = time.Minute, 0
		s.cfg.LookupdPollTimeout = 20 * time.Second
		l := s.lookupd("l:1", s.nsqd("b:1"), s.nsqd("a:1"))
		s.consumer(1, noError)
		s.discover("l:1")
		h.want(s, "first", "looked up t http://l:1/lookup took 0s, 2 nsqds, failed false", "discovered [a:1 b:1], removed []")
		if got := s.c.Snapshot().Lookupds; len(got) != 1 || got[0] != (LookupdSnapshot{Addr: "http://l:1/lookup", LastResponse: time.Now(), NSQDs: 2}) {
			s.Errorf("%+v", got)
		}
		first := time.Now()
		l.Hang()
		after(90 * time.Second) // the poll after a minute has failed, and the next is to come
		h.want(s, "hung", "looked up t http://l:1/lookup took 20s, 0 nsqds, failed true")
		if got := s.c.Snapshot().Lookupds; len(got) != 1 || got[0].LastError == nil || !got[0].LastResponse.Equal(first) || got[0].NSQDs != 2 {
			s.Errorf("%+v", got)
		}
		l.Recover()
		l.Unregister("t", "b:1")
		after(10 * time.Minute)
		looked, removed := 0, ""
		h.mu.Lock()
		for _, line := range h.lines {
			if strings.HasPrefix(line, "looked up t http://l:1/lookup took 0s, 1 nsqds") {
				looked++
			} else {
				removed += line
			}
		}
		h.mu.Unlock()
		if looked < 9 || removed != "discovered [], removed [b:1]" {
			s.Errorf("%d polls, %s", looked, removed)
		}
	})
}

// A message whose lease ends in the queue is abandoned unbegun. Waited is how long a message
// has waited for a handler.
func TestHooksHearOfWaiting(t *testing.T) {
	inScene(t, func(s *scene) {
		var h heardEvents
		all := h.hooks()
		s.cfg.Hooks = []Hooks{{Handled: all.Handled, Abandoned: all.Abandoned}}
		d := s.nsqd("a:1", leases(10*time.Second, time.Minute))
		d.Publish("t", "slow", "waits", "expires")
		calls := 0
		s.consumer(1, func(m *Message) error {
			if calls++; calls <= 2 {
				sleep(6 * time.Second)
			}
			return nil
		})
		s.connect(d)
		after(11 * time.Second)
		h.want(s, "all", "abandoned attempt 1 held 10s begun false: message timed out", "abandoned attempt 1 held 10s begun true: message timed out",
			"handled slow finished delay 0s age 0s waited 0s took 6s: <nil>")
	})
}

// Waited is never negative, or the sum of a histogram would fall. A message may arrive after
// the worker has read the clock and before it has the queue's lock.
func TestWaitedIsNotNegative(t *testing.T) {
	inScene(t, func(s *scene) {
		var waited time.Duration
		s.cfg.Hooks = []Hooks{{Handled: func(e HandledEvent) { waited = e.Waited }}}
		c := s.consumer(1, noError)
		c.tellHandled(&Message{received: 2 * time.Second}, &ending{begun: time.Second})
		if waited != 0 {
			s.Errorf("waited %v", waited)
		}
	})
}

// Hooks may call any method. They are called in the order of the Config.
func TestHooksCallMethods(t *testing.T) {
	inScene(t, func(s *scene) {
		var h heardEvents
		var c *Consumer
		use := func(name string) {
			state := c.Snapshot().State
			_ = c.Stats()
			c.Pause()
			c.Resume()
			c.ChangeMaxInFlight(5)
			_ = c.SetConcurrency(2)
			_ = c.DisconnectFromNSQD("no:1")
			h.add("%s %s", name, state)
		}
		first := Hooks{
			Connected:    func(ConnectEvent) { use("connected") },
			Disconnected: func(DisconnectEvent) { use("disconnected") },
			Handled:      func(HandledEvent) { use("handling") },
			Stopped:      func(StoppedEvent) { use("stopped") },
		}
		second := Hooks{
			Connected: func(ConnectEvent) { h.add("second") },
			Handled:   func(HandledEvent) { h.add("second handling") },
		}
		s.cfg.Hooks = []Hooks{first, {}, second}
		c = s.consumer(1, noError)
		d := s.nsqd("a:1")
		s.connect(d)
		h.want(s, "connect", "connected running", "second")
		d.Publish("t", "m")
		h.want(s, "message", "handling running", "second handling")
		s.stopped()
		h.want(s, "stop", "disconnected stopping", "stopped stopping")
		if got := c.Snapshot().State; got != ConsumerStopped {
			s.Errorf("state %s", got)
		}
	})
}

// A hook that panics or calls runtime.Goexit does not affect messages. Its first panic is
// logged.
func TestHooksPanic(t *testing.T) {
	inScene(t, func(s *scene) {
		called := 0
		exit := false
		s.cfg.Hooks = []Hooks{{
			Connected: func(ConnectEvent) { panic("in a cold hook") },
			Handled: func(HandledEvent) {
				if called++; exit {
					runtime.Goexit()
				}
				panic("in a hot hook")
			},
			Disconnected: func(DisconnectEvent) { runtime.Goexit() },
			Stopped:      func(StoppedEvent) { panic("in the last hook") },
		}}
		s.consumer(1, noError)
		out := s.logged(LogLevelError)
		d := s.nsqd("a:1")
		s.connect(d)
		flood(d, 3)
		synctest.Wait()
		exit = true
		flood(d, 3)
		synctest.Wait()
		d.Disconnect(1)
		after(5 * time.Second)
		flood(d, 4)
		synctest.Wait()
		s.stopped()
		if st := d.Stats("t", "c"); st.Finished != 10 || st.Requeued != 0 || called != 10 {
			s.Errorf("%+v after %d calls", st, called)
		}
		text := strings.Join(out.take(), "\n")
		for _, panicked := range []string{"in a cold hook", "in a hot hook", "in the last hook"} {
			if n := strings.Count(text, panicked); n != 1 {
				s.Errorf("%q is logged %d times:\n%s", panicked, n, text)
			}
		}
	})
}

// A hook that blocks holds up later events and nothing else. At most 4096 of them wait. The
// next event says how many were dropped. A stop waits for the hook for stop_timeout.
func TestHooksBlock(t *testing.T) {
	inScene(t, func(s *scene) {
		release := make(chan struct{})
		var dropped, events int
		s.cfg.Hooks = []Hooks{{
			Connected: func(ConnectEvent) { <-release },
			Abandoned: func(e AbandonedEvent) {
				dropped += e.Dropped
				events++
			},
			Stopped: func(e StoppedEvent) { dropped += e.Dropped },
		}}
		s.cfg.StopTimeout = 7 * time.Second
		s.cfg.MaxInFlight, s.cfg.MaxMsgSize = 100, 1
		s.consumer(1, noError)
		d := s.nsqd("a:1")
		s.connect(d)
		d.Publish("t", slices.Repeat([]string{"too big"}, 5000)...)
		d.Publish("t", "1", "2", "3")
		synctest.Wait()
		if st := d.Stats("t", "c"); st.Finished != 3 || st.Requeued != 5000 {
			s.Errorf("%+v", st)
		}
		if took := s.stopped(); took < s.cfg.StopTimeout || took > s.cfg.StopTimeout+time.Second {
			s.Errorf("the stop took %v, want %v and what the connection takes", took, s.cfg.StopTimeout)
		}
		close(release)
		synctest.Wait()
		if events+dropped != 5000 || events > maxWaitingEvents {
			s.Errorf("%d events, %d dropped, want 5000 in all", events, dropped)
		}
	})
}

// Shutdown is bounded by its context, also if a hook does not return.
func TestShutdownDoesNotWaitForHooks(t *testing.T) {
	inScene(t, func(s *scene) {
		release := make(chan struct{})
		defer close(release)
		s.cfg.Hooks = []Hooks{{Connected: func(ConnectEvent) { <-release }}}
		s.cfg.StopTimeout = time.Hour
		s.consumer(1, noError)
		s.connect(s.nsqd("a:1"))
		if took, err := s.shutdown(time.Second); took < time.Second || took > 2*time.Second || err != nil {
			s.Errorf("Shutdown took %v, with an error of %v", took, err)
		}
	})
}

// Shutdown is bounded by its context, also if another stop waits for the hooks already.
func TestShutdownDuringAStopThatWaitsForHooks(t *testing.T) {
	inScene(t, func(s *scene) {
		release := make(chan struct{})
		defer close(release)
		s.cfg.Hooks = []Hooks{{Stopped: func(StoppedEvent) { <-release }}}
		s.cfg.StopTimeout = time.Hour
		s.consumer(1, noError)
		s.connect(s.nsqd("a:1"))
		s.c.Stop()
		after(time.Minute)
		if took, err := s.shutdown(time.Second); took < time.Second || took > 2*time.Second || err != nil {
			s.Errorf("Shutdown took %v, with an error of %v", took, err)
		}
	})
}

// Without a hook that needs it, there is no goroutine, and hooks cost nothing.
func TestHooksWithoutGoroutine(t *testing.T) {
	h := newHooks([]Hooks{{Handled: func(HandledEvent) {}, Published: func(PublishedEvent) {}}, {}}, nil)
	if h.queue != nil {
		t.Error("a goroutine runs though no hook needs it")
	}
	<-h.finish(StoppedEvent{})
}

// With recycle_bodies a hook sees the body of a message that the Consumer acks, but no body
// of a message that the handler has acked.
func TestHooksAndRecycledBodies(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.RecycleBodies = true
		bodies := map[Outcome]int{}
		s.cfg.Hooks = []Hooks{{Handled: func(e HandledEvent) { bodies[e.Outcome] += len(e.Message.Body) }}}
		d := s.nsqd("a:1")
		d.Publish("t", slices.Repeat([]string{strings.Repeat("m", 5000)}, 10)...)
		n := 0
		s.consumer(1, func(m *Message) error {
			if n++; n > 5 {
				m.Finish()
			}
			return nil
		})
		s.connect(d)
		synctest.Wait()
		if bodies[OutcomeFinished] != 25000 || bodies[OutcomeAnswered] != 0 || len(bodies) != 2 {
			s.Errorf("%v", bodies)
		}
	})
}
