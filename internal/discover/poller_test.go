package discover

import (
	"context"
	"errors"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// D9: one poll merges the lists of all nsqlookupds.
func TestDisjointListsMergeInOnePoll(t *testing.T) {
	inScene(t, func(s *scene) {
		s.lookupd("l1:1", "c:1", "b:1")
		s.lookupd("l2:1", "b:1", "[::1]:1", "b:1")
		s.lookupd("l3:1", "a:1")
		s.poller("l1:1", "l2:1", "l3:1")
		s.want("[::1]:1 a:1 b:1 c:1 0 of 3 waiting")
		if r := s.last(); !r.Conclusive() {
			t.Errorf("%+v is not conclusive", r)
		}
	})
}

// If two nsqlookupds describe an nsqd differently, the one added first wins.
func TestFirstLookupdDescribesAProducer(t *testing.T) {
	inScene(t, func(s *scene) {
		l1, l2 := s.lookupd("l1:1"), s.lookupd("l2:1")
		p := nsqtest.Producer{
			Hostname: "h", BroadcastAddress: "b", TCPPort: 1, Version: "1.3.0",
			TopologyZone: "z", TopologyRegion: "r",
		}
		l1.RegisterProducer("t", p)
		p.Version = "1.2.1"
		l2.RegisterProducer("t", p)
		s.poller("l1:1", "l2:1")
		want := Producer{Addr: "b:1", Hostname: "h", Version: "1.3.0", TopologyZone: "z", TopologyRegion: "r", Asked: time.Now()}
		if got := s.last().Producers; len(got) != 1 || got[0] != want {
			t.Errorf("producers %+v, want %+v", got, want)
		}
	})
}

// D8: an nsqlookupd that hangs does not delay the others. Its request fails after
// the timeout; until then the results count it as waiting.
func TestHungLookupdDelaysNobody(t *testing.T) {
	inScene(t, func(s *scene) {
		hung := s.lookupd("hung:1", "a:1")
		hung.Hang()
		s.net.Blackhole("gone:1")
		s.lookupd("good:1", "b:1")
		s.poller()
		first, firstGood := s.add("hung:1"), s.add("good:1")
		s.add("gone:1")
		if r := s.last(); r.Conclusive() {
			t.Error("conclusive while requests are in flight")
		}
		s.wantAll("b:1 2 of 3 waiting")
		if isClosed(first) || !isClosed(firstGood) {
			t.Error("want the first response of good:1 announced, and no other")
		}
		sleep(s.cfg.Timeout - 1)
		s.wantAll()
		sleep(1)
		s.want("b:1 0 of 3 waiting, failed [http://hung:1/lookup] context deadline exceeded, " +
			"failed [http://gone:1/lookup] context deadline exceeded")
		if !isClosed(first) {
			t.Error("the first failure of hung:1 was not announced")
		}
		failed := s.last().Failed[0]
		var cause net.Error // not a url.Error, which shows the URL
		if !errors.Is(failed, context.DeadlineExceeded) || !errors.As(failed, &cause) || !cause.Timeout() {
			t.Errorf("error %#v hides its cause", failed.Err)
		}
		if r := s.last(); r.Conclusive() {
			t.Error("conclusive although requests failed")
		}
		hung.Recover()
		sleep(time.Minute)
		s.want("a:1 b:1 0 of 3 waiting, failed [http://gone:1/lookup] context deadline exceeded")
	})
}

// Without a Timeout a request takes as long as it takes.
func TestNoTimeout(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.Timeout = 0
		hung := s.lookupd("hung:1", "a:1")
		hung.Hang()
		s.lookupd("good:1", "b:1")
		s.poller("hung:1", "good:1")
		s.wantAll("b:1 1 of 2 waiting")
		sleep(24*time.Hour - time.Second)
		if r := s.last(); r.Waiting != 1 || len(r.Failed) > 0 {
			t.Errorf("after a day: %s", describe(r))
		}
		wantRequests(t, hung, 1)
	})
}

// A request that takes longer than the interval is not repeated before it ends.
func TestHungRequestIsNotRepeated(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.Interval, s.cfg.Timeout = 10*time.Second, 35*time.Second
		hung, good := s.lookupd("hung:1"), s.lookupd("good:1")
		hung.Hang()
		s.poller("hung:1", "good:1")
		sleep(39 * time.Second)
		wantRequests(t, hung, 1)
		wantRequests(t, good, 4)
		sleep(time.Second)
		wantRequests(t, hung, 2)
	})
}

