package archtest

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every link in godoc, such as [Config.Set], leads to an exported name. The compiler does not
// know when a name that a comment links to is gone.
func TestDocLinks(t *testing.T) {
	for _, dir := range documented {
		names, err := filepath.Glob(filepath.Join("../..", dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		fset := token.NewFileSet()
		var files []*ast.File
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
		faults, err := deadLinks(fset, files)
		if err != nil {
			t.Fatal(err)
		}
		for _, fault := range faults {
			t.Errorf("%s: %s", dir, fault)
		}
	}
}

// looksLinked matches the text of a link that was not recognized as one.
var looksLinked = regexp.MustCompile(`\[\*?(?:[a-z][a-z0-9]*\.)?[A-Z]\w*(?:\.\w+)?\]`)

// deadLinks returns the links in the comments of a package that lead nowhere.
func deadLinks(fset *token.FileSet, files []*ast.File) (faults []string, err error) {
	p, err := doc.NewFromFiles(fset, files, module)
	if err != nil {
		return nil, err
	}
	look := func(name, text string) {
		for _, link := range plainLinks(p.Parser().Parse(text).Content) {
			faults = append(faults, fmt.Sprintf("%s: no name for the link %s", name, link))
		}
	}
	values := func(list []*doc.Value) {
		for _, v := range list {
			look(v.Names[0], v.Doc)
		}
	}
	funcs := func(of string, list []*doc.Func) {
		for _, f := range list {
			look(of+f.Name, f.Doc)
		}
	}
	look("package", p.Doc)
	values(p.Consts)
	values(p.Vars)
	funcs("", p.Funcs)
	for _, typ := range p.Types {
		look(typ.Name, typ.Doc)
		values(typ.Consts)
		values(typ.Vars)
		funcs("", typ.Funcs)
		funcs(typ.Name+".", typ.Methods)
	}
	return faults, nil
}

// plainLinks returns what looks like a link in the plain text of a comment.
func plainLinks(blocks []comment.Block) (links []string) {
	for _, b := range blocks {
		switch b := b.(type) {
		case *comment.Paragraph:
			for _, t := range b.Text {
				if plain, ok := t.(comment.Plain); ok {
					links = append(links, looksLinked.FindAllString(string(plain), -1)...)
				}
			}
		case *comment.List:
			for _, item := range b.Items {
				links = append(links, plainLinks(item.Content)...)
			}
		}
	}
	return links
}

func TestDeadLinks(t *testing.T) {
	const src = `// Package p has [T], [T.M], [F], [U], [T.N], [fmt.Print], and nothing in [1, 2].
package p

import "fmt"

// T is made by [*U].
//   - See [G].
type T struct{}

// M is not [q.Name].
func (T) M() { fmt.Print() }

// F is of [T].
//
//	code: [H]
func F() T
`
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "p.go", src, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	faults, err := deadLinks(fset, []*ast.File{file})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, fault := range faults {
		got = append(got, strings.ReplaceAll(fault, "no name for the link ", ""))
	}
	if want := "package: [U]; package: [T.N]; T: [*U]; T: [G]; T.M: [q.Name]"; strings.Join(got, "; ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "; "), want)
	}
}
