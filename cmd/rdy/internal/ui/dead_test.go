package ui

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/envelope"
	"github.com/rdyhq/nsq/nsqtest"
)

const deadOf = "orders.billing.dead"

// sealed returns a dead letter of channel billing of topic orders.
func sealed(body, why string, failed time.Time) string {
	return string(envelope.Seal(envelope.Header{
		nsq.HeaderOriginTopic: "orders", nsq.HeaderOriginChannel: "billing", nsq.HeaderOriginNSQD: "nsqd-2:4150", nsq.HeaderOriginAttempts: "6",
		nsq.HeaderOriginPublished: failed.Add(-21 * time.Minute).UTC().Format(time.RFC3339), nsq.HeaderFailedAt: failed.UTC().Format(time.RFC3339),
		nsq.HeaderFailedError: why, nsq.HeaderFailedHost: "host-7",
	}, []byte(body)))
}

// deadScene is a scene with three letters in a channel, and the topic that they come from.
type deadScene struct {
	*scene
	nsqd  *nsqtest.Nsqd
	ids   []string
	audit []Action
}

func stageDead(t *testing.T, options func(*Options), test func(*deadScene)) {
	t.Helper()
	d := new(deadScene)
	stageNSQD(t, func(o *Options) {
		o.AllowActions = true
		o.Audit = func(a Action) { d.audit = append(d.audit, a) }
		if options != nil {
			options(o)
		}
	}, func(s *scene, n *nsqtest.Nsqd) {
		d.scene, d.nsqd = s, n
		s.channel("orders", "billing")
		s.channel(deadOf, "rdy-dead").Depth = 3
		n.CreateChannel("orders", "billing")
		n.CreateChannel(deadOf, "rdy-dead")
		now := time.Now()
		d.ids = append(n.Publish(deadOf, sealed(`{"id":17}`, "503 from hooks.example", now.Add(-time.Minute)), sealed("two", "no such order", now.Add(-time.Second))),
			n.Publish(deadOf, "raw")...)
		s.polls(2)
		test(d)
	})
}

func (d *deadScene) post(path string, form url.Values) (status int, body string) {
	d.Helper()
	return d.do(newRequest(http.MethodPost, path, form))
}

// look looks at the letters, and returns the page.
func (d *deadScene) look() string {
	d.Helper()
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, newRequest(http.MethodPost, "/dead/look", nil))
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/dead" {
		d.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return d.get("/dead")
}

var lookOf = regexp.MustCompile(`name="look" value="(\w+)"`)

// lettersOf returns the fields that choose letters by their places on a page.
func lettersOf(page string, places ...string) url.Values {
	return url.Values{"look": {lookOf.FindStringSubmatch(page)[1]}, "n": places}
}

func with(form url.Values, pairs ...string) url.Values {
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return form
}

// expect checks how many letters and messages there are.
func (d *deadScene) expect(letters, messages int) {
	d.Helper()
	dead, orders := d.nsqd.Stats(deadOf, "rdy-dead"), d.nsqd.Stats("orders", "billing")
	if dead.Depth != letters || dead.InFlight+dead.Deferred+dead.Clients != 0 || orders.Depth != messages {
		d.Errorf("%+v and %d messages, want %d and %d", dead, orders.Depth, letters, messages)
	}
}

