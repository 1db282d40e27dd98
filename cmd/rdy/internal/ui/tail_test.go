package ui

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/nsqtest"
)

// stageNSQD is stage with a fake nsqd that clients can connect to, at the address that the one of
// the scene names. What one of them has the other does not know of.
func stageNSQD(t *testing.T, options func(*Options), test func(*scene, *nsqtest.Nsqd)) {
	t.Helper()
	var network *nsqtest.Network
	stage(t, func(o *Options) {
		network = nsqtest.NewNetwork()
		o.Client = nsq.NewConfig()
		o.Client.DialContext = network.DialContext
		o.Client.Logger = slog.New(slog.DiscardHandler)
		if options != nil {
			options(o)
		}
	}, func(s *scene) { test(s, nsqtest.NewNsqd(s.T, nsqtest.Options{Network: network, Addr: "n:4150"})) })
}

// readers returns how many clients the nsqd has on ephemeral channels.
func readers(n *nsqtest.Nsqd) (clients int) {
	synctest.Wait()
	for _, c := range n.Clients() {
		if strings.HasSuffix(c.Channel, "#ephemeral") {
			clients++
		}
	}
	return clients
}

var streamOf = regexp.MustCompile(`data-stream="(/read/\w+)"`)

// follow starts a reading and opens its stream.
func (s *scene) follow(target string, form url.Values) *viewer {
	s.Helper()
	status, body := s.do(newRequest(http.MethodPost, target, form))
	m := streamOf.FindStringSubmatch(body)
	if status != http.StatusOK || m == nil {
		s.Fatalf("%s: status %d: %s", target, status, body)
	}
	return s.open(m[1])
}

// events returns the data of the events with this name in a stream.
func events(stream, name string) (data []string) {
	for event := range strings.SplitSeq(stream, "\n\n") {
		head, rest, _ := strings.Cut(event, "\n")
		if head == "event: "+name {
			data = append(data, strings.TrimPrefix(strings.ReplaceAll(rest, "\ndata: ", "\n"), "data: "))
		}
	}
	return data
}

// Messages come to the viewer as a copy. The channel is gone when the viewer is.
func TestTail(t *testing.T) {
	stageNSQD(t, nil, func(s *scene, n *nsqtest.Nsqd) {
		s.channel("orders", "billing")
		n.CreateChannel("orders", "billing")
		n.Publish("orders", "before")
		s.polls(2)
		page := s.get("/tail/orders")
		contains(t, page, "Tail orders", `hx-post="/tail/orders"`)
		v := s.follow("/tail/orders", nil)
		pass(time.Second)
		contains(t, v.read(), "No message has come yet.")
		n.Publish("orders", `{"a":1}`, "two\nlines")
		pass(2 * flushEvery)
		sent := v.read()
		contains(t, sent, "Shows all messages") // as soon as there are lines, not a second later
		pass(2 * time.Second)
		sent += v.read()
		lines := strings.Join(events(sent, "lines"), "")
		contains(t, lines, "{&#34;a&#34;:1}", `two\nlines`, "n:4150", "9 B")
		lacks(t, lines, "before")
		if strings.Index(lines, "two") > strings.Index(lines, "&#34;a&#34;") {
			t.Error("the newest message does not come first")
		}
		if got := readers(n); got != 1 {
			t.Errorf("%d clients", got)
		}
		if status, _ := s.do(newRequest(http.MethodGet, "/read/"+s.server.onlyReading(), nil)); status != http.StatusNoContent {
			t.Errorf("a second stream has status %d", status)
		}
		v.stop()
		if got := readers(n); got != 0 || !s.server.readings.add(&reading{}) {
			t.Errorf("%d clients are left", got)
		}
		if got := n.Stats("orders", "billing").Depth; got != 3 {
			t.Errorf("channel billing has %d messages", got)
		}
		contains(t, s.get("/log"), "tail", "orders")
	})
}

func (s *Server) onlyReading() (id string) {
	for id = range s.readings.byID {
	}
	return id
}

