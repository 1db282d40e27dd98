package discover

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

func TestResponses(t *testing.T) {
	const failed = "0 of 1 waiting, failed [http://l:1/lookup] "
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		want    string
	}{
		{"empty", func(http.ResponseWriter, *http.Request) {}, "0 of 1 waiting"},
		{"HTML", text("<html>"), failed + "invalid character '<' looking for beginning of value"},
		{"one byte too large", text(`{"producers":[]}` + strings.Repeat(" ", 16777217-16)), failed + "response of more than 16 MiB"},
		{"largest", text(`{"producers":[]}` + strings.Repeat(" ", 16777216-16)), "0 of 1 waiting"},
		{"truncated", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"producers":[`))
		}, failed + "unexpected EOF"},
		{"skipped", text(listing(entry(`"b"`, "1"), entry(`"a"`, "0"))),
			`b:1 0 of 1 waiting, skipped [http://l:1/lookup] producer "h" ("r:1") ignored: tcp_port out of range`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.lookupd("l:1").Handle(tt.handler)
				s.poller("l:1")
				s.want(tt.want)
			})
		})
	}
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }
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

// A password in the URL is sent, but appears in no error.
func TestPasswordStaysOutOfErrors(t *testing.T) {
	inScene(t, func(s *scene) {
		l := s.lookupd("l:1")
		l.Fail(http.StatusForbidden, "NO")
		s.poller("http://user:secret@l:1")
		s.want("0 of 1 waiting, failed [http://user:xxxxx@l:1/lookup] HTTP status 403: NO")
		if user, password, ok := l.Requests()[0].BasicAuth(); !ok || user != "user" || password != "secret" {
			t.Errorf("request has user %s, password %s", user, password)
		}
	})
}

// A redirect is followed, but not from https to http, where anyone could read the
// token.
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

// redirects is a transport that redirects the first n requests, each to the next
// number, and then lists the nsqd a:1.
func redirects(n int) roundTrip {
	return func(r *http.Request) (*http.Response, error) {
		number, _ := strconv.Atoi(r.URL.Query().Get("n"))
		if number < n {
			return &http.Response{
				StatusCode: http.StatusFound, Body: http.NoBody,
				Header: http.Header{"Location": {"/lookup?n=" + strconv.Itoa(number+1)}},
			}, nil
		}
		body := io.NopCloser(strings.NewReader(listing(entry(`"a"`, "1"))))
		return &http.Response{StatusCode: http.StatusOK, Body: body}, nil
	}
}

// Like net/http, a query makes at most ten requests, so the tenth redirect fails. The
// same holds for a caller's client that has no CheckRedirect.
func TestRedirectLimit(t *testing.T) {
	for _, tt := range []struct {
		n    int
		want string
	}{
		{9, "a:1 0 of 1 waiting"},
		{10, "0 of 1 waiting, failed [http://l:1/lookup] stopped after 10 redirects"},
	} {
		inScene(t, func(s *scene) {
			s.poller()
			s.p.client.Transport = redirects(tt.n)
			s.add("l:1")
			s.want(tt.want)
		})
		inScene(t, func(s *scene) {
			s.cfg.Client, s.cfg.Token = &http.Client{Transport: redirects(tt.n)}, "secret"
			s.poller("l:1")
			s.want(tt.want)
		})
	}
}

// The CheckRedirect of the caller's client decides about redirects, with a token
// or without: it may refuse the first one, or allow more than net/http does.
func TestCallersCheckRedirect(t *testing.T) {
	for _, token := range []string{"", "secret"} {
		inScene(t, func(s *scene) {
			s.cfg.Token = token
			s.cfg.Client = &http.Client{
				Transport:     redirects(1),
				CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("no redirects here") },
			}
			s.poller("l:1")
			s.want("0 of 1 waiting, failed [http://l:1/lookup] no redirects here")
		})
		inScene(t, func(s *scene) {
			checked := 0
			s.cfg.Token = token
			s.cfg.Client = &http.Client{
				Transport:     redirects(20),
				CheckRedirect: func(*http.Request, []*http.Request) error { checked++; return nil },
			}
			s.poller("l:1")
			s.want("a:1 0 of 1 waiting")
			if checked != 20 {
				t.Errorf("token %q: CheckRedirect was called %d times, want 20", token, checked)
			}
		})
	}
}

// A response header of 64 KiB is read; one byte more is an error.
func TestHeaderLimit(t *testing.T) {
	for size, failures := range map[int]int{65536: 0, 65537: 1} {
		inScene(t, func(s *scene) {
			listener, err := s.net.Listen("l:1")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = listener.Close() }()
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer func() { _ = conn.Close() }()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
					return
				}
				const start, end = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ", "\r\n\r\n"
				_, _ = io.WriteString(conn, start+strings.Repeat("x", size-len(start+end))+end)
			}()
			s.poller("l:1")
			if r := s.last(); len(r.Failed) != failures {
				t.Errorf("header of %d bytes: %s; want %d failures", size, describe(r), failures)
			}
		})
	}
}

// The caller's client makes the requests, and the Poller adds its timeout.
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
			t.Errorf("the client made %d requests, want 2", requests)
		}
	})
}

// The Poller's own client works over real TCP, on loopback and in real time.
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
				t.Error("first was closed before the first response was published")
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
		t.Errorf("added %v, and a second time %v", added, again)
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

// No connection is kept, so that each poll resolves the name again.
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

// A caller's client does not take the token out of TLS either.
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
		t.Errorf("a redirect from https sent %q over plain http", s)
	default:
	}
}
