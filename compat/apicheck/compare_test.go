package apicheck

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"testing"
)

func mustLoad(t *testing.T, dir, path string) *types.Package {
	t.Helper()
	pkg, err := load(dir, path)
	if err != nil {
		t.Fatal(err)
	}
	return pkg
}

const before = `package nsq
import "time"
type logger interface { Output(depth int, s string) error }
const Size = 16
const Typed int32 = 1
var Err error
func Read(n int) (int, error) { return 0, nil }
type Config struct { Wait time.Duration ` + "`opt:\"wait\"`" + `; hidden int }
type Stats struct { In, Out uint64 }
type Delegate interface { OnClose(c *Consumer) }
type Handler func(m *Config) error
type Level int
func (l Level) String() string { return "" }
type Consumer struct { hidden int }
func (c *Consumer) SetLogger(l logger, lvl Level) {}
`

// compare finds every change that would break some program, and no other.
func TestCompare(t *testing.T) {
	tests := []struct {
		name, old, new string
		want           []string
	}{
		{"same", "", "", nil},
		{"parameter names", "OnClose(c *Consumer)", "OnClose(*Consumer)", nil},
		{"name of an unexported interface", "logger", "outputLogger", nil},
		{"go-nsq's logger, exported", "logger", "Logger", nil},
		{"additions", "type Level int", "type Level int; func (Level) More() {}; func More() {}; type Most int", nil},
		{"added field", "hidden int }\ntype Stats", "More bool; hidden int }\ntype Stats", nil},
		{"any", "Size = 16", "Size = 16; var _ any", nil},
		{"value", "Size = 16", "Size = 17", []string{"const Size"}},
		{"type of a constant", "Typed int32", "Typed int64", []string{"const Typed"}},
		{"constant becomes untyped", "Typed int32 = 1", "Typed = 1", []string{"const Typed"}},
		{"type of a variable", "Err error", "Err *Config", []string{"var Err"}},
		{"parameter", "Read(n int)", "Read(n int, max int)", []string{"func Read"}},
		{"result", "(int, error) { return 0, nil }", "error { return nil }", []string{"func Read"}},
		{"name", "func Read", "func Reads", []string{"func Read"}},
		{"type of a field", "Wait time.Duration", "Wait time.Month", []string{"field Config.Wait"}},
		{"tag", "opt:\"wait\"", "opt:\"waits\"", []string{"field Config.Wait"}},
		{"field of a struct without unexported ones", "In, Out uint64", "In, Out, More uint64", []string{"literal Stats"}},
		{"order of such fields", "In, Out uint64", "Out, In uint64", []string{"literal Stats"}},
		{"method of an interface", "OnClose(c *Consumer)", "OnClose(c *Consumer); More()", []string{"type Delegate"}},
		{"method of an unexported interface", "Output(depth int,", "Output(depth int64,", []string{"method (*Consumer).SetLogger"}},
		{"function type", "Handler func(m *Config) error", "Handler func(m Config) error", []string{"type Handler"}},
		{"underlying type", "type Level int", "type Level uint", []string{"type Level"}},
		{"receiver", "(l Level) String", "(l *Level) String", []string{"method (Level).String"}},
		{"comparable", "type Consumer struct { hidden int }", "type Consumer struct { hidden []int }", []string{"comparison Consumer"}},
	}
	was := surfaceOf(check(t, before))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			source := before
			if tt.old != "" {
				source = replaceAll(t, before, tt.old, tt.new)
			}
			var got []string
			for _, d := range compare(was, surfaceOf(check(t, source))) {
				got = append(got, d.name)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("differences %q, want %q", got, tt.want)
			}
		})
	}
}

// All tests share one importer, because it type-checks the standard library from
// source.
var (
	fset       = token.NewFileSet()
	fromSource = importer.ForCompiler(fset, "source", nil)
)

func check(t *testing.T, source string) *types.Package {
	t.Helper()
	file, err := parser.ParseFile(fset, "nsq.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	config := types.Config{Importer: fromSource}
	pkg, err := config.Check("nsq", fset, []*ast.File{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return pkg
}

func replaceAll(t *testing.T, text, old, replacement string) string {
	t.Helper()
	changed := strings.ReplaceAll(text, old, replacement)
	if changed == text {
		t.Fatalf("no %q to replace", old)
	}
	return changed
}
