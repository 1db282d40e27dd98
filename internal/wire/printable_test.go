package wire

import (
	"strings"
	"testing"
)

// N23: the text of a peer stays one line, is bounded, and has nothing that a terminal
// obeys. Ordinary text is not changed.
func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		`E_BAD_TOPIC topic "a b" is \invalid, schön`: `E_BAD_TOPIC topic "a b" is \invalid, schön`,
		"a\nERR forged":                     `a\nERR forged`,
		"\x1b[2Jgone":                       `\x1b[2Jgone`,
		"\x9b2J":                            `\x9b2J`,
		"right\u202eleft":                   `right\u202eleft`,
		strings.Repeat("x", 500):            strings.Repeat("x", 500),
		strings.Repeat("x", 501):            strings.Repeat("x", 500) + "...",
		strings.Repeat("x", 499) + "\u00e9": strings.Repeat("x", 499) + `\xc3...`,
	} {
		if got := Printable(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
	if got := (&Error{Code: "E_\n", Desc: "\r"}).Error(); got != `E_\n \r` {
		t.Errorf("an Error is shown as %q", got)
	}
	if e := (&Error{Code: "E_\n", Desc: "\r"}); e.Text() != "E_\n \r" {
		t.Errorf("its text is %q", e.Text())
	}
}
