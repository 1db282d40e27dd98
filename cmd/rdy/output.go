package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/template"
	"time"

	"github.com/itchyny/gojq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/visible"
	"github.com/spf13/pflag"
)

// outputHelp is about the flags of outputFlags.
const outputHelp = `--json prints the result as JSON. --jq applies a jq expression to that JSON and prints each
result on a line: strings as they are, other values as JSON. --template formats the JSON
with a template of Go's text/template, in which fields have their names in the JSON. The
function json makes a value JSON; count, rate and duration (of seconds) print numbers as the
tables do.`

// outputFlags adds the flags that shape the JSON of a command.
func (a *app) outputFlags(f *pflag.FlagSet) {
	f.Var(&jqFlag{app: a}, "jq", "apply a jq `expression` to the JSON output")
	f.Var(&templateFlag{app: a}, "template", "format the JSON output with a Go `template`")
}

// jqFlag is a flag that takes a jq expression.
type jqFlag struct {
	*app
	text string
}

func (j *jqFlag) String() string { return j.text }
func (j *jqFlag) Type() string   { return "expression" }

func (j *jqFlag) Set(s string) error {
	if j.template != nil {
		return errors.New("--jq and --template exclude each other")
	}
	code, err := compileJQ(s)
	if err != nil {
		return err
	}
	j.text, j.jq, j.json = s, code, true
	return nil
}

func compileJQ(s string) (*gojq.Code, error) {
	query, err := gojq.Parse(s)
	if err != nil {
		return nil, err
	}
	return gojq.Compile(query)
}

// templateFlag is a flag that takes a template of package text/template.
type templateFlag struct {
	*app
	text string
}

func (t *templateFlag) String() string { return t.text }
func (t *templateFlag) Type() string   { return "template" }

func (t *templateFlag) Set(s string) error {
	if t.jq != nil {
		return errors.New("--jq and --template exclude each other")
	}
	parsed, err := template.New("--template").Funcs(templateFuncs).Parse(s)
	if err != nil {
		return err
	}
	t.text, t.template, t.json = s, parsed, true
	return nil
}

// templateFuncs are the functions of --template.
var templateFuncs = template.FuncMap{
	"json": func(v any) (string, error) {
		line, err := jsonLine(v)
		return strings.TrimSuffix(string(line), "\n"), err
	},
	"count": func(v any) (string, error) {
		n, err := number(v)
		return figures.Count(int64(n)), err
	},
	"rate": func(v any) (string, error) {
		n, err := number(v)
		return figures.Rate(n), err
	},
	"duration": func(v any) (string, error) {
		n, err := number(v)
		return figures.Duration(time.Duration(n * float64(time.Second))), err
	},
}

// number returns a number of the JSON that a template is given.
func number(v any) (float64, error) {
	switch n := v.(type) {
	case int64:
		return float64(n), nil
	case int:
		return float64(n), nil
	case float64:
		return n, nil
	}
	return 0, fmt.Errorf("want a number, got %v", v)
}

// render returns what is printed for a result: JSON on a line, or what --jq or
// --template makes of it.
func (a *app) render(v any) ([]byte, error) {
	line, err := jsonLine(v)
	if err != nil || !a.shapes() {
		return visible.Escape(line, "\n"), err
	}
	out, err := a.shape(line)
	if isTerminal(a.stdout) {
		out = visible.Escape(out, "\t\n")
	}
	return out, err
}

// shapes reports whether --jq or --template is given.
func (a *app) shapes() bool { return a.jq != nil || a.template != nil }

// shape returns what --jq or --template makes of JSON, also if it fails in the end.
func (a *app) shape(line []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var data any
	if err := d.Decode(&data); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if a.jq != nil {
		err := runJQ(&out, a.jq, data)
		return out.Bytes(), err
	}
	err := a.template.Execute(&out, withNumbers(data))
	if err == nil && out.Len() > 0 && !bytes.HasSuffix(out.Bytes(), []byte("\n")) {
		out.WriteByte('\n')
	}
	return out.Bytes(), err
}

// runJQ writes the results of a jq expression up to its first error.
func runJQ(out *bytes.Buffer, code *gojq.Code, data any) error {
	results := code.Run(data)
	for {
		v, ok := results.Next()
		if !ok {
			return nil
		}
		switch v := v.(type) {
		case error:
			if halt, ok := errors.AsType[*gojq.HaltError](v); ok && halt.Value() == nil {
				return nil
			}
			return fmt.Errorf("--jq: %w", v)
		case string:
			out.WriteString(v)
		default:
			line, err := gojq.Marshal(v)
			if err != nil {
				return fmt.Errorf("--jq: %w", err)
			}
			out.Write(line)
		}
		out.WriteByte('\n')
	}
}

// withNumbers replaces the numbers of a JSON value, so that templates can compare them.
func withNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = withNumbers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = withNumbers(v[i])
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		if n, err := v.Float64(); err == nil {
			return n
		}
	}
	return v
}

// print prints a result: as JSON, or as the text for people.
func (a *app) print(v any, text func() []byte) error {
	if a.json {
		return a.printJSON(v)
	}
	_, err := a.stdout.Write(text())
	return err
}
