package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// notFound makes a daemon respond that it does not have a topic or channel.
func (d *daemon) notFound(path, message string) {
	d.status[path], d.responses[path] = http.StatusNotFound, `{"message":"`+message+`"}`
}

// Each action asks the daemons that it concerns, nsqlookupds first.
func TestActionsAsk(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(*Cluster, context.Context) error
		want []string // requests to the nsqlookupd, then to both nsqds, the discovered one second
	}{
		"create topic": {func(c *Cluster, ctx context.Context) error { return c.CreateTopic(ctx, "t") },
			[]string{"l:1 POST /topic/create?topic=t", "a:4151 POST /topic/create?topic=t"}},
		"create channel": {func(c *Cluster, ctx context.Context) error { return c.CreateChannel(ctx, "t", "c") },
			[]string{"l:1 POST /channel/create?channel=c&topic=t", "l:1 GET /nodes", "a:4151 GET /info", "a:4151 POST /channel/create?channel=c&topic=t", "b:4151 POST /channel/create?channel=c&topic=t"}},
		"delete topic": {func(c *Cluster, ctx context.Context) error { return c.DeleteTopic(ctx, "t") },
			[]string{"l:1 GET /nodes", "a:4151 GET /info", "l:1 POST /topic/delete?topic=t", "a:4151 POST /topic/delete?topic=t", "b:4151 POST /topic/delete?topic=t"}},
		"delete channel": {func(c *Cluster, ctx context.Context) error { return c.DeleteChannel(ctx, "t", "c#ephemeral") },
			[]string{"l:1 GET /nodes", "a:4151 GET /info", "l:1 POST /channel/delete?channel=c%23ephemeral&topic=t", "a:4151 POST /channel/delete?channel=c%23ephemeral&topic=t", "b:4151 POST /channel/delete?channel=c%23ephemeral&topic=t"}},
		"empty topic": {func(c *Cluster, ctx context.Context) error { return c.EmptyTopic(ctx, "t") },
			[]string{"l:1 GET /nodes", "a:4151 GET /info", "a:4151 POST /topic/empty?topic=t", "b:4151 POST /topic/empty?topic=t"}},
		"empty channel": {func(c *Cluster, ctx context.Context) error { return c.EmptyChannel(ctx, "t", "c") },
			[]string{"l:1 GET /nodes", "a:4151 GET /info", "a:4151 POST /channel/empty?channel=c&topic=t", "b:4151 POST /channel/empty?channel=c&topic=t"}},
		"pause topic": {func(c *Cluster, ctx context.Context) error { return c.PauseTopic(ctx, "t") },
			[]string{"l:1 GET /nodes", "a:4151 GET /info", "a:4151 POST /topic/pause?topic=t", "b:4151 POST /topic/pause?topic=t"}},
		"unpause topic": {func(c *Cluster, ctx context.Context) error { return c.UnpauseTopic(ctx, "t") },
			[]string{"l:1 GET /nodes", "a:4151 GET /info", "a:4151 POST /topic/unpause?topic=t", "b:4151 POST /topic/unpause?topic=t"}},
		"pause channel": {func(c *Cluster, ctx context.Context) error { return c.PauseChannel(ctx, "t", "c") },
			[]string{"l:1 GET /nodes", "a:4151 GET /info", "a:4151 POST /channel/pause?channel=c&topic=t", "b:4151 POST /channel/pause?channel=c&topic=t"}},
		"unpause channel": {func(c *Cluster, ctx context.Context) error { return c.UnpauseChannel(ctx, "t", "c") },
			[]string{"l:1 GET /nodes", "a:4151 GET /info", "a:4151 POST /channel/unpause?channel=c&topic=t", "b:4151 POST /channel/unpause?channel=c&topic=t"}},
		"tombstone": {func(c *Cluster, ctx context.Context) error { return c.Tombstone(ctx, "t", "b:4151") },
			[]string{"l:1 GET /nodes", "b:4151 GET /info", "l:1 POST /topic/tombstone?node=b%3A4151&topic=t", "b:4151 POST /topic/delete?topic=t"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.lookupd("b")
			a, b := s.nsqd("a:4151", 1), s.nsqd("b:4151", 1)
			c := s.cluster([]string{"l:1"}, []string{"a:4151"})
			c.Parallel = 1
			if err := test.do(c, t.Context()); err != nil {
				t.Fatal(err)
			}
			if asked := s.asked(); !slices.Equal(asked, test.want) {
				t.Errorf("asked %q\nwant %q", asked, test.want)
			}
			// A daemon that fails is named, after the others were asked.
			last := strings.Fields(test.want[len(test.want)-1])
			path, _, _ := strings.Cut(last[2], "?")
			s.daemon(last[0]).status[path] = http.StatusInternalServerError
			s.daemon(last[0]).responses[path] = `{"message":"INTERNAL_ERROR"}`
			e, ok := errors.AsType[*Error](test.do(c, t.Context()))
			if !ok || e.Addr != last[0] || e.Status != http.StatusInternalServerError || e.Message != "INTERNAL_ERROR" || e.Op != "POST "+path {
				t.Errorf("error %#v", e)
			}
			if asked := s.asked(); !slices.Equal(asked, test.want) {
				t.Errorf("asked %q\nwant %q", asked, test.want)
			}
			// One nsqd without the topic is no error, two are.
			delete(s.daemon(last[0]).status, path)
			a.notFound(path, "TOPIC_NOT_FOUND")
			if err := test.do(c, t.Context()); (err != nil) != (name == "create topic") {
				t.Errorf("error %v", err)
			}
			b.notFound(path, "TOPIC_NOT_FOUND")
			if err := test.do(c, t.Context()); errors.Is(err, ErrNotFound) == (name == "create channel") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// An nsqd that deleted a topic gets it back if a consumer connects again because an nsqlookupd
// still names it. So it is not asked if an nsqlookupd fails.
func TestDeleteStopsAtNSQLookupd(t *testing.T) {
	s := newScene(t)
	l := s.lookupd("a")
	s.nsqd("a:4151", 1)
	c := s.cluster([]string{"l:1"}, nil)
	for _, path := range []string{"/topic/delete", "/channel/delete", "/topic/tombstone", "/nodes"} {
		l.status[path] = http.StatusBadGateway
	}
	check := func() {
		t.Helper()
		for name, err := range map[string]error{
			"topic":   c.DeleteTopic(t.Context(), "t"),
			"channel": c.DeleteChannel(t.Context(), "t", "c"),
			"node":    c.Tombstone(t.Context(), "t", "a:4151"),
		} {
			if err == nil || !strings.HasPrefix(err.Error(), "nothing deleted") || !strings.Contains(err.Error(), "l:1: ") {
				t.Errorf("%s: error %v", name, err)
			}
		}
		for _, r := range s.asked() {
			if strings.HasPrefix(r, "a:4151 POST") {
				t.Errorf("asked %q", r)
			}
		}
	}
	check()
	delete(l.status, "/nodes")
	check()
	// It may know nothing of a channel.
	l.notFound("/channel/delete", "CHANNEL_NOT_FOUND")
	if err := c.DeleteChannel(t.Context(), "t", "c"); err != nil {
		t.Error(err)
	}
}

// Actions that lose nothing are carried out where they can be, although an nsqlookupd does not
// tell of its nsqds.
func TestActionsWithoutNSQLookupd(t *testing.T) {
	s := newScene(t)
	s.nsqd("a:4151", 1)
	c := s.cluster([]string{"dead:1"}, []string{"a:4151"})
	err := c.PauseChannel(t.Context(), "t", "c")
	if e, ok := errors.AsType[*Error](err); !ok || e.Addr != "dead:1" {
		t.Errorf("error %v", err)
	}
	if asked := s.asked(); !slices.Contains(asked, "a:4151 POST /channel/pause?channel=c&topic=t") {
		t.Errorf("asked %q", asked)
	}
}

func TestConfig(t *testing.T) {
	s := newScene(t)
	s.nsqd("a:4151", 1).responses["/config/max_rdy_count"] = "2500"
	s.daemon("a:4151").responses["/config/log_level"] = "1"
	s.daemon("a:4151").status["/config/what?"] = http.StatusBadRequest
	s.daemon("a:4151").responses["/config/what?"] = `{"message":"INVALID_OPTION"}`
	c := s.cluster(nil, nil)
	if got, err := c.Config(t.Context(), "a:4151", "max_rdy_count"); got != "2500" || err != nil {
		t.Errorf("%s, error %v", got, err)
	}
	if got, err := c.SetConfig(t.Context(), "a:4151", "log_level", "debug"); got != "1" || err != nil {
		t.Errorf("%s, error %v", got, err)
	}
	_, err := c.Config(t.Context(), "a:4151", "what?")
	if e, ok := errors.AsType[*Error](err); !ok || e.Message != "INVALID_OPTION" || e.Status != http.StatusBadRequest || e.Op != "GET /config/what?" {
		t.Errorf("error %v", err)
	}
	if asked := s.asked(); !slices.Equal(asked, []string{"a:4151 GET /config/max_rdy_count", "a:4151 PUT /config/log_level", "a:4151 GET /config/what%3F"}) {
		t.Errorf("asked %q", asked)
	}
}

// nsqlookupd takes the topic "*" for all topics: it would forget each of them. So names are
// checked before the first request.
func TestActionsCheckNames(t *testing.T) {
	s := newScene(t)
	s.lookupd("a")
	s.nsqd("a:4151", 1)
	c := s.cluster([]string{"l:1"}, []string{"a:4151"})
	refused := func(err error, kind, name string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "invalid "+kind+" name") {
			t.Errorf("%s %q: error %v", kind, name, err)
		}
		if asked := s.asked(); len(asked) > 0 {
			t.Errorf("%s %q: asked %q", kind, name, asked)
		}
	}
	ctx := t.Context()
	for _, name := range []string{"", "*", "a b", "é", "a`", "a{", "a@", "a[", "a/", "a:", "#ephemeral", "a#ephemeral#ephemeral", "a#other", strings.Repeat("x", 65)} {
		for _, do := range []func(topic string) error{
			func(topic string) error { return c.CreateTopic(ctx, topic) },
			func(topic string) error { return c.DeleteTopic(ctx, topic) },
			func(topic string) error { return c.EmptyTopic(ctx, topic) },
			func(topic string) error { return c.PauseTopic(ctx, topic) },
			func(topic string) error { return c.UnpauseTopic(ctx, topic) },
			func(topic string) error { return c.Tombstone(ctx, topic, "a:4151") },
			func(topic string) error { return c.DeleteChannel(ctx, topic, "c") },
		} {
			refused(do(name), "topic", name)
		}
		for _, do := range []func(channel string) error{
			func(channel string) error { return c.CreateChannel(ctx, "t", channel) },
			func(channel string) error { return c.DeleteChannel(ctx, "t", channel) },
			func(channel string) error { return c.EmptyChannel(ctx, "t", channel) },
			func(channel string) error { return c.PauseChannel(ctx, "t", channel) },
			func(channel string) error { return c.UnpauseChannel(ctx, "t", channel) },
		} {
			refused(do(name), "channel", name)
		}
	}
	if err := c.PauseChannel(ctx, "azAZ09._-#ephemeral", strings.Repeat("x", 54)+"#ephemeral"); err != nil {
		t.Error(err)
	}
}

// nsqlookupd knows an nsqd by BROADCAST:PORT, without the brackets of an IPv6 address. It does
// not say whether a tombstone has reached one. So the name is taken from its own list.
func TestTombstoneNamesNSQDAsListed(t *testing.T) {
	for given, test := range map[string]struct{ broadcast, node string }{
		"a:4151":         {"a", "a:4151"},
		"localhost:4151": {"a", "a:4151"}, // /info tells that it is a
		"https://a:4152": {"a", "a:4151"},
		"[::1]:4151":     {"::1", "::1:4151"},
		"other:4151":     {"a", ""},
	} {
		s := newScene(t)
		s.lookupd(test.broadcast, "b", test.broadcast) // as after a lost connection: listed twice
		host := strings.TrimPrefix(given, "https://")
		s.nsqd(host, 1)
		if test.node != "" {
			s.daemon(host).says(test.broadcast, 1)
		}
		err := s.cluster([]string{"l:1"}, nil).Tombstone(t.Context(), "t", given)
		posts := slices.DeleteFunc(s.asked(), func(r string) bool { return !strings.Contains(r, " POST ") })
		if test.node == "" {
			if err == nil || !strings.Contains(err.Error(), "no nsqlookupd lists it") || len(posts) > 0 {
				t.Errorf("%s: asked %q, error %v", given, posts, err)
			}
			continue
		}
		want := []string{"l:1 POST /topic/tombstone?node=" + url.QueryEscape(test.node) + "&topic=t", host + " POST /topic/delete?topic=t"}
		if err != nil || !slices.Equal(posts, want) {
			t.Errorf("%s: asked %q, error %v, want %q", given, posts, err, want)
		}
	}
}

// Where there is no nsqd, nothing was paused.
func TestActionsWithoutNSQDs(t *testing.T) {
	s := newScene(t)
	s.daemon("l:1").responses["/nodes"] = `{"producers":[]}`
	for _, lookupds := range [][]string{nil, {"l:1"}} {
		if err := s.cluster(lookupds, nil).PauseTopic(t.Context(), "t"); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: error %v, want ErrNotFound", lookupds, err)
		}
	}
}

// An nsqd that the Cluster names is not asked again by the address that an nsqlookupd lists: that
// may be out of reach from here, or accept HTTPS only.
func TestActionsAskNSQDOnce(t *testing.T) {
	s := newScene(t)
	s.lookupd("a", "b")
	s.nsqd("localhost:4151", 1).says("a", 1)
	s.nsqd("b:4151", 1)
	if err := s.cluster([]string{"l:1"}, []string{"localhost:4151"}).EmptyTopic(t.Context(), "t"); err != nil {
		t.Error(err)
	}
	posts := slices.DeleteFunc(s.asked(), func(r string) bool { return !strings.Contains(r, " POST ") })
	slices.Sort(posts)
	if want := []string{"b:4151 POST /topic/empty?topic=t", "localhost:4151 POST /topic/empty?topic=t"}; !slices.Equal(posts, want) {
		t.Errorf("asked %q, want %q", posts, want)
	}
}
