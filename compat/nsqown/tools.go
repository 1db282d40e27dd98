package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// The path of a message: to_nsq publishes it to the first topic, nsq_to_nsq copies
// it to the second, and each of the other tools has a channel of that one.
const first, second = "first", "second"

// moveMessages builds a cluster and all tools from the copy in source. It moves n
// messages through them, and checks that each tool puts out all of them once.
func moveMessages(ctx context.Context, source, dir string, n int) (err error) {
	bin := filepath.Join(dir, "bin")
	if err := build(ctx, source, bin); err != nil {
		return err
	}
	defer step(fmt.Sprintf("%d messages through the tools", n))(&err)
	c, err := startCluster(ctx, bin, dir)
	if err != nil {
		return err
	}
	defer c.stop()
	channels := map[string][]string{first: {"nsq_to_nsq"}, second: {"nsq_to_http", "nsq_to_file", "nsq_tail"}}
	if err := c.create(ctx, channels); err != nil {
		return err
	}
	sent := make([]string, n)
	for i := range sent {
		sent[i] = fmt.Sprintf("message %06d %s", i, strings.Repeat("-", i%300))
	}
	posted := startInbox()
	defer posted.close()
	files := filepath.Join(dir, "files")
	t := c.startTools(sent, posted.URL, files)
	progress := func() string { return fmt.Sprintf("nsq_to_http %d of %d", len(posted.received()), n) }
	if err := c.awaitTools(ctx, t, n, progress); err != nil {
		return err
	}
	filed, err := readLines(files)
	if err != nil {
		return err
	}
	for _, out := range []struct {
		tool string
		got  []string
	}{
		{"nsq_tail", strings.Split(strings.TrimSpace(t.tail.stdout.String()), "\n")},
		{"nsq_to_http", posted.received()},
		{"nsq_to_file", filed},
	} {
		if err := expectSame(out.got, sent); err != nil {
			return fmt.Errorf("%s: %w", out.tool, err)
		}
		log.Printf("      %s: all %d messages, each once", out.tool, n)
	}
	return nil
}

// tools are the processes that awaitTools waits for or ends.
type tools struct{ publish, tail, file *process }

// startTools starts all tools. to_nsq publishes the lines in sent, nsq_to_http
// posts to a URL, and nsq_to_file writes to the directory files.
func (c *cluster) startTools(sent []string, postTo, files string) (t tools) {
	consume := func(tool, topic string, args ...string) *process {
		return c.start(tool, nil, append([]string{"--lookupd-http-address", c.lookupd, "--topic", topic, "--channel", tool}, args...)...)
	}
	t.tail = consume("nsq_tail", second, "-n", fmt.Sprint(len(sent)))
	consume("nsq_to_http", second, "--post", postTo, "--content-type", "text/plain")
	t.file = consume("nsq_to_file", second, "--output-dir", files, "--sync-interval", "1s", "--max-in-flight", "500")
	consume("nsq_to_nsq", first, "--destination-nsqd-tcp-address", c.nsqd, "--destination-topic", second)
	t.publish = c.start("to_nsq", strings.NewReader(strings.Join(sent, "\n")+"\n"), "--nsqd-tcp-address", c.nsqd, "--topic", first)
	return t
}

// awaitTools returns when n messages have passed through all tools and nsq_to_file
// has closed its files.
func (c *cluster) awaitTools(ctx context.Context, t tools, n int, progress func() string) error {
	if err := t.publish.wait(ctx); err != nil {
		return err
	}
	if err := t.tail.wait(ctx); err != nil {
		return err
	}
	if err := c.awaitDrained(ctx, n, progress); err != nil {
		return err
	}
	return t.file.interrupt(ctx)
}

func build(ctx context.Context, source, bin string) (err error) {
	defer step("build of the tools")(&err)
	_, err = goOutput(ctx, source, "build", "-o", bin+string(filepath.Separator), "./apps/nsqd", "./apps/nsqlookupd",
		"./apps/to_nsq", "./apps/nsq_to_nsq", "./apps/nsq_to_http", "./apps/nsq_to_file", "./apps/nsq_tail")
	return err
}

// inbox is an HTTP server that keeps the bodies posted to it.
type inbox struct {
	*httptest.Server

	mu     sync.Mutex
	bodies []string // guarded by mu
}

func startInbox() *inbox {
	in := new(inbox)
	in.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		in.bodies = append(in.bodies, string(body))
	}))
	return in
}

func (in *inbox) close() { in.Close() }

func (in *inbox) received() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.bodies)
}

// readLines returns the lines of all files in dir.
func readLines(dir string) ([]string, error) {
	var lines []string
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		lines = append(lines, strings.Split(strings.TrimSpace(string(text)), "\n")...)
	}
	return lines, nil
}

// expectSame returns an error unless got and want have the same elements, in any
// order.
func expectSame(got, want []string) error {
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Errorf("got %d messages of %d; the first difference: got %.40q, want %.40q", len(got), len(want), got[i], want[i])
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("got %d messages of %d", len(got), len(want))
	}
	return nil
}