// Of many messages a sample is shown, evenly, and it is said how many are left out.
func TestTailSample(t *testing.T) {
	stageNSQD(t, nil, func(s *scene, n *nsqtest.Nsqd) {
		s.channel("orders", "billing")
		n.CreateChannel("orders", "billing")
		s.polls(2)
		v := s.follow("/tail/orders", nil)
		defer v.stop()
		pass(time.Second)
		for range 100 { // 200 a second
			for range 20 {
				n.Publish("orders", strings.Repeat("x", 3000))
			}
			pass(100 * time.Millisecond)
		}
		sent := v.read()
		lines := strings.Join(events(sent, "lines"), "")
		if got := strings.Count(lines, "<tr>"); got < 200 || got > 225 {
			t.Errorf("%d messages are shown in 10 s", got)
		}
		contains(t, lines, "… 952 B more")
		words := events(sent, "words")
		last := words[len(words)-1]
		if !regexp.MustCompile(`^Shows \d\d of (19\d|20\d) messages a second \(\d+ %\)\. 1,\d\d\d left out so far\.$`).MatchString(last) {
			t.Errorf("got %q", last)
		}
	})
}

// A viewer changes how messages are shown, and which ones.
func TestTailLook(t *testing.T) {
	stageNSQD(t, nil, func(s *scene, n *nsqtest.Nsqd) {
		s.channel("orders", "billing")
		n.CreateChannel("orders", "billing")
		s.polls(2)
		v := s.follow("/tail/orders", url.Values{"as": {"json"}})
		defer v.stop()
		pass(time.Second)
		n.Publish("orders", `{"a":[1]}`, "paid")
		pass(time.Second)
		contains(t, strings.Join(events(v.read(), "lines"), ""), "<pre>{\n  &#34;a&#34;: [\n", "<pre>paid</pre>")
		look := func(as, q string) {
			status, body := s.do(newRequest(http.MethodPost, "/read/"+s.server.onlyReading(), url.Values{"as": {as}, "q": {q}}))
			if status != http.StatusNoContent {
				t.Errorf("status %d: %s", status, body)
			}
			pass(time.Second)
		}
		look("hex", "paid")
		all := events(v.read(), "all")
		if len(all) != 1 {
			t.Fatalf("got %q", all)
		}
		contains(t, all[0], "00000000  70 61 69 64")
		lacks(t, all[0], "7b 22")
		n.Publish("orders", "unpaid", "open")
		pass(2 * time.Second)
		sent := v.read()
		contains(t, sent, "75 6e 70 61 69 64", "messages with this text")
		lacks(t, sent, "6f 70 65 6e")
		look("nonsense", "")
		contains(t, v.read(), "<code>unpaid</code>", "<code>paid</code>")
		if status, _ := s.do(newRequest(http.MethodPost, "/read/none", nil)); status != http.StatusNotFound {
			t.Errorf("status %d", status)
		}
	})
}

// A peek ends after its messages, and shows them whole.
func TestPeek(t *testing.T) {
	stageNSQD(t, nil, func(s *scene, n *nsqtest.Nsqd) {
		s.channel("orders", "billing")
		n.CreateChannel("orders", "billing")
		s.polls(2)
		contains(t, s.get("/peek/orders/billing"), "Peek orders", `hx-post="/peek/orders"`, `href="/topics/orders/billing"`)
		v := s.follow("/peek/orders", nil)
		pass(time.Second)
		for i := range 15 {
			n.Publish("orders", fmt.Sprintf(`"%d %s"`, i, strings.Repeat("y", 3000)))
		}
		pass(time.Second)
		<-v.done
		sent := v.read()
		lines := strings.Join(events(sent, "lines"), "")
		if got := strings.Count(lines, "<tr>"); got != 10 || strings.Contains(lines, "more") {
			t.Errorf("%d messages", got)
		}
		contains(t, sent, "event: end\ndata: These were the next 10 messages.")
		if got := readers(n); got != 0 {
			t.Errorf("%d clients are left", got)
		}
		id := s.server.onlyReading()
		status, again := s.do(newRequest(http.MethodPost, "/read/"+id, url.Values{"as": {"hex"}, "q": {"7"}}))
		contains(t, again, "00000000  22 37 20 79")
		if status != http.StatusOK || strings.Count(again, "<tr>") != 1 {
			t.Errorf("status %d: %s", status, again)
		}
		v = s.follow("/peek/orders", nil)
		pass(2 * time.Minute)
		<-v.done
		contains(t, v.read(), "event: end\ndata: No message has come in 1 min.")
	})
}

