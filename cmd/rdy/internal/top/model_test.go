package top

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"
)

// twoTopics is a cluster with three channels that nobody reads.
func twoTopics() *fakeCluster {
	return &fakeCluster{topics: map[string][]*fakeChannel{
		"orders": {{Name: "billing", Depth: 30}, {Name: "warehouse", Depth: 20}},
		"emails": {{Name: "smtp", Depth: 10}},
	}}
}

func TestPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := twoTopics()
		p := play(t, f, Options{})
		expect(t, p.Model, "Asking 1 nsqd…", "nsqd-1:4151")
		p.wait(time.Millisecond)
		expect(t, p.Model, "3 channels, 1-3", "orders/billing", "judging…", "nsqd 1/1")
		p.wait(9 * time.Second)
		expect(t, p.Model, "3 need you", "orphan", "live 2 s")
		f.set(func() {
			polls := len(slices.DeleteFunc(slices.Clone(f.requests), func(r string) bool { return !strings.Contains(r, "/stats") }))
			if polls != 5 {
				t.Errorf("%d polls in 9 s: %q", polls, f.requests)
			}
		})
	})
}

// Clients are polled for the channel on the screen only, and at once.
func TestClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeCluster{topics: map[string][]*fakeChannel{"orders": {{Name: "billing", Count: 1, Clients: []fakeClient{{ID: "worker", Hostname: "host-1"}}}}}}
		p := play(t, f, Options{})
		p.wait(time.Millisecond)
		p.press("enter")
		expect(t, p.Model, "CLIENT", "worker", "host-1")
		f.set(func() {
			asked := func(r string) bool {
				return strings.Contains(r, "topic=orders") && strings.Contains(r, "channel=billing")
			}
			if !slices.ContainsFunc(f.requests, asked) {
				t.Errorf("no poll of the clients: %q", f.requests)
			}
		})
		p.press("esc")
		f.set(func() { f.requests = nil })
		p.wait(10 * time.Second)
		f.set(func() {
			for _, r := range f.requests {
				if strings.Contains(r, "topic=") {
					t.Errorf("the channel is closed, but its clients are polled: %q", r)
				}
			}
		})
	})
}

// Rows keep their places while keys are pressed.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := twoTopics()
		p := play(t, f, Options{})
		p.wait(12 * time.Second)
		order := func() string { return strings.Join(names(p.Model), " ") }
		const before, after = "orders/billing orders/warehouse emails/smtp", "emails/smtp orders/billing orders/warehouse"
		if order() != before {
			t.Fatalf("got %s", order())
		}
		f.set(func() { f.topics["emails"][0].Depth = 1000 })
		for range 12 {
			p.press("j", "k")
			p.wait(4 * time.Second)
			if order() != before {
				t.Fatalf("rows have moved: %s", order())
			}
		}
		expect(t, p.Model, "1,000")
		p.press("r")
		if order() != after {
			t.Errorf("r has not sorted: %s", order())
		}
		f.set(func() { f.topics["emails"][0].Depth = 1 })
		p.wait(29 * time.Second)
		if order() != after {
			t.Errorf("rows have moved after 29 s: %s", order())
		}
		p.wait(3 * time.Second)
		if order() != before {
			t.Errorf("rows were not sorted after 30 s: %s", order())
		}
		p.press("s") // by name
		if got := order(); got != "emails/smtp orders/billing orders/warehouse" {
			t.Errorf("by name: %s", got)
		}
		expect(t, p.Model, "TOPIC/CHANNEL↓")
		p.press("S")
		if got := order(); got != before {
			t.Errorf("by state: %s", got)
		}
	})
}

// names returns the names of the rows on the screen.
func names(m *Model) []string {
	var all []string
	for _, s := range m.channels.page(m.shownChannels(), m.rowsHigh()) {
		all = append(all, s.String())
	}
	return all
}

// A channel that appears is told and does not push rows away. One that is gone keeps its row.
func TestNewAndGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := twoTopics()
		p := play(t, f, Options{})
		p.wait(time.Second)
		p.press("j")
		f.set(func() {
			f.topics["orders"] = append(f.topics["orders"][1:], &fakeChannel{Name: "audit", Depth: 99})
		})
		p.wait(4 * time.Second)
		expect(t, p.Model, "3 channels, 1-3, 1 new", " gone     orders/billing")
		p.press("r")
		expect(t, p.Model, "3 channels, 1-3 ", "orders/audit")
	})
}

