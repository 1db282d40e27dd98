//go:build linux

package uitest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// tab is a tab of a browser. What it writes to its console fails the test.
type tab struct {
	*testing.T
	ctx context.Context

	mu       sync.Mutex
	excused  []string // parts of messages that are expected
	messages []string
}

// browserPath returns the path of the browser. Debian's program in the PATH is a shell script: a
// signal to it would end the shell alone.
func browserPath() string {
	const path = "/usr/lib/chromium/chromium-headless-shell"
	if _, err := os.Stat(path); err == nil {
		return path
	}
	return "chromium-headless-shell"
}

// open starts a browser with a tab.
func open(t *testing.T) *tab {
	t.Helper()
	// The browser is closed by the cleanup of its tab. t.Context ends before that, and would kill it.
	ctx := context.WithoutCancel(t.Context())
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browserPath()), chromedp.NoSandbox, chromedp.ModifyCmdFunc(grouped))
	ctx, cancel := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	quiet := func(string, ...any) {} // chromedp does not know all events of a newer browser
	return newTab(t, ctx, chromedp.WithErrorf(quiet))
}

// grouped has a browser killed together with its children, which are in its process group, and
// has it killed if this process ends first.
func grouped(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// another opens another tab of the same browser.
func (b *tab) another() *tab {
	b.Helper()
	return newTab(b.T, b.ctx)
}

func newTab(t *testing.T, parent context.Context, options ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, options...)
	b := &tab{T: t, ctx: ctx}
	chromedp.ListenTarget(ctx, b.listen)
	t.Cleanup(func() {
		ctx, timeout := context.WithTimeout(ctx, patience)
		_ = chromedp.Cancel(ctx) // closes the tab, and the browser with its first one
		timeout()
		cancel()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, m := range b.messages {
			t.Error("console: " + m)
		}
	})
	if err := chromedp.Run(ctx); err != nil { // the browser or the tab lives as long as this context
		t.Fatal(err)
	}
	b.look(1440, "light", false)
	return b
}

func (b *tab) listen(event any) {
	var text string
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		text = string(e.Type)
		for _, a := range e.Args {
			text += " " + string(a.Value) + a.Description
		}
	case *runtime.EventExceptionThrown:
		text = e.ExceptionDetails.Error()
	case *log.EventEntryAdded:
		text = fmt.Sprint(e.Entry.Level, " ", e.Entry.Text, " ", e.Entry.URL)
	default:
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, part := range b.excused {
		if strings.Contains(text, part) {
			return
		}
	}
	b.messages = append(b.messages, text)
}

func (b *tab) do(actions ...chromedp.Action) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		b.Fatal(err)
	}
}

// load opens an address, and waits until the page is live.
func (b *tab) load(url string) {
	b.Helper()
	b.do(chromedp.Navigate(url))
	b.alive()
}

// alive waits until the page is live.
func (b *tab) alive() {
	b.Helper()
	b.shows("live page", `document.getElementById("live")?.dataset.state === "live"`)
}

// eval returns the value of an expression.
func (b *tab) eval(script string) any {
	b.Helper()
	value, err := b.ask(script)
	if err != nil {
		b.Fatal(err)
	}
	return value
}

func (b *tab) ask(script string) (value any, err error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	err = chromedp.Run(ctx, chromedp.Evaluate(script, &value))
	return value, err
}

// shows waits until an expression is true.
func (b *tab) shows(what, script string) {
	b.Helper()
	b.waits(what, "Boolean("+script+")", true)
}

// is waits until an expression has a value.
func (b *tab) is(value, script string) {
	b.Helper()
	b.waits(fmt.Sprintf("%q", value), script, value)
}

// waits waits until an expression has a value. It has none while the tab goes to another page.
func (b *tab) waits(what, script string, value any) {
	b.Helper()
	var last any
	defer func() {
		if last != value {
			b.Logf("it is %v", last)
		}
	}()
	await(b.T, what, func() bool {
		var err error
		if last, err = b.ask(script); err != nil {
			last = err
		}
		return last == value
	})
}

// text waits until an element contains text.
func (b *tab) text(selector, part string) {
	b.Helper()
	b.shows(fmt.Sprintf("%q in %s", part, selector), fmt.Sprintf(`document.querySelector(%q)?.innerText.includes(%q)`, selector, part))
}

// look sets the size of the window and the theme. forced stands for forced colours.
func (b *tab) look(width int64, theme string, forced bool) {
	b.Helper()
	colors := "none"
	if forced {
		colors = "active"
	}
	b.do(chromedp.EmulateViewport(width, 900), emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: theme}, {Name: "forced-colors", Value: colors}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}))
}
