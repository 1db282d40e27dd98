package main

import (
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestReadEvents(t *testing.T) {
	const events = `{"Action":"start","Package":"github.com/nsqio/nsq/nsqd"}
{"Action":"run","Package":"github.com/nsqio/nsq/nsqd","Test":"TestA"}
{"Action":"output","Package":"github.com/nsqio/nsq/nsqd","Test":"TestA","Output":"good\n"}
{"Action":"pass","Package":"github.com/nsqio/nsq/nsqd","Test":"TestA","Elapsed":0.1}
{"Action":"output","Package":"github.com/nsqio/nsq/nsqd","Test":"TestB","Output":"bad\n"}
{"Action":"fail","Package":"github.com/nsqio/nsq/nsqd","Test":"TestB"}
{"Action":"skip","Package":"github.com/nsqio/nsq/nsqd","Test":"TestC"}
{"Action":"fail","Package":"github.com/nsqio/nsq/nsqd"}
`
	got, text, err := readEvents(strings.NewReader(events))
	want := verdicts{"nsqd TestA": "pass", "nsqd TestB": "fail", "nsqd TestC": "skip", "nsqd": "fail"}
	if err != nil || !maps.Equal(got, want) || text != "bad\n" {
		t.Errorf("got %v, %q, %v; want %v", got, text, err, want)
	}
	if _, _, err := readEvents(strings.NewReader("FAIL\n")); err == nil {
		t.Error("no error for input that is not JSON")
	}
}

func TestDiff(t *testing.T) {
	before := verdicts{"a": "pass", "b": "pass", "c": "pass", "d": "fail", "e": "fail", "f": "skip"}
	after := verdicts{"a": "pass", "b": "fail", "d": "pass", "e": "fail", "f": "fail", "new": "fail"}
	differ, worse := diff(before, after)
	if want := []string{"b", "c", "d", "f"}; !slices.Equal(differ, want) {
		t.Errorf("differ: %v, want %v", differ, want)
	}
	if want := []string{"b", "c"}; !slices.Equal(worse, want) {
		t.Errorf("worse: %v, want %v", worse, want)
	}
}

func TestExpectSame(t *testing.T) {
	sent := []string{"a", "b", "c"}
	for _, tt := range []struct {
		got []string
		ok  bool
	}{
		{[]string{"c", "a", "b"}, true},
		{[]string{"a", "b"}, false},
		{[]string{"a", "b", "c", "c"}, false},
		{[]string{"a", "b", "d"}, false},
		{nil, false},
	} {
		if err := expectSame(tt.got, sent); (err == nil) != tt.ok {
			t.Errorf("%v: %v", tt.got, err)
		}
	}
}

// keepTests leaves the tests that only talk to nsqd, their helpers and imports.
func TestKeepTests(t *testing.T) {
	source := `package nsqd

import (
	"os"
	"sync"
	"github.com/nsqio/go-nsq"
)

func mustStartNSQD() { sync.OnceFunc(nil) }
func TestKept() { help() }
func help() { nsq.Nop() }
func BenchmarkX() { os.Exit(1) }
`
	for name := range leftOut {
		source += "func " + name + "() { os.Exit(1) }\n"
	}
	parse := func(source string) (*ast.File, *token.FileSet) {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, "", source, 0)
		if err != nil {
			t.Fatal(err)
		}
		return file, fset
	}
	file, fset := parse(source)
	kept, err := keepTests(file)
	var got strings.Builder
	if err := format.Node(&got, fset, file); err != nil {
		t.Fatal(err)
	}
	if err != nil || !slices.Equal(kept, []string{"TestKept"}) {
		t.Errorf("kept %q, %v", kept, err)
	}
	for _, gone := range []string{`"os"`, `"sync"`, "mustStartNSQD", "Benchmark", "os.Exit"} {
		if strings.Contains(got.String(), gone) {
			t.Errorf("%s is still there:\n%s", gone, got.String())
		}
	}
	for _, stays := range []string{"go-nsq", "TestKept", "func help"} {
		if !strings.Contains(got.String(), stays) {
			t.Errorf("%s is gone:\n%s", stays, got.String())
		}
	}

	file, _ = parse("package nsqd\nfunc TestKept() {}\n")
	if _, err := keepTests(file); err == nil {
		t.Error("no error if NSQ no longer has a test that is left out")
	}
}
