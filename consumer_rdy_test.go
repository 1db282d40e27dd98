package nsq

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// D18: messages flow again within a second after a backoff's pause, whichever nsqds then
// have messages.
func TestBackoffProbesWhereMessagesAre(t *testing.T) {
	for seed := range uint64(30) {
		inScene(t, func(s *scene) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			s.cfg.MaxInFlight = 80
			nsqds := s.nsqds(8)
			var handled atomic.Int32
			var fail atomic.Bool
			s.consumer(80, func(*Message) error {
				sleep(time.Millisecond)
				if fail.CompareAndSwap(true, false) {
					return errBoom
				}
				handled.Add(1)
				return nil
			})
			s.connect(nsqds...)
			after(time.Duration(rnd.IntN(3000)) * time.Millisecond)
			// Up to three nsqds are busy when the error comes, and one of the eight
			// after it.
			for range 1 + rnd.IntN(3) {
				flood(nsqds[rnd.IntN(8)], 1+rnd.IntN(20)*100)
			}
			fail.Store(true)
			after(100 * time.Millisecond)
			if level := s.c.Snapshot().BackoffLevel; level != 1 {
				s.Fatalf("seed %d: backoff level %d after the error", seed, level)
			}
			for _, d := range nsqds {
				d.Empty("t", "c")
			}
			flood(nsqds[rnd.IntN(8)], 100)
			before := handled.Load()
			after(1900 * time.Millisecond) // the rest of the pause, which began a millisecond after the flood
			if n := handled.Load() - before; n > 0 {
				s.Errorf("seed %d: %d messages handled in the pause", seed, n)
			}
			after(time.Second)
			if n := handled.Load() - before; n < 100 {
				s.Errorf("seed %d: %d of 100 handled a second after the pause", seed, n)
			}
		})
	}
}

// D30: on one connection the commands around a backoff are go-nsq's, in its order: RDY 0
// goes out before the REQ of the message that failed, RDY n before the FIN of the one
// that ends the backoff.
func TestBackoffOnTheWire(t *testing.T) {
	tests := []struct {
		name        string
		maxInFlight int
		outcomes    string // of the handler's calls: e error, s success, c requeue without backoff
		want        string
	}{
		{"one failure, one success", 5, "es", "RDY 5 RDY 0 REQ RDY 1 RDY 5 FIN"},
		{"two failures, two successes", 5, "eess", "RDY 5 RDY 0 REQ RDY 1 RDY 0 REQ RDY 1 RDY 0 FIN RDY 1 RDY 5 FIN"},
		{"requeue without backoff", 5, "ecs", "RDY 5 RDY 0 REQ RDY 1 RDY 0 REQ RDY 1 RDY 5 FIN"},
		{"requeue without backoff, outside", 5, "cs", "RDY 5 REQ FIN"},
		{"max_in_flight 1", 1, "es", "RDY 1 RDY 0 REQ RDY 1 FIN"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.MaxInFlight, s.cfg.DefaultRequeueDelay = tt.maxInFlight, 0
				d := s.nsqd("a:1")
				outcomes := []byte(tt.outcomes)
				next := make(chan byte, 10)
				s.consumer(1, func(m *Message) error {
					switch <-next {
					case 'e':
						return errBoom
					case 'c':
						m.RequeueWithoutBackoff(0)
					}
					return nil
				})
				s.connect(d)
				flood(d, 1)
				for i, o := range outcomes {
					next <- o
					after(10 * time.Second)
					if more := strings.Count(tt.outcomes, "s") - 1; i == 0 && more > 0 {
						flood(d, more) // only now: messages that are in hand when a backoff begins do not count
					}
				}
				var got []string
				for _, c := range commands(d, "RDY", "FIN", "REQ") {
					if !strings.HasPrefix(c, "RDY") {
						c = c[:3]
					}
					got = append(got, c)
				}
				if g := strings.Join(got, " "); g != tt.want {
					s.Errorf("sent %s, want %s", g, tt.want)
				}
			})
		})
	}
}

