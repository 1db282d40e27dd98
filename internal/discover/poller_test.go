package discover

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// D9: what three nsqlookupds list between them is known after one poll.
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

// Of an nsqd that two list differently, the answer of the one added first stands.
func TestProducersSayMoreThanTheirAddress(t *testing.T) {
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
		want := Producer{Addr: "b:1", Hostname: "h", Version: "1.3.0", TopologyZone: "z", TopologyRegion: "r"}
		if got := s.last().Producers; len(got) != 1 || got[0] != want {
			t.Errorf("producers %+v, want %+v", got, want)
		}
	})
}

// D8: one that hangs delays nobody. Its failure comes with its timeout, and in
// the meantime the result says that it is waited for.
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
			t.Error("conclusive while answers are waited for")
		}
		s.wantAll("b:1 2 of 3 waiting")
		if isClosed(first) || !isClosed(firstGood) {
			t.Error("want to be told of the first answer of good:1, and of no other")
		}
		sleep(s.cfg.Timeout - 1)
		s.wantAll()
		sleep(1)
		s.want("b:1 0 of 3 waiting, failed [http://hung:1/lookup] context deadline exceeded, " +
			"failed [http://gone:1/lookup] context deadline exceeded")
		if !isClosed(first) {
			t.Error("a failure is an answer, too")
		}
		failed := s.last().Failed[0]
		var cause *url.Error
		if !errors.Is(failed, context.DeadlineExceeded) || !errors.As(failed, &cause) || !cause.Timeout() {
			t.Errorf("error %#v hides its cause", failed.Err)
		}
		if r := s.last(); r.Conclusive() {
			t.Error("conclusive in spite of failures")
		}
		hung.Recover()
		sleep(time.Minute)
		s.want("a:1 b:1 0 of 3 waiting, failed [http://gone:1/lookup] context deadline exceeded")
	})
}

// A request that takes longer than the interval is not repeated before its end.
func TestOwedAnswersDoNotPileUp(t *testing.T) {
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

// An nsqlookupd that fails still lists what it listed; one that answers that it
// has none lists none.
func TestFailureKeepsTheLastAnswer(t *testing.T) {
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

func TestAnswers(t *testing.T) {
	const failed = "0 of 1 waiting, failed [http://l:1/lookup] "
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"empty", func(http.ResponseWriter, *http.Request) {}, "0 of 1 waiting"},
		{"HTML", text("<html>"), failed + "invalid character '<' looking for beginning of value"},
		{"huge", text(strings.Repeat(" ", maxAnswer) + `{"producers":[]}`), failed + "answer of more than 16 MiB"},
		{"as large as may be", text(`{"producers":[]}` + strings.Repeat(" ", maxAnswer-16)), "0 of 1 waiting"},
		{"cut", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"producers":[`))
		}, failed + "unexpected EOF"},
		{"skipped", text(listing(entry(`"b"`, "1"), entry(`"a"`, "0"))),
			`b:1 0 of 1 waiting, skipped [http://l:1/lookup] producer "h" (r:1) ignored: tcp_port out of range`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.lookupd("l:1").Handle(tt.answer)
				s.poller("l:1")
				s.want(tt.want)
			})
		})
	}
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }
}

// Each answer has its own unusable producers; they do not add up.
func TestSkippedOfTheLastAnswer(t *testing.T) {
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

// Old nsqlookupds wrap their answers, and answer 500 for an unknown topic.
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

func TestRequest(t *testing.T) {
	for _, tt := range []struct{ token, authorization string }{
		{"", ""},
		{"secret", "Bearer secret"},
	} {
		inScene(t, func(s *scene) {
			l := s.lookupd("l:1")
			s.cfg.Token = tt.token
			s.poller("http://l:1?dc=eu")
			wantRequests(t, l, 1)
			r := l.Requests()[0]
			if got := r.URL.String(); r.Method != http.MethodGet || got != "/lookup?dc=eu&topic=t" {
				t.Errorf("request %s %s", r.Method, got)
			}
			if got := r.Header.Get("Accept"); got != "application/vnd.nsq; version=1.0" {
				t.Errorf("Accept: %s", got)
			}
			if got := r.Header.Get("Authorization"); got != tt.authorization {
				t.Errorf("Authorization: %s, want %s", got, tt.authorization)
			}
		})
	}
}

// What a URL has of a secret is used, and not told.
func TestPasswordIsNotTold(t *testing.T) {
	inScene(t, func(s *scene) {
		l := s.lookupd("l:1")
		l.Fail(http.StatusForbidden, "NO")
		s.poller("http://user:secret@l:1")
		s.want("0 of 1 waiting, failed [http://user:xxxxx@l:1/lookup] HTTP status 403: NO")
		if user, password, ok := l.Requests()[0].BasicAuth(); !ok || user != "user" || password != "secret" {
			t.Errorf("authorized as %s, %s", user, password)
		}
	})
}

// A redirect is followed, but not from where the token cannot be seen to where
// it can.
func TestRedirects(t *testing.T) {
	for _, tt := range []struct{ from, to, want string }{
		{"http://l", "https://m/lookup", "0 of 1 waiting"},
		{"https://l", "https://m/lookup", "0 of 1 waiting"},
		{"http://l", "http://m/lookup", "0 of 1 waiting"},
		{"https://l", "http://l/lookup", "0 of 1 waiting, failed [https://l/lookup] redirected from https to http"},
		{"http://l", "http://l/lookup", "0 of 1 waiting, failed [http://l/lookup] stopped after 10 redirects"},
	} {
		inScene(t, func(s *scene) {
			s.poller()
			s.p.client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				resp := &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}
				if strings.HasPrefix(r.URL.String(), tt.from) {
					resp.StatusCode = http.StatusFound
					resp.Header = http.Header{"Location": {tt.to}}
				}
				return resp, nil
			})
			s.add(tt.from)
			s.want(tt.want)
		})
	}
}

