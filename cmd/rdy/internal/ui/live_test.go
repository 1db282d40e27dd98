package ui

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A poll sends the cells that it changes, and a pulse.
func TestStream(t *testing.T) {
	stage(t, nil, func(s *scene) {
		c := s.channel("orders", "billing")
		c.Count = 1
		s.polls(3)
		v := s.listen(s.get("/"), "")
		defer v.stop()
		lacks(t, v.read(), "hx-swap-oob") // the page has just come
		s.change(func() { c.Depth, c.Messages = 42, 42 })
		s.polls(1)
		sent := v.read()
		contains(t, sent, `<span id="r0-1" hx-swap-oob="innerHTML">42</span>`, `event: polled`, `"interval":2000`)
		lacks(t, sent, `id="r0-0"`, "billing")
		s.polls(6)
		v.read()
		s.polls(1)
		lacks(t, v.read(), "r0-1")
	})
}

// Rows keep their order while the page is open, whatever becomes of the channels.
func TestRowsStay(t *testing.T) {
	stage(t, nil, func(s *scene) {
		a, b := s.channel("a", "a"), s.channel("b", "b")
		a.Count, b.Count, a.Depth = 1, 1, 5
		s.polls(2)
		page := s.get("/")
		if strings.Index(page, "/topics/a/a") > strings.Index(page, "/topics/b/b") {
			t.Error("the deepest channel does not come first")
		}
		v := s.listen(page, "")
		defer v.stop()
		v.read()
		s.change(func() { b.Depth, b.Messages = 9, 9 })
		added := s.channel("c", "c")
		s.change(func() { added.Depth = 100 })
		s.polls(1)
		sent := v.read()
		contains(t, sent, `<span id="r1-1" hx-swap-oob="innerHTML">9</span>`, "1 new")
		lacks(t, sent, "r2-")
		page = s.get("/?sort=-depth")
		if strings.Index(page, "/topics/b/b") > strings.Index(page, "/topics/a/a") {
			t.Error("the page does not sort again")
		}
	})
}

// A state that changes tints its row and is announced, and the title counts it.
func TestStateChange(t *testing.T) {
	stage(t, nil, func(s *scene) {
		c := s.channel("orders", "billing")
		s.polls(3)
		v := s.listen(s.get("/"), "")
		defer v.stop()
		var sent string
		for range 12 {
			s.change(func() { c.Depth, c.Messages = c.Depth+20, c.Messages+20 })
			s.polls(1)
			sent += v.read()
		}
		contains(t, sent, "Orphan", `"rows":["r0"]`, `orders/billing is an orphan.`, `"need":1`, `"icon":"icon-warning.svg"`, "1 channel needs you")
		contains(t, s.get("/log"), "orders/billing", "orphan")
		contains(t, s.get("/pulse"), `"need":1`)
		contains(t, s.get("/menu?kind=channel&topic=orders&channel=billing"), "orders/billing has been an orphan since 2000-")
		for range 6 {
			s.change(func() { c.Count, c.Depth = 1, 0 })
			s.polls(1)
			sent += v.read()
		}
		contains(t, sent, "orders/billing is no longer an orphan.")
		contains(t, s.get("/series?topic=orders&channel=billing"), `"text":"orphan"`)
	})
}

// With a thousand channels, an update of a page of 100 rows that all have changed is at most
// 30 KB as it is sent.
func TestUpdateSize(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.fill(1000)
		s.polls(2)
		page := s.get("/")
		if n := strings.Count(page, `<tr id="r`); n != 100 {
			t.Errorf("the page has %d rows", n)
		}
		v := s.listen(page, "gzip")
		defer v.stop()
		v.read()
		for range 5 {
			s.work()
			s.polls(1)
			if sent := v.read(); len(sent) < 1000 || len(sent) > 30<<10 {
				t.Errorf("an update has %d bytes", len(sent))
			}
		}
	})
}

// With all of a thousand rows on the page, they are sent each ten seconds, and what is above the
// table at each poll.
func TestUpdateSizeOfAll(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.fill(1000)
		s.polls(2)
		v := s.listen(s.get("/?page=all"), "gzip")
		defer v.stop()
		v.read()
		large := 0
		for range 20 {
			s.work()
			s.polls(1)
			sent := len(v.read())
			if sent > 2000 {
				large++
			}
			if sent > 30<<10 {
				t.Errorf("an update has %d bytes", sent)
			}
		}
		if large != 4 {
			t.Errorf("rows were sent %d times in 40 s", large)
		}
	})
}

// The stream is compressed if the browser takes it.
func TestStreamCompressed(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.channel("orders", "billing")
		s.polls(2)
		v := s.listen(s.get("/"), "br, gzip")
		defer v.stop()
		if v.header.Get("Content-Encoding") != "gzip" {
			t.Error("the stream is not compressed")
		}
		contains(t, unzip(t, v.read()), "event: polled")
	})
}