// D28: 50 failures of messages that were in flight together are one level, even those
// that come after the pause: they began before the backoff did.
func TestFailuresAtOnceAreOneLevel(t *testing.T) {
	for _, apart := range []time.Duration{0, 197 * time.Millisecond} { // none fails just when the pause ends
		inScene(t, func(s *scene) {
			s.cfg.MaxInFlight = 50
			d := s.nsqd("a:1")
			var calls atomic.Int32
			s.consumer(50, func(*Message) error {
				if n := calls.Add(1); n <= 50 {
					sleep(time.Duration(n) * apart)
					return errBoom
				}
				return nil
			})
			s.connect(d)
			flood(d, 60)
			for range 200 {
				after(100 * time.Millisecond)
				if level := s.c.Snapshot().BackoffLevel; level > 1 {
					s.Fatalf("backoff level %d, want 1 at most", level)
				}
			}
			if st := d.Stats("t", "c"); st.Finished != 10 {
				s.Errorf("%+v, want the other 10 finished", st)
			}
		})
	}
}

// D26: max_backoff_duration shortens a pause to 10 ms at least. Only 0 disables backoff.
func TestBackoffCap(t *testing.T) {
	for _, tt := range []struct{ limit, want time.Duration }{
		{time.Second, time.Second}, {time.Millisecond, 10 * time.Millisecond}, {5 * time.Second, 2 * time.Second}, {0, 0},
	} {
		inScene(t, func(s *scene) {
			s.cfg.MaxBackoffDuration = tt.limit
			d := s.nsqd("a:1")
			s.consumer(1, func(*Message) error { return errBoom })
			s.connect(d)
			flood(d, 1)
			synctest.Wait()
			shown := s.c.Snapshot()
			pause := time.Until(shown.BackoffUntil)
			if tt.want == 0 {
				if shown.BackoffLevel != 0 || !shown.BackoffUntil.IsZero() || rdyOf(d) != 10 {
					s.Errorf("backoff is disabled: %+v, RDY %d", shown, rdyOf(d))
				}
				return
			}
			if shown.BackoffLevel != 1 || pause != tt.want || rdyOf(d) != 0 {
				s.Errorf("max_backoff_duration %v: pause %v, RDY %d, level %d", tt.limit, pause, rdyOf(d), shown.BackoffLevel)
			}
		})
	}
}

// D27: a message that is given up is neither a success nor a failure, whatever
// LogFailedMessage does with it.
func TestDiscardIsNeutral(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxAttempts, s.cfg.DefaultRequeueDelay = 1, 0
		d := s.nsqd("a:1")
		var calls int
		s.consumer(1, func(*Message) error { calls++; return errBoom })
		s.connect(d)
		flood(d, 1)
		after(10 * time.Second) // after a pause of 2 s the second delivery is given up
		if st := d.Stats("t", "c"); st.Finished != 1 || calls != 1 {
			s.Fatalf("%+v, %d calls", st, calls)
		}
		if level := s.c.Snapshot().BackoffLevel; level != 1 || rdyOf(d) != 1 {
			s.Errorf("level %d, RDY %d after the give-up, want 1 and 1: still probing", level, rdyOf(d))
		}
	})
	for name, ack := range map[string]func(*Message){
		"finishes": (*Message).Finish,
		"requeues": func(m *Message) { m.Requeue(0) },
	} {
		t.Run("LogFailedMessage "+name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.MaxAttempts, s.cfg.DefaultRequeueDelay = 1, 0
				d := s.nsqd("a:1")
				s.consumer(0, nil)
				s.c.AddHandler(&ackingLogger{HandlerFunc: func(*Message) error { return errBoom }, ack: ack})
				s.connect(d)
				flood(d, 1)
				after(10 * time.Second)
				if level := s.c.Snapshot().BackoffLevel; level != 1 {
					s.Errorf("level %d after the give-up, want 1", level)
				}
			})
		})
	}
}

// ackingLogger is a handler that acks or requeues the first message that is given up.
type ackingLogger struct {
	HandlerFunc
	ack func(*Message)
}

func (l *ackingLogger) LogFailedMessage(m *Message) {
	if l.ack != nil {
		l.ack(m)
	}
	l.ack = nil
}