// The first poll is at once, later ones an interval apart.
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

// Consumers that start together come apart: the time of the second poll is by
// chance within the jitter, and the later ones keep to it.
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

// However often it is asked for, there is one poll at once and one a second.
func TestPokeIsLimited(t *testing.T) {
	inScene(t, func(s *scene) {
		l := s.lookupd("l:1")
		s.poller("l:1")
		sleep(10 * time.Second)
		s.p.Poke()
		s.p.Poke()
		wantRequests(t, l, 2)
		for range 90 { // 9 s
			s.p.Poke()
			sleep(100 * time.Millisecond)
		}
		wantRequests(t, l, 2+9)
		s.p.Poke()
		sleep(40 * time.Second)  // to 59 s
		wantRequests(t, l, 2+10) // the last Poke was not lost
		sleep(time.Second)
		wantRequests(t, l, 2+11) // nor is the schedule

		sleep(59*time.Second + time.Second/2)
		s.p.Poke()
		wantRequests(t, l, 2+12)
		s.p.Poke() // and before its second is over
		sleep(time.Second / 2)
		wantRequests(t, l, 2+13) // comes the time of all
		sleep(time.Minute - 1)
		wantRequests(t, l, 2+13)
	})
}

// With nobody to ask, a Poke is nothing, now and later.
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

// F19: nsqlookupds come and go while the others are polled on.
func TestAddAndRemove(t *testing.T) {
	inScene(t, func(s *scene) {
		l1, l2 := s.lookupd("l1:1", "a:1"), s.lookupd("l2:1", "b:1")
		s.poller("l1:1")
		s.wantAll("a:1 0 of 1 waiting")
		sleep(10 * time.Second)
		first := s.add("http://l2:1/lookup")
		s.wantAll("a:1 b:1 0 of 2 waiting")
		if again := s.add("l2:1"); again != first || !isClosed(again) {
			t.Error("one address in two forms is two nsqlookupds")
		}
		wantRequests(t, l1, 1) // it was not asked again
		sleep(50 * time.Second)
		wantRequests(t, l1, 2)
		wantRequests(t, l2, 2)
		s.wantAll("a:1 b:1 1 of 2 waiting", "a:1 b:1 0 of 2 waiting")

		if !s.remove("l1:1") || s.remove("l1:1") {
			t.Error("l1:1 was not there once")
		}
		s.wantAll("b:1 0 of 1 waiting")
		if !s.remove("l2:1") {
			t.Error("the last one cannot be removed")
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

// Removing one that hangs gives its request up, and lets those go who wait.
func TestRemoveWhileHanging(t *testing.T) {
	inScene(t, func(s *scene) {
		s.lookupd("hung:1").Hang()
		s.net.Blackhole("gone:1")
		s.poller()
		for _, addr := range []string{"hung:1", "gone:1"} {
			first := s.add(addr)
			if isClosed(first) || !s.remove(addr) || !isClosed(first) {
				t.Errorf("%s: not let go by its removal", addr)
			}
			s.wantAll("0 of 0 waiting")
		}
		if open := s.net.OpenConns(); open > 0 {
			t.Errorf("%d connections are open", open)
		}
	})
}

// D15: wherever a request is, the end of the context is its end at once. The
// scene checks how long it took and what was left.
func TestEndAtAnyMoment(t *testing.T) {
	for name, hang := range map[string]func(l *nsqtest.Lookupd, n *nsqtest.Network){
		"dial":   func(l *nsqtest.Lookupd, n *nsqtest.Network) { n.Blackhole(l.Addr()) },
		"accept": func(l *nsqtest.Lookupd, n *nsqtest.Network) { l.Kill(); deaf(n, l.Addr()) },
		"answer": func(l *nsqtest.Lookupd, _ *nsqtest.Network) { l.Hang() },
		"body": func(l *nsqtest.Lookupd, _ *nsqtest.Network) {
			l.Handle(func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write([]byte(`{"producers":[`))
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})
		},
		"nowhere": func(l *nsqtest.Lookupd, _ *nsqtest.Network) { l.Recover() },
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
					t.Error("who waits for the first answer is not let go")
				}
				if late := s.add("l3:1"); !isClosed(late) {
					t.Error("a Poller that has ended makes others wait")
				}
			})
		})
	}
}