// A topic without a channel is not read: all its messages would go to the viewer.
func TestTailWithoutChannel(t *testing.T) {
	stageNSQD(t, nil, func(s *scene, n *nsqtest.Nsqd) {
		s.topics = append(s.topics, &fakeTopic{Name: "orders", Depth: 7})
		n.Publish("orders", "1", "2")
		s.polls(2)
		for _, path := range []string{"/tail/orders", "/peek/orders"} {
			_, body := s.do(newRequest(http.MethodPost, path, nil))
			contains(t, body, "The topic orders has no channel.", "including the 7 messages that wait there now", "rdy channel create orders NAME --nsqd-http n:4151")
			lacks(t, body, "data-stream")
		}
		_, body := s.do(newRequest(http.MethodPost, "/tail/none", nil))
		contains(t, body, "No nsqd that responds has the topic none.")
		if got := n.Commands(); len(got) != 0 {
			t.Errorf("the nsqd got %v", got)
		}
		s.change(func() { s.down = fmt.Errorf("connection refused") })
		_, body = s.do(newRequest(http.MethodPost, "/tail/orders", nil))
		contains(t, body, "No nsqd that responds has the topic orders.")
	})
}

// Of a fast topic nsqd is asked for a sample, and counts are those of the topic.
func TestFastTopic(t *testing.T) {
	for rate, want := range map[float64]int{0: 100, fastTopic: 100, fastTopic + 1: 99, 2 * fastTopic: 50, 1e9: 2} {
		if got := sampleRate(rate); got != want {
			t.Errorf("%v a second: %d percent, want %d", rate, got, want)
		}
	}
	stageNSQD(t, nil, func(s *scene, n *nsqtest.Nsqd) {
		c := s.channel("orders", "billing")
		n.CreateChannel("orders", "billing")
		for range 5 {
			s.change(func() { s.topics[0].Messages, c.Messages = s.topics[0].Messages+8*fastTopic, c.Messages+8*fastTopic })
			s.polls(1)
		}
		v := s.follow("/tail/orders", nil)
		defer v.stop()
		pass(time.Second)
		var identity struct {
			SampleRate int `json:"sample_rate"`
		}
		if err := json.Unmarshal(n.Clients()[0].Identify, &identity); err != nil || identity.SampleRate < 20 || identity.SampleRate > 60 {
			t.Fatalf("the sample rate is %d, error %v", identity.SampleRate, err)
		}
		for range 100 {
			n.Publish("orders", "x")
		}
		pass(time.Second)
		words := events(v.read(), "words")
		left := 100*100/(identity.SampleRate+1) - 20 // of 100 that have come, 20 are shown
		contains(t, words[len(words)-1], " of about ", fmt.Sprintf("About %d left out so far.", left))
	})
}