// A daemon that hangs makes the figures stale. There is one poll at a time.
func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := twoTopics()
		p := play(t, f, Options{})
		p.wait(12 * time.Second)
		f.set(func() { f.hangs, f.most = true, 0 })
		p.wait(5 * time.Second)
		p.press("enter", "esc", "enter", "esc") // opening a channel asks for its clients, but not now
		p.wait(5 * time.Second)
		expect(t, p.Model, "stale 1", "3 needed you", "orders/billing")
		p.wait(25 * time.Second)
		if !p.ratesOld() || strings.Contains(p.text(), "0/s") {
			t.Errorf("old rates are shown:\n%s", p.text())
		}
		f.set(func() {
			if f.most != 1 {
				t.Errorf("%d requests at a time", f.most)
			}
			f.hangs = false
		})
		p.wait(15 * time.Second)
		expect(t, p.Model, "live 2 s", "3 need you")
	})
}

// What runs has ended when the work is closed, and nothing begins afterwards.
func TestWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWork(t.Context())
		ended := false
		cmd := w.do(func(ctx context.Context) tea.Msg {
			<-ctx.Done()
			<-time.After(time.Second)
			ended = true
			return nil
		})
		go cmd()
		synctest.Wait()
		w.close()
		if !ended {
			t.Error("close has not waited")
		}
		if msg := w.do(func(context.Context) tea.Msg { return ticked{} })(); msg != nil {
			t.Errorf("closed work gives %v", msg)
		}
	})
}

func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeCluster{refuses: true}
		p := play(t, f, Options{})
		p.wait(time.Second)
		expect(t, p.Model, "No nsqd responds.", "connection refused", "nsqd 0/1")
		p.press("enter", ".", "y", "tab", "/", "x", "esc") // nothing is there
		f.set(func() { f.refuses = false })
		p.wait(3 * time.Second)
		expect(t, p.Model, "No topics yet", "rdy pub orders --nsqd nsqd-1:4150")
		f.set(func() { f.topics = map[string][]*fakeChannel{"orders": nil} })
		p.wait(2 * time.Second)
		p.press("tab")
		expect(t, p.Model, "Messages wait until the first channel exists")
		f.set(func() { f.topics = twoTopics().topics })
		p.wait(2 * time.Second)
		f.set(func() { f.refuses = true })
		p.wait(15 * time.Second) // the last figures stay
		expect(t, p.Model, "needed you", "stale 1", "■ missing", "nsqd 0/1", "orders/warehouse          20")
	})
}

func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := twoTopics()
		p := play(t, f, Options{Act: new(acts).act})
		p.wait(time.Second)
		p.press("h")
		f.set(func() { f.topics["orders"][0].Depth = 77 })
		p.wait(46 * time.Second)
		expect(t, p.Model, "held 46 s", "30")
		p.press("h")
		expect(t, p.Model, "live 2 s", "77")
		p.press("h")
		f.set(func() { f.topics["orders"][0].Depth = 78 })
		p.wait(3 * time.Second)
		p.press(".", "j", "enter")
		expect(t, p.Model, "78 messages will be lost", "live 2 s")
	})
}

// acts are what a Model has asked to be done.
type acts struct {
	done []Action
	err  error
}

func (a *acts) act(_ context.Context, action Action) ([]Result, error) {
	a.done = append(a.done, action)
	if a.err != nil {
		return []Result{{Daemon: "nsqd", Addr: "a:1"}, {Daemon: "nsqd", Addr: "b:1", Error: a.err.Error()}}, a.err
	}
	return []Result{{Daemon: "nsqd", Addr: "a:1"}, {Daemon: "nsqd", Addr: "b:1"}}, nil
}

