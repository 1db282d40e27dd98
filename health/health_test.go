package health_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/health"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene is a Consumer in virtual time, with the probes of its program.
type scene struct {
	*testing.T
	net         *nsqtest.Network
	cfg         *nsq.Config
	c           *nsq.Consumer
	live, ready http.Handler
}

func inScene(t *testing.T, handle nsq.HandlerFunc, test func(*scene), options ...func(*nsq.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scene{T: t, net: nsqtest.NewNetwork(), cfg: nsq.NewConfig()}
		s.cfg.DialContext, s.cfg.Logger = s.net.DialContext, slog.New(slog.NewTextHandler(t.Output(), nil))
		s.cfg.MaxInFlight, s.cfg.StopTimeout = 10, 2*time.Hour
		for _, set := range options {
			set(s.cfg)
		}
		c, err := nsq.NewConsumer("t", "c", s.cfg)
		if err != nil {
			t.Fatal(err)
		}
		c.SetLookupdHttpClient(s.net.HTTPClient())
		c.AddConcurrentHandlers(handle, 2)
		s.c, s.live, s.ready = c, health.Live(c), health.Ready(c)
		defer func() {
			c.Stop()
			<-c.Stopped()
		}()
		test(s)
	})
}

func (s *scene) nsqd() *nsqtest.Nsqd {
	return nsqtest.NewNsqd(s, nsqtest.Options{Network: s.net, Addr: "a:1"})
}

// sleep lets virtual time pass.
func sleep(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // inside a synctest bubble
}

// pass lets virtual time pass and waits until everything has settled.
func pass(d time.Duration) {
	sleep(d)
	synctest.Wait()
}