// D28: with the adaptive policy one error in a hundred costs less than a tenth of the
// throughput. While every message fails, one at a time is tried. Once none fails, RDY
// returns to max_in_flight.
func TestAdaptiveBackoff(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight, s.cfg.BackoffPolicy, s.cfg.MaxAttempts = 80, BackoffAdaptive, 0
		s.cfg.DefaultRequeueDelay = 0
		d := s.nsqd("a:1")
		var percent, calls, handled, failed atomic.Int32
		s.consumer(80, func(*Message) error {
			sleep(offBeat)
			if calls.Add(1)%100 < percent.Load() {
				failed.Add(1)
				return errBoom
			}
			handled.Add(1)
			return nil
		})
		s.connect(d)
		flood(d, 40_000)
		after(time.Second)
		before := handled.Load()
		after(2 * time.Second)
		clean := handled.Load() - before
		percent.Store(1)
		before = handled.Load()
		after(2 * time.Second)
		if n := handled.Load() - before; n < clean*9/10 || failed.Load() == 0 {
			s.Errorf("%d messages handled with 1 %% errors, %d without; %d failed", n, clean, failed.Load())
		}
		percent.Store(100)
		after(5 * time.Second)
		before = failed.Load()
		after(30 * time.Second)
		if n := failed.Load() - before; n > 5 {
			s.Errorf("%d failures in 30 s of nothing else, want 5 at most", n)
		}
		percent.Store(0)
		after(100 * time.Second)
		if rdyOf(d) != 80 || s.c.Snapshot().BackoffLevel != 0 {
			s.Errorf("RDY %d, want 80 again: %+v", rdyOf(d), s.c.Snapshot())
		}
	})
}

// D29: a strategy that panics costs the longest pause, not the process.
func TestPanickingStrategy(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.BackoffStrategy = backoffFunc(func(int) time.Duration { panic("no") })
		s.cfg.MaxBackoffDuration = 7 * time.Second
		d := s.nsqd("a:1")
		s.consumer(1, func(*Message) error { return errBoom })
		s.connect(d)
		flood(d, 1)
		synctest.Wait()
		if got := time.Until(s.c.Snapshot().BackoffUntil); got != 7*time.Second {
			s.Errorf("pause %v, want max_backoff_duration", got)
		}
	})
}

// D19, D24: a lower max_in_flight is sent to all nsqds at once. When the handlers that
// were running have returned, no more than the new number is in flight, and no fewer.
func TestLowerMaxInFlightUnderLoad(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 60
		nsqds := s.nsqds(3)
		s.consumer(60, func(*Message) error { sleep(offBeat); return nil })
		s.connect(nsqds...)
		after(rdyMoves)
		for _, d := range nsqds {
			flood(d, 20_000)
		}
		after(time.Second)
		s.c.ChangeMaxInFlight(6)
		synctest.Wait()
		if rdy, _ := granted(nsqds); rdy > 6 {
			s.Errorf("RDY %d in all right after lowering to 6", rdy)
		}
		after(20 * time.Millisecond)
		for range 200 {
			if _, n := granted(nsqds); n > 6 {
				s.Fatalf("%d in flight of 6", n)
			}
			after(5 * time.Millisecond)
		}
		if rdy, n := granted(nsqds); rdy != 6 || n != 6 {
			s.Errorf("RDY %d, %d in flight, want 6 and 6", rdy, n)
		}
		s.c.ChangeMaxInFlight(0)
		after(time.Second)
		if rdy, n := granted(nsqds); rdy != 0 || n != 0 {
			s.Errorf("paused: RDY %d, %d in flight", rdy, n)
		}
		s.c.ChangeMaxInFlight(60)
		after(time.Second)
		if rdy, n := granted(nsqds); rdy != 60 || n != 60 {
			s.Errorf("resumed: RDY %d, %d in flight, want 60 and 60", rdy, n)
		}
	})
}

// D24: no more than max_in_flight is ever in flight, whatever happens to the traffic and
// to max_in_flight itself. A lower one holds as soon as the messages beyond it are acked.
func TestNeverMoreInFlightThanAllowed(t *testing.T) {
	for seed := range uint64(20) {
		inScene(t, func(s *scene) {
			rnd := rand.New(rand.NewPCG(seed, 9))
			limit := 1 + rnd.IntN(20)
			s.cfg.MaxInFlight = limit
			nsqds := s.nsqds(1 + rnd.IntN(6))
			for _, d := range nsqds {
				d.CreateChannel("t", "c")
			}
			s.consumer(20, func(*Message) error { sleep(15 * time.Millisecond); return nil })
			s.connect(nsqds...)
			allowed := limit
			lowered := time.Now()
			for range 300 {
				after(time.Duration(rnd.IntN(40)) * time.Millisecond)
				switch d := nsqds[rnd.IntN(len(nsqds))]; rnd.IntN(12) {
				case 0:
					limit = rnd.IntN(20)
					s.c.ChangeMaxInFlight(limit)
					if limit < allowed {
						lowered = time.Now()
					}
				case 1, 2, 3:
					flood(d, 1+rnd.IntN(60))
				}
				synctest.Wait()
				if time.Since(lowered) > 25*time.Millisecond || limit > allowed {
					allowed = limit
				}
				if _, n := granted(nsqds); n > allowed {
					s.Fatalf("seed %d: %d in flight of %d", seed, n, allowed)
				}
			}
		})
	}
}

