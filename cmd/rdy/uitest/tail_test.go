//go:build unix

package uitest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// A viewer starts a tail, sees messages as text, holds it, and leaves nothing behind.
func TestTail(t *testing.T) {
	t.Parallel()
	n := startNSQD(t)
	n.create("orders", "billing")
	n.create("lonely", "none")
	n.post("/channel/delete?topic=lonely&channel=none", "")
	site := serve(t, []*nsqd{n})
	b := open(t)
	b.load(site.url + "/topics/orders/billing")
	b.do(chromedp.Click(`//a[text()="Tail"]`))
	b.text("h1", "Tail orders")
	b.examine("tail, not started")
	b.do(chromedp.Click(`#reading-start`, chromedp.ByQuery))
	b.text("#reading-words", "No message has come yet.")
	n.post("/pub?topic=orders", `{"id":1,"name":"<img src=x onerror='window.hacked=1'>"}`)
	b.text("#lines", "<img src=x")
	b.text("#reading-words", "Shows all messages")
	b.do(chromedp.Click(`//label[contains(., "Hex")]`))
	b.text("#lines", "00000000  7b 22 69 64")
	if b.eval(`window.hacked === undefined && document.querySelectorAll("#main img").length === 0`) != true {
		t.Error("a body has become HTML")
	}
	b.do(chromedp.SendKeys("#q", "two", chromedp.ByQuery))
	b.shows("no line", `document.querySelectorAll("#lines tr").length === 0`)
	n.post("/mpub?topic=orders", "one\ntwo\nthree")
	b.text("#lines", "74 77 6f")
	b.eval(`document.activeElement.blur()`)
	b.do(chromedp.KeyEvent("h"))
	b.text("#reading-hold", "Resume")
	n.post("/pub?topic=orders", "two again")
	b.text("#reading-new", "1 new")
	b.do(chromedp.Click("#reading-new", chromedp.ByQuery))
	b.shows("both lines", `document.querySelectorAll("#lines tr").length === 2`)
	for width, theme := range map[int64]string{1440: "light", 1024: "dark", 400: "light", 320: "dark"} {
		b.look(width, theme, false)
		b.examine(fmt.Sprintf("tail at %d, %s", width, theme))
	}
	b.look(1440, "light", true)
	b.examine("tail with forced colours")
	b.look(1440, "light", false)
	b.do(chromedp.Click("#reading-stop", chromedp.ByQuery))
	b.text("#reading-words", "Stopped.")
	await(t, "end of the channel", func() bool { return !strings.Contains(n.stats(), "#ephemeral") })
	b.load(site.url + "/tail/lonely")
	b.do(chromedp.Click(`#reading-start`, chromedp.ByQuery))
	b.text("#reading", "The topic lonely has no channel.")
}

// A peek shows the next ten messages and ends.
func TestPeek(t *testing.T) {
	t.Parallel()
	n := startNSQD(t)
	n.create("orders", "billing")
	site := serve(t, []*nsqd{n})
	b := open(t)
	b.load(site.url + "/topics/orders/billing")
	b.do(chromedp.Click(`//a[text()="Peek"]`))
	b.text("h1", "Peek orders")
	b.do(chromedp.Click(`#reading-start`, chromedp.ByQuery))
	b.text("#reading-words", "No message has come yet.")
	n.publish("orders", 12)
	b.text("#reading-words", "These were the next 10 messages.")
	b.text("#lines", "\"id\": 1\n")
	b.shows("ten messages", `document.querySelectorAll("#lines tr").length === 10`)
	b.examine("peek")
	b.do(chromedp.Click(`//label[contains(., "Hex")]`))
	b.text("#lines", "00000000  7b 22 69 64")
	b.shows("ten messages", `document.querySelectorAll("#lines tr").length === 10`)
	await(t, "end of the channel", func() bool { return !strings.Contains(n.stats(), "#ephemeral") })
}

// stats returns what the nsqd counts.
func (n *nsqd) stats() string {
	n.Helper()
	r, err := http.Get("http://" + n.HTTP + "/stats?format=json")
	if err != nil {
		n.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		n.Fatal(err)
	}
	return string(text)
}
