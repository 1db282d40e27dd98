package main

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// For each flag of nsq_to_http, what does the same here.
func TestToHTTPFlagsOfNsqToHTTP(t *testing.T) {
	one := func(s *httpScene, want string) {
		s.Helper()
		if got := s.bodies("a:80"); !slices.Equal(got, []string{want}) {
			s.Errorf("got %q", got)
		}
	}
	for _, tc := range []struct {
		old, name string
		args      []string
		messages  []string
		server    http.HandlerFunc // nil responds with 200
		check     func(s *httpScene)
	}{
		{"--topic, --channel, --nsqd-tcp-address, --post", "arguments", []string{"http://a/p"}, []string{"m"}, nil, func(s *httpScene) {
			one(s, "m")
			if r := s.received()[0]; r.method != "POST" || r.uri != "/p" {
				s.Errorf("got %+v", r)
			}
		}},
		{"--get", "GET", []string{"http://a/p?d={{.Body}}", "--method", "GET"}, []string{"a b&c"}, nil, func(s *httpScene) {
			if r := s.received()[0]; r.method != "GET" || r.uri != "/p?d=a+b%26c" || r.body != "" || r.header.Get("Content-Type") != "" {
				s.Errorf("got %+v", r)
			}
		}},
		{"--header", "headers", []string{"http://a", "--header", "X-A: 1", "--header", "x-a: 2", "--header", "X-ID: {{.ID}}/{{.Topic}}", "--header", "Host: other", "--header", "User-Agent: me", "--header", "Nsq-Attempts: no"}, []string{"m"}, nil, func(s *httpScene) {
			r := s.received()[0]
			if !slices.Equal(r.header["X-A"], []string{"1", "2"}) || r.header.Get("X-Id") != r.header.Get("Nsq-Message-Id")+"/t" ||
				r.host != "other" || r.header.Get("User-Agent") != "me" || !slices.Equal(r.header["Nsq-Attempts"], []string{"no"}) {
				s.Errorf("got %+v", r)
			}
		}},
		{"--content-type", "content type", []string{"http://a", "--content-type", "application/json"}, []string{"{}"}, nil, func(s *httpScene) {
			if got := s.received()[0].header["Content-Type"]; !slices.Equal(got, []string{"application/json"}) {
				s.Errorf("got %q", got)
			}
		}},
		{"nothing", "no attributes", []string{"http://a", "--attributes=false"}, []string{"m"}, nil, func(s *httpScene) {
			for name := range s.received()[0].header {
				if strings.HasPrefix(name, "Nsq-") {
					s.Errorf("header %s", name)
				}
			}
		}},
		{"-n", "concurrency", []string{"http://a", "--concurrency", "3"}, numbered("m", 9), pause(time.Second), func(s *httpScene) {
			rs := s.received()
			if d := rs[8].at.Sub(rs[0].at); d < 2*time.Second || d > 3*time.Second {
				s.Errorf("nine messages, three at a time, took %v", d)
			}
		}},
		{"--max-in-flight", "held messages", []string{"http://a", "--max-in-flight", "2"}, numbered("m", 6), pause(time.Second), func(s *httpScene) {
			rs := s.received()
			if d := rs[5].at.Sub(rs[0].at); d < 2*time.Second {
				s.Errorf("six messages, two held at a time, took %v", d)
			}
		}},
		{"--http-client-request-timeout", "timeout", []string{"http://a", "--timeout", "2s"}, []string{"m"}, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Nsq-Attempts") == "1" {
				<-r.Context().Done()
			}
		}, func(s *httpScene) {
			if text := s.stderr.String(); !strings.Contains(text, "http://a: no response within 2s") {
				s.Errorf("stderr %q", text)
			}
		}},
		{"--sample", "sample", []string{"http://a", "--sample", "0.5", "--json"}, numbered("m", 200), nil, func(s *httpScene) {
			r := s.report()
			if n := len(s.received()); n < 60 || n > 140 || r.Delivered != n || r.NotSampled != 200-n {
				s.Errorf("%d requests, %+v", n, r)
			}
		}},
		{"--sample", "no sample", []string{"http://a", "--sample", "0"}, numbered("m", 20), nil, func(s *httpScene) {
			if n := len(s.received()); n != 0 || !strings.Contains(s.stderr.String(), "20 not in the sample") {
				s.Errorf("%d requests, stderr %q", n, s.stderr.String())
			}
		}},
		{"--mode round-robin", "in turn", []string{"http://a", "http://b", "--mode", "round-robin", "--concurrency", "1"}, numbered("m", 10), nil, func(s *httpScene) {
			if a, b := len(s.bodies("a:80")), len(s.bodies("b:80")); a != 5 || b != 5 {
				s.Errorf("%d and %d requests", a, b)
			}
		}},
		{"--mode hostpool, epsilon-greedy", "least failing", []string{"http://a", "http://down", "--mode", "least-failing", "--concurrency", "1"}, numbered("m", 50), nil, func(s *httpScene) {
			if n := s.net.Attempts("down:80"); n < 1 || n > 10 {
				s.Errorf("%d requests to a server that is down", n)
			}
		}},
		{"--mode with any other word", "all", []string{"http://a", "http://b", "--mode", "all"}, []string{"m"}, nil, func(s *httpScene) {
			if n := len(s.received()); n != 2 {
				s.Errorf("%d requests", n)
			}
		}},
		{"--status-every", "status", []string{"http://a", "--status-every", "5"}, numbered("m", 10), nil, func(s *httpScene) {
			text := s.stderr.String()
			if strings.Count(text, "\n") != 3 || strings.Count(text, "rdy: 5 messages delivered") != 2 || !strings.Contains(text, "rdy: 10 messages delivered, 0 requeued") {
				s.Errorf("stderr %q", text)
			}
		}},
		{"--consumer-opt", "options", []string{"http://a", "--set", "client_id,me", "--set", "default_requeue_delay,3s"}, []string{"m"}, failFirst(http.StatusBadGateway), func(s *httpScene) {
			if got := s.requeues(); !slices.Equal(got, []time.Duration{3 * time.Second}) {
				s.Errorf("requeued with %v", got)
			}
		}},
	} {
		t.Run(tc.name+" for "+tc.old, func(t *testing.T) {
			inHTTPScene(t, func(s *httpScene) {
				for _, addr := range []string{"a:80", "b:80"} {
					s.server(addr, func(w http.ResponseWriter, r *http.Request, _ string) {
						if tc.server != nil {
							tc.server(w, r)
						}
					})
				}
				s.start(tc.args...)
				s.nsqd.Publish("t", tc.messages...)
				s.finish(len(tc.messages))
				tc.check(s)
			})
		})
	}
	// --lookupd-http-address: TestToHTTPExamples; --version: rdy version.
}

