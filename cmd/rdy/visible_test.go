package main

import (
	"strings"
	"testing"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// On a terminal the control characters of a message are escaped. Elsewhere they arrive
// as they are.
func TestTailShowsControlCharacters(t *testing.T) {
	m := nsq.NewMessage(nsq.MessageID{'0'}, []byte("\x1b[31mred\n\u009b\t\xff"))
	for _, tc := range []struct {
		printer printer
		want    string
	}{
		{printer{app: &app{}, delimiter: []byte("\n")}, "\x1b[31mred\n\u009b\t\xff\n"},
		{printer{app: &app{}, delimiter: []byte("\n"), visible: true}, "\\x1b[31mred\n\\u009b\t\\xff\n"},
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
