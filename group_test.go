package nsq

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What is wrong with a Group is said before it connects, and before it starts a goroutine.
func TestGroupRefusesMisuse(t *testing.T) {
	h, all := HandlerFunc(noError), regexp.MustCompile(".")
	handler := func(string) Handler { return h }
	ctx := context.Background()
	invalid := NewConfig()
	invalid.MaxAttempts, invalid.ReadTimeout = 1, time.Hour
	for name, tt := range map[string]struct {
		do   func(g *Group) error
		want string
	}{
		"topic":       {func(g *Group) error { return g.Handle("a b", "c", h, HandleOptions{}) }, `group: a b/c: invalid topic name "a b"`},
		"channel":     {func(g *Group) error { return g.Handle("t", "", h, HandleOptions{}) }, `group: t/: invalid channel name ""`},
		"nil handler": {func(g *Group) error { return g.Handle("t", "c", nil, HandleOptions{}) }, "group: t/c: nil handler"},
		"config": {func(g *Group) error { return g.Handle("t", "c", h, HandleOptions{Config: invalid}) },
			"group: t/c: invalid ReadTimeout ! 1h0m0s > 5m0s"},
		"concurrency": {func(g *Group) error { return g.Handle("t", "c", h, HandleOptions{Concurrency: -1}) },
			"group: t/c: concurrency -1: want 1 or more, or 0 for 1"},
		"max in flight": {func(g *Group) error { return g.Handle("t", "c", h, HandleOptions{MaxInFlight: -1}) },
			"group: t/c: max in flight -1: want 1 or more, or 0 for the default"},
		"weight": {func(g *Group) error { return g.Handle("t", "c", h, HandleOptions{Weight: 1001}) },
			"group: t/c: weight 1001: want 1 to 1000, or 0 to share nothing"},
		"strict": {func(g *Group) error { return g.Handle("t", "c", h, HandleOptions{Strict: true}) },
			"group: t/c: strict priority needs a weight"},
		"twice": {func(g *Group) error {
			return errors.Join(g.Handle("t", "c", h, HandleOptions{}), g.Handle("t", "d", h, HandleOptions{}), g.Handle("t", "c", h, HandleOptions{}))
		}, "group: t/c has a handler already"},
		"too many weights": {func(g *Group) error {
			return errors.Join(g.Handle("t", "c", h, HandleOptions{Weight: 1}), g.Handle("u", "c", h, HandleOptions{}), g.Handle("v", "c", h, HandleOptions{Weight: 1}))
		}, "group: v/c: max_in_flight 1 is too low for 2 consumers with a weight, each needs at least 1"},

		"nil expression": {func(g *Group) error { return g.HandleMatching(nil, "c", handler, HandleOptions{}) },
			"group: HandleMatching without a regular expression"},
		"nil function": {func(g *Group) error { return g.HandleMatching(all, "c", nil, HandleOptions{}) }, "group: ./c: nil function"},
		"matching channel": {func(g *Group) error { return g.HandleMatching(all, "c d", handler, HandleOptions{}) },
			`group: ./c d: invalid channel name "c d"`},

		"nsqd":       {func(g *Group) error { return g.Connect(ctx, "a:1", "host") }, `group: nsqd "host": address host: missing port in address`},
		"nsqlookupd": {func(g *Group) error { return g.Discover(ctx, "l:1", "host") }, "group: [host] missing port"},

		"no handler": {func(g *Group) error { return errors.Join(g.Connect(ctx, "a:1"), g.Run(ctx)) }, "group: no handlers: call Handle before Run"},
		"no address": {func(g *Group) error { return errors.Join(g.Handle("t", "c", h, HandleOptions{}), g.Run(ctx)) },
			"group: no addresses: call Connect or Discover before Run"},
		"matching without nsqlookupd": {func(g *Group) error {
			return errors.Join(g.HandleMatching(all, "c", handler, HandleOptions{}), g.Connect(ctx, "a:1"), g.Run(ctx))
		}, "group: topics matching . can be found by nsqlookupds only: call Discover before Run"},
		"health": {func(g *Group) error { return g.Health() }, "group: not running"},
	} {
		g, err := NewGroup(NewConfig())
		if err != nil {
			t.Fatal(err)
		}
		if err := tt.do(g); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
		if got := g.Consumers(); len(got) > 0 || len(g.Snapshot()) > 0 {
			t.Errorf("%s: the Group has %d Consumers", name, len(got))
		}
	}
	if _, err := NewGroup(invalid); err == nil {
		t.Error("NewGroup accepts an invalid Config")
	}
}