// pause is a server that takes its time.
func pause(d time.Duration) http.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) { sleep(d) }
}

// failFirst is a server that fails at the first attempt of each message.
func failFirst(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Nsq-Attempts") == "1" {
			w.WriteHeader(code)
		}
	}
}

// What nsq_to_http does wrong, and what happens here instead.
func TestToHTTPFaultsOfNsqToHTTP(t *testing.T) {
	for _, tc := range []struct {
		fault string
		args  []string
		serve http.HandlerFunc
		check func(s *httpScene)
	}{
		{"no TOUCH: a slow request outlives its lease, and the message is delivered again", []string{"http://a", "--set", "msg_timeout,1s"}, pause(10 * time.Second), func(s *httpScene) {
			s.finish(1)
			if n := len(s.received()); n != 1 {
				s.Errorf("%d requests", n)
			}
		}},
		{"4xx is retried as 5xx is", []string{"http://a", "--dead-letter", "dead"}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }, func(s *httpScene) {
			s.finish(1)
			if n := len(s.received()); n != 1 || len(s.nsqd.Queued("dead", "")) != 1 {
				s.Errorf("%d requests", n)
			}
		}},
		{"GET wants exactly 200", []string{"http://a?d={{.Body}}", "--method", "GET"}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }, func(s *httpScene) {
			s.finish(1)
			if n := len(s.received()); n != 1 {
				s.Errorf("%d requests", n)
			}
		}},
		{"an unknown --mode sends to all URLs", []string{"http://a", "http://b", "--mode", "hostpol"}, nil, func(s *httpScene) {
			if err := <-s.done; err == nil || !strings.Contains(err.Error(), "want least-failing or round-robin or all") {
				s.Errorf("got error %v", err)
			}
		}},
		{"the error for --header names another form", []string{"http://a", "--header", "key=value"}, nil, func(s *httpScene) {
			if err := <-s.done; err == nil || !strings.Contains(err.Error(), "want 'Name: value'") {
				s.Errorf("got error %v", err)
			}
		}},
		{"a message is dropped after five attempts", []string{"http://a"}, func(w http.ResponseWriter, r *http.Request) {
			if len(r.Header.Get("Nsq-Attempts")) == 1 {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}, func(s *httpScene) {
			s.finish(1)
			if n := len(s.received()); n != 10 {
				s.Errorf("%d requests", n)
			}
		}},
		{"a failed message that --sample had chosen may be dropped at its retry", []string{"http://a", "--sample", "0.9999", "--json"}, func(w http.ResponseWriter, r *http.Request) {
			if len(r.Header.Get("Nsq-Attempts")) == 1 {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}, func(s *httpScene) {
			s.finish(1)
			if got := s.report(); got.Delivered != 1 || got.NotSampled != 0 {
				s.Errorf("got %+v", got)
			}
		}},
		{"with all URLs a retry sends to those that have the message", []string{"http://a", "http://b", "--mode", "all"}, func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "b" && r.Header.Get("Nsq-Attempts") != "3" {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}, func(s *httpScene) {
			s.finish(1)
			if a, b := len(s.bodies("a:80")), len(s.bodies("b:80")); a != 1 || b != 3 {
				s.Errorf("%d and %d requests", a, b)
			}
		}},
	} {
		t.Run(tc.fault, func(t *testing.T) {
			inHTTPScene(t, func(s *httpScene) {
				for _, addr := range []string{"a:80", "b:80"} {
					s.server(addr, func(w http.ResponseWriter, r *http.Request, _ string) {
						if tc.serve != nil {
							tc.serve(w, r)
						}
					})
				}
				s.nsqd.Publish("t", "m")
				s.start(tc.args...)
				tc.check(s)
			})
		})
	}
}

