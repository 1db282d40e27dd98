package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The page is served until Ctrl-C, which ends its streams. Actions are lines on stderr.
func TestUI(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing", "1")
	ui := start(t, append(c.httpFlags(), "ui", "--listen", "127.0.0.1:0", "--allow-actions", "--trust-header", "X-User")...)
	ui.stderr.await(t, "/\n")
	page := strings.TrimSuffix(strings.TrimSpace(strings.TrimPrefix(ui.stderr.String(), "rdy: the page is at ")), "/")
	resp, err := statsClient.Get(page + "/topics/orders/billing")
	if err != nil {
		t.Fatal(err)
	}
	var screen string
	for lines := bufio.NewScanner(resp.Body); screen == "" && lines.Scan(); {
		if m := regexp.MustCompile(`data-screen="(\w+)"`).FindStringSubmatch(lines.Text()); m != nil {
			screen = m[1]
		}
	}
	_ = resp.Body.Close()
	stream, err := new(http.Client).Get(page + "/live/" + screen)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Body.Close() }()
	if line, err := bufio.NewReader(stream.Body).ReadString('\n'); err != nil || line != "event: polled\n" {
		t.Errorf("the stream begins with %q, error %v", line, err)
	}
	form := url.Values{"topic": {"orders"}, "channel": {"billing"}, "name": {"billing"}}
	req, err := http.NewRequest(http.MethodPost, page+"/do/empty", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-User", "ada")
	resp, err = statsClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("error %v", err)
	}
	_ = resp.Body.Close()
	ui.stderr.await(t, ": done")
	if text := ui.stderr.String(); !strings.Contains(text, " empty orders/billing from ada (127.0.0.1:") {
		t.Errorf("stderr %q", text)
	}
	ui.interrupt(errInterrupted)
	if code := ui.wait(t); code != exitOK || ui.stdout.String() != "" {
		t.Errorf("exit code %d, stdout %q", code, ui.stdout.String())
	}
}

// What keeps the page from being served is one line.
func TestUICannotStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, []byte("ada:secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--auth-file", file}, "line 1: want a name, a colon and a bcrypt hash"},
		{[]string{"--auth-file", file + "-none"}, "no such file"},
		{[]string{"--listen", "127.0.0.1:-1"}, "listen"},
		{[]string{"--history", file}, "history " + file + ": the file is damaged"},
		{[]string{"--history", filepath.Dir(file)}, "is a directory"},
	} {
		code, stdout, stderr := execute(t, append([]string{"ui", "--nsqd-http", "127.0.0.1:1"}, tc.args...)...)
		if code != exitFailure || stdout != "" || !strings.Contains(stderr, tc.want) {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q", tc.args, code, stdout, stderr)
		}
		expectOneLine(t, stderr)
	}
}

// With --history problems and actions are known after a restart, and two programs cannot share a
// file.
func TestUIHistory(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing", "1")
	file := filepath.Join(t.TempDir(), "history")
	args := append([]string{"ui", "--listen", "127.0.0.1:0", "--allow-actions", "--history", file}, c.httpFlags()...)
	first := start(t, args...)
	page := pageOf(t, &first.stderr)
	await(t, "channel", func() bool { return strings.Contains(fetch(t, page+"/"), "billing") })
	resp, err := statsClient.PostForm(page+"/do/pause", url.Values{"topic": {"orders"}, "channel": {"billing"}})
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("error %v", err)
	}
	_ = resp.Body.Close()
	code, _, stderr := execute(t, args...)
	if code != exitFailure || !strings.Contains(stderr, "another program has the file open") {
		t.Errorf("a second program: exit code %d, stderr %q", code, stderr)
	}
	expectOneLine(t, stderr)
	first.interrupt(errInterrupted)
	if code := first.wait(t); code != exitOK {
		t.Fatalf("exit code %d, stderr %q", code, first.stderr.String())
	}
	second := start(t, args...)
	page = pageOf(t, &second.stderr)
	if log := fetch(t, page+"/log"); !strings.Contains(log, "orders/billing") || !strings.Contains(log, "pause") {
		t.Errorf("the log is %s", log)
	}
	var chart struct{ Depth []*float64 }
	if err := json.Unmarshal([]byte(fetch(t, page+"/series?topic=orders&channel=billing")), &chart); err != nil || len(chart.Depth) == 0 || *chart.Depth[0] != 1 {
		t.Errorf("the chart is %v, error %v", chart, err)
	}
	second.interrupt(errInterrupted)
	if code := second.wait(t); code != exitOK {
		t.Errorf("exit code %d, stderr %q", code, second.stderr.String())
	}
}
