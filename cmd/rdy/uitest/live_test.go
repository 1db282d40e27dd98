//go:build linux

package uitest

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// A page comes alive whichever of its scripts comes last.
//
// When htmx begins, its extension for streams must be there, or it never connects the stream of
// the page. What listens to the stream must be there as well: the next event may be a minute away.
func TestSlowScripts(t *testing.T) {
	t.Parallel()
	n := startNSQD(t)
	n.create("orders", "billing")
	site := serve(t, []*nsqd{n}, "--interval", "1m")
	var late []*relay
	for _, script := range []string{"htmx", "hx-sse", "charts", "app"} {
		late = append(late, relayTo(t, site.url, func(r *http.Request) {
			if strings.Contains(r.URL.Path, "/"+script+".") {
				pause(300 * time.Millisecond)
			}
		}))
	}
	b := open(t)
	for _, r := range late {
		b.load(r.URL)
	}
}

// count counts the polls that a page hears of, and notes at which of them an expression has become
// true.
func (b *tab) count(expression string) {
	b.Helper()
	b.eval(`window.polls = 0, window.seen = 0, document.addEventListener("polled", () => {
		polls++
		if (!seen && (` + expression + `)) seen = polls
	}), 0`)
}

// A publish shows within two polls, on the page as it is.
func TestPublishShows(t *testing.T) {
	t.Parallel()
	n := startNSQD(t)
	n.create("orders", "billing")
	n.create("orders", "audit")
	site := serve(t, []*nsqd{n})
	b := open(t)
	b.load(site.url)
	b.do(chromedp.Focus("#r1 .name", chromedp.ByQuery))
	focused := b.eval(`document.activeElement.title`)
	b.count(`document.getElementById("r0").innerText.includes("42")`)
	n.publish("orders", 42)
	already := b.eval("polls").(float64)
	b.shows("42 messages", "seen")
	// The first poll may have begun before the publish.
	if seen := b.eval("seen").(float64); seen > already+2 {
		t.Errorf("%v polls later", seen-already)
	}
	if b.eval(`document.activeElement.title`) != focused {
		t.Error("the page has lost the focus")
	}
	b.do(chromedp.Click(`#r0 .name`, chromedp.ByQuery))
	b.text("#f-depth", "42")
	b.shows("charts", `document.querySelectorAll(".chart canvas").length === 2`)
}

// A stuck consumer is flagged, and no longer when it works again.
func TestStuckShows(t *testing.T) {
	t.Parallel()
	n := startNSQD(t)
	n.create("payments", "fraud")
	n.work("payments")
	consumer := start(t, "tail", "payments", "--channel", "fraud", "--nsqd", n.TCP)
	site := serve(t, []*nsqd{n})
	b := open(t)
	b.load(site.url)
	b.text("#verdict", "The channel keeps up")
	b.count(`false`)
	b.shows("how long its gaps are", "polls > 8")
	consumer.hold()
	b.text("#problem-list", "Stuck")
	b.shows("title", `document.title.startsWith("(1)") && document.getElementById("icon").href.endsWith("icon-critical.svg")`)
	b.text("#r0", "stuck")
	b.do(chromedp.Click(`#problem-list .step a`, chromedp.ByQuery))
	b.text(".alert", "Nothing has finished for")
	b.do(chromedp.NavigateBack())
	consumer.goOn()
	b.text("#verdict", "The channel keeps up")
	b.text("#problem-list", "was stuck for")
	b.shows("title", `document.title.startsWith("Overview") && document.getElementById("icon").href.endsWith("/icon.svg")`)
}

// A killed nsqd is named, and figures say what they lack.
func TestKilledShows(t *testing.T) {
	t.Parallel()
	nsqds := []*nsqd{startNSQD(t), startNSQD(t)}
	for _, n := range nsqds {
		n.create("orders", "billing")
		n.publish("orders", 5)
	}
	site := serve(t, nsqds)
	b := open(t)
	b.load(site.url)
	b.text("#waiting", "10")
	nsqds[1].kill()
	b.text("#problem-list", nsqds[1].HTTP)
	b.text("#verdict", "1 daemon")
	b.text("#nsqds", "1")
	b.text("#waiting", "≥ 5")
	b.shows("a lower bound beside the chart", `document.querySelector(".legend .in b").textContent.startsWith("≥ ")`)
}

// A page whose server is gone says so in the past tense.
func TestStale(t *testing.T) {
	t.Parallel()
	n := startNSQD(t)
	n.create("orders", "billing")
	site := serve(t, []*nsqd{n})
	b := open(t)
	b.excused = []string{"net::ERR_", "htmx:sse", "network error", "Failed to fetch"}
	b.load(site.url)
	site.kill()
	b.shows("that it is stale", `document.getElementById("live").dataset.state === "stale"`)
	b.text("h1", "The channel kept up at")
	b.text(".lede", "No response from rdy ui since")
}

// Two tabs cost the nsqd no more than one. A tab in the background costs rdy ui no stream.
func TestOnePoller(t *testing.T) {
	t.Parallel()
	n := startNSQD(t)
	n.create("orders", "billing")
	polled := relayTo(t, "http://"+n.HTTP, nil)
	site := serve(t, nil, "--nsqd-http", polled.URL)
	viewed := relayTo(t, site.url, nil)
	b := open(t)
	b.load(viewed.URL)
	other := b.another()
	other.load(viewed.URL)
	b.count(`false`)
	before := polled.requests("/stats")
	b.shows("six polls", "polls >= 6")
	asked, polls := polled.requests("/stats")-before, int(b.eval("polls").(float64))
	if asked > polls+1 { // one may be under way
		t.Errorf("%d requests in %d polls", asked, polls)
	}
	hide := func(hidden string) {
		other.eval(`Object.defineProperty(document, "hidden", {configurable: true, value: ` + hidden + `}); document.dispatchEvent(new Event("visibilitychange")); 0`)
	}
	hide("true")
	await(t, "end of a stream", func() bool { return viewed.streams() == 1 })
	hide("false")
	await(t, "stream again", func() bool { return viewed.streams() == 2 })
	other.count(`true`)
	other.shows("polls again", "seen")
}