func TestActions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a acts
		p := play(t, twoTopics(), Options{Act: a.act})
		p.wait(3 * time.Second)
		p.press(".", "enter")
		expect(t, p.Model, "Pause orders/billing?", "Consumers get nothing")
		p.press("enter", "x")
		if len(a.done) > 0 {
			t.Fatalf("enter has done %v", a.done)
		}
		p.press("y")
		expect(t, p.Model, "orders/billing: paused on 2 nsqds")

		p.press(".", "j", "enter")
		expect(t, p.Model, "Empty orders/billing?", "30 messages will be lost on 1 nsqd", "Type billing to empty it: _")
		p.press("enter", "y", "backspace", "b", "i", "l", "l", "i", "n", "enter")
		if len(a.done) != 1 {
			t.Fatalf("an incomplete name has done %v", a.done)
		}
		a.err = errors.New("connection refused")
		p.press("g", "enter")
		expect(t, p.Model, "Not everything was emptied", "emptied on 1 of 2 nsqds", "nsqd b:1: connection refused")
		p.wait(time.Minute)
		expect(t, p.Model, "connection refused")
		a.err = nil
		p.press("r")
		expect(t, p.Model, "orders/billing: emptied on 2 nsqds")

		p.press("tab", ".", "j", "j", "enter")
		expect(t, p.Model, "Delete orders?", "50 messages and 2 channels will be lost")
		p.press("o", "r", "d", "e", "r", "s", "enter")
		want := []Action{{Pause, "orders", "billing"}, {Empty, "orders", "billing"}, {Empty, "orders", "billing"}, {Delete, "orders", ""}}
		if !slices.Equal(a.done, want) {
			t.Errorf("got %v, want %v", a.done, want)
		}
	})
}

// q lets an action finish that has begun, and shows what has failed. Ctrl-C does not wait.
func TestQuitDuringAnAction(t *testing.T) {
	for _, failure := range []error{nil, errors.New("connection refused")} {
		synctest.Test(t, func(t *testing.T) {
			a := acts{err: failure}
			finished := false
			p := play(t, twoTopics(), Options{Act: func(ctx context.Context, action Action) ([]Result, error) {
				select {
				case <-ctx.Done():
					return nil, ctx.Err()
				case <-time.After(10*time.Second + time.Millisecond):
				}
				finished = true
				return a.act(ctx, action)
			}})
			p.wait(3 * time.Second)
			p.press(".", "enter", "y", "q")
			expect(t, p.Model, "an action is under way: rdy quits when it has finished, or at once on ^C")
			p.wait(5 * time.Second)
			if p.quit || finished {
				t.Fatal("it has quit")
			}
			if cmd := pressed(p.Model, "ctrl+c"); cmd == nil || cmd() != tea.Quit() {
				t.Error("^C does not quit")
			}
			p.wait(10 * time.Second)
			if p.quit != (failure == nil) || !finished {
				t.Errorf("quit %t, finished %t", p.quit, finished)
			}
			if failure != nil {
				expect(t, p.Model, "connection refused")
				p.press("esc", "q")
				p.wait(time.Second)
				if !p.quit {
					t.Error("q does not quit after the action")
				}
			}
		})
	}
}

// Pasted text goes into the field that is open, and does nothing else.
func TestPaste(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a acts
		p := play(t, twoTopics(), Options{Act: a.act})
		p.wait(3 * time.Second)
		p.update(tea.PasteMsg{Content: "q"})
		p.press(".", "enter")
		p.update(tea.PasteMsg{Content: "y"})
		expect(t, p.Model, "Pause orders/billing?")
		p.press("esc", ".", "j", "enter")
		p.update(tea.PasteMsg{Content: " bill\x1b[31ming\n"})
		expect(t, p.Model, "empty it: bill[31ming_")
		p.press("ctrl+u")
		p.update(tea.PasteMsg{Content: "billing\r\n"})
		expect(t, p.Model, "empty it: billing_", "enter empty")
		if len(a.done) > 0 || p.quit {
			t.Fatalf("pasted text has done %v", a.done)
		}
		p.press("esc", "/")
		p.update(tea.PasteMsg{Content: "smtp\n"})
		expect(t, p.Model, "filter: smtp_", "emails/smtp")
		p.press("enter")
		expect(t, p.Model, "1 channel like smtp")
	})
}