// A look lists the letters and leaves them where they are. One of them is open.
func TestDead(t *testing.T) {
	stageDead(t, nil, func(d *deadScene) {
		before := d.get("/dead")
		contains(t, before, "costs each an attempt", deadOf, "Look at the letters", `id="dead-count">3</span>`)
		lacks(t, before, "503 from hooks")
		page := d.look()
		contains(t, page, "3 dead letters", "All 3 were read at ", "503 from hooks.example", "no such order", ">raw<", "none selected", "Replay…", "3 letters wait now.")
		d.expect(3, 0)
		if strings.Index(page, "no such order") > strings.Index(page, "503 from hooks") {
			t.Error("what has failed last does not come first")
		}
		link := "/dead/" + deadOf + "/" + d.ids[0] + "@n:4150"
		letter := d.get(link)
		contains(t, letter, "orders / billing", "after 6 attempts in 21 min", "nsqd-2:4150", "host-7", "{\n  &#34;id&#34;: 17\n}", "3 dead letters")
		contains(t, d.get(link+"?as=hex"), "00000000  7b 22 69 64")
		contains(t, d.get(link+"?part=letter"), `<section class="card" id="letter"`)
		lacks(t, d.get(link+"?part=letter"), "<html")
		contains(t, d.get("/dead?q=SUCH"), "no such order", "3 dead letters, 1 shown")
		lacks(t, d.get("/dead?q=SUCH&part=rows"), "503 from hooks", "<html")
		contains(t, d.get("/dead/"+deadOf), "503 from hooks")
		contains(t, d.get("/dead/other.dead"), "No letter matches.")
		if status, _ := d.do(newRequest(http.MethodGet, "/dead/"+deadOf+"/0000000000000000@n:4150", nil)); status != http.StatusNotFound {
			t.Errorf("status %d", status)
		}
		if len(d.audit) != 1 || d.audit[0].Action != "look" || d.audit[0].Letters != 3 {
			t.Errorf("audit %+v", d.audit)
		}
	})
}

// A read-only page looks at letters, but neither creates a channel nor changes them.
func TestDeadReadOnly(t *testing.T) {
	stageDead(t, func(o *Options) { o.AllowActions, o.NoBodies = false, true }, func(d *deadScene) {
		d.change(func() { d.topics = append(d.topics, &fakeTopic{Name: "a.b.dead", Depth: 2}) })
		d.nsqd.Publish("a.b.dead", "1", "2")
		d.polls(1)
		contains(t, d.get("/dead/a.b.dead"), "and this page is read-only")
		d.nsqd.Publish("orders", "not dead")
		d.post("/dead/look", url.Values{"topic": {"orders"}, "channel": {"billing"}})
		contains(t, d.get("/dead/orders"), "orders: they are in another channel: rdy dead list orders --channel billing")
		if got := d.nsqd.Stats("orders", "billing"); got.Delivered != 0 {
			t.Errorf("messages of consumers were read: %+v", got)
		}
		page := d.look()
		contains(t, page, "503 from hooks", "a.b.dead: 2 letters wait in the topic itself", "--no-bodies", "3 of 5 were read")
		lacks(t, page, "Replay…", `class="c-check"`, "{&#34;id")
		for _, path := range []string{"/dead/ask/replay", "/dead/ask/drop", "/dead/do/replay", "/dead/do/drop"} {
			form := with(lettersOf(page, "0"), "name", deadOf, "to", "origin", "rate", "5")
			if status, _ := d.post(path, form); status != http.StatusForbidden {
				t.Errorf("%s: status %d", path, status)
			}
		}
		d.expect(3, 1)
		if d.nsqd.Stats("a.b.dead", "rdy-dead").Delivered != 0 || slices.Contains(d.nsqd.Commands(), "SUB a.b.dead rdy-dead") {
			t.Error("the channel was created")
		}
	})
}

// With actions a look creates the channel, and says so before.
func TestDeadCreates(t *testing.T) {
	stageDead(t, nil, func(d *deadScene) {
		d.change(func() { d.topics = append(d.topics, &fakeTopic{Name: "a.b.dead", Depth: 2}) })
		d.nsqd.Publish("a.b.dead", "1", "2")
		d.polls(1)
		contains(t, d.get("/dead"), "a.b.dead has no channel. A look creates the channel rdy-dead")
		contains(t, d.look(), "5 dead letters", "a.b <small>")
		if got := d.nsqd.Stats("a.b.dead", "rdy-dead"); got.Depth != 2 {
			t.Errorf("got %+v", got)
		}
	})
}