// probe returns the status of a probe and the names of the checks that fail. It checks the
// form of the response.
func (s *scene) probe(probe http.Handler) string {
	s.Helper()
	w := httptest.NewRecorder()
	probe.ServeHTTP(w, httptest.NewRequestWithContext(s.Context(), http.MethodGet, "/", nil))
	var body struct {
		Status string
		Checks []struct{ Name, Error string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		s.Fatalf("%v in %s", err, w.Body)
	}
	if want := map[int]string{200: "ok", 503: "failing"}[w.Code]; body.Status != want || (w.Code == 200) != (len(body.Checks) == 0) {
		s.Errorf("status %d: %s", w.Code, w.Body)
	}
	said := fmt.Sprint(w.Code)
	for _, c := range body.Checks {
		said += " " + c.Name
		if !strings.HasPrefix(c.Error, "consumer of t/c: ") {
			s.Errorf("error %q", c.Error)
		}
	}
	return said
}

// expect checks the responses of both probes.
func (s *scene) expect(live, ready string) {
	s.Helper()
	if got := s.probe(s.live); got != live {
		s.Errorf("live: %s, want %s", got, live)
	}
	if got := s.probe(s.ready); got != ready {
		s.Errorf("ready: %s, want %s", got, ready)
	}
}

// expectFor checks both probes every ten seconds, as Kubernetes does.
func (s *scene) expectFor(d time.Duration, live, ready string) {
	s.Helper()
	for range d / (10 * time.Second) {
		s.expect(live, ready)
		pass(10 * time.Second)
	}
}

func handled(*nsq.Message) error { return nil }

func TestNSQDIsDown(t *testing.T) {
	inScene(t, handled, func(s *scene) {
		s.expect("200", "503 not_connected")
		if err := s.c.ConnectToNSQD("a:1"); err == nil {
			s.Fatal("connected")
		}
		s.expectFor(time.Hour, "200", "503 not_connected")
		d := s.nsqd()
		pass(2 * time.Minute)
		s.expect("200", "200")
		d.Kill()
		synctest.Wait()
		s.expectFor(time.Hour, "200", "503 not_connected")
	})
}

func TestNSQLookupdIsDown(t *testing.T) {
	inScene(t, handled, func(s *scene) {
		l := nsqtest.NewLookupd(s, nsqtest.LookupdOptions{Network: s.net, Addr: "l:1"})
		l.Kill()
		if err := s.c.ConnectToNSQLookupd("l:1"); err != nil {
			s.Fatal(err)
		}
		s.expectFor(time.Hour, "200", "503 not_connected")
		l.Restart() // the topic is empty
		pass(2 * time.Minute)
		s.expectFor(time.Hour, "200", "200")
		l.Register("t", s.nsqd().Addr())
		pass(2 * time.Minute)
		s.expect("200", "200")
		l.Kill() // the connection stays
		s.expectFor(time.Hour, "200", "200")
	})
}

func TestNoMessages(t *testing.T) {
	inScene(t, handled, func(s *scene) {
		if err := s.c.ConnectToNSQD(s.nsqd().Addr()); err != nil {
			s.Fatal(err)
		}
		s.expectFor(24*time.Hour, "200", "200")
	})
}

func TestStopping(t *testing.T) {
	inScene(t, func(m *nsq.Message) error {
		<-m.Context().Done()
		return nil
	}, func(s *scene) {
		d := s.nsqd()
		if err := s.c.ConnectToNSQD(d.Addr()); err != nil {
			s.Fatal(err)
		}
		d.Publish("t", "m")
		synctest.Wait()
		s.c.Stop()
		s.expect("200", "503 stopping")
		pass(time.Minute)
		s.expect("200", "503 stopping")
	}, func(c *nsq.Config) { c.StopTimeout = time.Second })
}

func TestHandlers(t *testing.T) {
	for name, tt := range map[string]struct {
		handle      nsq.HandlerFunc
		option      func(*nsq.Config)
		live, ready string // after the message's lease and stuck_after
	}{
		"honours its context": {
			handle: func(m *nsq.Message) error { <-m.Context().Done(); return m.Context().Err() },
			live:   "200", ready: "200",
		},
		"ignores its context": {
			handle: func(m *nsq.Message) error { m.Context(); sleep(time.Hour); return nil },
			live:   "503 handler_stuck", ready: "503 handler_stuck",
		},
		"ignores it with a larger stuck_after": {
			handle: func(m *nsq.Message) error { m.Context(); sleep(50 * time.Minute); return nil },
			option: func(c *nsq.Config) { c.StuckAfter = time.Hour },
			live:   "200", ready: "200",
		},
		"is long with auto_touch": {
			handle: func(*nsq.Message) error { sleep(14 * time.Minute); return nil },
			option: func(c *nsq.Config) { c.AutoTouch = 15 * time.Minute },
			live:   "200", ready: "200",
		},
		"fails, so that the Consumer backs off": {
			handle: func(*nsq.Message) error { return errors.New("boom") },
			live:   "200", ready: "200",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(m *nsq.Message) error {
				if m.Attempts > 1 && name[0] != 'f' {
					m.DisableAutoResponse()
					return nil
				}
				return tt.handle(m)
			}, func(s *scene) {
				d := s.nsqd()
				if err := s.c.ConnectToNSQD(d.Addr()); err != nil {
					s.Fatal(err)
				}
				d.Publish("t", "m")
				s.expectFor(6*time.Minute, "200", "200")
				pass(10 * time.Second)
				s.expectFor(10*time.Minute, tt.live, tt.ready)
			}, func(c *nsq.Config) {
				if tt.option != nil {
					tt.option(c)
				}
			})
		})
	}
}

// blocked is the Handler of a Logger whose output blocks, as a full pipe does.
type blocked struct{ until <-chan struct{} }

func (b blocked) Enabled(context.Context, slog.Level) bool  { return true }
func (b blocked) Handle(context.Context, slog.Record) error { <-b.until; return nil }
func (b blocked) WithAttrs([]slog.Attr) slog.Handler        { return b }
func (b blocked) WithGroup(string) slog.Handler             { return b }

// The probes do not wait for a run loop that hangs.
func TestLoopHangs(t *testing.T) {
	var release chan struct{}
	inScene(t, handled, func(s *scene) {
		defer close(release)
		s.expect("200", "503 not_connected")
		go func() { _ = s.c.ConnectToNSQD("a:1") }() // is logged
		synctest.Wait()
		s.expect("200", "503 not_connected")
		pass(10 * time.Second)
		s.expect("200", "503 not_connected")
		pass(time.Second)
		s.expectFor(time.Hour, "503 loop_stuck", "503 loop_stuck not_connected")
	}, func(c *nsq.Config) {
		release = make(chan struct{}) // within the bubble
		c.Logger = slog.New(blocked{release})
	})
}

