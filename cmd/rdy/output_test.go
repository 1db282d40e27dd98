package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/rdyhq/nsq/cmd/rdy/internal/visible"
)

func TestOutputIsShaped(t *testing.T) {
	v := map[string]any{
		"text": "<\"a\" & \u009bb>", "big": int64(9007199254740993), "half": 0.5, "list": []any{1, 2_000_000}, "none": nil,
	}
	for _, tc := range []struct{ flag, arg, want, err string }{
		{"", "", `{"big":9007199254740993,"half":0.5,"list":[1,2000000],"none":null,"text":"<\"a\" & \u009bb>"}` + "\n", ""},
		{"--jq", ".text, .big, .half", "<\"a\" & \u009bb>\n9007199254740993\n0.5\n", ""},
		{"--jq", ".list[], {none}", "1\n2000000\n{\"none\":null}\n", ""},
		{"--jq", "empty", "", ""},
		{"--jq", ".big, .text.x", "9007199254740993\n", "--jq: expected an object"},
		{"--jq", `1, halt, 2`, "1\n", ""},
		{"--jq", `"over" | halt_error`, "", "--jq: halt error"},
		{"--template", "{{.text}}", "<\"a\" & \u009bb>\n", ""},
		{"--template", "{{json .text}}\n", `"<\"a\" & ` + "\u009b" + `b>"` + "\n", ""},
		{"--template", "{{if gt .half 0.4}}{{range .list}}{{count .}} {{end}}{{end}}", "1 2.00 M \n", ""},
		{"--template", "{{rate .half}}/s for {{duration 78}}, {{duration .half}}", "0.5/s for 1 min 18 s, 1 s\n", ""},
		{"--template", "{{.big}}{{count .text}}", "9007199254740993", "want a number"},
		{"--template", "{{with .none}}x{{end}}", "", ""},
	} {
		var out bytes.Buffer
		a := &app{stdout: &out}
		cmd := newVersion(a)
		if tc.flag != "" {
			if err := cmd.ParseFlags([]string{tc.flag, tc.arg}); err != nil || !a.json {
				t.Fatal(err)
			}
		}
		err := a.printJSON(v)
		if out.String() != tc.want || (err != nil) != (tc.err != "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s %s: got %q, error %v", tc.flag, tc.arg, out.String(), err)
		}
	}
}

func TestJQShapesEveryResult(t *testing.T) {
	code, stdout, stderr := execute(t, "version", "--jq", ".go")
	if code != exitOK || stdout != readVersion().Go+"\n" || stderr != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	code, stdout, stderr = execute(t, "version", "--jq", ".go.x")
	if code != exitFailure || stdout != "" {
		t.Errorf("exit code %d, stdout %q", code, stdout)
	}
	expectOneLine(t, stderr)
}

// JSON from the cluster keeps its meaning and steers no terminal.
func TestPrintJSONIsVisible(t *testing.T) {
	var out bytes.Buffer
	a := &app{stdout: &out}
	const hostile = "a\u009b2J\u202e\x7f"
	if err := a.printJSON(hostile); err != nil {
		t.Fatal(err)
	}
	var back string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back != hostile || strings.ContainsFunc(out.String(), func(r rune) bool { return visible.Steers(r, "\n") }) {
		t.Errorf("%q became %q, error %v", hostile, out.String(), err)
	}
}
