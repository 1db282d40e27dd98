// Package story plays stories: tests of a package that are written as text.
//
// A file in testdata holds stories. A line is a command, and the lines after it that
// begin with > are what it led to:
//
//	# A failed dial is repeated.
//	fleet
//	fails a
//	> 0s  dial a
//	> 0s  next dial of a in 50ms
//
// A line that begins with the opening word, here fleet, begins a new story with its own
// player. Lines that begin with # are comments. A README beside the stories lists their
// commands.
//
// After a change of behaviour, go test with -rewrite writes the new output. Read the
// difference, and commit it only if you understand what caused it.
package story

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
)

var rewrite = flag.Bool("rewrite", false, "write what the stories print into testdata; read the difference before you commit it")

// A Player carries out one command, given as its words, and returns the lines to print
// after it.
type Player func(words []string) []string

// Play plays the stories in the files that match pattern, each file as a subtest. begin
// makes the player of a story from the words after the opening word. A file is played in
// a synctest bubble: players may start goroutines, in virtual time.
func Play(t *testing.T, pattern, opening string, begin func(t *testing.T, words []string) Player) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories match %s: %v", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			synctest.Test(t, func(t *testing.T) { got = play(t, string(want), opening, begin) })
			if t.Failed() {
				return
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			compare(t, string(want), got)
		})
	}
}

// play plays the stories in text, and returns text with the lines that they print now.
func play(t *testing.T, text, opening string, begin func(t *testing.T, words []string) Player) string {
	var player Player
	var out strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, ">") {
			continue
		}
		out.WriteString(line + "\n")
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#":
		case words[0] == opening:
			player = begin(t, words[1:])
		case player == nil:
			t.Fatalf("%q before %q", line, opening)
		default:
			for _, s := range player(words) {
				out.WriteString("> " + s + "\n")
			}
		}
	}
	return out.String()
}

// compare fails with the first line that differs and the command before it.
func compare(t *testing.T, want, got string) {
	if want == got {
		return
	}
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	command := ""
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			t.Fatalf("line %d, after %q:\n got %s\nwant %s", i+1, command, g[i], w[i])
		}
		if !strings.HasPrefix(w[i], ">") {
			command = w[i]
		}
	}
	t.Fatalf("%d lines, want %d", len(g), len(w))
}
