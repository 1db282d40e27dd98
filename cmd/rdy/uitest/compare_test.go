//go:build linux

package uitest

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// person looks for answers in a tab, from the first page on, and counts the clicks.
type person struct {
	*tab
	home   string
	clicks int
	seen   string // all that was shown
}

// begin goes to the first page, for a new question.
func (p *person) begin(shown string) {
	p.Helper()
	p.clicks = 0
	p.do(chromedp.Navigate(p.home))
	p.reads("body", shown)
}

// click clicks an element, and waits until the page shows a text.
func (p *person) click(selector, shown string) {
	p.Helper()
	p.clicks++
	p.do(chromedp.Click(selector, chromedp.ByQuery))
	p.reads("body", shown)
}

// reads waits until an element shows a text.
func (p *person) reads(selector, shown string) {
	p.Helper()
	p.text(selector, shown)
	p.seen += p.eval(`document.body.innerText`).(string)
}

// answer returns words with the number of clicks for N.
func (p *person) answer(words string) string {
	return strings.ReplaceAll(words, "N", fmt.Sprint(p.clicks))
}

// never fails the test if the person has seen what fits an expression.
func (p *person) never(expression string) {
	p.Helper()
	if found := regexp.MustCompile(expression).FindString(p.seen); found != "" {
		p.Errorf("nsqadmin shows %q", found)
	}
}

// question is one that somebody on call has. Both functions return the answer, in clicks.
type question struct {
	text        string
	admin, page func() string
}

// questions returns the questions about a cluster whose channel payments/fraud-check is stuck.
func questions(c *cluster, topics []string, admin, page *person) []question {
	topic := func(name string) string { return fmt.Sprintf(`a.link[href="/topics/%s"]`, name) }
	const channel, row = `a.link[href="/topics/payments/fraud-check"]`, `#r0 .name`
	toChannel := func() {
		admin.begin("Topics")
		admin.click(topic("payments"), "Topic Message Queue")
		admin.click(channel, "Client Connections")
	}
	atOnce := func(selector, shown string) func() string {
		return func() string {
			page.begin("needs you")
			page.reads(selector, shown)
			return page.answer("N")
		}
	}
	inRow := func(selector, shown string) func() string {
		return func() string {
			page.begin("needs you")
			page.click(row, "Clients")
			page.reads(selector, shown)
			return page.answer("N")
		}
	}
	// The channel's page was loaded twice by then, and has no rate.
	noRate := func(words string) func() string {
		return func() string {
			toChannel()
			admin.never(`\d ?/s|per second|(?i)drain`)
			return admin.answer(words)
		}
	}
	return []question{
		{"Which channel needs me?", func() string {
			admin.begin("Topics")
			for i, name := range topics {
				if i > 0 {
					admin.click(`a.link[href="/"]`, "Topics")
				}
				admin.click(topic(name), "Topic: "+name)
			}
			byTopics := admin.clicks
			admin.begin("Topics")
			for _, n := range c.nsqds {
				admin.click(`a.link[href="/nodes"]`, "NSQd Nodes (3)")
				admin.click(fmt.Sprintf(`a.link[href="/nodes/%s"]`, n.HTTP), "fraud-check")
			}
			admin.never(`(?i)stuck|needs`)
			return admin.answer(fmt.Sprintf("%d (N through the nodes, sums by hand); nothing is marked", byTopics))
		}, atOnce("#problem-list", "payments/fraud-check")},
		{"Since when? Was it so an hour ago?", func() string {
			toChannel()
			admin.never(`(?i)since|hour`)
			return "no (needs Graphite)"
		}, atOnce("#p0-since", " s")},
		{"Fast in, fast out?", noRate("no; N, a reload and arithmetic"), atOnce("#r0 .rate", "")},
		{"When is it drained?", noRate("no; the same"), atOnce("#r0 .c-drains", "never")},
		{"Which client is slow or stuck?", noRate("N and a reload; not said"), inRow("#clients", "stuck")},
		{"Who consumes, from where, which version?", func() string {
			toChannel()
			admin.reads("body", "rdy/")
			return admin.answer("N")
		}, inRow("#clients", "rdy/")},
		{"Is one nsqd uneven?", func() string {
			toChannel()
			admin.reads("body", c.nsqds[2].HTTP)
			return admin.answer("N")
		}, inRow("#on", c.nsqds[2].HTTP)},
		{"Is a node missing, do lookups disagree?", func() string {
			c.stop()
			await(admin.T, "node less", func() bool {
				admin.begin("Topics")
				admin.click(`a.link[href="/nodes"]`, "NSQd Nodes (")
				return strings.Contains(admin.eval(`document.body.innerText`).(string), "NSQd Nodes (2)")
			})
			return admin.answer("N; a dead node vanishes from the list")
		}, atOnce("#problem-list", c.nsqds[2].HTTP)},
		{"Stop delivery, and still see that it is stopped", func() string {
			toChannel()
			admin.click(`[data-action="pause"]`, "Are you sure")
			admin.click(`.bootbox-accept`, "paused")
			clicks := admin.answer("N; not shown on `/`")
			admin.click(`[data-action="unpause"]`, "Are you sure")
			admin.click(`.bootbox-accept`, "Pause Channel")
			return clicks
		}, func() string {
			page.begin("need you")
			page.do(chromedp.Click(`a[title="payments/fraud-check"]`, chromedp.ByQuery))
			page.clicks++
			page.reads("h1", "fraud-check")
			page.reads("#action-0", "Pause") // as soon as it is known that nsqadmin has unpaused it
			page.click(`#action-0`, "Pause payments/fraud-check?")
			page.click(`dialog[open] [type="submit"]`, "is paused")
			clicks := page.answer("N; ")
			page.begin("need")
			page.reads("tbody", "paused")
			return clicks + page.answer("N")
		}},
	}
}

// The questions are answered by nsqadmin and by our page, about the same cluster of 10 topics and
// 14 channels. docs/ui.md has the table of the clicks.
func TestBesideNSQAdmin(t *testing.T) {
	t.Parallel()
	c := startCluster(t, nil)
	topics := []string{"audit", "clicks", "emails", "invoices", "orders", "payments", "search-index", "sessions", "thumbnails", "webhooks"}
	for _, topic := range topics {
		c.create(topic, "store")
	}
	for _, name := range []string{"audit/archive", "orders/billing", "orders/warehouse", "payments/fraud-check"} {
		topic, channel, _ := strings.Cut(name, "/")
		c.create(topic, channel)
	}
	var consumer *process
	for _, channel := range []string{"store", "fraud-check"} {
		consumer = start(t, "tail", "payments", "--channel", channel, "--nsqd", c.nsqds[0].TCP)
	}
	c.nsqds[0].work("payments")
	site := c.serve(t, "--allow-actions")
	page := &person{tab: open(t), home: site.url}
	admin := &person{tab: page.another(), home: c.admin}
	admin.excused = []string{""} // its console is not ours
	page.load(page.home)
	page.text("#verdict", "All 14 channels keep up")
	page.count(`false`)
	page.shows("how long gaps are", "polls > 8")
	consumer.hold()
	page.text("#problem-list", "Stuck")

	table := "|question|nsqadmin 1.3.0|`rdy ui`|\n|---|---|---|\n"
	for _, q := range questions(c, topics, admin, page) {
		table += fmt.Sprintf("|%s|%s|%s|\n", q.text, q.admin(), q.page())
	}
	doc, err := os.ReadFile("../../../docs/ui.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), table) {
		t.Errorf("docs/ui.md has another table than\n%s", table)
	}
}
