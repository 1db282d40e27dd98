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

// verdicts maps "package test" to "pass", "fail" or "skip". The key "package" has
// the verdict of the whole package.
type verdicts map[string]string

// compareTests fails if a test passes in the original copy of NSQ and does not
// pass in the switched one.
func compareTests(ctx context.Context, original, switched string) error {
	before, _, err := runTests(ctx, original, "tests with go-nsq", "./...")
	if err != nil {
		return err
	}
	after, text, err := runTests(ctx, switched, "tests with compat/go-nsq", "./...")
	if err != nil {
		return err
	}
	differ, worse := diff(before, after)
	for _, test := range differ {
		log.Printf("      %s: %s with go-nsq, %s with compat/go-nsq", test, before[test], cmp.Or(after[test], "absent"))
	}
	if len(worse) > 0 {
		log.Print(text)
		return fmt.Errorf("these pass only with go-nsq: %s", strings.Join(worse, ", "))
	}
	return nil
}

// diff returns the tests with different verdicts, and those of them that passed
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

// runTests runs the tests of packages of a copy. It returns their verdicts and the output
// of those that failed.
func runTests(ctx context.Context, dir, name, packages string) (v verdicts, text string, err error) {
	defer step(name)(&err)
	cmd := goCommand(ctx, dir, "test", "-json", "-timeout", "3m", packages)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	v, text, err = readEvents(stdout)
	// An exit status is no error here: 1 means that a test failed, which the events say.
	if waitErr := cmd.Wait(); err == nil && (ctx.Err() != nil || !isExitStatus(waitErr)) {
		err = waitErr
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", cmd, err)
	}
	count := make(map[string]int)
	for _, verdict := range v {
		count[verdict]++
	}
	if count["pass"] == 0 {
		return nil, "", fmt.Errorf("%s: no test passed\n%s", cmd, text)
	}
	log.Printf("      %d passed, %d failed, %d skipped", count["pass"], count["fail"], count["skip"])
	return v, text, nil
}

// isExitStatus reports whether err, returned by Cmd.Wait, is an exit status. A nil
// error is one as well.
func isExitStatus(err error) bool {
	_, ok := errors.AsType[*exec.ExitError](err)
	return ok || err == nil
}

// readEvents reads the output of go test -json. It returns the verdicts and what
// failing tests printed.
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