// Of the nsqds of a topic those are read where it has a channel, and the others are named.
func TestSources(t *testing.T) {
	nsqd := func(name, err string, port int) admin.NSQD {
		return admin.NSQD{Addr: name + ":4151", Broadcast: name, TCPPort: port, Error: err}
	}
	v := &admin.View{
		NSQDs: []admin.NSQD{nsqd("a", "", 4150), nsqd("b", "", 4150), nsqd("c", "refused", 4150), nsqd("d", "", 4150), nsqd("e", "", -1)},
		Topics: []admin.Topic{{
			Name: "t", NSQDs: []admin.TopicOn{{NSQD: "a:4151"}, {NSQD: "b:4151"}, {NSQD: "e:4151"}},
			Channels: []admin.Channel{{Name: "c", NSQDs: []admin.ChannelOn{{NSQD: "a:4151"}, {NSQD: "e:4151"}}}},
		}},
	}
	addrs, without := sources(v, "t", nil)
	if !slices.Equal(addrs, []string{"a:4150"}) || !slices.Equal(without, []string{
		"b:4151, where the topic has no channel yet", "c:4151 does not respond", "e:4151, which listens on a Unix socket only",
	}) {
		t.Errorf("got %q without %q", addrs, without)
	}
	if addrs, _ := sources(v, "other", nil); len(addrs) != 0 {
		t.Errorf("got %q", addrs)
	}
}

// No more viewers than maxReadings read at the same time. What nobody attends does not count.
func TestReadingsBound(t *testing.T) {
	stageNSQD(t, nil, func(s *scene, n *nsqtest.Nsqd) {
		s.channel("orders", "billing")
		n.CreateChannel("orders", "billing")
		s.polls(2)
		begin := func() int {
			status, _ := s.do(newRequest(http.MethodPost, "/tail/orders", nil))
			return status
		}
		var viewers []*viewer
		for range maxReadings - 1 {
			viewers = append(viewers, s.follow("/tail/orders", nil))
		}
		if first, second := begin(), begin(); first != http.StatusOK || second != http.StatusTooManyRequests {
			t.Errorf("status %d and %d", first, second)
		}
		pass(unattended + time.Second)
		if status := begin(); status != http.StatusOK {
			t.Errorf("status %d", status)
		}
		if got := readers(n); got != maxReadings-1 {
			t.Errorf("%d clients", got)
		}
		for _, v := range viewers {
			v.stop()
		}
		for range 3 * maxEnded {
			s.follow("/tail/orders", nil).stop()
		}
		if got := len(s.server.readings.byID); got > maxEnded+maxReadings {
			t.Errorf("%d readings are kept", got)
		}
		if got := readers(n); got != 0 {
			t.Errorf("%d clients are left", got)
		}
	})
}

// What a viewer who does not read has to get is bounded, and the nsqd is read on.
func TestTailSlowViewer(t *testing.T) {
	stageNSQD(t, nil, func(s *scene, n *nsqtest.Nsqd) {
		s.channel("orders", "billing")
		n.CreateChannel("orders", "billing")
		s.polls(2)
		v := s.follow("/tail/orders", nil)
		pass(time.Second)
		block := make(chan struct{})
		v.mu.Lock()
		v.block = block
		v.mu.Unlock()
		reading := s.server.readings.get(s.server.onlyReading())
		for range 60 {
			for range 20 {
				n.Publish("orders", strings.Repeat("x", 10_000))
			}
			pass(time.Second)
		}
		if now := reading.soFar(); now.seen != 1200 || len(reading.kept) != keptLines || reading.fresh != keptLines || cap(reading.kept[0].Body) > 2*tailing.body {
			t.Errorf("%+v, %d messages of %d bytes are kept", now, len(reading.kept), cap(reading.kept[0].Body))
		}
		close(block)
		<-v.done
		if got := readers(n); got != 0 {
			t.Errorf("%d clients are left", got)
		}
	})
}

// The end of the server ends readings, and waits for their connections.
func TestReadingsEndWithServer(t *testing.T) {
	var n *nsqtest.Nsqd
	var v *viewer
	stageNSQD(t, nil, func(s *scene, nsqd *nsqtest.Nsqd) {
		n = nsqd
		s.channel("orders", "billing")
		n.CreateChannel("orders", "billing")
		s.polls(2)
		v = s.follow("/tail/orders", nil)
		s.Cleanup(func() {
			<-v.done
			_, _, ok := s.server.errands.begin(s.Context())
			if got := readers(n); got != 0 || ok {
				t.Errorf("%d clients are left, another errand begins: %v", got, ok)
			}
		})
	})
}

