package archtest

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A wing is the set of files in the root folder that serve one of its public types. All
// wings are in one package, so the compiler does not keep them apart. A file belongs to
// the first wing with a pattern that matches its name.
type wing struct {
	name  string
	files []string // as in path.Match
	uses  []string // wings whose names it may use, besides its own and the shared files
}

const shared = "shared"

// wings is the table. Shared files may use the names of no wing.
var wings = []wing{
	{name: "Consumer", files: []string{"consumer*.go"}},
	{name: "Producer", files: []string{"producer*.go"}},
	{name: "Pool", files: []string{"pool*.go", "batcher*.go"}, uses: []string{"Producer"}},
	{name: "Group", files: []string{"group*.go"}, uses: []string{"Consumer"}},
	{name: "Conn", files: []string{"conn*.go", "command.go"}},
	{name: shared, files: []string{"*.go"}},
}

// An exception is a name that a file may use although the table forbids it.
type exception struct{ file, name, why string }

var exceptions = []exception{
	{"message.go", "consumerConn", "a Message finds its connection by a pointer: an interface or a closure would not fit a slab of messages into 8 KiB"},
	{"message.go", "cleanUp", "the method that a Message calls through that pointer"},
}

func TestWings(t *testing.T) {
	fset := token.NewFileSet()
	names, err := filepath.Glob("../../*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if ok, err := build.Default.MatchFile("../..", filepath.Base(name)); err != nil {
			t.Fatal(err)
		} else if !ok || strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(fset, filepath.Base(name), src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, fault := range checkWings(fset, files, wings, exceptions) {
		t.Error(fault)
	}
}

// checkWings returns what breaks the table in the files of a package. It looks at uses
// of the package's own declarations, fields and methods. So it does not matter if an
// import cannot be loaded.
func checkWings(fset *token.FileSet, files []*ast.File, wings []wing, exceptions []exception) (faults []string) {
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	cfg := types.Config{Importer: importer.ForCompiler(fset, "source", nil), Error: func(error) {}}
	pkg, _ := cfg.Check("nsq", fset, files, info)
	unused := slices.Clone(exceptions)
	for id, obj := range info.Uses {
		if obj.Pkg() != pkg || !visibleToOtherFiles(obj, pkg) {
			continue
		}
		at, decl := fset.Position(id.Pos()), fset.Position(obj.Pos())
		user, owner := wingOf(wings, at.Filename), wingOf(wings, decl.Filename)
		if owner.name == shared || owner.name == user.name || slices.Contains(user.uses, owner.name) {
			continue
		}
		allowed := func(e exception) bool { return e.file == at.Filename && e.name == obj.Name() }
		if slices.ContainsFunc(exceptions, allowed) {
			unused = slices.DeleteFunc(unused, allowed)
			continue
		}
		faults = append(faults, fmt.Sprintf("%s:%d: %s of %s belongs to the %s wing, which %s must not name: "+
			"move it to a shared file or to a room, or pass in its value",
			at.Filename, at.Line, obj.Name(), decl.Filename, owner.name, user.mustNot()))
	}
	for _, e := range unused {
		faults = append(faults, fmt.Sprintf("%s does not name %s any more: delete the exception", e.file, e.name))
	}
	slices.Sort(faults)
	return faults
}

// visibleToOtherFiles reports whether other files can name an object: it is a field, a
// function, a method, or declared at package level.
func visibleToOtherFiles(obj types.Object, pkg *types.Package) bool {
	switch o := obj.(type) {
	case *types.Var:
		return o.IsField() || o.Parent() == pkg.Scope()
	case *types.Func:
		return true
	}
	return obj.Parent() == pkg.Scope()
}

func wingOf(wings []wing, file string) wing {
	i := slices.IndexFunc(wings, func(w wing) bool {
		return slices.ContainsFunc(w.files, func(pattern string) bool {
			ok, err := path.Match(pattern, file)
			return ok && err == nil
		})
	})
	return wings[i]
}

func (w wing) mustNot() string {
	if w.name == shared {
		return "a shared file"
	}
	return "the " + w.name + " wing"
}

// TestCheckWings breaks the table in every way, and states what checkWings must find.
func TestCheckWings(t *testing.T) {
	table := []wing{
		{name: "A", files: []string{"a*.go"}},
		{name: "B", files: []string{"b*.go", "c.go"}, uses: []string{"A"}},
		{name: shared, files: []string{"*.go"}},
	}
	base := map[string]string{
		"a.go":  "type a struct{ field int }\nfunc (a) method() {}\nvar av a",
		"a2.go": "var _ = av.field",
		"b.go":  "type b struct{ a }\nfunc bf() { av.method() }",
		"m.go":  "type m int\nfunc (m) String() string { return \"\" }",
	}
	const advice = ": move it to a shared file or to a room, or pass in its value"
	for _, tt := range []struct{ file, src, want string }{
		{"a3.go", "var _ m", ""},
		{"c.go", "var _ = bf", ""},
		{"a3.go", "var _ b", "a3.go:2: b of b.go belongs to the B wing, which the A wing must not name" + advice},
		{"a3.go", "func _() {\nbf()\n}", "a3.go:3: bf of b.go belongs to the B wing, which the A wing must not name" + advice},
		{"n.go", "func _(x interface{ method() }) { x.method() }", ""},
		{"n.go", "var _ = av.field", "n.go:2: av of a.go belongs to the A wing, which a shared file must not name" + advice +
			"\nn.go:2: field of a.go belongs to the A wing, which a shared file must not name" + advice},
		{"n.go", "func _() {\nav.method() }", "n.go:3: av of a.go belongs to the A wing, which a shared file must not name" + advice +
			"\nn.go:3: method of a.go belongs to the A wing, which a shared file must not name" + advice},
		{"n.go", "import \"github.com/nobody/nothing\"\nvar _ = nothing.Av", ""},
		{"except.go", "var _ = av", ""},
		{"n.go", "", "except.go does not name av any more: delete the exception"},
	} {
		fset := token.NewFileSet()
		var files []*ast.File
		sources := map[string]string{tt.file: tt.src, "except.go": "var _ = av"}
		if strings.HasPrefix(tt.want, "except") {
			sources["except.go"] = ""
		}
		for name, src := range base {
			sources[name] = src
		}
		for name, src := range sources {
			file, err := parser.ParseFile(fset, name, "package nsq\n"+src, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
		got := strings.Join(checkWings(fset, files, table, []exception{{file: "except.go", name: "av"}}), "\n")
		if got != tt.want {
			t.Errorf("%s: %s\n got %s\nwant %s", tt.file, tt.src, got, tt.want)
		}
	}
}
