package main

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestVisible(t *testing.T) {
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
		if got := string(visible([]byte(tc.text), tc.keep)); got != tc.want {
			t.Errorf("%q: got %q, want %q", tc.text, got, tc.want)
		}
	}
}

// Whatever the bytes, nothing is left that steers a terminal, and JSON keeps its
// meaning.
func FuzzVisible(f *testing.F) {
	f.Add([]byte("\x1b[2J \u009b \u202e \xff\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		out := visible(text, "\n")
		if !utf8.Valid(out) || strings.ContainsFunc(string(out), func(r rune) bool { return steers(r, "\n\ufffd") }) {
			t.Errorf("%q became %q", text, out)
		}
		line, err := jsonLine(string(text))
		if err != nil {
			t.Fatal(err)
		}
		var before, after string
		if err := json.Unmarshal(line, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(visible(line, "\n"), &after); err != nil || before != after {
			t.Errorf("%q became %q, error %v", before, after, err)
		}
	})
}

// On a terminal the control characters of a message are escaped. Elsewhere they arrive
// as they are.
func TestTailShowsControlCharacters(t *testing.T) {
	m := nsq.NewMessage(nsq.MessageID{'0'}, []byte("\x1b[31mred\n\u009b\t\xff"))
	for _, tc := range []struct {
		printer printer
		want    string
	}{
		{printer{app: &app{}}, "\x1b[31mred\n\u009b\t\xff\n"},
		{printer{app: &app{}, visible: true}, "\\x1b[31mred\n\\u009b\t\\xff\n"},
	} {
		line, err := tc.printer.line(m)
		if err != nil || string(line) != tc.want {
			t.Errorf("got %q, want %q; error %v", line, tc.want, err)
		}
	}
	m.Body = []byte("\x1b\u009b\x7f\n")
	p := printer{app: &app{json: true}, visible: true}
	line, err := p.line(m)
	if err != nil || !strings.Contains(string(line), `"body":"\u001b\u009b\u007f\n"`) {
		t.Errorf("got %q, error %v", line, err)
	}
	if err := newTail(p.app).ParseFlags([]string{"--jq", ".body"}); err != nil {
		t.Fatal(err)
	}
	if line, err = p.line(m); err != nil || string(line) != "\\x1b\\u009b\\u007f\n\n" {
		t.Errorf("got %q, error %v", line, err)
	}
}

// What nsqd says is quoted on standard error: it neither steers the terminal nor makes
// a line of its own.
func TestErrorsOfNsqdAreVisible(t *testing.T) {
	d := nsqtest.NewNsqd(t, nsqtest.Options{})
	const desc = "\x1b[2J\nrdy: all is well\u202e"
	d.Reject("PUB", "E_BAD_MESSAGE", desc)
	d.Reject("SUB", "E_BAD_TOPIC", desc)
	_, _, stderr := executeWith(t, "line\n", "pub", "--topic", "t", "--nsqd", d.Addr(), "--quiet")
	_, _, more := execute(t, "tail", "t", "--nsqd", d.Addr())
	for _, text := range []string{stderr, more} {
		if strings.ContainsAny(text, "\x1b\u202e") || strings.Contains(text, "\nrdy: all is well") || !strings.Contains(text, `\x1b[2J`) {
			t.Errorf("stderr %q", text)
		}
	}
}
