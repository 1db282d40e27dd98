package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "github.com/rdyhq/nsq"

// anyStd allows the whole standard library.
var anyStd = []string{"..."}

// A room is a folder of the module, and what its code may use. Tests may use anything.
// Patterns are as in path.Match, or end in "..." for everything below.
type room struct {
	dir   string
	std   []string // packages of the standard library
	rooms []string // other folders of the module
	deps  []string // packages of other modules
	pure  bool     // starts no goroutine, reads no clock, draws only from a given source
	later bool     // may not exist yet
}

// impure is what a pure room must not use of the packages it may import.
var impure = map[string][]string{
	"time": {
		"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Ticker", "Timer", "Until",
	},
	"math/rand/v2": {
		"ExpFloat64", "Float32", "Float64", "Int", "Int32", "Int32N", "Int64", "Int64N", "IntN", "N",
		"NormFloat64", "Perm", "Shuffle", "Uint", "Uint32", "Uint32N", "Uint64", "Uint64N", "UintN",
	},
}

// check returns what breaks the table in the module at the root of fsys. It ignores
// tests, nested modules, and folders that the go tool ignores.
func check(fsys fs.FS, rooms []room) (faults []string) {
	seen := map[string]bool{}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && ignored(fsys, name):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		dir := path.Dir(name)
		i := slices.IndexFunc(rooms, func(r room) bool { return match([]string{r.dir}, dir) })
		if i < 0 {
			faults = append(faults, fmt.Sprintf("%s: folder %s has no rule", name, dir))
			return nil
		}
		seen[rooms[i].dir] = true
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		faults = append(faults, rooms[i].checkFile(name, src)...)
		return nil
	})
	if err != nil {
		faults = append(faults, err.Error())
	}
	for _, r := range rooms {
		if !seen[r.dir] && !r.later {
			faults = append(faults, fmt.Sprintf("%s: room is missing", r.dir))
		}
	}
	return faults
}

func ignored(fsys fs.FS, dir string) bool {
	base := path.Base(dir)
	if base[0] == '.' || base[0] == '_' || base == "testdata" {
		return true
	}
	_, err := fs.Stat(fsys, path.Join(dir, "go.mod"))
	return err == nil
}

// checkFile returns what one file uses that its room must not.
func (r *room) checkFile(name string, src []byte) (faults []string) {
	mode := parser.SkipObjectResolution
	if !r.pure {
		mode |= parser.ImportsOnly
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, mode)
	if err != nil {
		return []string{err.Error()}
	}
	fault := func(at token.Pos, format string, args ...any) {
		p := fset.Position(at)
		faults = append(faults, fmt.Sprintf("%s:%d: ", p.Filename, p.Line)+fmt.Sprintf(format, args...))
	}
	for _, spec := range file.Imports {
		if p := importPath(spec); !r.mayImport(p) {
			fault(spec.Pos(), "%s must not import %s", r.dir, p)
		}
	}
	if !r.pure {
		return faults
	}
	for _, spec := range file.Imports {
		if spec.Name != nil && spec.Name.Name == "." {
			fault(spec.Pos(), "%s must not import with a dot, which hides what it uses", r.dir)
		}
	}
	names := impureImports(file)
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			fault(n.Pos(), "%s must not start goroutines", r.dir)
		case *ast.SelectorExpr:
			pkg, ok := n.X.(*ast.Ident)
			if ok && slices.Contains(impure[names[pkg.Name]], n.Sel.Name) {
				fault(n.Pos(), "%s must not use %s.%s", r.dir, names[pkg.Name], n.Sel.Name)
			}
		}
		return true
	})
	return faults
}

func (r *room) mayImport(p string) bool {
	dir, ours := strings.CutPrefix(p, module+"/")
	first, _, _ := strings.Cut(p, "/")
	switch {
	case p == module:
		return slices.Contains(r.rooms, ".")
	case ours:
		return match(r.rooms, dir)
	case strings.Contains(first, ".") || p == "C":
		return match(r.deps, p)
	}
	return match(r.std, p)
}

// impureImports maps the names under which a file imports the packages of
// impure to their paths.
func impureImports(file *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range file.Imports {
		p := importPath(spec)
		switch {
		case impure[p] == nil:
		case spec.Name != nil:
			names[spec.Name.Name] = p
		default:
			names[path.Base(strings.TrimSuffix(p, "/v2"))] = p
		}
	}
	return names
}

func importPath(spec *ast.ImportSpec) string {
	p, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
	return p
}

func match(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if prefix, ok := strings.CutSuffix(pattern, "..."); ok {
			return strings.HasPrefix(p+"/", prefix)
		}
		ok, err := path.Match(pattern, p)
		return ok && err == nil
	})
}