func TestReadOnly(t *testing.T) {
	m := newScene(t, 80, 24)
	m.options.Act = nil
	pressed(m, ".")
	if text := m.text(); strings.Contains(text, "pause    ") || !strings.Contains(text, "> tail") {
		t.Errorf("got\n%s", text)
	}
}

// No action is offered on a name that nsqd does not accept: who knows what it does elsewhere.
func TestInvalidName(t *testing.T) {
	m := newScene(t, 80, 24)
	for _, c := range m.choices(subject{"a b", "c"}) {
		if c.name != "tail" && c.name != "peek" {
			t.Errorf("%s is offered", c.name)
		}
	}
}

func TestCopy(t *testing.T) {
	m := newScene(t, 80, 24)
	for _, tc := range []struct {
		keys []string
		want string
	}{
		{[]string{"y"}, "rdy channel describe payments fraud-check --lookupd 10.0.4.1:4161"},
		{[]string{".", "down", "down", "down", "enter"}, "rdy tail payments --lookupd 10.0.4.1:4161"},
		{[]string{".", "down", "down", "down", "down", "enter"}, "rdy peek payments fraud-check --lookupd 10.0.4.1:4161 --backlog"},
		{[]string{"tab", ".", "end", "down", "down", "down", "down", "enter"}, "rdy peek clicks --lookupd 10.0.4.1:4161"},
	} {
		if pressed(m, tc.keys...) == nil {
			t.Errorf("%v: nothing is copied", tc.keys)
		}
		expect(t, m, "copied: "+tc.want)
	}
	s := subject{"-t", "c"}
	for want, got := range map[string][]string{
		"rdy channel describe --lookupd 10.0.4.1:4161 -- -t c":  m.command("channel describe", s),
		"rdy tail --lookupd 10.0.4.1:4161 -- -t":                m.newMessages(s),
		"rdy peek --lookupd 10.0.4.1:4161 --backlog -- -t c":    m.peekCommand(s),
		"rdy peek t --lookupd 10.0.4.1:4161 --backlog -- -c -d": m.command("peek t", subject{"-c", "-d"}, "--backlog"),
	} {
		if quoted(got) != want {
			t.Errorf("got %s, want %s", quoted(got), want)
		}
	}
	if got := quoted([]string{"rdy", "x; rm", "it's", "#a", "b#ephemeral", "\x1b"}); got != `rdy 'x; rm' 'it'\''s' '#a' b#ephemeral '\x1b'` {
		t.Errorf("quoted %s", got)
	}
}

func TestFilter(t *testing.T) {
	m := newScene(t, 80, 24)
	pressed(m, "/", "o", "r", "d", "*", "i", "n", "g")
	expect(t, m, "filter: ord*ing_", "orders/billing")
	pressed(m, "enter")
	expect(t, m, "1 channel like ord*ing, 1-1")
	pressed(m, "esc")
	expect(t, m, "41 channels, 1-14")
	pressed(m, "tab")
	expect(t, m, "TOPIC ", "CHANNELS", "clicks", "tab channels")
	pressed(m, "end", "home", "enter")
	expect(t, m, "2 channels of clicks, 1-2")
	pressed(m, "esc")
	expect(t, m, "topics, 1-14")
	pressed(m, "tab", "end")
	expect(t, m, "41 channels, 28-41", ">           zone-40/index")
	pressed(m, "pgup", "pgup", "pgup")
	expect(t, m, "41 channels, 1-14")
	for range channelSortings {
		pressed(m, "s")
	}
	pressed(m, "tab")
	for range topicSortings {
		pressed(m, "S")
	}
}

func TestQuit(t *testing.T) {
	m := newScene(t, 80, 24)
	for _, keys := range [][]string{{"q"}, {"ctrl+c"}, {".", "ctrl+c"}, {"/", "ctrl+c"}, {"enter", "q"}} {
		if cmd := pressed(m, keys...); cmd == nil || cmd() != tea.Quit() {
			t.Errorf("%v does not quit", keys)
		}
		m.dialog, m.typing = nil, false
	}
	m.report = nil
	if cmd := pressed(m, "q"); cmd == nil {
		t.Error("q does not quit before the first response")
	}
}
