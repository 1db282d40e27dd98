//go:build linux

package uitest

import (
	"fmt"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// rows is what the table shows, in its order.
const rows = `[...document.querySelectorAll("tbody a.name")].map((a) => a.title).join(" ")`

// address waits until the page has this address.
func (b *tab) address(path string) {
	b.Helper()
	b.is(path, "location.pathname + location.search")
}

// table waits until the table has these rows.
func (b *tab) table(names string) {
	b.Helper()
	b.is(names, rows)
}

// The address says what a page shows: a copied link, a reload and the way back show the same.
func TestLinks(t *testing.T) {
	t.Parallel()
	n := startNSQD(t)
	for _, channel := range []string{"audit", "billing", "mail#ephemeral"} {
		n.create("orders", channel)
	}
	n.create("clicks", "rollup")
	n.publish("orders", 7)
	n.post("/channel/pause?topic=orders&channel=audit", "")
	site := serve(t, []*nsqd{n})
	b := open(t)

	// A deep link, and an edit of each part of the view.
	b.load(site.url + "/?q=o&sort=-name")
	b.table("orders/billing orders/audit clicks/rollup")
	entries := b.eval("history.length")
	b.do(chromedp.SendKeys("#q", kb.End+"rders", chromedp.ByQuery))
	b.table("orders/billing orders/audit")
	b.address("/?q=orders&sort=-name")
	b.click("Paused")
	b.table("orders/audit")
	b.address("/?only=paused&q=orders&sort=-name")
	if now := b.eval("history.length"); now != entries {
		t.Errorf("a filter has added to the history: %v entries, then %v", entries, now)
	}
	b.do(chromedp.Reload())
	b.table("orders/audit")
	b.shows("the filter", `document.getElementById("q").value === "orders"`)

	// Into a channel and out again.
	b.do(chromedp.Click("#r0 .name", chromedp.ByQuery))
	b.address("/topics/orders/audit")
	b.click("24 h")
	b.address("/topics/orders/audit?range=24h")
	b.do(chromedp.Reload())
	b.shows("the range", `document.querySelector("[data-range][aria-current]").innerText === "24 h"`)
	b.click("orders")
	b.address("/topics/orders")
	b.do(chromedp.NavigateBack())
	b.address("/topics/orders/audit?range=24h")
	b.do(chromedp.NavigateBack())
	b.address("/?only=paused&q=orders&sort=-name")
	b.table("orders/audit")
	b.do(chromedp.NavigateForward())
	b.address("/topics/orders/audit?range=24h")

	// Addresses of nsqadmin, and a name with a character that ends a path.
	b.load(site.url + "/counter")
	b.address("/")
	b.load(site.url + "/?only=ephemeral")
	b.do(chromedp.Click("#r0 .name", chromedp.ByQuery))
	b.address("/topics/orders/mail%23ephemeral")
	b.text("h1", "mail#ephemeral")
	b.load(site.url + "/nodes/" + n.HTTP)
	b.text("h1", n.HTTP)

	b.excused = []string{"404"}
	b.do(chromedp.Navigate(site.url + "/topics/orders/nothing"))
	b.text("#main", "No nsqd has the channel nothing of the topic orders.")
}

// click clicks a link or a button with this text.
func (b *tab) click(text string) {
	b.Helper()
	b.do(chromedp.Click(fmt.Sprintf(`//main//*[self::a or self::button][normalize-space(text())=%q]`, text)))
}

// All of the page is reached by keys.
func TestKeys(t *testing.T) {
	t.Parallel()
	n := startNSQD(t)
	n.create("orders", "audit")
	n.create("orders", "billing")
	site := serve(t, []*nsqd{n}, "--allow-actions")
	b := open(t)
	b.load(site.url)
	focus := func(what, script string) { b.shows("focus on "+what, "document.activeElement"+script) }
	b.press("j")
	b.press("j")
	focus("the second row", `.title === "orders/billing"`)
	b.press("k")
	b.press(".")
	b.text("#menu", "Pause")
	b.do(chromedp.KeyEvent(kb.Escape))
	focus("the row again", `.title === "orders/audit"`)
	b.press("f")
	focus("the filter", `.id === "q"`)
	b.do(chromedp.KeyEvent("bill"))
	b.table("orders/billing")
	b.address("/?q=bill") // is set just after the table is there, and Escape goes back to it
	b.do(chromedp.KeyEvent(kb.Tab))
	b.eval("document.activeElement.blur()")
	b.press("j")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.address("/topics/orders/billing")
	b.alive()
	b.press("[")
	b.address("/topics/orders/billing?range=15m")
	b.press("h")
	b.text("#live", "Held")
	b.press("h")
	b.alive()
	b.do(chromedp.KeyEvent(kb.Escape))
	b.address("/?q=bill")
	b.alive()
	b.press("g")
	b.press("n")
	b.address("/nodes")
	b.alive()
	b.press("/")
	focus("the jump field", `.id === "jump"`)
	b.do(chromedp.KeyEvent("orders/audit" + kb.Enter))
	b.address("/topics/orders/audit")
	b.alive()
	b.press("?")
	b.shows("list of keys", `document.getElementById("keys").open`)
}

// press presses a key. Unlike that of chromedp.KeyEvent, its letter comes only if the page lets it.
func (b *tab) press(key string) {
	b.Helper()
	b.do(input.DispatchKeyEvent(input.KeyDown).WithKey(key).WithText(key), input.DispatchKeyEvent(input.KeyUp).WithKey(key))
}