// TestCheck adds one file at a time to a module that keeps to the table, and states
// what check must find.
func TestCheck(t *testing.T) {
	good := fstest.MapFS{"go.mod": {}}
	for _, r := range rooms {
		if !r.later {
			good[path.Join(strings.TrimSuffix(r.dir, "/..."), "doc.go")] = &fstest.MapFile{Data: []byte("package x")}
		}
	}
	const imports, body = "package x\nimport ", "package x\nimport %s\nfunc f() { %s }"
	tests := []struct {
		file, src string
		want      string // what is found; "" for nothing
	}{
		{"doc.go", imports + `"github.com/rdyhq/nsq/internal/link"`, ""},
		{"doc.go", imports + `"github.com/rdyhq/nsq/internal/discover"`, ""},
		{"doc.go", imports + `"unknown/std"`, ""},
		{"doc.go", imports + `"github.com/rdyhq/nsq/broker"`, "doc.go:2: . must not import github.com/rdyhq/nsq/broker"},
		{"doc.go", imports + `"github.com/rdyhq/nsq/nsqtest"`, "doc.go:2: . must not import github.com/rdyhq/nsq/nsqtest"},
		{"doc.go", imports + `"github.com/rdyhq/nsq/internal/archtest"`, "doc.go:2: . must not import github.com/rdyhq/nsq/internal/archtest"},
		{"doc.go", imports + `"github.com/klauspost/compress/flate"`, "doc.go:2: . must not import github.com/klauspost/compress/flate"},
		{"doc.go", imports + `"github.com/rdyhq/nsqx"`, "doc.go:2: . must not import github.com/rdyhq/nsqx"},
		{"doc.go", imports + `"C"`, "doc.go:2: . must not import C"},

		{"internal/wire/a.go", imports + `("encoding/json"; "errors"; "fmt"; "strconv")`, ""},
		{"internal/wire/a.go", imports + `"encoding/json/v2"`, "internal/wire/a.go:2: internal/wire must not import encoding/json/v2"},
		{"internal/wire/a.go", imports + `"net"`, "internal/wire/a.go:2: internal/wire must not import net"},
		{"internal/wire/a.go", imports + `clock "time"`, "internal/wire/a.go:2: internal/wire must not import time"},
		{"internal/wire/a.go", imports + `_ "sync"`, "internal/wire/a.go:2: internal/wire must not import sync"},
		{"internal/wire/a.go", imports + "(\n\"fmt\"\n\"io\"\n)", "internal/wire/a.go:4: internal/wire must not import io"},
		{"internal/wire/a.go", fmt.Sprintf(body, `"fmt"`, "go fmt.Println()"), "internal/wire/a.go:3: internal/wire must not start goroutines"},
		{"internal/wire/a_linux.go", "//go:build linux\n" + imports + `"net"`, "internal/wire/a_linux.go:3: internal/wire must not import net"},
		{"internal/wire/a_test.go", imports + `"net"`, ""},
		{"internal/wire/testdata/a.go", imports + `"net"`, ""},
		{"internal/wire/sub/a.go", "package x", "internal/wire/sub/a.go: folder internal/wire/sub has no rule"},
		{"internal/wire/a.go", "package", "internal/wire/a.go:1:8: expected 'IDENT', found 'EOF'"},

		{"internal/flow/a.go", fmt.Sprintf(body, `"time"`, "_ = time.Time{}.Add(time.Second)"), ""},
		{"internal/flow/a.go", fmt.Sprintf(body, `"time"`, "_ = time.Now()"), "internal/flow/a.go:3: internal/flow must not use time.Now"},
		{"internal/flow/a.go", fmt.Sprintf(body, `"time"`, "_ = time.Since"), "internal/flow/a.go:3: internal/flow must not use time.Since"},
		{"internal/flow/a.go", fmt.Sprintf(body, `clock "time"`, "clock.Sleep(1)"), "internal/flow/a.go:3: internal/flow must not use time.Sleep"},
		{"internal/flow/a.go", fmt.Sprintf(body, `"time"`, "var _ *time.Timer"), "internal/flow/a.go:3: internal/flow must not use time.Timer"},
		{"internal/flow/a.go", fmt.Sprintf(body, `. "time"`, "_ = Now()"), "internal/flow/a.go:2: internal/flow must not import with a dot, which hides what it uses"},
		{"internal/flow/a.go", fmt.Sprintf(body, `"math/rand/v2"`, "_ = rand.New(rand.NewPCG(1, 2)).IntN(3)"), ""},
		{"internal/flow/a.go", fmt.Sprintf(body, `"math/rand/v2"`, "_ = rand.IntN(3)"), "internal/flow/a.go:3: internal/flow must not use math/rand/v2.IntN"},
		{"internal/flow/a.go", imports + `"github.com/rdyhq/nsq/internal/wire"`, "internal/flow/a.go:2: internal/flow must not import github.com/rdyhq/nsq/internal/wire"},
		{"internal/fleet/a.go", fmt.Sprintf(body, `"time"`, "<-time.After(1)"), "internal/fleet/a.go:3: internal/fleet must not use time.After"},
		{"internal/fleet/a.go", "package x\nfunc f() { func() { go f() }() }", "internal/fleet/a.go:2: internal/fleet must not start goroutines"},
		{"internal/fleet/a.go", imports + `"context"`, "internal/fleet/a.go:2: internal/fleet must not import context"},

		{"internal/link/a.go", imports + `("net"; "github.com/rdyhq/nsq/internal/wire"; "github.com/klauspost/compress/s2")`, ""},
		{"internal/link/a.go", fmt.Sprintf(body, `"time"`, "go f(); _ = time.Now()"), ""},
		{"internal/link/a.go", imports + `"net/http"`, "internal/link/a.go:2: internal/link must not import net/http"},
		{"internal/link/a.go", imports + `"github.com/rdyhq/nsq"`, "internal/link/a.go:2: internal/link must not import github.com/rdyhq/nsq"},
		{"internal/link/a.go", imports + `"github.com/rdyhq/nsq/internal/flow"`, "internal/link/a.go:2: internal/link must not import github.com/rdyhq/nsq/internal/flow"},
		{"internal/link/a.go", imports + `"github.com/klauspost/cpuid"`, "internal/link/a.go:2: internal/link must not import github.com/klauspost/cpuid"},

		{"internal/discover/a.go", imports + `"net/http"`, ""},
		{"internal/discover/a.go", imports + `"github.com/rdyhq/nsq/internal/wire"`, "internal/discover/a.go:2: internal/discover must not import github.com/rdyhq/nsq/internal/wire"},
		{"internal/util/a.go", "package x", "internal/util/a.go: folder internal/util has no rule"},
		{"internal/archtest/a.go", imports + `"fmt"`, "internal/archtest/a.go:2: internal/archtest must not import fmt"},

		{"nsqtest/a.go", imports + `("testing"; "github.com/rdyhq/nsq/internal/wire")`, ""},
		{"nsqtest/a.go", imports + `"github.com/rdyhq/nsq"`, "nsqtest/a.go:2: nsqtest must not import github.com/rdyhq/nsq"},
		{"nsqtest/a.go", imports + `"github.com/rdyhq/nsq/internal/link"`, "nsqtest/a.go:2: nsqtest must not import github.com/rdyhq/nsq/internal/link"},

		{"examples/tail/main.go", imports + `("os"; "github.com/rdyhq/nsq"; "github.com/rdyhq/nsq/nsqtest")`, ""},
		{"examples/tail/main.go", imports + `"github.com/rdyhq/nsq/internal/wire"`, "examples/tail/main.go:2: examples/... must not import github.com/rdyhq/nsq/internal/wire"},
		{"examples/main.go", imports + `"go.uber.org/goleak"`, "examples/main.go:2: examples/... must not import go.uber.org/goleak"},
	}
	for _, tt := range tests {
		tree := maps.Clone(good)
		tree[tt.file] = &fstest.MapFile{Data: []byte(tt.src)}
		if got := strings.Join(check(tree, rooms), "\n"); got != tt.want {
			t.Errorf("%s:\n%s\ngot  %q\nwant %q", tt.file, tt.src, got, tt.want)
		}
	}
}

func TestCheckMissingRoom(t *testing.T) {
	tree := fstest.MapFS{"a/a.go": {Data: []byte("package a")}}
	faults := check(tree, []room{{dir: "a"}, {dir: "b"}, {dir: "c", later: true}})
	if want := []string{"b: room is missing"}; !slices.Equal(faults, want) {
		t.Errorf("got %q, want %q", faults, want)
	}
}

func TestCheckLeavesOutNestedModules(t *testing.T) {
	tree := fstest.MapFS{
		"a/a.go":            {Data: []byte("package a")},
		"cmd/rdy/go.mod":    {Data: []byte("module rdy")},
		"cmd/rdy/main.go":   {Data: []byte("package main")},
		"cmd/rdy/sub/x.go":  {Data: []byte("package sub")},
		".bin/x.go":         {Data: []byte("package bin")},
		"_attic/x.go":       {Data: []byte("package attic")},
		"a/testdata/x/x.go": {Data: []byte("package x")},
	}
	if faults := check(tree, []room{{dir: "a"}}); len(faults) > 0 {
		t.Errorf("got %q, want nothing", faults)
	}
}