// D21: an nsqd that has all the messages gets nearly all of max_in_flight within a
// second, and shares it once another one has messages. In between no RDY is sent.
func TestRDYFollowsMessages(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight, s.cfg.MaxBytesInFlight = 80, 0 // before the first message the budget is 64
		nsqds := s.nsqds(8)
		s.consumer(80, func(*Message) error { sleep(offBeat); return nil })
		s.connect(nsqds...)
		after(5 * time.Second)
		if got := rdyOf(nsqds[3]); got != 10 {
			s.Fatalf("RDY %d while all are idle", got)
		}
		flood(nsqds[3], 50_000)
		after(time.Second)
		if got := rdyOf(nsqds[3]); got != 73 {
			s.Errorf("RDY %d for the busy one of 8, want 73", got)
		}
		sent := func() (n int) {
			for _, d := range nsqds {
				n += len(commands(d, "RDY"))
			}
			return n
		}
		before := sent()
		after(2 * time.Second)
		if n := sent() - before; n != 0 {
			s.Errorf("%d RDYs in a steady state", n)
		}
		flood(nsqds[5], 50_000)
		after(time.Second)
		if a, b := rdyOf(nsqds[3]), rdyOf(nsqds[5]); a+b != 74 || b < 36 {
			s.Errorf("RDY %d and %d for two busy ones, want 74 together and 36 at least", a, b)
		}
	})
}

// With rdy_strategy "uniform" RDY is split evenly whatever the traffic.
func TestUniformRDY(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight, s.cfg.RDYStrategy = 10, RDYUniform
		nsqds := s.nsqds(4)
		s.consumer(10, func(*Message) error { sleep(offBeat); return nil })
		s.connect(nsqds...)
		flood(nsqds[0], 2000)
		after(2 * time.Second)
		var got []int
		for _, d := range nsqds {
			got = append(got, rdyOf(d))
		}
		slices.Sort(got)
		if !slices.Equal(got, []int{2, 2, 3, 3}) {
			s.Errorf("RDY %v, want an even split of 10", got)
		}
	})
}

// D22: with 20 nsqds and the default max_in_flight of 1 they take turns: a message waits
// for a second at most, and no busy nsqd is left out.
func TestFewerSlotsThanNSQDs(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 1
		nsqds := s.nsqds(20)
		arrived := make(chan time.Time, 1)
		s.consumer(1, func(*Message) error { arrived <- time.Now(); return nil })
		s.connect(nsqds...)
		rnd := rand.New(rand.NewPCG(2, 2))
		for range 100 {
			after(time.Duration(rnd.IntN(2000)) * time.Millisecond)
			start := time.Now()
			flood(nsqds[rnd.IntN(20)], 1)
			if took := (<-arrived).Sub(start); took > time.Second {
				s.Errorf("a message waited for %v", took)
			}
		}
		// From here on all of them are busy.
		go func() {
			for range arrived {
			}
		}()
		for _, d := range nsqds {
			flood(d, 5000)
		}
		after(20 * time.Second)
		for _, d := range nsqds {
			if st := d.Stats("t", "c"); st.Finished < 50 {
				s.Errorf("%s: %+v, want 50 finished at least", d.Addr(), st)
			}
		}
		s.stopped()
		close(arrived)
	})
}

// D30: a backoff does not wait for an nsqd that does not read its RDY 0.
func TestBackoffWithAFrozenNSQD(t *testing.T) {
	inScene(t, func(s *scene) {
		s.net.Capacity = 64
		s.cfg.MaxInFlight, s.cfg.WriteTimeout, s.cfg.DefaultRequeueDelay = 20, 5*time.Minute, 0
		frozen, live := s.nsqd("frozen:1"), s.nsqd("live:1")
		var fail atomic.Bool
		s.consumer(20, func(*Message) error {
			if fail.CompareAndSwap(true, false) {
				return errBoom
			}
			return nil
		})
		s.connect(frozen, live)
		after(rdyMoves)
		frozen.StopReading()
		flood(frozen, 10) // their FINs fill the 64 bytes on the way to it
		synctest.Wait()
		for range 20 {
			fail.Store(true)
			flood(live, 10)
			after(20 * time.Second)
		}
		if st := live.Stats("t", "c"); st.Finished != 200 || st.Requeued != 20 {
			s.Errorf("live: %+v, want 200 finished, 20 of them at their second delivery", st)
		}
		frozen.StartReading()
		after(time.Second)
	})
}

