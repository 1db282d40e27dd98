package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each command has a man page, with what it needs.
func TestManPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	if code, stdout, stderr := execute(t, "man", "--dir", dir); code != exitOK || stdout+stderr != "" {
		t.Fatalf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	macro := regexp.MustCompile(`^\.(TH|SH|PP|TP|nf|fi)( |$)`)
	pages := 0
	root := newRoot(&app{})
	root.InitDefaultHelpCmd()
	for _, cmd := range commandTree(root) {
		name := manName(cmd)
		data, err := os.ReadFile(filepath.Join(dir, name+".1"))
		if err != nil {
			t.Error(err)
			continue
		}
		pages++
		page := string(data)
		for _, part := range []string{
			"\n.SH NAME\n" + roff(name) + " \\- ", "\n.SH SYNOPSIS\nrdy", "\n.SH DESCRIPTION\n", "\n.SH EXAMPLES\n.nf\n  ", "\\-\\-help\\fR", roff(cmd.Short),
		} {
			if !strings.Contains(page, part) {
				t.Errorf("the page of %s lacks %q", name, part)
			}
		}
		for line := range strings.Lines(page) {
			if line[0] == '.' && !macro.MatchString(strings.TrimSuffix(line, "\n")) {
				t.Errorf("%s: unknown macro in %q", name, line)
			}
		}
		if on, off := strings.Count(page, "\n.nf\n"), strings.Count(page, "\n.fi\n"); on != off {
			t.Errorf("%s: %d blocks begin and %d end", name, on, off)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != pages || pages < 30 {
		t.Errorf("%d files for %d commands; error %v", len(files), pages, err)
	}
}

func TestRoff(t *testing.T) {
	for in, want := range map[string]string{
		"a-b": `a\-b`, `a\0`: `a\e0`, ".rdy": `\&.rdy`, "'a'": `\&'a'`, "<TOPIC>": "<TOPIC>", "≥1": `\[u2265]1`,
	} {
		if got := roff(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// docs/RDY.md has the help of all commands as it is now.
func TestReference(t *testing.T) {
	file := filepath.Join(t.TempDir(), "RDY.md")
	if code, stdout, stderr := execute(t, "man", "--markdown", file); code != exitOK || stdout+stderr != "" {
		t.Fatalf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile("../../docs/RDY.md"); err != nil || string(got) != string(want) {
		t.Errorf("docs/RDY.md is not up to date: run go generate ./... in cmd/rdy; error %v", err)
	}
}