// GET follows redirects, other methods do not.
func TestToHTTPRedirects(t *testing.T) {
	for method, want := range map[string]int{"GET": 1, "POST": 0, "PUT": 0, "DELETE": 0} {
		inHTTPScene(t, func(s *httpScene) {
			s.server("a:80", func(w http.ResponseWriter, r *http.Request, _ string) {
				if r.URL.Path == "/" {
					http.Redirect(w, r, "/there", http.StatusTemporaryRedirect)
				}
			})
			s.start("http://a/?d={{.Body}}", "--method", method, "--dead-letter", "dead", "--json")
			s.nsqd.Publish("t", "m")
			s.finish(1)
			if got := s.report(); got.Delivered != want || got.DeadLetters != 1-want {
				t.Errorf("%s: got %+v", method, got)
			}
		})
	}
	for _, location := range []string{"http://b/", "https://a/", "ftp://a/", "://"} {
		inHTTPScene(t, func(s *httpScene) { // only https://a is followed, where nothing listens
			s.server("b:80", respond(http.StatusOK))
			s.server("a:80", func(w http.ResponseWriter, _ *http.Request, _ string) {
				w.Header().Set("Location", location)
				w.WriteHeader(http.StatusFound)
			})
			s.start("http://a/?d={{.Body}}", "--method", "GET", "--dead-letter", "dead", "--max-attempts", "1", "--header", "Key: secret")
			s.nsqd.Publish("t", "m")
			s.finish(1)
			if n := len(s.bodies("b:80")); n != 0 || len(s.nsqd.Queued("dead", "")) != 1 || s.net.Attempts("a:443") > 0 != (location == "https://a/") {
				t.Errorf("%s: %d requests to another host, %d to https", location, n, s.net.Attempts("a:443"))
			}
		})
	}
	inHTTPScene(t, func(s *httpScene) { // a loop of redirects ends
		s.server("a:80", func(w http.ResponseWriter, r *http.Request, _ string) {
			http.Redirect(w, r, "/", http.StatusFound)
		})
		s.start("http://a/?d={{.Body}}", "--method", "GET", "--dead-letter", "dead")
		s.nsqd.Publish("t", "m")
		s.finish(1)
	})
}

