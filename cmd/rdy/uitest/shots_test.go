//go:build linux

package uitest

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

var (
	shots      = flag.String("shots", "", "`directory` for screenshots of all pages, which TestShots takes")
	shotsAfter = flag.Duration("shots-after", 40*time.Second, "how long the cluster of TestShots runs before")
	shotsOnly  = flag.Bool("shots-readme", false, "take those of the README alone")
)

// shot takes a screenshot.
func (b *tab) shot(name string) {
	b.Helper()
	pause(300 * time.Millisecond) // charts are drawn
	var taken []byte
	b.do(chromedp.CaptureScreenshot(&taken))
	picture, err := png.Decode(bytes.NewReader(taken))
	if err != nil {
		b.Fatal(err)
	}
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&out, reduced(picture)); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*shots, name+".png"), out.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
}

// reduced returns a picture with its 256 most frequent colours, leaving out those that are nearly
// the same as a more frequent one.
func reduced(picture image.Image) *image.Paletted {
	bounds := picture.Bounds()
	count := make(map[color.NRGBA]int)
	at := func(x, y int) color.NRGBA { return color.NRGBAModel.Convert(picture.At(x, y)).(color.NRGBA) }
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	colours := make([]color.NRGBA, 0, len(count))
	for c := range count {
		colours = append(colours, c)
	}
	slices.SortFunc(colours, func(a, b color.NRGBA) int { return cmp.Compare(count[b], count[a]) })
	var palette color.Palette
	for _, c := range colours {
		near := slices.ContainsFunc(palette, func(p color.Color) bool {
			other := p.(color.NRGBA)
			return max(c.R, other.R)-min(c.R, other.R) < 4 && max(c.G, other.G)-min(c.G, other.G) < 4 && max(c.B, other.B)-min(c.B, other.B) < 4
		})
		if len(palette) < 256 && (!near || count[c] > 2000) {
			palette = append(palette, c)
		}
	}
	out := image.NewPaletted(bounds, palette)
	index := make(map[color.NRGBA]uint8)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			c := at(x, y)
			i, known := index[c]
			if !known {
				i = uint8(palette.Index(c)) // #nosec G115 -- of 256
				index[c] = i
			}
			out.SetColorIndex(x, y, i)
		}
	}
	return out
}

// looks takes screenshots of what a tab shows, in all sizes and themes.
func (b *tab) looks(name string) {
	b.Helper()
	for _, theme := range []string{"light", "dark"} {
		for _, width := range []int64{1440, 1024, 400} {
			b.look(width, theme, false)
			b.shot(fmt.Sprintf("%s-%d-%s", name, width, theme))
		}
	}
	b.look(1440, "light", true)
	b.shot(name + "-1440-forced")
	b.look(1440, "light", false)
}

// TestShots takes screenshots of every page and state, to be looked at:
//
//	go test -run TestShots -shots DIRECTORY
func TestShots(t *testing.T) {
	if *shots == "" {
		t.Skip("no -shots")
	}
	if err := os.MkdirAll(*shots, 0o700); err != nil {
		t.Fatal(err)
	}
	hangs, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never responds
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hangs.Close() }()
	silent, empty := startSite(t, "--nsqd-http", hangs.Addr().String()), serve(t, []*nsqd{startNSQD(t)})
	ready := make(chan *site, 1)
	c := startScene(t, *shotsAfter, func(c *cluster) {
		c.nsqds[1].fail()
		ready <- c.serve(t, "--name", "prod-eu", "--interval", "2s", "--allow-actions")
	})
	site := <-ready
	reader := c.serve(t, "--interval", "1s")
	b := open(t)
	b.excused = []string{""}

	b.load(site.url)
	b.shot("overview")
	b.look(1440, "dark", false)
	b.load(site.url + "/topics/payments/fraud-check")
	b.shot("channel")
	b.look(400, "light", false)
	b.do(chromedp.EmulateViewport(400, 860, chromedp.EmulateScale(2)))
	b.load(site.url)
	b.shot("phone")
	if *shotsOnly {
		return
	}
	b.shootPages(site, c)
	b.shootDialogs(site)
	b.shootDead(site)
	b.shootReading(site)
	for name, url := range map[string]string{"readonly": reader.url + "/topics/payments/fraud-check", "readonly-overview": reader.url, "empty": empty.url, "silent": silent.url} {
		b.do(chromedp.Navigate(url))
		b.looks(name)
	}
	first := startSite(t, "--nsqd-http", hangs.Addr().String())
	await(t, "page", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(first.url, "http://"))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	b.do(chromedp.Navigate(first.url))
	b.looks("first-poll")
	c.stop()
	b.load(reader.url)
	b.text("#problem-list", "Missing")
	b.looks("partial")
	b.do(chromedp.Navigate(reader.url + "/nodes"))
	b.looks("partial-nodes")
	b.load(reader.url)
	reader.kill()
	b.shows("that it is stale", `document.getElementById("live").dataset.state === "stale"`)
	b.looks("stale")
}

