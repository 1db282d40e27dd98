package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"os/exec"
	"slices"
	"strings"
)

// verdicts are "pass", "fail" or "skip", by package and test; a package alone
// stands for all of it.
type verdicts map[string]string

// compareTests fails if a test that passes in one copy of NSQ does not in the
// other.
func compareTests(ctx context.Context, was, is string) error {
	before, _, err := runTests(ctx, was, "tests with go-nsq")
	if err != nil {
		return err
	}
	after, text, err := runTests(ctx, is, "tests with compat/go-nsq")
	if err != nil {
		return err
	}
	differ, worse := diff(before, after)
	for _, test := range differ {
		log.Printf("      %s: %s with go-nsq, %s with compat/go-nsq", test, before[test], cmp.Or(after[test], "absent"))
	}
	if len(worse) > 0 {
		log.Print(text)
		return fmt.Errorf("no longer passing: %s", strings.Join(worse, ", "))
	}
	return nil
}

// diff returns the tests that do not end alike, and those of them that passed
// before.
func diff(before, after verdicts) (differ, worse []string) {
	for _, test := range slices.Sorted(maps.Keys(before)) {
		if before[test] == after[test] {
			continue
		}
		differ = append(differ, test)
		if before[test] == "pass" {
			worse = append(worse, test)
		}
	}
	return differ, worse
}

// event is a line of go test -json.
type event struct{ Action, Package, Test, Output string }

// runTests also returns what failing tests printed.
func runTests(ctx context.Context, dir, name string) (v verdicts, text string, err error) {
	defer step(name)(&err)
	cmd := goCommand(ctx, dir, "test", "-json", "-timeout", "3m", "./...")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	v, text, err = readEvents(stdout)
	// An exit status of 1 says that a test failed, which the events tell.
	if waited := cmd.Wait(); err == nil && (ctx.Err() != nil || !isExit(waited)) {
		err = waited
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", cmd, err)
	}
	count := make(map[string]int)
	for _, verdict := range v {
		count[verdict]++
	}
	if count["pass"] == 0 {
		return nil, "", fmt.Errorf("%s: no test passes\n%s", cmd, text)
	}
	log.Printf("      %d pass, %d fail, %d skipped", count["pass"], count["fail"], count["skip"])
	return v, text, nil
}

func isExit(err error) bool {
	_, ok := errors.AsType[*exec.ExitError](err)
	return ok || err == nil
}

func readEvents(r io.Reader) (verdicts, string, error) {
	v := make(verdicts)
	printed := make(map[string][]string)
	var failed strings.Builder
	for d := json.NewDecoder(r); ; {
		var e event
		switch err := d.Decode(&e); {
		case errors.Is(err, io.EOF):
			return v, failed.String(), nil
		case err != nil:
			return nil, "", err
		}
		test := strings.TrimSuffix(strings.TrimPrefix(e.Package, "github.com/nsqio/nsq/")+" "+e.Test, " ")
		switch e.Action {
		case "output":
			printed[test] = append(printed[test], e.Output)
		case "fail":
			failed.WriteString(strings.Join(printed[test], ""))
			v[test] = e.Action
		case "pass", "skip":
			v[test] = e.Action
		}
	}
}