// A message that cannot be made a request is refused, and not retried as if the server failed.
func TestToHTTPUnsendable(t *testing.T) {
	for _, args := range [][]string{
		{"http://a/{{.Body}}", "--method", "DELETE"},
		{"http://a/", "--header", "X: {{.Body}}."},
	} {
		inHTTPScene(t, func(s *httpScene) {
			s.server("a:80", respond(http.StatusOK))
			s.start(append(args, "--dead-letter", "dead")...)
			s.nsqd.Publish("t", "..", "\r\nx", "good")
			s.finish(3)
			if n := len(s.nsqd.Queued("dead", "")); n != 1 || len(s.received()) != 2 {
				t.Errorf("%d dead letters, %d requests", n, len(s.received()))
			}
		})
	}
}

// A server that cannot be reached in time is a failure like any other. What is said of it
// shows no secrets and no bodies.
func TestToHTTPConnectTimeout(t *testing.T) {
	inHTTPScene(t, func(s *httpScene) {
		s.net.Blackhole("a:80")
		s.start("http://user:secret@a/?key=secret&d={{.Body}}", "--connect-timeout", "3s", "--timeout", "20s", "--json")
		s.nsqd.Publish("t", "secret")
		sleep(4 * time.Second)
		if err := s.end(); err != nil {
			t.Error(err)
		}
		if got := s.report(); got.Requeued != 1 || got.URLs[0].MeanMS != 3000 {
			t.Errorf("got %+v", got)
		}
		if text := s.stderr.String(); !strings.Contains(text, "http://a/: ") || strings.Contains(text, "secret") {
			t.Errorf("stderr %q", text)
		}
	})
}

// An error of standard output is the result at the end. Until then messages are delivered.
func TestToHTTPCannotPrint(t *testing.T) {
	c := startCluster(t, 1)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	c.publish(t, 0, "full", "ch", numbered("m", 10)...)
	ctx, cancel := context.WithCancelCause(t.Context())
	p := &command{code: make(chan int, 1), interrupt: cancel}
	args := append(c.flags(), "to-http", "full", server.URL, "--channel", "ch", "--json", "--status-every", "1")
	go func() { p.code <- run(ctx, args, nil, brokenWriter{}, &p.stderr) }()
	await(t, "end of the messages", func() bool { s := c.stats(t, "full"); return s == channelStats{Messages: 10} })
	p.interrupt(errInterrupted)
	if code := p.wait(t); code != exitFailure {
		t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
	}
}

// With --http-ca the roots of the file are trusted, and no others.
func TestToHTTPTLS(t *testing.T) {
	c := startCluster(t, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the client's refusals
	server.StartTLS()
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, root, 0o600); err != nil {
		t.Fatal(err)
	}
	c.publish(t, 0, "tls", "ch", "m")
	args := append(c.flags(), "to-http", "tls", server.URL, "--channel", "ch", "--json")
	p := start(t, args...)
	p.stderr.await(t, "certificate signed by unknown authority")
	p.interrupt(errInterrupted)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	c.publish(t, 0, "tls", "ch", "other")
	p = start(t, append(args, "--http-ca", ca, "--status-every", "1")...)
	p.stdout.await(t, `"delivered":1`)
	p.interrupt(errInterrupted)
	if code := p.wait(t); code != exitOK || p.stderr.String() != "" {
		t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
	}
}

