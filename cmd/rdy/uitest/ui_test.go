//go:build linux

package uitest

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// A publish shows within two polls, on the page as it is.
func TestPublishShows(t *testing.T) {
	n := startNSQD(t)
	n.create("orders", "billing")
	n.create("orders", "audit")
	site := serve(t, []*nsqd{n})
	b := open(t)
	b.load(site.url)
	b.eval(`window.marked = true`)
	b.eval(`document.querySelector("#r1 .name").focus()`)
	focused := b.eval(`document.activeElement.title`)
	n.publish("orders", 42)
	begin := time.Now()
	b.text("#r0", "42")
	if took := time.Since(begin); took > 2*interval+2*time.Second { // the machine may be slow
		t.Errorf("it took %v", took)
	}
	if b.eval(`window.marked`) != true || b.eval(`document.activeElement.title`) != focused {
		t.Error("the page was loaded again, or has lost the focus")
	}
	// The filter, the address and the way back.
	b.do(chromedp.SendKeys("#q", "audit", chromedp.ByQuery))
	b.shows("one row", `document.querySelectorAll("tbody tr").length === 1 && location.search === "?q=audit" && document.activeElement.id === "q"`)
	b.do(chromedp.Click(`#r0 .name`, chromedp.ByQuery))
	b.text("h1", "audit")
	b.do(chromedp.NavigateBack())
	b.shows("the filter again", `location.search === "?q=audit" && document.getElementById("q").value === "audit" && document.querySelectorAll("tbody tr").length === 1`)
	b.load(site.url + "/topics/orders/billing")
	b.text("#f-depth", "42")
	b.shows("charts", `document.querySelectorAll(".chart canvas").length === 2`)
}

// A stuck consumer is flagged, and no longer when it works again.
func TestStuckShows(t *testing.T) {
	n := startNSQD(t)
	n.create("payments", "fraud")
	for range 3 { // more than the consumer works off in the test: it has no pauses
		n.publish("payments", 60_000)
	}
	consumer := start(t, "tail", "payments", "--channel", "fraud", "--nsqd", n.TCP)
	site := serve(t, []*nsqd{n})
	b := open(t)
	b.load(site.url)
	b.text("#verdict", "The channel keeps up")
	pause(8 * interval) // until it is known how long its gaps are
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
}