// A Group consumes topics of nsqds whose addresses it was given, and of those that
// nsqlookupds list. Options and Configs apply to the Consumer that they were given for.
func TestGroupRuns(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		a, b := s.nsqd("a:1"), s.nsqd("b:1")
		s.cfg.StopTimeout = time.Second
		s.group()
		own := s.cfg.clone()
		own.MaxAttempts = 1
		s.handle("t", 0, HandleOptions{})
		s.handle("u", 0, HandleOptions{Concurrency: 3, MaxInFlight: 7, Config: own})
		s.direct(a, a) // the second time it is ignored
		l := s.lookupd("l:1")
		l.Register("u", "b:1")
		s.lookups(l)
		s.run()

		a.Publish("t", "m1", "m2")
		a.Publish("u", "m3")
		b.Publish("u", "m4", "m5")
		sleep(time.Second) // longer than nsqd keeps messages in its output buffer
		if n, m := s.take("t"), s.take("u"); n != 2 || m != 3 {
			t.Errorf("%d and %d messages were handled, want 2 and 3", n, m)
		}
		if err := s.g.Health(); err != nil {
			t.Errorf("Health: %v", err)
		}
		states := s.g.Snapshot()
		if len(states) != 2 || states[0].Topic != "t" || states[0].MaxInFlight != 10 || states[0].Handlers != 1 ||
			states[1].Topic != "u" || states[1].MaxInFlight != 7 || states[1].Handlers != 3 {
			t.Errorf("Snapshot: %+v", states)
		}
		if got := s.g.Consumers()[1].cfg.MaxAttempts; got != 1 {
			t.Errorf("max_attempts %d, want that of the Consumer's own Config", got)
		}
		if err := s.end(); err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := s.g.Health(); !errors.Is(err, ErrStopped) {
			t.Errorf("Health after Run: %v, want ErrStopped", err)
		}
	})
}

// The first of two Runs is the only one. Handlers and middleware cannot follow it.
func TestGroupRunsOnce(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		s.group()
		s.handle("t", 0, HandleOptions{})
		s.direct(s.nsqd("a:1"))
		s.run()
		again := func(when string) {
			t.Helper()
			if err := s.g.Run(context.Background()); err == nil || err.Error() != "group: Run was called before" {
				t.Errorf("%s: second Run: %v", when, err)
			}
			late := "group: u/c: handlers must be added before Run"
			if err := s.g.Handle("u", "c", HandlerFunc(noError), HandleOptions{}); err == nil || err.Error() != late {
				t.Errorf("%s: Handle: %v", when, err)
			}
			h := func(string) Handler { return nil }
			if err := s.g.HandleMatching(regexp.MustCompile("u"), "c", h, HandleOptions{}); err == nil || err.Error() != late {
				t.Errorf("%s: HandleMatching: %v", when, err)
			}
			if p := panicOf(func() { s.g.Use(func(h Handler) Handler { return h }) }); p != "group: Use after Run" {
				t.Errorf("%s: Use: %v", when, p)
			}
		}
		again("during Run")
		if err := s.end(); err != nil {
			t.Errorf("Run: %v", err)
		}
		again("after Run")
		for name, add := range map[string]func(context.Context, ...string) error{"Connect": s.g.Connect, "Discover": s.g.Discover} {
			if err := add(context.Background(), "z:1"); !errors.Is(err, ErrStopped) {
				t.Errorf("%s after Run: %v, want ErrStopped", name, err)
			}
		}
	})
}

// Addresses that are added during Run are used at once, by all Consumers. Connect says which
// of them failed.
func TestGroupConnectsDuringRun(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		a, b := s.nsqd("a:1"), s.nsqd("b:1")
		s.group()
		s.handle("t", 0, HandleOptions{})
		s.handle("u", 0, HandleOptions{})
		s.direct(a)
		s.run()
		s.direct(b)
		b.Publish("t", "m1")
		b.Publish("u", "m2")
		sleep(time.Second)
		if n, m := s.take("t"), s.take("u"); n != 1 || m != 1 {
			t.Errorf("%d and %d messages were handled, want 1 each", n, m)
		}
		err := s.g.Connect(context.Background(), "nobody:1", "b:1")
		for _, want := range []string{"t/c: nsqd nobody:1: ", "u/c: nsqd nobody:1: "} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Connect: %v, want %s", err, want)
			}
		}

		s.net.Blackhole("hole:1")
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := s.g.Connect(ctx, "hole:1"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 10*time.Millisecond {
			t.Errorf("Connect: %v after %v, want the end of its context", err, time.Since(began))
		}

		c := s.nsqd("c:1")
		s.lookups(s.lookupd("l:1", c))
		c.Publish("t", "m3")
		sleep(time.Second)
		if n := s.take("t"); n != 1 {
			t.Errorf("%d messages of the nsqd that nsqlookupd lists were handled, want 1", n)
		}
		for _, addr := range []string{"hole:1", "nobody:1"} {
			for _, c := range s.g.Consumers() {
				_ = c.DisconnectFromNSQD(addr)
			}
		}
	})
}