// Against a real nsqd, with a server that fails half of the time: nothing is lost, and each
// message is delivered.
func TestToHTTPRealNsqd(t *testing.T) {
	const each = 75
	c := startCluster(t, 2)
	var mu sync.Mutex
	calls, took := 0, map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		switch calls++; calls % 4 {
		case 0:
			hangUp(w)
		case 1:
			w.WriteHeader(http.StatusInternalServerError)
		default:
			took[string(body)]++
		}
	}))
	defer server.Close()
	var published []string
	for i := range c.nsqds {
		bodies := numbered("nsqd"+string(rune('a'+i)), each)
		c.publish(t, i, "half", "ch", bodies...)
		published = append(published, bodies...)
	}
	p := start(t, append(c.flags(), "to-http", "half", server.URL, "--channel", "ch", "--json",
		"--set", "default_requeue_delay,10ms", "--set", "max_requeue_delay,10ms", "--set", "backoff_multiplier,1ms")...)
	want := channelStats{Messages: 2 * each}
	await(t, "end of the messages", func() bool { return c.stats(t, "half") == want })
	p.interrupt(errInterrupted)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
	}
	mu.Lock()
	defer mu.Unlock()
	for _, body := range published {
		if took[body] == 0 {
			t.Errorf("%s was not delivered", body)
		}
	}
	if !strings.Contains(p.stdout.String(), `"delivered":150`) {
		t.Errorf("stdout %q", p.stdout.String())
	}
}

// An nsqd that cannot be reached is an error, as for tail.
func TestToHTTPUnreachable(t *testing.T) {
	code, _, stderr := execute(t, "to-http", "t", "http://127.0.0.1:1/", "--channel", "c", "--nsqd", unreachable)
	expectOneLine(t, stderr)
	if code != exitFailure || !strings.Contains(stderr, "no nsqd is reachable") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

// The examples of the help work: one finds nsqds by an nsqlookupd, for dead letters as well.
func TestToHTTPExamples(t *testing.T) {
	c := startCluster(t, 1)
	var mu sync.Mutex
	var got []*http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) == "m007" {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r)
	}))
	defer server.Close()
	lines := strings.Split(toHTTPExamples, "\n")
	for i, want := range []string{"POST /hook", "GET /count?page="} {
		args := strings.Fields(strings.NewReplacer(
			"'", "", "https://example.com", server.URL, "http://stats", server.URL,
			"nsqlookupd:4161", c.lookupds[0], "127.0.0.1:4150", c.nsqds[0].TCPAddr,
		).Replace(lines[i]))
		if args[0] != "rdy" || args[1] != "to-http" {
			t.Fatalf("example %q", lines[i])
		}
		topic := args[2]
		channel := args[slices.Index(args, "--channel")+1]
		c.publish(t, 0, topic, channel, numbered("m", 100)...)
		p := start(t, args[1:]...)
		await(t, "end of the messages", func() bool {
			left, err := depth(t.Context(), c.nsqds[0].HTTPAddr, topic, channel)
			return err == nil && left == 0
		})
		p.interrupt(errInterrupted)
		if code := p.wait(t); code != exitOK {
			t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
		}
		mu.Lock()
		sent := len(got)
		if sent == 0 || !strings.HasPrefix(got[0].Method+" "+got[0].RequestURI, want) || i == 0 && sent != 100 {
			t.Errorf("%q: %d requests", lines[i], sent)
		}
		got = nil
		mu.Unlock()
	}
	if n, err := depth(t.Context(), c.nsqds[0].HTTPAddr, "orders.refused", ""); n != 1 || err != nil {
		t.Errorf("%d dead letters, error %v", n, err)
	}
}