// When an nsqlookupd fails, its last response still counts. An empty response
// replaces the last one.
func TestFailureKeepsTheLastResponse(t *testing.T) {
	inScene(t, func(s *scene) {
		l1 := s.lookupd("l1:1", "a:1")
		s.lookupd("l2:1", "b:1")
		s.poller("l1:1", "l2:1")
		s.want("a:1 b:1 0 of 2 waiting")

		l1.Kill()
		sleep(time.Minute)
		s.want("a:1 b:1 0 of 2 waiting, failed [http://l1:1/lookup] dial tcp l1:1: connection refused")
		if err := s.last().Failed[0]; !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("error %#v hides its cause", err)
		}
		l1.Restart()
		l1.Fail(http.StatusInternalServerError, "OOPS")
		sleep(time.Minute)
		s.want("a:1 b:1 0 of 2 waiting, failed [http://l1:1/lookup] HTTP status 500: OOPS")
		if status, ok := errors.AsType[*StatusError](s.last().Failed[0]); !ok || status.Status != 500 {
			t.Errorf("error %#v, want a *StatusError", status)
		}
		l1.Recover()
		l1.Unregister("t", "a:1")
		sleep(time.Minute)
		s.want("b:1 0 of 2 waiting")
		l1.DeleteTopic("t")
		sleep(time.Minute)
		s.want("b:1 0 of 2 waiting") // D57: an unknown topic is no failure
	})
}

// Skipped holds the unusable producers of the last response only.
func TestSkippedOfTheLastResponse(t *testing.T) {
	inScene(t, func(s *scene) {
		l := s.lookupd("l:1")
		l.Reply(listing(entry(`"a"`, "0")))
		s.poller("l:1")
		s.last()
		sleep(time.Minute)
		r := s.last()
		if len(r.Skipped) != 1 {
			t.Fatalf("%s; want one skipped", describe(r))
		}
		if p, ok := errors.AsType[*ProducerError](r.Skipped[0]); !ok || p.Hostname != "h" || !errors.Is(p, errPort) {
			t.Errorf("error %#v, want a *ProducerError", r.Skipped[0].Err)
		}
		l.Recover()
		sleep(time.Minute)
		s.want("0 of 1 waiting")
	})
}

// An nsqlookupd before 1.0 wraps its responses in an envelope, and responds with
// status 500 for an unknown topic.
func TestEnvelope(t *testing.T) {
	inScene(t, func(s *scene) {
		l := nsqtest.NewLookupd(s, nsqtest.LookupdOptions{Network: s.net, Addr: "l:1", Envelope: true})
		s.poller("l:1")
		s.want("0 of 1 waiting")
		l.Register("t", "a:1")
		sleep(time.Minute)
		s.want("a:1 0 of 1 waiting")
		l.Fail(http.StatusInternalServerError, "MISSING_ARG_TOPIC")
		sleep(time.Minute)
		s.want("a:1 0 of 1 waiting, failed [http://l:1/lookup] HTTP status 500: MISSING_ARG_TOPIC")
	})
}

// The first poll comes at once, the others an interval apart.
func TestSchedule(t *testing.T) {
	inScene(t, func(s *scene) {
		l := s.lookupd("l:1")
		s.poller()
		sleep(time.Hour)
		s.wantAll()
		s.add("l:1")
		wantRequests(t, l, 1)
		for n := range 5 {
			sleep(time.Minute - 1)
			wantRequests(t, l, 1+n)
			sleep(1)
			wantRequests(t, l, 2+n)
		}
	})
}

// Jitter spreads consumers that start together: it delays the second poll by a
// random time, and the later polls keep that offset.
func TestJitterSpreads(t *testing.T) {
	var sum time.Duration
	seen := map[time.Duration]bool{}
	const pollers = 100
	for seed := range uint64(pollers) {
		inScene(t, func(s *scene) {
			s.cfg.Jitter, s.cfg.Seed = 0.5, seed
			var polls []time.Time
			s.cfg.Client = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
				polls = append(polls, time.Now())
				return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
			})}
			s.poller("l:1")
			sleep(4 * time.Minute)
			s.end()
			late := polls[1].Sub(polls[0]) - time.Minute
			if late < 0 || late > 30*time.Second {
				t.Errorf("seed %d: second poll late by %v", seed, late)
			}
			if again := polls[2].Sub(polls[1]); again != time.Minute {
				t.Errorf("seed %d: third poll after %v", seed, again)
			}
			sum += late
			seen[late] = true
		})
	}
	if mean := sum / pollers; len(seen) < pollers || mean < 12*time.Second || mean > 18*time.Second {
		t.Errorf("%d pollers are late by %d times, %v on average; want 15 s", pollers, len(seen), mean)
	}
}

