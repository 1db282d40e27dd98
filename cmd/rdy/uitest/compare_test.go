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

// click clicks an element, waits until the page shows a text, and returns all that it shows.
func (p *person) click(selector, shown string) string {
	p.Helper()
	p.clicks++
	p.do(chromedp.Click(selector, chromedp.ByQuery))
	return p.reads("body", shown)
}

// reads waits until an element shows a text, and returns all that the page shows. It asks for both
// at once: the page before may show the text as well, and be gone a moment later.
func (p *person) reads(selector, shown string) (all string) {
	p.Helper()
	await(p.T, fmt.Sprintf("%q in %s", shown, selector), func() bool {
		text, _ := p.ask(fmt.Sprintf(`document.querySelector(%q)?.innerText.includes(%q) ? document.body.innerText : ""`, selector, shown))
		all, _ = text.(string)
		return all != ""
	})
	p.seen += all
	return all
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

// comparison is of nsqadmin and of our page, about a cluster whose channel payments/fraud-check is
// stuck.
type comparison struct {
	*cluster
	topics      []string
	admin, page *person
}

func (c *comparison) questions() []question {
	third := c.nsqds[2].HTTP
	return []question{
		{"Which channel needs me?", c.adminNeeds, c.atOnce("#problem-list", "payments/fraud-check")},
		{"Since when? Was it so an hour ago?", c.adminNever(`(?i)since|hour`, "no (needs Graphite)"), c.atOnce("#p0-since", " s")},
		{"Fast in, fast out?", c.adminNoRate("no; N, a reload and arithmetic"), c.atOnce("#r0 .rate", "")},
		{"When is it drained?", c.adminNoRate("no; the same"), c.atOnce("#r0 .c-drains", "never")},
		{"Which client is slow or stuck?", c.adminNoRate("N and a reload; not said"), c.inRow("#clients", "stuck")},
		{"Who consumes, from where, which version?", c.adminReads("rdy/"), c.inRow("#clients", "rdy/")},
		{"Is one nsqd uneven?", c.adminReads(third), c.inRow("#on", third)},
		{"Is a node missing, do lookups disagree?", c.adminMissing, c.atOnce("#problem-list", third)},
		{"What is in it? What failed?", c.adminNever(`"id"|(?i)body|error`, "no"), c.pageBodies},
		{"Stop delivery, and still see that it is stopped", c.adminStop, c.pageStop},
	}
}

func (c *comparison) topicLink(name string) string {
	return fmt.Sprintf(`a.link[href="/topics/%s"]`, name)
}

// toChannel opens the channel's page of nsqadmin.
func (c *comparison) toChannel() {
	c.admin.begin("Topics")
	c.admin.click(c.topicLink("payments"), "Topic Message Queue")
	c.admin.click(`a.link[href="/topics/payments/fraud-check"]`, "Client Connections")
}

// adminNever is for what nsqadmin never shows.
func (c *comparison) adminNever(expression, words string) func() string {
	return func() string {
		c.toChannel()
		c.admin.never(expression)
		return c.admin.answer(words)
	}
}

// adminNoRate is for what takes a rate. The channel's page was loaded twice by then, and has none.
func (c *comparison) adminNoRate(words string) func() string {
	return c.adminNever(`\d ?/s|per second|(?i)drain`, words)
}

// adminReads is for what nsqadmin's page of the channel shows.
func (c *comparison) adminReads(shown string) func() string {
	return func() string {
		c.toChannel()
		c.admin.reads("body", shown)
		return c.admin.answer("N")
	}
}

// atOnce is for what our first page shows.
func (c *comparison) atOnce(selector, shown string) func() string {
	return func() string {
		c.page.begin("needs you")
		c.page.reads(selector, shown)
		return c.page.answer("N")
	}
}

// inRow is for what our page of the channel shows.
func (c *comparison) inRow(selector, shown string) func() string {
	return func() string {
		c.page.begin("needs you")
		c.page.click("#r0 .name", "Clients")
		c.page.reads(selector, shown)
		return c.page.answer("N")
	}
}

func (c *comparison) adminNeeds() string {
	c.admin.begin("Topics")
	for i, name := range c.topics {
		if i > 0 {
			c.admin.click(`a.link[href="/"]`, "Topics")
		}
		c.admin.click(c.topicLink(name), "Topic: "+name)
	}
	byTopics := c.admin.clicks
	c.admin.begin("Topics")
	for _, n := range c.nsqds {
		c.admin.click(`a.link[href="/nodes"]`, "NSQd Nodes (3)")
		c.admin.click(fmt.Sprintf(`a.link[href="/nodes/%s"]`, n.HTTP), "fraud-check")
	}
	c.admin.never(`(?i)stuck|needs`)
	return c.admin.answer(fmt.Sprintf("%d (N through the nodes, sums by hand); nothing is marked", byTopics))
}

func (c *comparison) adminMissing() string {
	c.stop()
	await(c.admin.T, "node less", func() bool {
		c.admin.begin("Topics")
		return strings.Contains(c.admin.click(`a.link[href="/nodes"]`, "NSQd Nodes ("), "NSQd Nodes (2)")
	})
	return c.admin.answer("N; a dead node vanishes from the list")
}

// pageBodies reads a message of the channel, and then why another has failed.
func (c *comparison) pageBodies() string {
	c.nsqds[0].post("/pub?topic=payments.fraud-check.dead", letter("503 from hooks.example", `{"id":17}`))
	c.page.begin("need you")
	c.page.click("#r0 .name", "Clients")
	c.page.click(`a[href^="/peek/payments/"]`, "Peek payments")
	c.page.click("#reading-start", "\"id\": 1")
	clicks := c.page.answer("N; ")
	c.page.begin("need you")
	c.page.reads("#dead-count", "1")
	c.page.click(`nav a[href="/dead"]`, "Topics of dead letters")
	c.page.click(`form[action="/dead/look"] button`, "503 from hooks.example")
	return clicks + c.page.answer("N")
}

func (c *comparison) adminStop() string {
	c.toChannel()
	c.admin.click(`[data-action="pause"]`, "Are you sure")
	c.admin.click(`.bootbox-accept`, "paused")
	clicks := c.admin.answer("N; not shown on `/`")
	c.admin.click(`[data-action="unpause"]`, "Are you sure")
	c.admin.click(`.bootbox-accept`, "Pause Channel")
	return clicks
}

func (c *comparison) pageStop() string {
	c.page.begin("need you")
	c.page.click(`a[title="payments/fraud-check"]`, "Clients")
	c.page.reads("#action-0", "Pause") // as soon as it is known that nsqadmin has unpaused it
	c.page.click(`#action-0`, "Pause payments/fraud-check?")
	c.page.click(`dialog[open] [type="submit"]`, "is paused")
	clicks := c.page.answer("N; ")
	c.page.begin("need")
	c.page.reads("tbody", "paused")
	return clicks + c.page.answer("N")
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
	beside := &comparison{c, topics, admin, page}
	for _, q := range beside.questions() {
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