// A replay goes to the topic that letters come from, once its channels were named, and removes
// the letters.
func TestDeadReplay(t *testing.T) {
	stageDead(t, nil, func(d *deadScene) {
		page := d.look()
		form := lettersOf(page, "1", "2")
		status, dialog := d.post("/dead/ask/replay", form)
		contains(t, dialog, "Replay 2 letters?", "orders has only the channel billing, where they come from.", `value="origin" required checked`, "rdy dead replay "+deadOf+" "+d.ids[1])
		if status != http.StatusOK {
			t.Errorf("status %d", status)
		}
		agreed := `"orders" "billing" billing`
		for _, wrong := range []url.Values{
			with(lettersOf(page, "1"), "to", "origin", "rate", "0"), with(lettersOf(page, "1"), "to", "origin", "rate", "NaN"),
			with(lettersOf(page, "1"), "rate", "5"), with(lettersOf(page, "7"), "to", "origin", "rate", "5"),
			with(lettersOf(page, "1", "2"), "to", "origin", "rate", "0.001"), with(lettersOf(page, "1"), "to", "other", "topic", deadOf, "rate", "5"),
			with(lettersOf(page, "1"), "to", "other", "topic", "*", "rate", "5"), with(lettersOf(page), "to", "origin", "rate", "5"),
			with(lettersOf(page, "1"), "look", "other", "to", "origin", "rate", "5"),
		} {
			if status, _ := d.post("/dead/do/replay", wrong); status != http.StatusForbidden {
				t.Errorf("%v: status %d", wrong, status)
			}
		}
		d.expect(3, 0)
		_, body := d.post("/dead/do/replay", with(form, "to", "origin", "agreed", agreed, "rate", "5"))
		contains(t, body, "2 letters of "+deadOf+" were replayed.")
		d.expect(1, 2)
		d.polls(1)
		page = d.get("/dead")
		contains(t, page, "replayed at ", " disabled", "2 letters of "+deadOf+" were replayed.")
		if status, _ := d.post("/dead/do/replay", with(form, "to", "origin", "agreed", agreed, "rate", "5")); status != http.StatusForbidden {
			t.Errorf("letters are replayed twice: status %d", status)
		}
		a := d.audit[len(d.audit)-1]
		if a.Action != "replay" || a.Subject() != "2 letters of "+deadOf || a.Error != "" {
			t.Errorf("audit %+v", a)
		}
		contains(t, d.get("/log"), "2 letters of "+deadOf)
	})
}

// If a topic has other channels than the dialog has named, nothing is published.
func TestDeadReplayToOthers(t *testing.T) {
	stageDead(t, nil, func(d *deadScene) {
		page := d.look()
		d.channel("orders", "archive")
		d.nsqd.CreateChannel("orders", "archive")
		form := with(lettersOf(page, "1"), "to", "origin", "agreed", `"orders" "billing" billing`, "rate", "5")
		_, body := d.post("/dead/do/replay", form)
		contains(t, body, "0 of 1 letter", "topic orders has the channels archive, billing: each of them gets a message, which the viewer has not confirmed")
		d.expect(3, 0)
		d.polls(2)
		contains(t, d.get("/dead/"+deadOf+"/"+d.ids[0]+"@n:4150"), "orders has 2 channels. A replay through the topic reaches archive, billing.")
		_, dialog := d.post("/dead/ask/replay", lettersOf(page, "1"))
		contains(t, dialog, "orders has 2 channels, and each gets a copy: archive, billing.", "orders&#34; &#34;billing&#34; archive billing")
		lacks(t, dialog, "checked")
		_, body = d.post("/dead/do/replay", with(form, "to", "other", "topic", "orders"))
		contains(t, body, "which the viewer has not confirmed")
		_, body = d.post("/dead/do/replay", with(form, "to", "other", "topic", "again"))
		contains(t, body, "1 letter of "+deadOf+" was replayed.")
		if got := d.nsqd.Queued("again", ""); len(got) != 1 {
			t.Errorf("topic again has %q", got)
		}
		_, body = d.post("/dead/do/replay", with(lettersOf(page, "2"), "to", "origin", "agreed", `"orders" "billing" archive billing`, "rate", "5"))
		contains(t, body, "1 letter of "+deadOf+" was replayed.")
		d.expect(1, 1)
		_, body = d.post("/dead/do/replay", with(lettersOf(page, "0"), "to", "origin", "rate", "5"))
		contains(t, body, "the letter is raw")
		d.expect(1, 1)
	})
}

