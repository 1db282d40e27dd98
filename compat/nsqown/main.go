// Nsqown runs NSQ's own tests, once with go-nsq and once with compat/go-nsq in
// its place, and moves messages through NSQ's own tools built with the latter.
// It fails if a test passes with go-nsq alone, or if a message is lost, changed
// or doubled.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

const usage = `Usage: go run . [flags]    (in compat/nsqown)

Copies github.com/nsqio/nsq, in the version that go.mod pins, to a temporary
directory, twice: as it is, and with compat/go-nsq in place of go-nsq. Then

  1. runs all tests of both and compares them test by test;
  2. builds nsqd, nsqlookupd, to_nsq, nsq_to_nsq, nsq_to_http, nsq_to_file and
     nsq_tail from the second and moves messages through all of them.

It needs Go, and the network if these modules are not in Go's cache.

`

func main() {
	log.SetFlags(0)
	flag.Usage = func() {
		_, _ = fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	messages := flag.Int("messages", 20_000, "how many `messages` go through the tools")
	timeout := flag.Duration("timeout", 8*time.Minute, "give up after this `time`")
	flag.Parse()
	if flag.NArg() > 0 || *messages < 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	err := run(ctx, *messages)
	cancel()
	stop()
	if err != nil {
		log.Fatal("FAIL  ", err)
	}
}

func run(ctx context.Context, messages int) error {
	dir, err := os.MkdirTemp("", "nsqown")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	was, is, err := copies(ctx, dir)
	if err != nil {
		return err
	}
	if err := compareTests(ctx, was, is); err != nil {
		return err
	}
	return moveMessages(ctx, is, dir, messages)
}

// copies puts NSQ's source into dir twice, as it is and with our client.
func copies(ctx context.Context, dir string) (was, is string, err error) {
	defer step("copies")(&err)
	source, err := goOutput(ctx, ".", "list", "-m", "-f", "{{.Dir}}", "github.com/nsqio/nsq")
	if err != nil {
		return "", "", err
	}
	if source == "" { // not in the cache yet
		if _, err := goOutput(ctx, ".", "mod", "download", "github.com/nsqio/nsq"); err != nil {
			return "", "", err
		}
		if source, err = goOutput(ctx, ".", "list", "-m", "-f", "{{.Dir}}", "github.com/nsqio/nsq"); err != nil {
			return "", "", err
		}
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		return "", "", err
	}
	was, is = filepath.Join(dir, "go-nsq"), filepath.Join(dir, "compat")
	for _, to := range []string{was, is} {
		// Files of the cache are read-only; those that CopyFS makes are not.
		if err := os.CopyFS(to, os.DirFS(source)); err != nil {
			return "", "", err
		}
	}
	edit := []string{"mod", "edit",
		"-replace", "github.com/nsqio/go-nsq=" + filepath.Join(root, "compat/go-nsq"),
		"-replace", "github.com/rdyhq/nsq=" + root,
		// Our module raises the go line, and with it the defaults of GODEBUG:
		// some of the tests' certificates are too old for them.
		"-godebug", "default=go1.20"}
	if _, err := goOutput(ctx, is, edit...); err != nil {
		return "", "", err
	}
	_, err = goOutput(ctx, is, "mod", "tidy")
	return was, is, err
}

// step prints a line about what took so long and how it ended.
func step(name string) func(*error) {
	begin := time.Now()
	return func(err *error) {
		verdict := "ok  "
		if *err != nil {
			verdict = "FAIL"
		}
		log.Printf("%s  %-32s %4ds", verdict, name, int(time.Since(begin).Seconds()))
	}
}

// goCommand is a go command that does not see this repository's go.work.
func goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// goOutput runs a go command and returns what it printed.
func goOutput(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := goCommand(ctx, dir, args...)
	out, err := cmd.Output()
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Output returns it unwrapped
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", cmd, err)
	}
	return strings.TrimSpace(string(out)), nil
}
