package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rdyhq/nsq/envelope"
)

// The line for people has what the one for programs has.
func TestToHTTPLine(t *testing.T) {
	r := httpReport{
		Seconds: 1.25, Delivered: 1, Requeued: 2, DeadLetters: 3, NotSampled: 4,
		URLs: []urlReport{{URL: "http://a/", Delivered: 5, Failed: 6, Refused: 7, MeanMS: 8, P95MS: 9, P99MS: 10}, {URL: "http://b/"}},
	}
	const want = "1 message delivered, 2 requeued, 3 dead letters, 4 not in the sample in 1.2 s; " +
		"http://a/: 18 requests, 6 failed, 7 refused, mean 8.0 ms, 95% 9.0 ms, 99% 10.0 ms; http://b/: 0 requests"
	if got := r.line(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestToHTTP(t *testing.T) {
	inHTTPScene(t, func(s *httpScene) {
		s.server("a:80", respond(http.StatusNoContent))
		s.start("http://a/in?x=1")
		ids := s.nsqd.Publish("t", "one\n\xff")
		s.finish(1)
		got := s.received()
		if len(got) != 1 {
			s.Fatalf("got %v", got)
		}
		r := got[0]
		at, err := time.Parse(time.RFC3339Nano, r.header.Get("Nsq-Timestamp"))
		if r.method != "POST" || r.uri != "/in?x=1" || r.body != "one\n\xff" || err != nil || time.Since(at) > time.Minute {
			t.Errorf("got %+v", r)
		}
		for name, want := range map[string]string{
			"Nsq-Message-Id": ids[0], "Nsq-Attempts": "1", "Nsq-Topic": "t",
			"Content-Type": "application/octet-stream", "User-Agent": "rdy/" + readVersion().Version,
			"Content-Length": "5",
		} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		if got := s.stderr.String(); !strings.HasPrefix(got, "rdy: 1 message delivered, 0 requeued in ") {
			t.Errorf("stderr %q", got)
		}
		expectOneLine(t, s.stderr.String())
	})
}

// With a server that fails half of the time, in one way or another, every message is
// delivered, and none is finished before that.
func TestToHTTPServerFailsHalfTheTime(t *testing.T) {
	const n = 300
	for _, mode := range []string{modeLeastFailing, modeRoundRobin, modeAll} {
		inHTTPScene(t, func(s *httpScene) {
			var mu sync.Mutex
			calls, took := 0, map[string]int{}
			flaky := func(w http.ResponseWriter, _ *http.Request, body string) {
				mu.Lock()
				defer mu.Unlock()
				switch calls++; calls % 6 {
				case 0:
					hangUp(w)
				case 2:
					w.WriteHeader(http.StatusServiceUnavailable)
				case 4:
					w.Header().Set("Retry-After", "3")
					w.WriteHeader(http.StatusTooManyRequests)
				default:
					took[body]++
				}
			}
			s.server("a:80", flaky)
			s.server("b:80", flaky)
			s.start("http://a", "http://b", "--mode", mode)
			s.nsqd.Publish("t", numbered("m", n)...)
			s.finish(n)
			want := 1
			if mode == modeAll {
				want = 2
			}
			for _, body := range numbered("m", n) {
				if took[body] != want {
					t.Errorf("%s: %q was delivered %d times, want %d", mode, body, took[body], want)
				}
			}
			if got := s.nsqd.Stats("t", "ch"); got.Finished != n || got.TimedOut != 0 {
				t.Errorf("%s: nsqd has %+v", mode, got)
			}
		})
	}
}

// The lease of a message lasts as long as its request.
func TestToHTTPSlowBeyondTheLease(t *testing.T) {
	inHTTPScene(t, func(s *httpScene) {
		s.server("a:80", func(http.ResponseWriter, *http.Request, string) { sleep(15 * time.Second) })
		s.start("http://a", "--set", "msg_timeout,1s")
		s.nsqd.Publish("t", numbered("m", 50)...)
		s.finish(50)
		if got, stats := s.bodies("a:80"), s.nsqd.Stats("t", "ch"); len(got) != 50 || stats.TimedOut != 0 || stats.Delivered != 50 {
			t.Errorf("%d requests, nsqd has %+v", len(got), stats)
		}
	})
}

// A delay that the server asks for is that of the requeue, without backoff: others go on.
func TestToHTTPRetryAfter(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"30": 30 * time.Second, "0": time.Second, "7200": time.Hour,
		time.Now().Add(time.Minute).UTC().Format(http.TimeFormat): 0, // another year in the bubble: bounded
	} {
		inHTTPScene(t, func(s *httpScene) {
			s.server("a:80", func(w http.ResponseWriter, r *http.Request, body string) {
				if body == "busy" && r.Header.Get("Nsq-Attempts") == "1" {
					w.Header().Set("Retry-After", header)
					w.WriteHeader(http.StatusTooManyRequests)
				}
			})
			s.start("http://a", "--concurrency", "1")
			s.nsqd.Publish("t", "busy", "other", "third")
			s.finish(3)
			got := s.requeues()
			if len(got) != 1 || want != 0 && got[0] != want || got[0] < minRetryAfter || got[0] > maxRetryAfter {
				t.Errorf("Retry-After %s: requeued with %v, want %v", header, got, want)
			}
			requests := s.received()
			if d := requests[2].at.Sub(requests[0].at); d > 100*time.Millisecond {
				t.Errorf("the others came after %v", d)
			}
			if text := s.stderr.String(); strings.Count(text, "429 Too Many Requests; the message comes again in") != 1 {
				t.Errorf("stderr %q", text)
			}
		})
	}
}

// Failures without a Retry-After are retried with a growing delay, and logged.
func TestToHTTPRetries(t *testing.T) {
	for _, code := range []int{408, 425, 429, 500, 502, 503, 504, 599} {
		inHTTPScene(t, func(s *httpScene) {
			s.server("a:80", func(w http.ResponseWriter, r *http.Request, _ string) {
				if r.Header.Get("Nsq-Attempts") != "4" {
					w.WriteHeader(code)
					_, _ = io.WriteString(w, "no\x1b[31m\nway")
				}
			})
			s.start("http://user:secret@a/in?key=secret")
			s.nsqd.Publish("t", "body")
			s.finish(1)
			if got, want := s.requeues(), []time.Duration{10 * time.Second, 20 * time.Second, 30 * time.Second}; !slices.Equal(got, want) {
				t.Errorf("%d: requeued with %v, want %v", code, got, want)
			}
			text := s.stderr.String()
			if !strings.Contains(text, fmt.Sprintf("http://a/in: %d ", code)) || strings.Contains(text, "\x1b") || strings.Contains(text, "secret") {
				t.Errorf("stderr %q", text)
			}
		})
	}
}

// Refusals make dead letters, if there is a topic for them.
func TestToHTTPRefusedToDeadLetters(t *testing.T) {
	for _, code := range []int{300, 301, 307, 304, 400, 401, 403, 404, 410, 413, 422, 451} {
		inHTTPScene(t, func(s *httpScene) {
			s.server("a:80", func(w http.ResponseWriter, _ *http.Request, body string) {
				if body == "bad" {
					w.Header().Set("Location", "http://a/elsewhere")
					w.WriteHeader(code)
				}
			})
			s.start("http://a", "--dead-letter", "dead", "--json")
			s.nsqd.Publish("t", "bad", "good")
			s.finish(2)
			dead := s.nsqd.Queued("dead", "")
			if len(dead) != 1 {
				t.Fatalf("%d: dead letters %q", code, dead)
			}
			header, body, ok := envelope.Open([]byte(dead[0]))
			if !ok || string(body) != "bad" || !strings.Contains(header["failed-error"], fmt.Sprintf("http://a: %d ", code)) {
				t.Errorf("%d: dead letter %q with %v", code, body, header)
			}
			if got := s.report(); got.Delivered != 1 || got.DeadLetters != 1 || got.Requeued != 0 || got.URLs[0].Refused != 1 {
				t.Errorf("%d: got %+v", code, got)
			}
			if n := len(s.received()); n != 2 {
				t.Errorf("%d: %d requests, want 2", code, n)
			}
			expectOneLine(t, s.stderr.String())
			if !strings.HasPrefix(s.stderr.String(), "rdy: a dead letter is in topic dead, and others will be counted: ") {
				t.Errorf("%d: stderr %q", code, s.stderr.String())
			}
		})
	}
}

// Without such a topic they come again and again, seldom, and nothing is lost.
func TestToHTTPRefusedWithoutDeadLetters(t *testing.T) {
	inHTTPScene(t, func(s *httpScene) {
		var mu sync.Mutex
		mended := false
		s.server("a:80", func(w http.ResponseWriter, _ *http.Request, body string) {
			mu.Lock()
			defer mu.Unlock()
			if strings.HasPrefix(body, "bad") && !mended {
				w.WriteHeader(http.StatusNotFound)
			}
		})
		s.start("http://a")
		s.nsqd.Publish("t", "bad1", "good1", "bad2", "good2", "bad3")
		s.nsqd.WaitFor(24*time.Hour, func() bool { return len(s.requeues()) == 12 })
		mu.Lock()
		mended = true
		mu.Unlock()
		s.finish(5)
		for _, d := range s.requeues() {
			if d != refusedDelay {
				t.Errorf("requeued with %v", d)
			}
		}
		text := s.stderr.String()
		if strings.Count(text, "404") != 1 || !strings.Contains(text, "404 Not Found; the message comes again in 15m0s") {
			t.Errorf("stderr %q", text)
		}
	})
}

// A server that refuses everything does not get, or make nsqd defer, the whole backlog.
func TestToHTTPRefusesEverything(t *testing.T) {
	for _, code := range []int{http.StatusNotFound, http.StatusTooManyRequests} {
		inHTTPScene(t, func(s *httpScene) {
			s.server("a:80", func(w http.ResponseWriter, _ *http.Request, _ string) {
				w.Header().Set("Retry-After", "900")
				w.WriteHeader(code)
			})
			s.start("http://a", "--concurrency", "10")
			s.nsqd.Publish("t", numbered("m", 999)...)
			sleep(10 * time.Minute)
			if got := s.nsqd.Stats("t", "ch"); got.Deferred > 200 || got.Finished != 0 {
				t.Errorf("%d: nsqd has %+v", code, got)
			}
			if err := s.end(); err != nil {
				t.Error(err)
			}
			if got := s.nsqd.Stats("t", "ch"); got.Depth+got.Deferred != 999 {
				t.Errorf("%d: nsqd has %+v", code, got)
			}
		})
	}
}

// Refusals among messages that are delivered hold up nothing.
func TestToHTTPRefusesSome(t *testing.T) {
	inHTTPScene(t, func(s *httpScene) {
		s.server("a:80", func(w http.ResponseWriter, _ *http.Request, body string) {
			if strings.HasPrefix(body, "bad") {
				w.WriteHeader(http.StatusNotFound)
			}
		})
		s.start("http://a", "--concurrency", "1")
		for i := range 20 {
			s.nsqd.Publish("t", numbered("bad", patience-2)...)
			s.nsqd.Publish("t", fmt.Sprint("good", i))
		}
		start := time.Now()
		s.finish(20)
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// With --max-attempts a message that fails that often becomes a dead letter.
func TestToHTTPMaxAttempts(t *testing.T) {
	inHTTPScene(t, func(s *httpScene) {
		s.server("a:80", respond(http.StatusInternalServerError))
		s.start("http://a", "--dead-letter", "dead", "--max-attempts", "3", "--json")
		s.nsqd.Publish("t", "m")
		s.finish(1)
		if n := len(s.received()); n != 3 || len(s.nsqd.Queued("dead", "")) != 1 {
			t.Errorf("%d requests, dead letters %q", n, s.nsqd.Queued("dead", ""))
		}
		if got := s.report(); got.Requeued != 2 || got.DeadLetters != 1 {
			t.Errorf("got %+v", got)
		}
	})
}

// With --mode all a message is finished when all servers have it. A retry leaves out those
// that have it. A refusal counts once no other server is missing.
func TestToHTTPAll(t *testing.T) {
	inHTTPScene(t, func(s *httpScene) {
		s.server("a:80", respond(http.StatusOK))
		s.server("b:80", func(w http.ResponseWriter, r *http.Request, _ string) {
			if r.Header.Get("Nsq-Attempts") != "3" {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		s.server("c:80", respond(http.StatusBadRequest))
		s.start("http://a", "http://b", "http://c", "--mode", "all", "--dead-letter", "dead")
		s.nsqd.Publish("t", "m")
		s.finish(1)
		if a, b, c := len(s.bodies("a:80")), len(s.bodies("b:80")), len(s.bodies("c:80")); a != 1 || b != 3 || c != 3 {
			t.Errorf("%d, %d and %d requests, want 1, 3 and 3", a, b, c)
		}
		dead := s.nsqd.Queued("dead", "")
		if len(dead) != 1 || strings.Contains(dead[0], "http://b") {
			t.Errorf("dead letters %q", dead)
		}
	})
}

// A stop waits for the requests under way. What has not begun goes back at once.
func TestToHTTPStopDrains(t *testing.T) {
	inHTTPScene(t, func(s *httpScene) {
		s.server("a:80", func(http.ResponseWriter, *http.Request, string) { sleep(19 * time.Second) })
		s.start("http://a", "--concurrency", "5", "--json")
		s.nsqd.Publish("t", numbered("m", 20)...)
		sleep(time.Second)
		start := time.Now()
		if err := s.end(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < 17*time.Second || took > 19*time.Second {
			t.Errorf("the stop took %v", took)
		}
		if got := s.nsqd.Stats("t", "ch"); got.Finished != 5 || got.Depth != 15 || got.InFlight != 0 || s.report().Requeued != got.Requeued {
			t.Errorf("nsqd has %+v, the report is %+v", got, s.report())
		}
	})
}

// A request that outlives the time for a stop is cut, and its message goes back at once.
func TestToHTTPStopCuts(t *testing.T) {
	inHTTPScene(t, func(s *httpScene) {
		s.server("a:80", func(_ http.ResponseWriter, r *http.Request, _ string) { <-r.Context().Done() })
		s.start("http://a", "--set", "stop_timeout,2s")
		s.nsqd.Publish("t", "m")
		sleep(time.Second)
		start := time.Now()
		if err := s.end(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("the stop took %v", took)
		}
		if got := s.nsqd.Stats("t", "ch"); got.Depth != 1 || got.Deferred+got.InFlight+got.Finished != 0 {
			t.Errorf("nsqd has %+v", got)
		}
	})
}

// A request ends when its message is lost to another consumer, and that is no failure of the
// server.
func TestToHTTPRequestEndsWithItsMessage(t *testing.T) {
	inHTTPScene(t, func(s *httpScene) {
		var mu sync.Mutex
		var ended error
		s.server("a:80", func(_ http.ResponseWriter, r *http.Request, _ string) {
			if r.Header.Get("Nsq-Attempts") == "1" {
				<-r.Context().Done()
				mu.Lock()
				defer mu.Unlock()
				ended = r.Context().Err()
			}
		})
		s.start("http://a", "--timeout", "10m")
		s.nsqd.Publish("t", "m")
		sleep(time.Second)
		s.nsqd.Disconnect(1)
		s.finish(1)
		mu.Lock()
		defer mu.Unlock()
		if !errors.Is(ended, context.Canceled) || len(s.received()) != 2 {
			t.Errorf("ended with %v, %d requests", ended, len(s.received()))
		}
	})
}

// A handler that waits for --rate does not hold up a stop.
func TestToHTTPRate(t *testing.T) {
	inHTTPScene(t, func(s *httpScene) {
		s.server("a:80", respond(http.StatusOK))
		s.start("http://a", "--rate", "0.5", "--json")
		s.nsqd.Publish("t", numbered("m", 10)...)
		sleep(9 * time.Second)
		if n := len(s.received()); n != 5 {
			t.Errorf("%d requests in 9 s, want 5", n)
		}
		start := time.Now()
		if err := s.end(); err != nil || time.Since(start) > time.Second {
			t.Errorf("stopped after %v with %v", time.Since(start), err)
		}
		if got := s.nsqd.Stats("t", "ch"); got.Finished != 5 || got.Depth != 5 || got.Requeued == 0 || s.report().Requeued != got.Requeued {
			t.Errorf("nsqd has %+v, the report is %+v", got, s.report())
		}
	})
}

// A --rate whose waits outlast the lease neither spins nor makes dead letters of messages
// that were not sent.
func TestToHTTPRateBeyondTheLease(t *testing.T) {
	inHTTPScene(t, func(s *httpScene) {
		s.server("a:80", respond(http.StatusOK))
		s.start("http://a", "--rate", "0.001", "--max-attempts", "5", "--dead-letter", "dead")
		s.nsqd.Publish("t", numbered("m", 5)...)
		s.nsqd.WaitFor(24*time.Hour, func() bool { return s.nsqd.Stats("t", "ch").Finished == 5 })
		if err := s.end(); err != nil {
			t.Error(err)
		}
		requests := s.received()
		if len(requests) != 5 || len(s.nsqd.Queued("dead", "")) != 0 {
			t.Fatalf("%d requests, dead letters %q", len(requests), s.nsqd.Queued("dead", ""))
		}
		for i, r := range requests[1:] {
			if d := r.at.Sub(requests[i].at); d < 999*time.Second {
				t.Errorf("request %d came after %v", i+1, d)
			}
		}
		if got := s.nsqd.Stats("t", "ch"); got.Delivered > 15 {
			t.Errorf("nsqd has %+v", got)
		}
	})
}

// A server that switches protocols unasked does not hold up a handler: its response has no
// body, and the connection is closed.
func TestToHTTPSwitchingProtocols(t *testing.T) {
	inHTTPScene(t, func(s *httpScene) {
		s.server("a:80", func(w http.ResponseWriter, _ *http.Request, _ string) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			_, _ = io.Copy(io.Discard, conn) // until the client closes it
			_ = conn.Close()
		})
		s.start("http://a", "--dead-letter", "dead")
		s.nsqd.Publish("t", "m")
		start := time.Now()
		s.finish(1)
		if took := time.Since(start); took > time.Second || len(s.nsqd.Queued("dead", "")) != 1 {
			t.Errorf("took %v, dead letters %q", took, s.nsqd.Queued("dead", ""))
		}
	})
}

// A line about a refusal does not advise a flag that is there.
func TestToHTTPNoNeedlessHint(t *testing.T) {
	for _, deadLetter := range []bool{false, true} {
		inHTTPScene(t, func(s *httpScene) {
			s.server("a:80", func(w http.ResponseWriter, r *http.Request, _ string) {
				if r.Header.Get("Nsq-Attempts") == "1" {
					w.Header().Set("Retry-After", "5")
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			})
			s.server("b:80", func(w http.ResponseWriter, r *http.Request, _ string) {
				if r.Header.Get("Nsq-Attempts") == "1" {
					w.WriteHeader(http.StatusNotFound)
				}
			})
			args := []string{"http://a", "http://b", "--mode", "all"}
			if deadLetter {
				args = append(args, "--dead-letter", "dead")
			}
			s.start(args...)
			s.nsqd.Publish("t", "m")
			s.finish(1)
			text := s.stderr.String()
			if !strings.Contains(text, "404 Not Found; the message comes again in 5s") || strings.Contains(text, "--dead-letter") == deadLetter {
				t.Errorf("with --dead-letter %v: stderr %q", deadLetter, text)
			}
		})
	}
}

// Connections are used again, also if all URLs are on one host.
func TestToHTTPReusesConnectionsOfOneHost(t *testing.T) {
	inHTTPScene(t, func(s *httpScene) {
		s.server("a:80", func(http.ResponseWriter, *http.Request, string) { sleep(time.Millisecond) })
		s.start("http://a/1", "http://a/2", "http://a/3", "http://a/4", "--mode", "all", "--concurrency", "8")
		s.nsqd.Publish("t", numbered("m", 500)...)
		s.finish(500)
		if n := s.net.Attempts("a:80"); n > 32 {
			t.Errorf("%d connections, want at most 32", n)
		}
	})
}

// Connections are used again, whatever the response.
func TestToHTTPReusesConnections(t *testing.T) {
	inHTTPScene(t, func(s *httpScene) {
		s.server("a:80", func(w http.ResponseWriter, _ *http.Request, body string) {
			sleep(time.Millisecond)
			if strings.HasSuffix(body, "7") {
				w.WriteHeader(http.StatusNotFound)
			}
			_, _ = io.WriteString(w, strings.Repeat("x", 10_000))
		})
		s.start("http://a", "--concurrency", "8", "--dead-letter", "dead")
		s.nsqd.Publish("t", numbered("m", 500)...)
		s.finish(500)
		if n := s.net.Attempts("a:80"); n > 8 {
			t.Errorf("%d connections, want at most 8", n)
		}
	})
}

// A response that never ends costs a connection, and not the delivery.
func TestToHTTPEndlessResponse(t *testing.T) {
	inHTTPScene(t, func(s *httpScene) {
		s.server("a:80", func(w http.ResponseWriter, _ *http.Request, _ string) {
			for {
				if _, err := w.Write(make([]byte, 1<<12)); err != nil {
					return
				}
			}
		})
		s.start("http://a")
		s.nsqd.Publish("t", "m")
		start := time.Now()
		s.finish(1)
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// --json and --status-every report what has happened since the last line, and at the end of
// the whole run.
func TestToHTTPStatistics(t *testing.T) {
	inHTTPScene(t, func(s *httpScene) {
		s.server("a:80", func(_ http.ResponseWriter, _ *http.Request, _ string) { sleep(10 * time.Millisecond) })
		s.server("b:80", func(w http.ResponseWriter, _ *http.Request, _ string) { hangUp(w) })
		s.start("http://a/x", "http://b/y", "--mode", "round-robin", "--status-every", "4", "--json", "--concurrency", "1")
		s.nsqd.Publish("t", numbered("m", 20)...)
		s.nsqd.WaitFor(24*time.Hour, func() bool { return s.nsqd.Stats("t", "ch").Finished == 18 })
		if err := s.end(); err != nil {
			t.Error(err)
		}
		var sum httpReport
		lines := slices.Collect(strings.Lines(s.stdout.String()))
		for _, line := range lines[:len(lines)-1] {
			var r httpReport
			if err := json.Unmarshal([]byte(line), &r); err != nil || r.Final || r.Delivered+r.Requeued != 4 {
				t.Fatalf("%q: error %v", line, err)
			}
			sum.Delivered += r.Delivered
			sum.Requeued += r.Requeued
		}
		r := s.report()
		if r.Delivered != 18 || r.Requeued < 10 || r.Delivered-sum.Delivered+r.Requeued-sum.Requeued >= 4 {
			t.Errorf("got %+v after %+v", r, sum)
		}
		a, b := r.URLs[0], r.URLs[1]
		if a.URL != "http://a/x" || a.Delivered != 18 || a.Failed != 0 || a.MeanMS < 10 || a.MeanMS > 11 || a.P95MS < 10 || a.P99MS > 12 {
			t.Errorf("got %+v", a)
		}
		if b.URL != "http://b/y" || b.Delivered != 0 || b.Failed != r.Requeued {
			t.Errorf("got %+v", b)
		}
	})
}