// Two viewers cost the cluster no more than one, and the clients of a channel are polled while
// somebody looks at it.
func TestOnePoller(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.channel("orders", "billing").Count = 1
		s.polls(2)
		before := s.count("/stats")
		a, b := s.listen(s.get("/topics/orders/billing"), ""), s.listen(s.get("/topics/orders/billing"), "")
		s.polls(10)
		if n := s.count("/stats") - before; n != 10 {
			t.Errorf("%d requests in 10 polls", n)
		}
		if n := s.count("/stats clients"); n != 10 {
			t.Errorf("%d requests for clients in 10 polls", n)
		}
		a.stop()
		b.stop()
		s.polls(1)
		before = s.count("/stats clients")
		s.polls(5)
		if n := s.count("/stats clients"); n != before {
			t.Errorf("clients are polled %d times although nobody looks", n-before)
		}
	})
}

// Polls are rarer where they take long.
func TestAdaptiveInterval(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.channel("orders", "billing")
		s.delay = 500 * time.Millisecond // so that a poll takes a second at first, for /info
		s.start()
		pass(5 * time.Minute)
		// 20 times as long as a poll takes.
		if n := s.count("/stats"); n < 25 || n > 31 {
			t.Errorf("%d polls in 5 minutes", n)
		}
		contains(t, s.get("/pulse"), `"interval":10500`)
	})
}

// A viewer that does not read holds up neither the poller nor other viewers.
func TestSlowReader(t *testing.T) {
	stage(t, nil, func(s *scene) {
		c := s.channel("orders", "billing")
		s.polls(2)
		slow, other := s.listen(s.get("/"), ""), s.listen(s.get("/"), "")
		defer other.stop()
		other.read()
		block := make(chan struct{})
		slow.mu.Lock()
		slow.block = block
		slow.mu.Unlock()
		before := s.count("/stats")
		for i := range 5 {
			s.change(func() { c.Depth = int64(i + 1) })
			s.polls(1)
		}
		if n := s.count("/stats") - before; n != 5 {
			t.Errorf("%d polls of 5", n)
		}
		contains(t, other.read(), `<span id="r0-1" hx-swap-oob="innerHTML">5</span>`)
		close(block)
		<-slow.done // it ends by itself
	})
}

// A browser that connects again gets all cells if an update was lost with the connection, and
// only those that have changed if none was. Then focus and selection stay where they are.
func TestStreamAgain(t *testing.T) {
	stage(t, nil, func(s *scene) {
		c := s.channel("orders", "billing")
		other := s.channel("orders", "mail")
		c.Count, other.Count, other.Depth = 1, 1, 3
		s.polls(2)
		page := s.get("/?sort=topic")
		v := s.listen(page, "")
		s.change(func() { c.Depth, c.Messages = 41, 41 })
		s.polls(1)
		contains(t, v.read(), "id: 1\n", `innerHTML">41</span>`)
		v.stop()
		v = s.resume(page, "", "1")
		sent := v.read()
		lacks(t, sent, ">3<", "keep up")

		block := make(chan struct{})
		v.mu.Lock()
		v.block = block
		v.mu.Unlock()
		s.change(func() { c.Depth, c.Messages = 42, 42 })
		s.polls(1)
		again := s.resume(page, "", "1") // before the server knows that the connection is dead
		close(block)
		<-v.done
		sent = again.read()
		contains(t, sent, `innerHTML">42</span>`, ">3<", "keep up")
		lacks(t, sent, `"rows"`)
		s.change(func() { c.Depth, c.Messages = 43, 43 })
		s.polls(1)
		sent = again.read()
		contains(t, sent, `innerHTML">43</span>`)
		lacks(t, sent, ">3<", "keep up")
		again.stop()
	})
}

// A stream ends when another one takes its place: what it got would be missing there.
func TestOneStream(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.channel("orders", "billing")
		s.polls(2)
		page := s.get("/")
		a := s.listen(page, "")
		b := s.listen(page, "")
		select {
		case <-a.done:
		default:
			t.Error("the first stream goes on until the next poll")
		}
		s.polls(1)
		contains(t, b.read(), "event: polled")
		b.stop()
	})
}

// A page whose screen is gone, such as after a restart of the server, is told to load again.
func TestGone(t *testing.T) {
	stage(t, nil, func(s *scene) {
		v := s.listen(`<div data-screen="nothing">`, "")
		<-v.done
		contains(t, v.read(), "event: gone")
	})
}