// Each Poke causes one poll at once, whatever came before. The regular schedule does not
// move.
func TestPoke(t *testing.T) {
	inScene(t, func(s *scene) {
		l := s.lookupd("l:1")
		s.poller("l:1")
		sleep(10 * time.Second)
		s.p.Poke()
		s.p.Poke()
		wantRequests(t, l, 2)
		for n := range 9 {
			sleep(100 * time.Millisecond)
			s.p.Poke()
			wantRequests(t, l, 3+n)
		}
		sleep(49*time.Second + 99*time.Millisecond)
		wantRequests(t, l, 11)
		sleep(time.Millisecond)
		wantRequests(t, l, 12)
	})
}

// An nsqlookupd that has not responded is not asked again.
func TestPokeWhileWaiting(t *testing.T) {
	inScene(t, func(s *scene) {
		hung, good := s.lookupd("hung:1"), s.lookupd("good:1")
		hung.Hang()
		s.poller("hung:1", "good:1")
		for range 5 {
			sleep(time.Second)
			s.p.Poke()
		}
		wantRequests(t, hung, 1)
		wantRequests(t, good, 6)
	})
}

// Without nsqlookupds Poke has no effect, not even on the next Add.
func TestPokeWithoutLookupds(t *testing.T) {
	inScene(t, func(s *scene) {
		l := s.lookupd("l:1")
		s.poller()
		s.p.Poke()
		sleep(time.Minute)
		s.wantAll()
		s.add("l:1")
		sleep(30 * time.Second)
		wantRequests(t, l, 1)
	})
}

// F19: nsqlookupds can be added and removed while the others are polled.
func TestAddAndRemove(t *testing.T) {
	inScene(t, func(s *scene) {
		l1, l2 := s.lookupd("l1:1", "a:1"), s.lookupd("l2:1", "b:1")
		s.poller("l1:1")
		s.wantAll("a:1 0 of 1 waiting")
		sleep(10 * time.Second)
		first := s.add("http://l2:1/lookup")
		s.wantAll("a:1 b:1 0 of 2 waiting")
		if again := s.add("l2:1"); again != first || !isClosed(again) {
			t.Error("one address in two forms was added twice")
		}
		wantRequests(t, l1, 1) // the Add did not poll it again
		sleep(50 * time.Second)
		wantRequests(t, l1, 2)
		wantRequests(t, l2, 2)
		s.wantAll("a:1 b:1 1 of 2 waiting", "a:1 b:1 0 of 2 waiting")

		if !s.remove("l1:1") || s.remove("l1:1") {
			t.Error("l1:1 could not be removed exactly once")
		}
		s.wantAll("b:1 0 of 1 waiting")
		if !s.remove("l2:1") {
			t.Error("the last nsqlookupd could not be removed")
		}
		s.wantAll("0 of 0 waiting")
		sleep(time.Hour)
		wantRequests(t, l2, 2)
		s.wantAll()

		s.add("l2:1")
		s.wantAll("b:1 0 of 1 waiting")
		wantRequests(t, l2, 3)
	})
}

// When an nsqlookupd other than the first is removed, what only it listed disappears,
// and the others are polled as before.
func TestRemoveInTheMiddle(t *testing.T) {
	inScene(t, func(s *scene) {
		l1 := s.lookupd("l1:1", "a:1", "all:1")
		l2 := s.lookupd("l2:1", "b:1", "all:1")
		l3 := s.lookupd("l3:1", "c:1", "all:1")
		s.poller("l1:1", "l2:1", "l3:1")
		s.want("a:1 all:1 b:1 c:1 0 of 3 waiting")
		s.remove("l2:1")
		s.want("a:1 all:1 c:1 0 of 2 waiting")
		sleep(time.Minute)
		wantRequests(t, l1, 2)
		wantRequests(t, l2, 1)
		wantRequests(t, l3, 2)
		s.remove("l3:1")
		s.want("a:1 all:1 0 of 1 waiting")
	})
}

func TestResultWithoutLookupdsIsNotConclusive(t *testing.T) {
	inScene(t, func(s *scene) {
		s.lookupd("l:1", "a:1")
		s.poller("l:1")
		s.last()
		s.remove("l:1")
		if r := s.last(); r.Conclusive() {
			t.Errorf("%s: conclusive", describe(r))
		}
	})
}

// Removing an nsqlookupd that hangs cancels its request and closes its channel.
func TestRemoveWhileHanging(t *testing.T) {
	inScene(t, func(s *scene) {
		s.lookupd("hung:1").Hang()
		s.net.Blackhole("gone:1")
		s.poller()
		for _, addr := range []string{"hung:1", "gone:1"} {
			first := s.add(addr)
			if isClosed(first) || !s.remove(addr) || !isClosed(first) {
				t.Errorf("%s: want first closed by Remove, and not before", addr)
			}
			s.wantAll("0 of 0 waiting")
		}
		if open := s.net.OpenConns(); open > 0 {
			t.Errorf("%d connections are left open", open)
		}
	})
}