// Run outlasts its requests, even those that a client of the caller's holds on
// to.
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
			t.Error("Run has returned during a request")
		}
	})
}

// An answer that comes together with the end is the end's doing.
func TestFailureByTheEndIsNone(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	l := &lookupd{}
	p := New(Config{Publish: func(r Result) { t.Errorf("published: %s", describe(r)) }})
	r := &run{Poller: p, lookupds: []*lookupd{l}}
	r.answered(ctx, answer{from: l, err: ctx.Err()})
}

// deaf listens and accepts nothing.
func deaf(n *nsqtest.Network, addr string) { _, _ = n.Listen(addr) }

// A caller's client is used as it is, but for the bound of a request.
func TestClientOfTheCaller(t *testing.T) {
	inScene(t, func(s *scene) {
		l := s.lookupd("l:1", "a:1")
		requests := 0
		transport := s.net.HTTPClient().Transport
		s.cfg.Client = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			requests++
			return transport.RoundTrip(r)
		})}
		s.poller("l:1")
		s.want("a:1 0 of 1 waiting")
		l.Hang()
		sleep(90 * time.Second)
		s.want("a:1 0 of 1 waiting, failed [http://l:1/lookup] context deadline exceeded")
		if requests != 2 {
			t.Errorf("%d requests by the client, want 2", requests)
		}
	})
}

// The real thing, on loopback and in real time: the client that a Poller makes.
func TestOwnClientOverTCP(t *testing.T) {
	l := nsqtest.NewLookupd(t, nsqtest.LookupdOptions{})
	l.Register("t", "a:1")
	results := make(chan Result, 10)
	var first <-chan struct{}
	p := New(Config{
		Topic: "t", Interval: time.Minute, Timeout: time.Minute,
		Publish: func(r Result) {
			select {
			case <-first:
				t.Error("who waits for the first answer is let go before it is published")
			default:
			}
			results <- r
		},
	})
	u, err := ParseAddr(l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	var added bool
	first, added = p.Add(u)
	if _, again := p.Add(u); !added || again {
		t.Errorf("added %v, and again %v", added, again)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	<-first
	if got := describe(<-results); got != "a:1 0 of 1 waiting" {
		t.Errorf("result %s", got)
	}
	stop()
	<-done
}

// A name is resolved at each poll anew: no connection is kept.
func TestEachPollDials(t *testing.T) {
	inScene(t, func(s *scene) {
		s.lookupd("l:1")
		s.poller("l:1")
		sleep(2 * time.Minute)
		synctest.Wait()
		if dials, open := s.net.Dials(), s.net.OpenConns(); dials != 3 || open != 0 {
			t.Errorf("%d dials, %d open, want 3 and 0", dials, open)
		}
	})
}

// Nor does a client of the caller's take the token out of TLS.
func TestTokenStaysInTLS(t *testing.T) {
	got := make(chan string, 10)
	plain := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get("Authorization")
	}))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer secure.Close()
	u, err := ParseAddr(secure.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := secure.Client()
	client.Transport.(*http.Transport).DisableKeepAlives = true
	p := New(Config{
		Topic: "t", Interval: time.Minute, Timeout: 5 * time.Second,
		Client: client, Token: "s3cret", Publish: func(Result) {},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	first, _ := p.Add(u)
	<-first
	cancel()
	<-done
	select {
	case s := <-got:
		t.Errorf("https sent %q to plain http", s)
	default:
	}
}

// Without a topic all nsqds are found, each once, whatever topics they have, or
// have been tombstoned for.
func TestAllNSQDs(t *testing.T) {
	for name, envelope := range map[string]bool{"v1": false, "before 1.0": true} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.Topic = ""
				l := nsqtest.NewLookupd(s, nsqtest.LookupdOptions{Network: s.net, Addr: "l1:1", Envelope: envelope})
				l.Register("t", "a:1", "b:1")
				l.Register("u", "b:1", "c:1")
				l.Tombstone("u", "c:1")
				s.lookupd("l2:1") // knows a topic, and no nsqd
				s.poller("l1:1", "l2:1")
				s.want("a:1 b:1 c:1 0 of 2 waiting")
				l.Fail(http.StatusInternalServerError, "INTERNAL_ERROR")
				sleep(time.Minute)
				s.want("a:1 b:1 c:1 0 of 2 waiting, failed [http://l1:1/nodes] HTTP status 500: INTERNAL_ERROR")
			})
		})
	}
}