// Before the first poll a page says whom the server asks. It loads again after it.
func TestFirstPoll(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.channel("orders", "billing")
		s.delay = 4 * time.Second
		s.start()
		page := s.get("/")
		contains(t, page, "Asking n:4151…")
		v := s.listen(page, "")
		pass(10 * time.Second)
		<-v.done
		contains(t, v.read(), "event: gone")
		contains(t, s.get("/"), "billing")
	})
}

// A daemon that fails is named, and figures are lower bounds.
func TestMissing(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.channel("orders", "billing").Depth = 7
		s.polls(3)
		s.change(func() { s.down = errors.New("connection refused <b>") })
		s.polls(7)
		page := s.get("/")
		contains(t, page, "1 daemon needs you", "n:4151", "≥ ", "Figures with ≥ leave out n:4151.")
		contains(t, s.get("/nodes"), "connection refused &lt;b&gt;")
		contains(t, s.get("/topics/orders/billing"), "No nsqd that responds has it.")
	})
}

// A poll may begin more problems than the log keeps.
func TestManyProblems(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.fill(keptEvents + 50)
		s.change(func() {
			for _, topic := range s.topics {
				for _, c := range topic.Channels {
					c.Count, c.Depth = 0, 100
				}
			}
		})
		s.polls(7)
		if st, _ := s.server.poller.current(); len(st.events) != keptEvents {
			t.Errorf("%d events are kept", len(st.events))
		}
		contains(t, s.get("/"), "550 channels need you", "546 more")
	})
}

// Screens without a viewer are forgotten, and there are never too many.
func TestScreensBound(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.channel("orders", "billing")
		s.polls(1)
		v := s.listen(s.get("/"), "")
		defer v.stop()
		st, _ := s.server.poller.current()
		for range maxScreens + 10 {
			s.server.screens.open(&listPage{func(*state) []cell { return nil }}, st, nil)
		}
		if n := len(s.server.screens.byID); n > maxScreens {
			t.Errorf("there are %d screens", n)
		}
		var many []cell
		for i := range maxSent / 10 {
			many = append(many, cell{ID: numbered("c", i)})
		}
		for range 12 {
			s.server.screens.open(&listPage{func(*state) []cell { return nil }}, st, many)
		}
		kept := 0
		for _, open := range s.server.screens.byID {
			_, n := open.unused()
			kept += n
		}
		if kept > maxSent || kept < maxSent/2 {
			t.Errorf("%d cells are kept", kept)
		}
		pass(screenGrace + time.Second)
		s.get("/nodes")
		if n := len(s.server.screens.byID); n != 2 {
			t.Errorf("there are %d screens, want the one of the viewer and a new one", n)
		}
		s.polls(1)
		contains(t, v.read(), "polled")
	})
}

// What another viewer has paused can be unpaused, on a page that is open.
func TestButtonsChange(t *testing.T) {
	stage(t, func(o *Options) { o.AllowActions = true }, func(s *scene) {
		c := s.channel("orders", "billing")
		s.polls(2)
		page := s.get("/topics/orders/billing")
		contains(t, page, `hx-get="/ask/pause?channel=billing&amp;topic=orders"`)
		v := s.listen(page, "")
		defer v.stop()
		s.polls(1)
		lacks(t, v.read(), `"/ask/`)
		s.change(func() { c.Paused = true })
		s.polls(1)
		contains(t, v.read(), `<span id="actions" hx-swap-oob="innerHTML">`, `hx-get="/ask/unpause?channel=billing&amp;topic=orders"`)
	})
}

// A table whose rows have changed is sent as a whole, and else by its cells.
func TestGrid(t *testing.T) {
	stage(t, nil, func(s *scene) {
		c := s.channel("orders", "billing")
		c.Count, c.Clients = 1, []fakeClient{{ID: "a", Hostname: "h", Connected: 946684000, Ready: 5}}
		s.polls(1)
		v := s.listen(s.get("/topics/orders/billing"), "")
		defer v.stop()
		s.polls(3)
		v.read()
		s.change(func() { c.Clients[0].InFlight = 3 })
		s.polls(2)
		sent := v.read()
		contains(t, sent, `<span id="clients0-5" hx-swap-oob="innerHTML">3 `)
		lacks(t, sent, `<span id="clients" `)
		s.change(func() {
			c.Clients = append(slices.Clone(c.Clients), fakeClient{ID: "b", Hostname: "h", Connected: 946684000})
			c.Count = 2
		})
		s.polls(2)
		contains(t, v.read(), `<span id="clients" hx-swap-oob="innerHTML">`)
	})
}

// Streams end with the request's context, which the server ends at shutdown.
func TestStreamsEnd(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.polls(1)
		v := s.listen(s.get("/"), "")
		v.cancel()
		synctest.Wait()
		select {
		case <-v.done:
		default:
			t.Error("the stream goes on")
		}
		if n := s.count("/stats"); n == 0 {
			t.Error("no poll")
		}
	})
}
