// Nsqown runs NSQ's own tests twice, with go-nsq and with compat/go-nsq in its
// place. Then it builds NSQ's own tools with compat/go-nsq and moves messages
// through them. At last it runs nsqd's protocol tests with the fake nsqd of package
// nsqtest. It fails if a test passes only with go-nsq, if a message is lost, changed or
// duplicated, or if a protocol test fails.
package main

import (
	"context"
	"errors"
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

Makes two copies of github.com/nsqio/nsq, in the version that go.mod pins, in a
temporary directory: one as it is, one with compat/go-nsq in place of go-nsq, by the
commands that docs/MIGRATION.md prints for a checkout. Then

  1. runs all tests of both copies and compares the results test by test;
  2. builds nsqd, nsqlookupd, to_nsq, nsq_to_nsq, nsq_to_http, nsq_to_file and
     nsq_tail from the second copy and moves messages through all of them;
  3. runs those of nsqd's protocol tests that only talk to nsqd with the fake nsqd of
     package nsqtest.

Needs Go, and the network if these modules are not in Go's cache.

`

func main() {
	log.SetFlags(0)
	flag.Usage = func() {
		_, _ = fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	messages := flag.Int("messages", 20_000, "`number` of messages to move through the tools")
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
	original, switched, err := copySource(ctx, dir)
	if err != nil {
		return err
	}
	if err := compareTests(ctx, original, switched); err != nil {
		return err
	}
	if err := moveMessages(ctx, switched, dir, messages); err != nil {
		return err
	}
	return testFake(ctx, switched)
}

// copySource copies NSQ's source into dir twice: as it is, and switched to our
// client.
func copySource(ctx context.Context, dir string) (original, switched string, err error) {
	defer step("copies")(&err)
	source, err := goOutput(ctx, ".", "list", "-m", "-f", "{{.Dir}}", "github.com/nsqio/nsq")
	if err != nil {
		return "", "", err
	}
	if source == "" { // the module is not in the cache yet
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
	original, switched = filepath.Join(dir, "go-nsq"), filepath.Join(dir, "compat")
	for _, to := range []string{original, switched} {
		// The files in the module cache are read-only. CopyFS makes writable ones.
		if err := os.CopyFS(to, os.DirFS(source)); err != nil {
			return "", "", err
		}
	}
	recipe, err := checkoutRecipe(root)
	if err != nil {
		return "", "", err
	}
	if err := os.Symlink(root, filepath.Join(dir, "nsq")); err != nil { // the recipe's ../nsq
		return "", "", err
	}
	cmd := command(ctx, switched, "sh", "-ec", recipe)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	return original, switched, nil
}

// checkoutRecipe returns the commands by which docs/MIGRATION.md switches a program
// to a checkout at ../nsq.
func checkoutRecipe(root string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "MIGRATION.md"))
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(text), "\nUntil the first release")
	_, rest, _ = strings.Cut(rest, "\n```sh\n")
	recipe, _, found := strings.Cut(rest, "```")
	if !found {
		return "", errors.New("docs/MIGRATION.md has no recipe for a checkout")
	}
	return recipe, nil
}

// step starts a step. The returned function prints how the step ended and how
// long it took.
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

// goCommand returns a go command that ignores this repository's go.work.
func goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	return command(ctx, dir, "go", args...)
}

// command returns a command whose go commands ignore this repository's go.work.
func command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
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
