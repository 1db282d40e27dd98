//go:build linux

package uitest

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Destruction wants the name, and Enter does nothing before it fits.
func TestEmpty(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
		for _, theme := range []string{"light", "dark"} {
			for _, width := range []int64{1440, 1024, 400} {
				b.look(width, theme, false)
				b.examine(fmt.Sprintf("%s at %d, %s", path, width, theme))
			}
		}
		b.look(320, "light", false)
		b.examine(path + " at 320, which is 1280 with a zoom of 400 %")
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
	if b.eval("typeof axe") == "undefined" {
		b.do(chromedp.Evaluate(axe+";0", nil))
	}
	b.do(chromedp.Evaluate(
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
