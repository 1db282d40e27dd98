package main

import (
	"bytes"
	"testing"
)

// Columns line up whatever is in them, and no cell steers the terminal.
func TestAlign(t *testing.T) {
	var out bytes.Buffer
	align(&out, 2, [][]string{{"topic", "channel", "depth", "paused"}, {"a\x1b[2J", "–", "≥ 1", ""}, {"bb", "c\nd", "12", "yes"}})
	const want = "topic     channel  depth  paused\n" +
		"a\\x1b[2J  –          ≥ 1\n" +
		"bb        c\\nd        12     yes\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
