package main

import (
	"context"
	_ "embed"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"log"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

//go:embed testdata/fake.go
var fakeSource []byte

const protocolTests = "protocol_v2_test.go"

// leftOut are the tests of nsqd's protocol that do not run with the fake, and why.
// e2e/transcripts has scripts about what they test, except for the results of functions.
var leftOut = map[string]string{
	"TestChannelTopicNames": "tests a function",
	"TestPausing":           "reads the channel's queue",
	"TestDPUB":              "reads the channel's deferred messages",
	"TestTouch":             "reads the channel's counters",
	"TestOutputBuffering":   "measures the output buffer, which the fake does not have",
	"TestSampling":          "reads the channel's messages in flight; the fake does not sample",
	"TestClientMsgTimeout":  "reads the channel's counters",
	"TestReqTimeoutRange":   "reads the channel's deferred messages",
	"TestClientAuth":        "needs an auth server, which the fake does not ask",
	"TestIOLoopReturnsClientErrWhenSendFails":    "calls nsqd's functions",
	"TestIOLoopReturnsClientErrWhenSendSucceeds": "calls nsqd's functions",
}

// testFake runs nsqd's own protocol tests with the fake nsqd of package nsqtest. It fails
// if one does not pass. source is a copy of NSQ whose go.mod has this repository; its
// package nsqd can no longer be tested afterwards.
func testFake(ctx context.Context, source string) error {
	kept, err := useFake(filepath.Join(source, "nsqd"))
	if err != nil {
		return err
	}
	v, text, err := runTests(ctx, source, "protocol tests with nsqtest", "./nsqd")
	if err != nil {
		return err
	}
	for _, test := range kept {
		if v["nsqd "+test] != "pass" {
			log.Print(text)
			return fmt.Errorf("%s does not pass with nsqtest", test)
		}
	}
	for _, test := range slices.Sorted(maps.Keys(leftOut)) {
		log.Printf("      left out: %s %s", test, leftOut[test])
	}
	return nil
}

// useFake keeps those tests in a copy of package nsqd that only talk to nsqd, has them
// start the fake, and returns their names.
func useFake(dir string) (kept []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, filepath.Join(dir, protocolTests), nil, 0)
	if err != nil {
		return nil, err
	}
	if kept, err = keepTests(file); err != nil {
		return nil, err
	}
	for _, name := range files {
		if err := os.Remove(name); err != nil {
			return nil, err
		}
	}
	var text strings.Builder
	if err := format.Node(&text, fset, file); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, protocolTests), []byte(text.String()), 0o600); err != nil {
		return nil, err
	}
	return kept, os.WriteFile(filepath.Join(dir, "fake_test.go"), fakeSource, 0o600)
}

// keepTests removes the tests that are left out, the benchmarks, and what only they need,
// and returns the names of the other tests.
func keepTests(file *ast.File) (kept []string, err error) {
	missing := maps.Clone(leftOut)
	file.Decls = slices.DeleteFunc(file.Decls, func(d ast.Decl) bool {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			return false
		}
		name := f.Name.Name
		if _, out := leftOut[name]; out {
			delete(missing, name)
			return true
		}
		switch {
		case strings.HasPrefix(name, "Test"):
			kept = append(kept, name)
			return false
		case strings.HasPrefix(strings.ToLower(name), "benchmark"):
			return true
		}
		return slices.Contains([]string{"mustStartNSQD", "subWorker", "runAuthTest", "testIOLoopReturnsClientErr"}, name)
	})
	if len(missing) > 0 {
		return nil, fmt.Errorf("%s has no %v", protocolTests, slices.Sorted(maps.Keys(missing)))
	}
	removeUnusedImports(file)
	return kept, nil
}

func removeUnusedImports(file *ast.File) {
	used := make(map[string]bool)
	ast.Inspect(file, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if name, ok := selector.X.(*ast.Ident); ok {
				used[name.Name] = true
			}
		}
		return true
	})
	for _, d := range file.Decls {
		if imports, ok := d.(*ast.GenDecl); ok && imports.Tok == token.IMPORT {
			imports.Specs = slices.DeleteFunc(imports.Specs, func(s ast.Spec) bool {
				return !used[packageName(s.(*ast.ImportSpec))]
			})
		}
	}
}

// packageName returns the name by which a file knows a package that it imports.
func packageName(s *ast.ImportSpec) string {
	if s.Name != nil {
		return s.Name.Name
	}
	name, err := strconv.Unquote(s.Path.Value)
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(path.Base(name), "go-")
}
