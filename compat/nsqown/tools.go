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

// Where messages go: to_nsq publishes to the first topic, nsq_to_nsq takes them
// to the second, and each of the other tools has a channel of that.
const first, second = "first", "second"

// moveMessages starts a cluster and all tools, built from the copy in source,
// and compares what comes out with what went in.
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
	posted := receive()
	defer posted.close()
	files := filepath.Join(dir, "files")
	consume := func(tool, topic string, args ...string) *process {
		return c.start(tool, nil, append([]string{"--lookupd-http-address", c.lookupd, "--topic", topic, "--channel", tool}, args...)...)
	}
	tail := consume("nsq_tail", second, "-n", fmt.Sprint(n))
	consume("nsq_to_http", second, "--post", posted.URL, "--content-type", "text/plain")
	file := consume("nsq_to_file", second, "--output-dir", files, "--sync-interval", "1s", "--max-in-flight", "500")
	consume("nsq_to_nsq", first, "--destination-nsqd-tcp-address", c.nsqd, "--destination-topic", second)
	in := c.start("to_nsq", strings.NewReader(strings.Join(sent, "\n")+"\n"), "--nsqd-tcp-address", c.nsqd, "--topic", first)

	if err := in.wait(ctx); err != nil {
		return err
	}
	if err := tail.wait(ctx); err != nil {
		return err
	}
	if err := c.drained(ctx, n, func() string { return fmt.Sprintf("nsq_to_http %d of %d", len(posted.lines()), n) }); err != nil {
		return err
	}
	if err := file.interrupt(ctx); err != nil {
		return err
	}
	logged, err := linesOf(files)
	if err != nil {
		return err
	}
	for _, out := range []struct {
		tool string
		got  []string
	}{
		{"nsq_tail", strings.Split(strings.TrimSpace(tail.stdout.String()), "\n")},
		{"nsq_to_http", posted.lines()},
		{"nsq_to_file", logged},
	} {
		if err := same(out.got, sent); err != nil {
			return fmt.Errorf("%s: %w", out.tool, err)
		}
		log.Printf("      %s: all %d, each once", out.tool, n)
	}
	return nil
}

func build(ctx context.Context, source, bin string) (err error) {
	defer step("build of the tools")(&err)
	_, err = goOutput(ctx, source, "build", "-o", bin+string(filepath.Separator), "./apps/nsqd", "./apps/nsqlookupd",
		"./apps/to_nsq", "./apps/nsq_to_nsq", "./apps/nsq_to_http", "./apps/nsq_to_file", "./apps/nsq_tail")
	return err
}

// inbox keeps the bodies of what is posted to it.
type inbox struct {
	*httptest.Server

	mu     sync.Mutex
	bodies []string
}

func receive() *inbox {
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

func (in *inbox) lines() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.bodies)
}

func linesOf(dir string) ([]string, error) {
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

// same compares what came out, in any order, with what went in.
func same(got, want []string) error {
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Errorf("%d of %d messages; the first that differs: got %.40q, want %.40q", len(got), len(want), got[i], want[i])
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d of %d messages", len(got), len(want))
	}
	return nil
}
