//go:build unix

package uitest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// letter returns a dead letter of channel billing of topic orders.
func letter(why, body string) string {
	return "NSQ-Envelope: 1\nfailed-at: 2026-11-30T07:00:00Z\nfailed-error: " + why + "\nfailed-host: host-7\norigin-attempts: 6\norigin-channel: billing\n" +
		"origin-nsqd: nsqd-2:4150\norigin-published: 2026-11-30T06:39:00Z\norigin-topic: orders\n\n" + body
}

// A viewer looks at dead letters, reads one, replays it to where it comes from once the channels
// were named, and drops another.
func TestDead(t *testing.T) {
	t.Parallel()
	n := startNSQD(t)
	n.create("orders", "billing")
	n.create("orders", "archive")
	const topic, hostile = "orders.billing.dead", `<img src=x onerror="window.hacked=1">`
	n.post("/pub?topic="+topic, letter("503 from hooks.example", `{"id":17}`))
	n.post("/pub?topic="+topic, letter(hostile, hostile))
	n.post("/pub?topic="+topic, "raw")
	site := serve(t, []*nsqd{n}, "--allow-actions")
	b := open(t)
	b.load(site.url)
	b.text("#dead-count", "3")
	b.do(chromedp.Click(`//nav[@aria-label="Pages"]/a[contains(., "Dead letters")]`))
	b.text("#main", "creates the channel rdy-dead")
	b.examine("dead letters before a look")
	b.do(chromedp.Click(`//button[text()="Look at the letters"]`))
	b.text("h1", "3 dead letters")
	b.shows("live page", `document.getElementById("live")?.dataset.state === "live"`)
	b.do(chromedp.Click(`//tr[contains(., "img")]//a`))
	b.text("#letter-body", hostile)
	b.shows("its address", `location.pathname.startsWith("/dead/`+topic+`/")`)
	if b.eval(`window.hacked === undefined && document.querySelectorAll("#main img").length === 0`) != true {
		t.Error("a letter has become HTML")
	}
	for width, theme := range map[int64]string{1440: "light", 1024: "dark", 400: "light", 320: "dark"} {
		b.look(width, theme, false)
		b.examine(fmt.Sprintf("dead letters at %d, %s", width, theme))
	}
	b.look(1440, "light", true)
	b.examine("dead letters with forced colours")
	b.look(1440, "light", false)
	b.do(chromedp.SendKeys("#q", "503", chromedp.ByQuery))
	b.shows("one row", `document.querySelectorAll("#letters tbody tr").length === 1 && location.search.includes("q=503")`)
	b.do(chromedp.Focus("#letters tbody a", chromedp.ByQuery), chromedp.KeyEvent("x"))
	b.text("#chosen", "1 selected")
	b.do(chromedp.Click(`//button[text()="Replay…"]`))
	b.text("dialog[open]", "orders has 2 channels, and each gets a copy: archive, billing.")
	b.examine("dialog before a replay")
	b.do(chromedp.Click(`dialog [type=submit]`, chromedp.ByQuery))
	if b.eval(`Boolean(document.querySelector("dialog[open] :invalid"))`) != true || strings.Contains(n.stats(), `"message_count":1`) {
		t.Error("a replay does not want to know where to")
	}
	b.do(chromedp.Click(`dialog [value=origin]`, chromedp.ByQuery), chromedp.Click(`dialog [type=submit]`, chromedp.ByQuery))
	b.text("#toast", "1 letter of "+topic+" was replayed.")
	b.text("#letters tbody", "replayed at ")
	b.do(chromedp.Click(`//main//a[contains(., "All")] | //nav[@aria-label="Pages"]/a[contains(., "Dead letters")]`))
	b.shows("all letters", `document.querySelectorAll("#letters tbody tr").length === 3`)
	b.do(chromedp.Click(`#all-letters`, chromedp.ByQuery))
	b.text("#chosen", "2 selected")
	b.do(chromedp.Click(`//button[text()="Drop…"]`))
	b.text("dialog[open]", "2 letters will be lost")
	b.do(chromedp.SendKeys("#typed", topic+"\r", chromedp.ByQuery))
	b.text("#toast", "2 letters of "+topic+" were dropped.")
	b.text("#dead-now", "0 letters wait now.")
	b.load(site.url + "/log")
	b.text("#actions", "2 letters of "+topic)
}
