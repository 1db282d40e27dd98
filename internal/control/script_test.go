package control

import (
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type flowRand = rand.Rand

var rewrite = flag.Bool("rewrite", false, "write what stories print into testdata; read the difference before you commit it")

// TestStories plays testdata/*.txt. A line is an event, and lines that begin with
// > are what the machine commands. testdata/README says which events there are.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no stories", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := tellStory(t, string(text))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			compare(t, string(text), got)
		})
	}
}

// compare shows the first line that differs, and the event before it.
func compare(t *testing.T, want, got string) {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	event := ""
	for i := range max(len(w), len(g)) {
		switch {
		case i >= len(w) || i >= len(g):
			t.Fatalf("%d lines, want %d", len(g), len(w))
		case w[i] != g[i]:
			t.Fatalf("line %d, after %q:\n got %s\nwant %s", i+1, event, g[i], w[i])
		case !strings.HasPrefix(w[i], ">"):
			event = w[i]
		}
	}
}

// tellStory plays a text and returns it with what the machine commands.
func tellStory(t *testing.T, text string) string {
	var p *player
	var out strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, ">") {
			continue
		}
		out.WriteString(line + "\n")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] == "#":
		case fields[0] == "consumer":
			p = newPlayer(t, fields[1:])
		default:
			for _, s := range p.play(fields) {
				out.WriteString(s + "\n")
			}
		}
	}
	return out.String()
}