// A probe shows the errors of all Checkers. Errors that do not come from Consumers count only
// for Ready.
func TestCheckers(t *testing.T) {
	stuck := &nsq.HealthError{Topic: "t", Channel: "c", Cause: nsq.CauseHandlerStuck, Err: errors.New("hangs")}
	lost := &nsq.HealthError{Topic: "u", Channel: "c", Cause: nsq.CauseNotConnected, Err: errors.New("lost")}
	well := health.CheckerFunc(func() error { return nil })
	all := []health.Checker{
		well,
		health.CheckerFunc(func() error { return errors.Join(stuck, lost) }),
		health.CheckerFunc(func() error { return fmt.Errorf("a group: %w", errors.Join(errors.Join(lost), stuck)) }),
		health.CheckerFunc(func() error { return fmt.Errorf("%w, %w", errors.New("db"), errors.New("down")) }),
	}
	const (
		stuckCheck = `{"name":"handler_stuck","error":"consumer of t/c: hangs"}`
		lostCheck  = `{"name":"not_connected","error":"consumer of u/c: lost"}`
		groupCheck = `{"name":"not_connected","error":"a group: consumer of u/c: lost\nconsumer of t/c: hangs"}`
	)
	for name, tt := range map[string]struct {
		probe  http.Handler
		status int
		body   string
	}{
		"nothing":    {health.Live(), 200, `{"status":"ok","checks":[]}`},
		"well":       {health.Ready(well), 200, `{"status":"ok","checks":[]}`},
		"live":       {health.Live(all...), 503, `{"status":"failing","checks":[` + stuckCheck + `]}`},
		"live, lost": {health.Live(all[0], health.CheckerFunc(func() error { return lost })), 200, `{"status":"ok","checks":[]}`},
		"live, lost before stuck": {health.Live(health.CheckerFunc(func() error { return errors.Join(lost, stuck) })), 503,
			`{"status":"failing","checks":[` + stuckCheck + `]}`},
		"ready": {health.Ready(all...), 503, `{"status":"failing","checks":[` +
			strings.Join([]string{stuckCheck, lostCheck, groupCheck, `{"name":"other","error":"db, down"}`}, ",") + `]}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			tt.probe.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
			if w.Code != tt.status || w.Body.String() != tt.body+"\n" {
				t.Errorf("%d %s\nwant %d %s", w.Code, w.Body, tt.status, tt.body)
			}
			if got := w.Header().Get("Content-Type"); got != "application/json" {
				t.Errorf("content type %s", got)
			}
			if got := w.Header().Get("Cache-Control"); got != "no-store" {
				t.Errorf("cache control %s", got)
			}
		})
	}
}

// HEAD has the status and no body. Other methods are refused.
func TestMethods(t *testing.T) {
	failing := health.Ready(health.CheckerFunc(func() error { return errors.New("down") }))
	for method, want := range map[string]string{
		http.MethodGet: "503 64 ", http.MethodHead: "503 0 ", http.MethodPost: "405 19 GET, HEAD", http.MethodDelete: "405 19 GET, HEAD",
	} {
		w := httptest.NewRecorder()
		failing.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/", nil))
		if got := fmt.Sprintf("%d %d %s", w.Code, w.Body.Len(), w.Header().Get("Allow")); got != want {
			t.Errorf("%s: %s, want %s", method, got, want)
		}
	}
}

func TestNilChecker(t *testing.T) {
	defer func() {
		if p := recover(); p != "nil Checker" {
			t.Errorf("panic %v", p)
		}
	}()
	health.Ready(nil)
}

// emptyError says that it joins errors, of which there are none.
type emptyError struct{}

func (emptyError) Error() string   { return "empty" }
func (emptyError) Unwrap() []error { return nil }

// An error that joins no errors is shown as it is.
func TestErrorThatJoinsNothing(t *testing.T) {
	w := httptest.NewRecorder()
	checker := health.CheckerFunc(func() error { return emptyError{} })
	health.Ready(checker).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if body := w.Body.String(); w.Code != http.StatusServiceUnavailable || !strings.Contains(body, `"error":"empty"`) {
		t.Errorf("%d: %s", w.Code, body)
	}
}