// All Consumers stop at the same time, within one stop_timeout. The error names those that
// have left a message unfinished, and only those.
func TestGroupStopsWithOneDeadline(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		s.cfg.StopTimeout = 10 * time.Second
		s.group()
		long := s.cfg.clone()
		long.StopTimeout = time.Hour // the Group's counts
		release := make(chan struct{})
		stuck := HandlerFunc(func(*Message) error { <-release; return nil })
		d := s.nsqd("a:1")
		for _, topic := range []string{"stuck1", "stuck2"} {
			if err := s.g.Handle(topic, "c", stuck, HandleOptions{Config: long}); err != nil {
				t.Fatal(err)
			}
			d.Publish(topic, "m")
		}
		s.handle("slow", 5*time.Second, HandleOptions{})
		s.handle("quick", time.Second, HandleOptions{})
		d.Publish("slow", "m")
		d.Publish("quick", "m")
		s.direct(d)
		s.run()
		began := time.Now()
		err := s.end()
		if took := time.Since(began); took != s.cfg.StopTimeout {
			t.Errorf("Run returned after %v, want %v", took, s.cfg.StopTimeout)
		}
		close(release)
		synctest.Wait()
		var left []string
		for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
			stop, ok := errors.AsType[*StopError](err)
			if !ok || len(stop.Running) != 1 || !errors.Is(err, errStopTimeout) {
				t.Fatalf("Run: %v", err)
			}
			left = append(left, stop.Topic+"/"+stop.Channel)
		}
		if want := []string{"stuck1/c", "stuck2/c"}; !slices.Equal(left, want) {
			t.Errorf("unfinished %q, want %q: %v", left, want, err)
		}
		for topic, want := range map[string]int{"slow": 1, "quick": 1, "stuck1": 0, "stuck2": 0} {
			if got := d.Stats(topic, "c").Finished; got != want {
				t.Errorf("%s: %d messages finished, want %d", topic, got, want)
			}
		}
	})
}

// A handler may end the Group: it is called for the last time then, as are those of other
// topics.
func TestGroupEndsByHandler(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		s.group()
		ctx, cancel := context.WithCancel(context.Background())
		handled := 0
		last := HandlerFunc(func(*Message) error {
			if handled++; handled == 3 {
				cancel()
			}
			return nil
		})
		if err := s.g.Handle("t", "c", last, HandleOptions{}); err != nil {
			t.Fatal(err)
		}
		d := s.nsqd("a:1")
		flood(d, 100)
		s.direct(d)
		if err := s.g.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
		if handled != 3 {
			t.Errorf("%d messages were handled, want 3", handled)
		}
	})
}

// Middleware of the Group wraps the handlers of all topics, the first one outermost.
func TestGroupMiddleware(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		s.group()
		var calls []string
		note := func(name string) Middleware {
			return func(next Handler) Handler {
				return HandlerFunc(func(m *Message) error {
					calls = append(calls, name)
					return next.HandleMessage(m)
				})
			}
		}
		s.g.Use(note("a"), note("b"))
		s.g.Use(note("c"))
		if p := panicOf(func() { s.g.Use(nil) }); p != "group: nil middleware" {
			t.Errorf("Use(nil): %v", p)
		}
		s.handle("t", 0, HandleOptions{})
		d := s.nsqd("a:1")
		flood(d, 1)
		s.direct(d)
		s.run()
		if got := strings.Join(calls, ""); got != "abc" || s.take("t") != 1 {
			t.Errorf("calls %q, want abc and the handler", got)
		}
	})
}

// A Middleware that returns nil makes Run panic. All Consumers that Run has made are stopped
// then.
func TestGroupPanicsOfMiddleware(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		s.group()
		wrapped := 0
		s.g.Use(func(next Handler) Handler {
			if wrapped++; wrapped == 2 {
				return nil
			}
			return next
		})
		s.handle("t", 0, HandleOptions{})
		s.handle("u", 0, HandleOptions{Weight: 1})
		s.direct(s.nsqd("a:1"))
		p := panicOf(func() { _ = s.g.Run(context.Background()) })
		if want := "middleware 1 of 1 returned a nil handler"; p != want {
			t.Errorf("Run: %v, want %s", p, want)
		}
	})
}

// An nsqd that is down does not end Run, nor does it hold it up. Health tells.
func TestGroupOutlivesNSQDs(t *testing.T) {
	inGroupScene(t, func(s *groupScene) {
		d := s.nsqd("a:1")
		d.Kill()
		s.group()
		s.handle("t", 0, HandleOptions{})
		s.handle("u", 0, HandleOptions{})
		s.direct(d)
		s.run()
		health := s.g.Health()
		for _, topic := range []string{"t", "u"} {
			if want := fmt.Sprintf("consumer of %s/c: connected to no nsqd", topic); health == nil || !strings.Contains(health.Error(), want) {
				t.Errorf("Health: %v, want %s", health, want)
			}
		}
		d.Restart()
		d.Publish("u", "m")
		sleep(time.Minute)
		if err := s.g.Health(); err != nil || s.take("u") != 1 {
			t.Errorf("Health: %v, or the message was not handled", err)
		}
	})
}
