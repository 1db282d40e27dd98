package archtest

import (
	"errors"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// documented are the folders of the packages that users import: those in rooms that are
// neither internal nor programs, and those of nested modules.
var documented = []string{
	".", "nsqtest", "nsqtest/hostile", "admin", "envelope", "health", "delay", "broker",
	"middleware", "middleware/breaker", "middleware/dedupe", "middleware/failsafe", "middleware/retry", "middleware/throttle",
	"plugin/prom", "plugin/otel", "plugin/watermill", "plugin/gocloud",
}

// Every exported type has an example: an Example function is named after the type, or the
// code that godoc shows for one has an expression of that type.
func TestEveryTypeHasAnExample(t *testing.T) {
	for _, r := range rooms {
		top, _, _ := strings.Cut(r.dir, "/")
		if top != "internal" && top != "examples" && !slices.Contains(documented, r.dir) {
			t.Errorf("documented lacks %s", r.dir)
		}
	}
	for _, dir := range documented {
		names, err := filepath.Glob(filepath.Join("../..", dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		fset := token.NewFileSet()
		var files []*ast.File
		for _, name := range names {
			file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
		all, missing := withoutExample(fset, filepath.Join(module, dir), files)
		if all+len(doc.Examples(files...)) == 0 {
			t.Errorf("%s: neither types nor examples", dir)
		}
		for _, name := range missing {
			t.Errorf("%s: no example shows type %s", dir, name)
		}
	}
}

// withoutExample returns how many types a package exports, and those that no example shows.
// It looks at the package's own types only. So it does not matter that no import is loaded.
func withoutExample(fset *token.FileSet, path string, files []*ast.File) (all int, missing []string) {
	var sources, tests []*ast.File
	for _, f := range files {
		switch name := fset.File(f.FileStart).Name(); {
		case !strings.HasSuffix(name, "_test.go"):
			sources = append(sources, f)
		case strings.HasSuffix(f.Name.Name, "_test"):
			tests = append(tests, f)
		}
	}
	cfg := types.Config{Importer: only{}, Error: func(error) {}}
	pkg, _ := cfg.Check(path, fset, sources, nil)
	cfg.Importer = only{pkg}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Selections: map[*ast.SelectorExpr]*types.Selection{}}
	_, _ = cfg.Check(path+"_test", fset, tests, info)

	shown := map[string]bool{}
	show := func(t types.Type) {
		if p, ok := t.(*types.Pointer); ok {
			t = p.Elem()
		}
		if n, ok := t.(*types.Named); ok && n.Obj().Pkg() == pkg {
			shown[n.Obj().Name()] = true
		}
	}
	for _, e := range doc.Examples(tests...) {
		name, _, _ := strings.Cut(e.Name, "_")
		shown[name] = true
		ast.Inspect(e.Code, func(n ast.Node) bool {
			if x, ok := n.(ast.Expr); ok {
				show(info.Types[x].Type)
			}
			if x, ok := n.(*ast.SelectorExpr); ok && info.Selections[x] != nil {
				for _, t := range embedded(info.Selections[x]) {
					show(t)
				}
			}
			return true
		})
	}
	for _, name := range pkg.Scope().Names() {
		if typ, ok := pkg.Scope().Lookup(name).(*types.TypeName); ok && typ.Exported() {
			all++
			if !shown[name] {
				missing = append(missing, name)
			}
		}
	}
	return all, missing
}

// embedded returns the types of the embedded fields through which s selects.
func embedded(s *types.Selection) (fields []types.Type) {
	t := s.Recv()
	for _, i := range s.Index()[:len(s.Index())-1] {
		if p, ok := t.Underlying().(*types.Pointer); ok {
			t = p.Elem()
		}
		t = t.Underlying().(*types.Struct).Field(i).Type()
		fields = append(fields, t)
	}
	return fields
}

// only imports one package.
type only struct{ *types.Package }

func (o only) Import(path string) (*types.Package, error) {
	if o.Package != nil && path == o.Path() {
		return o.Package, nil
	}
	return nil, errors.New("not loaded")
}

func TestWithoutExample(t *testing.T) {
	const api = "package p\ntype T struct{ Sub }\nfunc (*T) M() E\nfunc NewT() *T\ntype E int\nconst E1 E = 1\ntype u int\ntype Sub struct{ F int }\n"
	const head = "package p_test\nimport (\"example.org/p\"; \"example.org/q\")\n"
	for _, tt := range []struct{ example, want string }{
		{"func TestX() { _ = p.T{}; _ = p.E1 }", "[E Sub T]"},
		{"func ExampleT() {}", "[E Sub]"},
		{"func ExampleT_M() {}", "[E Sub]"},
		{"func Example() { _ = p.T{} }", "[E Sub]"},
		{"func Example() { p.NewT().M() }", "[Sub]"},
		{"func Example() { t := p.NewT(); _ = t.F }", "[E]"},
		{"func Example() { _ = p.E1 }", "[Sub T]"},
		{"func Example() { q.Do(func(t p.T) { _ = t.F }) }", "[E]"},
		{"func Example() { _ = q.T{} }", "[E Sub T]"},
		{"func Example() {}\nfunc help(p.T) {}", "[E Sub]"},                        // godoc shows the whole file
		{"func Example() {}\nfunc Example_b() {}\nfunc help(p.T) {}", "[E Sub T]"}, // and here the two functions only
	} {
		fset := token.NewFileSet()
		var files []*ast.File
		for name, src := range map[string]string{"p.go": api, "p_test.go": head + tt.example} {
			f, err := parser.ParseFile(fset, name, src, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		if all, got := withoutExample(fset, "example.org/p", files); all != 3 || fmt.Sprint(got) != tt.want {
			t.Errorf("%s: %d types, without example: %s, want %s", tt.example, all, got, tt.want)
		}
	}
}
