//go:build linux

package uitest

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
)

// A thousand channels are read by pages, by a filter and sorted, on a phone as well.
func TestManyRows(t *testing.T) {
	t.Parallel()
	n := startNSQD(t)
	for i := range 1000 {
		n.create(fmt.Sprintf("topic-%03d", i/5), fmt.Sprintf("channel-%d", i%5))
	}
	n.publish("topic-123", 9)
	site := serve(t, []*nsqd{n})
	b := open(t)
	count := func(rows int) {
		b.Helper()
		b.is(fmt.Sprint(rows), `String(document.querySelectorAll("tbody a.name").length)`)
	}
	first := func(name string) {
		b.Helper()
		b.is(name, `document.querySelector("tbody a.name").title`)
	}
	for _, width := range []int64{1440, 400} {
		b.look(width, "light", false)
		b.load(site.url + "/?sort=name")
		count(100)
		b.click("Next")
		first("topic-020/channel-0")
		b.address("/?page=2&sort=name")
		b.click("Next")
		first("topic-040/channel-0")
		b.do(chromedp.SendKeys("#q", "12*channel-4", chromedp.ByQuery))
		first("topic-012/channel-4")
		count(12)
		b.shows("what is left to see", `document.querySelector("#rows footer").innerText.startsWith("12 channels")`)
		b.load(site.url + "/?page=all")
		first("topic-123/channel-0") // the deepest come first
		count(1000)
		b.click("Sort again")
		count(1000)
		b.count(`document.querySelectorAll("tbody a.name").length === 1000`)
		b.shows("polls", "seen")
		if wide := b.eval(`document.documentElement.scrollWidth - innerWidth`); wide.(float64) > 0 {
			t.Errorf("%v px wider than the window", wide)
		}
	}
	b.is("60", `String(document.querySelector("tbody tr").offsetHeight)`)
}