// Snapshot shows the Consumer, each nsqd whether connected or not, and the counts.
func TestSnapshot(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight, s.cfg.DefaultRequeueDelay = 10, time.Hour
		a, b := s.nsqd("a:1"), s.nsqd("b:1")
		release := make(chan error)
		s.consumer(3, func(*Message) error { return <-release })
		s.connect(a, b)
		if err := s.c.ConnectToNSQD("dead:1"); err == nil {
			s.Fatal("connected to an nsqd that is not there")
		}
		after(rdyMoves)
		start := time.Now()
		flood(a, 3)
		synctest.Wait()

		got := s.c.Snapshot()
		if got.Topic != "t" || got.Channel != "c" || got.MaxInFlight != 10 || got.InFlight != 3 || got.BackoffLevel != 0 {
			s.Errorf("with 3 in flight: %+v", got)
		}
		if len(got.Connections) != 3 {
			s.Fatalf("%+v, want 3 connections", got.Connections)
		}
		want := ConnectionSnapshot{Addr: "a:1", State: ConnectionUp, Version: "1.3.0", RDY: 5, InFlight: 3, BytesInFlight: 3, LastMessage: start, Counts: Counts{Received: 3}}
		if got.Connections[0] != want {
			s.Errorf("%+v, want %+v", got.Connections[0], want)
		}
		dead := got.Connections[2]
		if dead.Addr != "dead:1" || dead.State != ConnectionWaiting || dead.LastError == nil || !dead.NextDial.After(time.Now()) {
			s.Errorf("of an nsqd that is not there: %+v", dead)
		}

		release <- nil
		release <- errBoom
		synctest.Wait()
		got = s.c.Snapshot()
		if got.BackoffLevel != 1 || time.Until(got.BackoffUntil) != 2*time.Second || got.Connections[0].RDY != 0 {
			s.Errorf("after an error: %+v", got)
		}
		a.Empty("t", "c") // nsqd forgets the third, and refuses its FIN
		release <- nil
		synctest.Wait()
		got = s.c.Snapshot()
		if want := (Counts{Received: 3, Finished: 2, Requeued: 1, Refused: 1}); got.Counts != want {
			s.Errorf("%+v, want %+v", got.Counts, want)
		}
		b.Kill()
		synctest.Wait()
		got = s.c.Snapshot()
		if lost := got.Connections[1]; lost.State != ConnectionWaiting || lost.LastError == nil {
			s.Errorf("of a lost nsqd: %+v", lost)
		}
		go func() {
			for range release {
			}
		}()
		close(release)
		s.stopped()
		if got := s.c.Snapshot(); got.Finished < 2 || got.InFlight != 0 {
			s.Errorf("after the stop: %+v", got)
		}
	})
}

// A message that is requeued because no handler is to begin it says nothing to backoff,
// even if it is the probe.
func TestUnbegunProbeIsNoResult(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		release := make(chan struct{})
		s.consumer(2, func(m *Message) error {
			if string(m.Body) == "slow" {
				<-release
				return nil
			}
			return errBoom
		})
		s.connect(d)
		d.Publish("t", "slow")
		synctest.Wait()
		d.Publish("t", "fails") // the pause is 2 s
		synctest.Wait()
		if err := s.c.SetConcurrency(1); err != nil {
			s.Fatal(err)
		}
		d.Publish("t", "probe")
		after(2500 * time.Millisecond)
		if got := s.c.Snapshot(); got.InFlight != 2 || got.BackoffLevel != 1 || !got.BackoffUntil.IsZero() {
			s.Fatalf("%+v, want the probe in flight beside the slow message", got)
		}
		if err := s.c.DisconnectFromNSQD(d.Addr()); err != nil {
			s.Fatal(err)
		}
		synctest.Wait()
		if got := s.c.Snapshot(); got.Requeued != 2 || got.BackoffLevel != 1 || !got.BackoffUntil.IsZero() {
			s.Errorf("%+v, want the probe requeued and no other pause", got)
		}
		close(release)
	})
}
