package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// fate is what became of a mutant.
type fate int

const (
	killed fate = iota // a test failed, or ran longer than allowed
	survived
	notBuilt
	undecided // the context ended first
)

// try builds the tests of the package with the mutant and runs them: first those of the
// file beside the changed one, which kill most, then all. A run of tests that takes
// longer than limit counts as failed.
func (m mutant) try(ctx context.Context, limit time.Duration) (fate, error) {
	temp, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return undecided, err
	}
	defer func() { _ = os.RemoveAll(temp) }()
	overlay, err := m.overlay(temp)
	if err != nil {
		return undecided, err
	}
	binary := filepath.Join(temp, "test.exe")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", overlay, "-o", binary, ".")
	build.Dir = m.dir
	if err := build.Run(); err != nil {
		return either(ctx, notBuilt), nil
	}
	for _, pattern := range []string{m.near(), "."} {
		test := exec.CommandContext(ctx, binary, "-test.failfast",
			"-test.timeout", limit.String(), "-test.run", pattern)
		test.Dir = m.dir
		test.Env = append(os.Environ(), "TMPDIR="+temp)
		if err := test.Run(); err != nil {
			return either(ctx, killed), nil
		}
	}
	return survived, nil
}

// either returns what a failed command says, unless it failed because ctx ended.
func either(ctx context.Context, said fate) fate {
	if ctx.Err() != nil {
		return undecided
	}
	return said
}

// overlay writes the changed file and a description of it for the go command to dir, and
// returns the path of the latter.
func (m mutant) overlay(dir string) (string, error) {
	path, err := filepath.Abs(filepath.Join(m.dir, m.file))
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	source = slices.Concat(source[:m.start], []byte(m.text), source[m.end:], []byte(errorType))
	changed := filepath.Join(dir, "changed.go")
	if err := os.WriteFile(changed, source, 0o644); err != nil {
		return "", err
	}
	replaced, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, replaced, 0o644)
}

var testName = regexp.MustCompile(`(?m)^func ((?:Test|Example|Fuzz)\w*)\(`)

// near returns a pattern for the tests of the test files named after m's file. Without
// any it matches no test.
func (m mutant) near() string {
	base := filepath.Join(m.dir, strings.TrimSuffix(m.file, ".go"))
	files, _ := filepath.Glob(base + "*_test.go") // the pattern is good
	var names []string
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			continue // they run with all others
		}
		for _, name := range testName.FindAllSubmatch(source, -1) {
			names = append(names, string(name[1]))
		}
	}
	return "^(" + strings.Join(names, "|") + ")$"
}

// pass fails unless the tests of the packages pass without a change, since otherwise they
// would kill every mutant. Their results may come from Go's cache.
func pass(ctx context.Context, dirs []string) error {
	args := []string{"test", "-failfast"}
	for _, dir := range dirs {
		path, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		args = append(args, path)
	}
	output, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("the tests must pass without a change: %w\n%s", err, bytes.TrimSpace(output))
	}
	return nil
}