// A slow replay shows its progress, and goes on when the viewer has left. Meanwhile nobody else
// reads letters.
func TestDeadReplaySlow(t *testing.T) {
	stageDead(t, nil, func(d *deadScene) {
		page := d.look()
		_, body := d.post("/dead/do/replay", with(lettersOf(page, "1", "2"), "to", "origin", "agreed", `"orders" "billing" billing`, "rate", "0.1"))
		contains(t, body, "Replaying 2 letters of "+deadOf+": 1 done.")
		contains(t, d.get("/dead"), "Replaying 2 letters")
		for _, path := range []string{"/dead/look", "/dead/do/drop"} {
			if status, body := d.post(path, with(lettersOf(page, "0"), "name", deadOf)); status != http.StatusConflict || !strings.Contains(body, "are being read") {
				t.Errorf("%s: status %d", path, status)
			}
		}
		pass(10 * time.Second)
		contains(t, d.get("/dead"), "2 letters of "+deadOf+" were replayed.")
		d.expect(1, 2)
	})
}

// The end of the server ends a replay between two messages.
func TestDeadReplayEndsWithServer(t *testing.T) {
	stageDead(t, nil, func(d *deadScene) {
		d.post("/dead/do/replay", with(lettersOf(d.look(), "1", "2"), "to", "origin", "agreed", `"orders" "billing" billing`, "rate", "0.01"))
		d.Cleanup(func() {
			d.expect(2, 1)
			if a := d.audit[len(d.audit)-1]; a.Error != "1 of 2 replayed: rdy ui is stopping" {
				t.Errorf("audit %+v", a)
			}
		})
	})
}

// A removal wants the name of the topic.
func TestDeadDrop(t *testing.T) {
	stageDead(t, nil, func(d *deadScene) {
		page := d.look()
		_, dialog := d.post("/dead/ask/drop", lettersOf(page, "0", "2"))
		contains(t, dialog, "2 letters will be lost", `data-name="`+deadOf+`"`, " disabled", "A replay instead")
		if status, _ := d.post("/dead/do/drop", with(lettersOf(page, "0"), "name", "orders")); status != http.StatusForbidden {
			t.Errorf("status %d", status)
		}
		d.expect(3, 0)
		_, body := d.post("/dead/do/drop", with(lettersOf(page, "0", "2"), "name", deadOf))
		contains(t, body, "2 letters of "+deadOf+" were dropped.")
		d.expect(1, 0)
		contains(t, d.get("/dead"), "dropped at ")
		d.nsqd.Kill()
		_, body = d.post("/dead/do/drop", with(lettersOf(page, "1"), "name", deadOf))
		contains(t, body, "0 of 1 letter", "refused")
	})
}

// Headers and bodies of letters are text, and what is kept of them is bounded.
func TestHostileLetters(t *testing.T) {
	stageDead(t, nil, func(d *deadScene) {
		c := d.channel(deadOf, "rdy-dead")
		d.change(func() { c.Depth = 5 })
		id := d.nsqd.Publish(deadOf, string(envelope.Seal(envelope.Header{
			nsq.HeaderOriginTopic: hostileBody, nsq.HeaderOriginChannel: hostileBody, nsq.HeaderOriginNSQD: hostileBody, nsq.HeaderFailedError: hostileBody,
			nsq.HeaderFailedHost: hostileBody, nsq.HeaderFailedAt: hostileBody, nsq.HeaderOriginAttempts: hostileBody,
		}, []byte(hostileBody))), hostileBody+strings.Repeat("x", 100_000))
		page := d.look()
		form := lettersOf(page, "0", "1", "2", "3", "4")
		_, replay := d.post("/dead/ask/replay", form)
		_, drop := d.post("/dead/ask/drop", form)
		_, result := d.post("/dead/do/replay", with(form, "to", "origin", "agreed", hostileBody, "rate", "50"))
		texts := []string{page, replay, drop, result, d.get("/dead?q=" + url.QueryEscape(hostileBody[:60]))}
		for _, as := range []string{"json", "text", "hex"} {
			for _, one := range id {
				texts = append(texts, d.get(fmt.Sprintf("/dead/%s/%s@n:4150?as=%s", deadOf, one, as)))
			}
		}
		for _, text := range texts {
			lacks(t, text, "<script>alert", "<img", "\x1b", "\u202e", "\r")
		}
		contains(t, texts[len(texts)-1], "KiB more: rdy dead show "+deadOf)
		found, _ := d.server.dead.seen()
		for _, l := range found.letters {
			if len(l.Body) > maxLetterBody || len(l.Error) > maxLetterText {
				t.Errorf("%d bytes of a body are kept", len(l.Body))
			}
		}
	})
}