// A connection that is lost ends a reading: a restarted nsqd may have no channel of the topic.
func TestTailLost(t *testing.T) {
	stageNSQD(t, nil, func(s *scene, n *nsqtest.Nsqd) {
		s.channel("orders", "billing")
		n.CreateChannel("orders", "billing")
		s.polls(2)
		v := s.follow("/tail/orders", nil)
		pass(time.Second)
		n.Kill()
		pass(time.Second)
		<-v.done
		contains(t, v.read(), "event: end\ndata: A connection was lost: nsqd n:4150:")
		v = s.follow("/tail/orders", nil)
		pass(10 * time.Second)
		<-v.done
		contains(t, v.read(), "event: end\ndata: No messages can be read:")
		n.Restart()
		pass(time.Minute)
		if got := readers(n); got != 0 {
			t.Errorf("%d clients", got)
		}
	})
}

const hostileBody = `</pre></code></td><script>alert(1)</script>"'><img src=x onerror=alert(1)>` + "\r\x1b[2J\u202e\xff\n\ndata: x\nevent: end"

// Bodies are text, whatever they are, and cannot end an event of the stream.
func TestHostileBodies(t *testing.T) {
	stageNSQD(t, nil, func(s *scene, n *nsqtest.Nsqd) {
		s.channel("orders", "billing")
		n.CreateChannel("orders", "billing")
		s.polls(2)
		for _, path := range []string{"/tail/orders", "/peek/orders"} {
			for _, as := range []string{"line", "text", "json", "hex"} {
				v := s.follow(path, url.Values{"as": {as}, "q": {"alert"}})
				pass(time.Second)
				v.read()
				n.Publish("orders", hostileBody, `{"a":"`+strings.ReplaceAll(strings.ReplaceAll(hostileBody, `"`, `\"`), "\n", `\n`)+`"}`)
				pass(2 * time.Second)
				sent := v.read()
				lacks(t, sent, "<script", "<img", "\r", "\x1b", "\u202e", "\xff", "\nevent: end")
				if got := strings.Count(strings.Join(events(sent, "lines"), ""), "<tr>"); got != 2 {
					t.Errorf("%s as %s: %d messages", path, as, got)
				}
				v.stop()
			}
		}
		query := url.Values{"q": {hostileBody}, "as": {hostileBody}}
		_, body := s.do(newRequest(http.MethodPost, "/tail/orders", query))
		lacks(t, body, "<script", "<img")
		for _, path := range []string{"/tail/%3Cscript%3E", "/peek/orders/%3Cscript%3E", "/dead/%3Cscript%3E", "/dead/a/%3Cscript%3E"} {
			_, body := s.do(newRequest(http.MethodGet, path, nil))
			lacks(t, body, "<script>")
		}
	})
}

// FuzzBody checks that a body becomes text without control characters, which is not much longer.
func FuzzBody(f *testing.F) {
	for _, body := range []string{
		"", "plain", hostileBody, `{"a":[1,{"b":"\u0000"}]}`, strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "\"\u202e\"", "\xef\xbb\xbf1", `"\"`,
		strings.Repeat(`[{"":`, 40) + "1" + strings.Repeat("}]", 40), " \t\n1\n",
	} {
		f.Add([]byte(body), 100)
	}
	f.Fuzz(func(t *testing.T, body []byte, limit int) {
		limit = min(max(limit, 0), 1<<16)
		begin := beginning(body, limit)
		if len(begin) > limit || !strings.HasPrefix(string(body), string(begin)) || len(begin) < min(len(body), limit)-utf8.UTFMax {
			t.Errorf("%d bytes of %d, limit %d", len(begin), len(body), limit)
		}
		for as, keep := range map[form]string{asLine: "", asText: "\n\t", asJSON: "\n\t", asHex: "\n"} {
			text := as.show(begin)
			if !utf8.ValidString(text) || len(text) > 6*len(begin)+1200 {
				t.Errorf("%s: %d bytes become %d", as, len(begin), len(text))
			}
			if i := strings.IndexFunc(text, func(r rune) bool {
				return (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) && !strings.ContainsRune(keep, r)
			}); i >= 0 {
				t.Errorf("%s: %q", as, text[i:])
			}
		}
		lines := string(linesHTML([]line{{Body: begin, Size: len(body)}}, asText))
		if strings.Count(lines, "<") != strings.Count(string(linesHTML([]line{{Size: len(body), Body: make([]byte, len(begin))}}, asText)), "<") {
			t.Errorf("a body has become HTML: %s", lines)
		}
	})
}