// A page whose server is gone says so in the past tense.
func TestStale(t *testing.T) {
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

// Two tabs cost the nsqd no more than one.
func TestOnePoller(t *testing.T) {
	n := startNSQD(t)
	n.create("orders", "billing")
	site := serve(t, []*nsqd{n})
	polls := func(d time.Duration) int {
		seen := make(map[string]bool)
		for deadline := time.Now().Add(d); time.Now().Before(deadline); pause(20 * time.Millisecond) {
			r, err := http.Get(site.url + "/pulse")
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(r.Body)
			_ = r.Body.Close()
			seen[string(text)] = true
		}
		return len(seen)
	}
	b := open(t)
	b.load(site.url)
	b.another().load(site.url)
	if got := polls(6 * interval); got > 8 {
		t.Errorf("%d polls in the time of 6", got)
	}
}

// Destruction wants the name, and Enter does nothing before it fits.
func TestEmpty(t *testing.T) {
	n := startNSQD(t)
	n.create("orders", "billing")
	n.publish("orders", 7)
	site := serve(t, []*nsqd{n}, "--allow-actions")
	b := open(t)
	b.load(site.url + "/topics/orders/billing")
	b.text("#f-depth", "7")
	b.do(chromedp.Click(`//button[text()="Empty…"]`))
	b.text("dialog[open]", "7 messages will be lost")
	b.shows("focus in the field", `document.activeElement.id === "typed"`)
	b.do(chromedp.SendKeys("#typed", "billin\r", chromedp.ByQuery))
	if b.eval(`Boolean(document.querySelector("dialog[open] [type=submit]:disabled"))`) != true {
		t.Error("the button is enabled before the name fits")
	}
	b.do(chromedp.SendKeys("#typed", "g\r", chromedp.ByQuery))
	b.text("#toast", "orders/billing is emptied on 1 nsqd.")
	b.text("#f-depth", "0")
	b.shows("no dialog", `!document.querySelector("dialog[open]")`)
}

// Names of clients are text.
func TestHostileText(t *testing.T) {
	n := startNSQD(t)
	n.create("orders", "billing")
	const hostile = `<img src=x onerror="window.hacked=1">`
	n.subscribe("orders", "billing", hostile)
	site := serve(t, []*nsqd{n})
	b := open(t)
	b.load(site.url + "/topics/orders/billing")
	b.text("#clients", "<img src=x")
	if b.eval(`window.hacked === undefined && document.querySelectorAll("#main img").length === 0`) != true {
		t.Error("the name of a client has become HTML")
	}
	b.load(site.url + "/?q=" + strings.ReplaceAll("%3Cimg src=x onerror=alert(1)%3E", " ", "%20"))
	if b.eval(`document.querySelectorAll("#main img").length`) != 0.0 {
		t.Error("the filter has become HTML")
	}
}

//go:embed testdata/axe-4.14.1.min.js
var axe string

// violations is what axe finds.
type violations []struct {
	ID    string `json:"id"`
	Help  string `json:"help"`
	Nodes []struct {
		HTML    string `json:"html"`
		Summary string `json:"failureSummary"`
	} `json:"nodes"`
}

// axe finds nothing on any page, in any theme and width, and no page is wider than its window.
func TestAccessible(t *testing.T) {
	n := startNSQD(t)
	for _, c := range []string{"orders/billing", "orders/audit", "clicks/archive", "invoices/pdf", strings.Repeat("long-topic", 6) + "/" + strings.Repeat("long-channel", 5)} {
		topic, channel, _ := strings.Cut(c, "/")
		n.create(topic, channel)
	}
	n.post("/channel/pause?topic=invoices&channel=pdf", "")
	n.work("clicks")
	n.publish("invoices", 3)
	start(t, "tail", "orders", "--channel", "billing", "--nsqd", n.TCP)
	site := serve(t, []*nsqd{n}, "--allow-actions")
	b := open(t)
	b.load(site.url)
	b.text("#problem-list", "Orphan")
	for _, path := range []string{"/", "/?view=topics", "/topics/clicks", "/topics/clicks/archive", "/topics/orders/billing", "/nodes", "/nodes/" + n.HTTP, "/lookup", "/log"} {
		b.look(1440, "light", false)
		b.load(site.url + path)
		for _, width := range []int64{1440, 1024, 400, 320} { // the last one is 400 % zoom of 1280
			for _, theme := range []string{"light", "dark"} {
				b.look(width, theme, false)
				b.examine(fmt.Sprintf("%s at %d, %s", path, width, theme))
			}
		}
		b.look(1440, "dark", true)
		b.examine(path + " with forced colours")
	}
	b.look(1440, "light", false)
	b.load(site.url + "/topics/orders/billing")
	b.do(chromedp.Click(`//button[text()="Empty…"]`))
	b.text("dialog[open]", "will be lost")
	b.examine("dialog")
	b.load(site.url)
	b.do(chromedp.Click(`[data-menu]`, chromedp.ByQuery))
	b.text("#menu", "Hide for me")
	b.examine("menu")
}

// examine runs axe.
func (b *tab) examine(what string) {
	b.Helper()
	if wide := b.eval(`document.documentElement.scrollWidth - innerWidth`); wide.(float64) > 0 {
		b.Errorf("%s: %v px wider than the window", what, wide)
	}
	var text string
	b.do(chromedp.Evaluate(axe+";0", nil), chromedp.Evaluate(
		`axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).then((r) => JSON.stringify(r.violations))`,
		&text, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	var found violations
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		b.Fatal(err)
	}
	for _, v := range found {
		for _, node := range v.Nodes {
			b.Errorf("%s: %s (%s): %.300s: %s", what, v.ID, v.Help, node.HTML, node.Summary)
		}
	}
}
