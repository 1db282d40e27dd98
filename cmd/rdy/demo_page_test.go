package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Faults come in turn, each after the same time, and end with Ctrl-C.
func TestShowFaults(t *testing.T) {
	for _, tc := range []struct {
		after time.Duration
		want  []string
	}{
		{5 * time.Second, nil},
		{15 * time.Second, []string{"10 begin a"}},
		{125 * time.Second, []string{"10 begin a", "30 end a", "40 begin b", "60 end b", "70 begin a", "90 end a", "100 begin b", "120 end b"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			var did, said []string
			note := func(what string) func(context.Context) error {
				return func(context.Context) error {
					did = append(did, fmt.Sprintf("%.0f %s", time.Since(start).Seconds(), what))
					return nil
				}
			}
			faults := []demoFault{{"A", "this", note("begin a"), note("end a")}, {"B", "that", note("begin b"), note("end b")}}
			ctx, cancel := context.WithTimeout(t.Context(), tc.after)
			defer cancel()
			showFaults(ctx, faults, 30*time.Second, 20*time.Second, func(words string) { said = append(said, words) })
			if !slices.Equal(did, tc.want) {
				t.Errorf("did %q", did)
			}
			if want := 1 + (len(did)+1)/2; len(said) != want {
				t.Errorf("%d lines, want %d: %q", len(said), want, said)
			}
			if len(said) > 1 && said[1] != "A for 20 s. The page says: this." {
				t.Errorf("said %q", said[1])
			}
		})
	}
}

// A fault that cannot be begun or ended is a line, unless Ctrl-C has cut it short, and the demo
// goes on.
func TestShowFaultsError(t *testing.T) {
	for _, fails := range []string{"begin", "end"} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute+30*time.Second)
			defer cancel()
			do := func(which string) func(context.Context) error {
				return func(context.Context) error {
					if which == fails {
						return errors.New("refused")
					}
					return nil
				}
			}
			var said []string
			showFaults(ctx, []demoFault{{"A", "this", do("begin"), do("end")}}, time.Minute, time.Second, func(words string) { said = append(said, words) })
			if len(said) != 5 || said[2] != "A: refused" || said[4] != "A: refused" {
				t.Errorf("said %q", said)
			}
			said = nil
			ctx, cancel = context.WithCancel(t.Context())
			stopped := func(context.Context) error { cancel(); return ctx.Err() }
			showFaults(ctx, []demoFault{{"A", "this", stopped, stopped}}, time.Minute, time.Second, func(words string) { said = append(said, words) })
			if len(said) != 2 {
				t.Errorf("after Ctrl-C: %q", said)
			}
		})
	}
}

// Each fault is seen on the page, and once it is over the page says so. Real nsqds and the real
// page; the faults last until they are seen.
func TestDemoPageFaults(t *testing.T) {
	var stderr output
	p := &demoPage{app: &app{stderr: &stderr, level: defaultLogLevel}, nsqds: 2, poll: minInterval}
	if err := p.startNodes(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- p.serve(ctx) }()
	load, err := p.startLoad(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p.load = load
	defer func() {
		cancel()
		load.stop()
		if err := errors.Join(<-served, p.stop()); err != nil {
			t.Error(err)
		}
	}()
	page := pageOf(t, &stderr)
	awaitPage(t, page, "/topics/payments/fraud-check", "rates of all channels", func(body string) bool {
		return !regexp.MustCompile(`id="f-out">(–|<span class="zero">)`).MatchString(body)
	})
	faults := p.faults()
	for i, seen := range []struct{ path, begun string }{
		{"/topics/payments/fraud-check", `Stuck`},
		{"/nodes", `critical">missing`},
		{"/topics/orders/shipping", `Paused`},
		{"/topics/orders/billing", `Retrying`},
		{"/topics/clicks/rollup", `>never<`},
		{"/topics/orders/audit", `Orphan`},
	} {
		f := faults[i]
		if err := f.begin(ctx); err != nil {
			t.Fatalf("%s: %v", f.what, err)
		}
		awaitPage(t, page, seen.path, seen.begun, func(body string) bool { return strings.Contains(body, seen.begun) })
		if err := f.end(ctx); err != nil {
			t.Fatalf("%s: %v", f.what, err)
		}
		awaitPage(t, page, seen.path, "end of "+seen.begun, func(body string) bool { return !strings.Contains(body, seen.begun) })
	}
}

// awaitPage looks at a screen of rdy ui after each poll, until cond holds. The overview, as in a
// browser, says when there was one.
func awaitPage(t *testing.T, page, path, what string, cond func(body string) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	live := regexp.MustCompile(`/live/\w+`).FindString(fetch(t, page+"/"))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page+live, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := statsClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20) // a line has what a poll changed on the page
	for lines.Scan() {
		if lines.Text() == "event: polled" && cond(fetch(t, page+path)) {
			return
		}
	}
	t.Fatalf("no %s on %s in %v, or no more polls: %v", what, path, testTimeout, lines.Err())
}

// pageOf returns the address of the page from what a command has printed.
func pageOf(t *testing.T, stderr *output) string {
	t.Helper()
	stderr.await(t, "/\n")
	return strings.TrimSuffix(regexp.MustCompile(`http://\S+/`).FindString(stderr.String()), "/")
}

// fetch returns a page.
func fetch(t *testing.T, url string) string {
	t.Helper()
	resp, err := statsClient.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
		t.Fatalf("GET %s: %s, error %v", url, resp.Status, err)
	}
	return string(body)
}

// "rdy demo --ui" prints the address first, runs until Ctrl-C, and leaves nothing behind.
func TestDemoPage(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	c := start(t, "demo", "--ui")
	page := pageOf(t, &c.stderr)
	if !strings.HasPrefix(c.stderr.String(), "rdy: the page is at http://127.0.0.1:") {
		t.Errorf("stderr %q", c.stderr.String())
	}
	c.stderr.await(t, "a fault on purpose every 30 s")
	await(t, "channel", func() bool { return strings.Contains(fetch(t, page+"/"), "fraud-check") })
	c.interrupt(errInterrupted)
	if code := c.wait(t); code != exitOK || c.stdout.String() != "" || strings.Count(c.stderr.String(), "\n") != 2 {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, c.stdout.String(), c.stderr.String())
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v, error %v", left, err)
	}
}