// With --no-bodies there is nothing to read, and no link to it.
func TestNoBodies(t *testing.T) {
	stageNSQD(t, func(o *Options) { o.NoBodies = true }, func(s *scene, n *nsqtest.Nsqd) {
		s.channel("orders", "billing")
		n.CreateChannel("orders", "billing")
		s.polls(2)
		for _, path := range []string{"/topics/orders", "/topics/orders/billing"} {
			lacks(t, s.get(path), "/tail/", "/peek/")
		}
		for _, path := range []string{"/tail/orders", "/peek/orders", "/peek/orders/billing"} {
			if status, body := s.do(newRequest(http.MethodGet, path, nil)); status != http.StatusNotFound || !strings.Contains(body, "--no-bodies") {
				t.Errorf("%s: status %d", path, status)
			}
		}
		if status, _ := s.do(newRequest(http.MethodPost, "/tail/orders", nil)); status != http.StatusForbidden {
			t.Errorf("status %d", status)
		}
	})
}

// Another site can neither make a browser begin to read, nor change what a viewer reads.
func TestReadingOfAnotherSite(t *testing.T) {
	stageNSQD(t, nil, func(s *scene, n *nsqtest.Nsqd) {
		s.channel("orders", "billing")
		s.channel("a.b.dead", "rdy-dead").Depth = 1
		s.polls(2)
		contains(t, s.get("/topics/orders"), `href="/tail/orders"`, `href="/peek/orders"`)
		contains(t, s.get("/topics/orders/billing"), `href="/tail/orders"`, `href="/peek/orders/billing"`)
		for _, path := range []string{"/tail/orders", "/peek/orders", "/read/x", "/dead/look", "/dead/ask/replay", "/dead/do/replay", "/dead/do/drop"} {
			r := newRequest(http.MethodPost, path, nil)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			if status, _ := s.do(r); status != http.StatusForbidden {
				t.Errorf("%s: status %d", path, status)
			}
		}
		if len(s.server.readings.byID) != 0 || len(n.Commands()) != 0 {
			t.Error("a reading has begun")
		}
	})
}

// An nsqd that cannot be reached is named, and not tried again: the topic may lose its channels
// there. The others are read.
func TestReadingWithout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		n := nsqtest.NewNsqd(t, nsqtest.Options{Network: network, Addr: "n:4150"})
		cfg := nsq.NewConfig()
		cfg.DialContext, cfg.Logger = network.DialContext, slog.New(slog.DiscardHandler)
		r := &reading{kind: tailing, topic: "orders", addrs: []string{"n:4150", "gone:4150"}, percent: 100, over: make(chan struct{})}
		consumer, without, err := r.connect(t.Context(), cfg)
		if err != nil || !slices.Equal(without, []string{"gone:4150 cannot be reached"}) {
			t.Fatalf("without %q, error %v", without, err)
		}
		back := nsqtest.NewNsqd(t, nsqtest.Options{Network: network, Addr: "gone:4150"})
		pass(10 * time.Minute)
		if got := readers(n); got != 1 || len(back.Commands()) != 0 {
			t.Errorf("%d clients, and %v", got, back.Commands())
		}
		stop(consumer)
		if got := readers(n); got != 0 {
			t.Errorf("%d clients are left", got)
		}
	})
}