// D15: when the context ends, a request ends at once, whatever its phase. The scene
// checks how long Run took and that nothing is left.
func TestEndAtAnyMoment(t *testing.T) {
	for name, hang := range map[string]func(l *nsqtest.Lookupd, n *nsqtest.Network){
		"dial":     func(l *nsqtest.Lookupd, n *nsqtest.Network) { n.Blackhole(l.Addr()) },
		"accept":   func(l *nsqtest.Lookupd, n *nsqtest.Network) { l.Kill(); deaf(n, l.Addr()) },
		"response": func(l *nsqtest.Lookupd, _ *nsqtest.Network) { l.Hang() },
		"body": func(l *nsqtest.Lookupd, _ *nsqtest.Network) {
			l.Handle(func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write([]byte(`{"producers":[`))
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})
		},
		"no request": func(l *nsqtest.Lookupd, _ *nsqtest.Network) { l.Recover() },
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				hang(s.lookupd("l1:1"), s.net)
				s.lookupd("l2:1", "a:1")
				s.poller()
				first := s.add("l1:1")
				s.add("l2:1")
				sleep(time.Second)
				s.end()
				s.stop = nil
				if !isClosed(first) {
					t.Error("the end of the Poller did not close first")
				}
				late, err := ParseAddr("l3:1")
				if err != nil {
					t.Fatal(err)
				}
				if first, added := s.p.Add(late); added || !isClosed(first) {
					t.Errorf("Add after the end: added %t, channel closed %t", added, isClosed(first))
				}
			})
		})
	}
}

// Run waits for its requests, even for one that the caller's client does not end when
// it is cancelled.
func TestRunWaitsForRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		s := &scene{T: t, cfg: Config{Topic: "t", Interval: time.Minute, Publish: func(Result) {}}, done: make(chan struct{})}
		s.cfg.Client = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			sleep(time.Second)
			ended = true
			return nil, r.Context().Err()
		})}
		s.poller("l:1")
		s.stop()
		<-s.done
		if !ended {
			t.Error("Run returned during a request")
		}
	})
}

// A result that arrives just as the context ends is dropped.
func TestResultAtTheEndIsDropped(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	l := &lookupd{}
	p := New(Config{Publish: func(r Result) { t.Errorf("published: %s", describe(r)) }})
	r := &run{Poller: p, lookupds: []*lookupd{l}}
	r.handleResult(ctx, queryResult{from: l, err: ctx.Err()})
}

// deaf listens but never accepts.
func deaf(n *nsqtest.Network, addr string) { _, _ = n.Listen(addr) }

// Without a topic the Poller finds all nsqds, each once, whatever their topics, and
// even if they are tombstoned.
func TestAllNSQDs(t *testing.T) {
	for name, envelope := range map[string]bool{"v1": false, "before 1.0": true} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.Topic = ""
				l := nsqtest.NewLookupd(s, nsqtest.LookupdOptions{Network: s.net, Addr: "l1:1", Envelope: envelope})
				l.Register("t", "a:1", "b:1")
				l.Register("u", "b:1", "c:1")
				l.Tombstone("u", "c:1")
				s.lookupd("l2:1") // has a topic without nsqds
				s.poller("l1:1", "l2:1")
				s.want("a:1 b:1 c:1 0 of 2 waiting")
				l.Fail(http.StatusInternalServerError, "INTERNAL_ERROR")
				sleep(time.Minute)
				s.want("a:1 b:1 c:1 0 of 2 waiting, failed [http://l1:1/nodes] HTTP status 500: INTERNAL_ERROR")
			})
		})
	}
}

// With Topics the Poller finds the names of all topics, each once. If an nsqlookupd fails,
// its last response counts.
func TestTopics(t *testing.T) {
	for name, envelope := range map[string]bool{"v1": false, "before 1.0": true} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.Topic, s.cfg.Topics = "", true
				l := nsqtest.NewLookupd(s, nsqtest.LookupdOptions{Network: s.net, Addr: "l1:1", Envelope: envelope})
				l.Register("t", "a:1")
				l.Register("u", "a:1")
				s.lookupd("l2:1", "b:1") // has t as well
				s.poller("l1:1", "l2:1")
				s.want("t u 0 of 2 waiting")
				l.Fail(http.StatusInternalServerError, "INTERNAL_ERROR")
				sleep(time.Minute)
				s.want("t u 0 of 2 waiting, failed [http://l1:1/topics] HTTP status 500: INTERNAL_ERROR")
				l.Recover()
				l.DeleteTopic("u")
				sleep(time.Minute)
				s.want("t 0 of 2 waiting")
			})
		})
	}
}