// shootPages takes all pages.
func (b *tab) shootPages(site *site, c *cluster) {
	b.Helper()
	pages := map[string]string{
		"overview": "/", "topics": "/?view=topics", "nothing-fits": "/?q=nothing", "topic": "/topics/payments", "channel-stuck": "/topics/payments/fraud-check", "channel-fine": "/topics/orders/billing",
		"channel-paused": "/topics/invoices/pdf", "channel-orphan": "/topics/clicks/archive-2019", "nodes": "/nodes", "node": "/nodes/" + c.nsqds[0].HTTP, "lookup": "/lookup", "log": "/log", "error": "/topics/none/none",
	}
	for name, path := range pages {
		b.do(chromedp.Navigate(site.url + path))
		b.looks(name)
	}
}

// shootDialogs takes what opens above a page.
func (b *tab) shootDialogs(site *site) {
	b.Helper()
	b.load(site.url + "/topics/payments/fraud-check")
	b.do(chromedp.Click(`//button[text()="Empty…"]`))
	b.text("dialog[open]", "will be lost")
	b.looks("dialog")
	b.load(site.url + "/topics/payments/fraud-check")
	b.do(chromedp.Click(`#clients button`, chromedp.ByQuery))
	b.text("dialog[open]", "Remote address")
	b.looks("connections")
	b.load(site.url)
	b.press("?")
	b.looks("keys")
	b.load(site.url)
	b.do(chromedp.Click(`[data-menu]`, chromedp.ByQuery))
	b.text("#menu", "Hide for me")
	b.looks("menu")
}

// fail publishes dead letters.
func (n *nsqd) fail() {
	n.Helper()
	for i, why := range []string{"503 Service Unavailable from hooks.example", "dial tcp 203.0.113.9:443: i/o timeout", "422 Unprocessable Entity (not retried)", "template \"welcome\" needs field \"name\""} {
		for order := range 3 {
			n.post("/pub?topic=orders.billing.dead", letter(why, fmt.Sprintf(`{"id":"evt_%d","customer":"c-2041","url":"https://hooks.example/in","payload":{"order":%d,"total":"218.40"}}`, 48210+i, order)))
		}
	}
}

// shootDead takes the pages of dead letters.
func (b *tab) shootDead(site *site) {
	b.Helper()
	b.load(site.url + "/dead")
	b.looks("dead-topics")
	b.do(chromedp.Click(`form[action="/dead/look"] button`, chromedp.ByQuery))
	b.text("h1", "12 dead letters")
	b.alive()
	b.looks("dead-list")
	b.do(chromedp.Click(`#letters tbody a.name`, chromedp.ByQuery))
	b.text("#letter-body", "evt_")
	b.eval(`document.querySelector("#letters tbody [type=checkbox]").click()`)
	b.looks("dead-letter")
	for _, verb := range []string{"replay", "drop"} {
		b.eval(fmt.Sprintf(`document.querySelector('[hx-post="/dead/ask/%s"]').click()`, verb))
		b.text("dialog[open]", "1 letter")
		b.looks("dead-" + verb)
		b.do(chromedp.Click("dialog[open] [data-close]", chromedp.ByQuery))
		b.shows("no dialog", `!document.querySelector("dialog[open]")`)
	}
}

// shootReading takes tail and peek, before and while they read.
func (b *tab) shootReading(site *site) {
	b.Helper()
	for kind, path := range map[string]string{"tail": "/tail/orders", "peek": "/peek/orders/billing"} {
		b.load(site.url + path)
		b.looks(kind + "-start")
		b.do(chromedp.Click("#reading-start", chromedp.ByQuery))
		b.text("#lines", "id")
		b.looks(kind)
		b.do(chromedp.Click(`//label[contains(., "Hex")]`))
		b.text("#lines", "00000000")
		b.looks(kind + "-hex")
	}
}
