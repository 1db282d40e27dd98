package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// uiPage is a running "rdy ui".
type uiPage struct {
	*testing.T
	*command
	url string
}

func (c *cluster) ui(t *testing.T, args ...string) *uiPage {
	t.Helper()
	ui := start(t, append(append(c.httpFlags(), "ui", "--listen", "127.0.0.1:0"), args...)...)
	ui.stderr.await(t, "/\n")
	line, _, _ := strings.Cut(ui.stderr.String(), "\n")
	return &uiPage{t, ui, strings.TrimSuffix(strings.TrimPrefix(line, "rdy: the page is at "), "/")}
}

// request returns the body of a response.
func (p *uiPage) request(method, path string, form url.Values) string {
	p.Helper()
	req, err := http.NewRequest(method, p.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		p.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := statsClient.Do(req)
	if err != nil {
		p.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= http.StatusBadRequest {
		p.Fatalf("%s: %s, error %v: %s", path, resp.Status, err, body)
	}
	return string(body)
}

// awaitPage waits until a page says that something is so, or no longer.
func (p *uiPage) awaitPage(path, part string, there bool) {
	p.Helper()
	for deadline := time.Now().Add(30 * time.Second); strings.Contains(p.request(http.MethodGet, path, nil), part) != there; {
		if time.Now().After(deadline) {
			p.Fatalf("%s: %q is there: %v", path, part, !there)
		}
	}
}

// Viewers see new messages as a copy. Their channel is gone with them, and the first channel of a
// topic is never theirs.
func TestUITail(t *testing.T) {
	c := startCluster(t, 2)
	c.publish(t, 1, "orders", "", "waits") // before nsqlookupd knows a channel that the nsqd would create
	c.publish(t, 0, "orders", "billing", "before")
	p := c.ui(t)
	body := p.request(http.MethodPost, "/tail/orders", nil)
	if want := "Not read: " + c.nsqds[1].HTTPAddr + ", where the topic has no channel yet."; !strings.Contains(body, want) {
		t.Errorf("there is no %q in %s", want, body)
	}
	path := regexp.MustCompile(`data-stream="(/read/\w+)"`).FindStringSubmatch(body)[1]
	ctx, leave := context.WithTimeout(t.Context(), time.Minute)
	defer leave()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := new(http.Client).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Body.Close() }()
	lines := bufio.NewScanner(stream.Body)
	await := func(part string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), part) {
				return
			}
		}
		t.Fatalf("no %q in the stream, error %v", part, lines.Err())
	}
	await("No message has come yet.")
	c.publish(t, 0, "orders", "", "<b>after</b>")
	await("&lt;b&gt;after&lt;/b&gt;")
	if n := c.depthOf(t, "orders", "billing"); n != 3 {
		t.Errorf("the channel billing and topic orders have %d messages, want 3", n)
	}
	leave()
	p.awaitPage("/topics/orders", "#ephemeral", false)
	p.interrupt(errInterrupted)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
	}
	if !strings.Contains(p.stderr.String(), " tail orders from 127.0.0.1:") {
		t.Errorf("stderr %q", p.stderr.String())
	}
}

// Viewers look at dead letters, replay and drop them.
func TestUIDead(t *testing.T) {
	c := deadCluster(t, 2)
	c.publish(t, 0, deadOf, "", sealed("one", "timeout"), sealed("two", "no such order"))
	c.publish(t, 1, deadOf, "", sealed("three", "timeout"))
	p := c.ui(t, "--allow-actions", "--interval", "200ms")
	p.request(http.MethodPost, "/dead/look", nil)
	page := p.request(http.MethodGet, "/dead", nil)
	if !strings.Contains(page, "3 dead letters") || strings.Count(page, "timeout</td>") != 2 {
		t.Errorf("got %s", page)
	}
	look := regexp.MustCompile(`name="look" value="(\w+)"`).FindStringSubmatch(page)[1]
	agreed := `"orders" "billing" billing`
	p.request(http.MethodPost, "/dead/do/replay", url.Values{"look": {look}, "n": {"0", "2"}, "to": {"origin"}, "agreed": {agreed}, "rate": {"50"}})
	p.awaitPage("/dead", "2 letters of "+deadOf+" were replayed.", true)
	p.request(http.MethodPost, "/dead/do/drop", url.Values{"look": {look}, "n": {"1"}, "name": {deadOf}})
	p.awaitPage("/dead", "1 letter of "+deadOf+" was dropped.", true)
	if dead, orders := c.depthOf(t, deadOf, "rdy-dead"), c.depthOf(t, "orders", "billing"); dead != 0 || orders != 2 {
		t.Errorf("%d letters and %d messages are left", dead, orders)
	}
	p.interrupt(errInterrupted)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{" look 3 letters of *.dead from", " replay 2 letters of " + deadOf + " from", " drop 1 letter of " + deadOf + " from"} {
		if !strings.Contains(p.stderr.String(), want) {
			t.Errorf("there is no %q in %q", want, p.stderr.String())
		}
	}
}
