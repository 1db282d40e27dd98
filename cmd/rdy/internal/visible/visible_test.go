package visible

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	for _, tc := range []struct{ text, keep, want string }{
		{"", "", ""},
		{"plain, ümläut, 漢字, 🙂", "", "plain, ümläut, 漢字, 🙂"},
		{"\x1b[2J\x1b]0;title\a", "", `\x1b[2J\x1b]0;title\x07`},
		{"a\nb\tc\r", "\n\t", "a\nb\tc\\r"},
		{"a\nb\tc\r", "", `a\nb\tc\r`},
		{"\x7f\u009b31m", "", `\u007f\u009b31m`},
		{"\u202egpj.exe\u2066", "", `\u202egpj.exe\u2066`},
		{"\xff\x9b\u2026\ufffd", "", "\\xff\\x9b\u2026\ufffd"},
	} {
		if got := string(Escape([]byte(tc.text), tc.keep)); got != tc.want {
			t.Errorf("%q: got %q, want %q", tc.text, got, tc.want)
		}
	}
}

// Whatever the bytes, nothing is left that steers a terminal, and JSON keeps its
// meaning.
func FuzzEscape(f *testing.F) {
	f.Add([]byte("\x1b[2J \u009b \u202e \xff\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		out := Escape(text, "\n")
		if !utf8.Valid(out) || strings.ContainsFunc(string(out), func(r rune) bool { return Steers(r, "\n\ufffd") }) {
			t.Errorf("%q became %q", text, out)
		}
		var line bytes.Buffer
		e := json.NewEncoder(&line)
		e.SetEscapeHTML(false)
		if err := e.Encode(string(text)); err != nil {
			t.Fatal(err)
		}
		var before, after string
		if err := json.Unmarshal(line.Bytes(), &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(Escape(line.Bytes(), "\n"), &after); err != nil || before != after {
			t.Errorf("%q became %q, error %v", before, after, err)
		}
	})
}
