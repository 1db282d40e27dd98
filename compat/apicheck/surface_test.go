package apicheck

import (
	"cmp"
	"fmt"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"

	_ "github.com/nsqio/go-nsq" // keeps the package to compare with in go.mod
)

// surface maps everything that a program may refer to in a package ("func
// NewConfig", "type Config", "field Config.MaxInFlight" and so on) to a
// description. A package can replace another if it has all names of the other,
// with the same descriptions.
type surface map[string]string

// load loads a package by its import path, resolved in a directory, and in the
// workspace that the directory may hold.
func load(dir, path string) (*types.Package, error) {
	workspace := "GOWORK=off"
	if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
		workspace = "GOWORK=" // the go command looks for it
	}
	pkgs, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedTypes | packages.NeedImports | packages.NeedDeps,
		Dir:  dir,
		Env:  append(os.Environ(), workspace),
	}, path)
	if err != nil {
		return nil, err
	}
	if len(pkgs) != 1 || len(pkgs[0].Errors) > 0 {
		return nil, fmt.Errorf("%s in %s: %d packages, %v", path, dir, len(pkgs), pkgs[0].Errors)
	}
	return pkgs[0].Types, nil
}

// describer describes types without the package's path, so that descriptions of
// two packages can be compared. It spells out unexported interfaces, because callers
// cannot see their names, and Logger, because go-nsq's is unexported.
type describer struct {
	hidden map[*regexp.Regexp]string // definitions of the interfaces that are spelled out, by name
}

func surfaceOf(pkg *types.Package) surface {
	d := describer{hidden: make(map[*regexp.Regexp]string)}
	s := make(surface)
	scope := pkg.Scope()
	for _, p := range append(pkg.Imports(), pkg) {
		d.addHidden(p)
	}
	for _, name := range scope.Names() {
		switch obj := scope.Lookup(name).(type) {
		case *types.Const:
			s.add(obj, "const "+name, d.typ(obj.Type())+" = "+obj.Val().ExactString())
		case *types.Var:
			s.add(obj, "var "+name, d.typ(obj.Type()))
		case *types.Func:
			s.add(obj, "func "+name, d.typ(obj.Type()))
		case *types.TypeName:
			if obj.Exported() {
				d.describe(s, name, types.Unalias(obj.Type()))
			}
		}
	}
	return s
}

// addHidden collects the interfaces of a package that are spelled out, if its name is nsq.
func (d describer) addHidden(pkg *types.Package) {
	if pkg.Name() != "nsq" {
		return
	}
	for _, name := range pkg.Scope().Names() {
		obj := pkg.Scope().Lookup(name)
		if types.IsInterface(obj.Type()) && (!obj.Exported() || name == "Logger") {
			d.hidden[regexp.MustCompile(`\bnsq\.`+name+`\b`)] = d.typ(obj.Type().Underlying())
		}
	}
}

func (s surface) add(obj types.Object, name, description string) {
	if obj.Exported() {
		s[name] = description
	}
}

// describe adds a type, its fields and its methods to s.
//
// The description of an interface contains its methods, because adding or
// removing one breaks its implementations. A struct with only exported fields can
// be written as a literal without their names, so the number and order of its
// fields matter.
func (d describer) describe(s surface, name string, t types.Type) {
	if types.Comparable(t) {
		s["comparison "+name] = "allowed"
	}
	if u, ok := t.Underlying().(*types.Struct); ok {
		s["type "+name] = "struct"
		d.fields(s, name, u)
	} else {
		s["type "+name] = d.typ(t.Underlying())
	}
	if types.IsInterface(t) {
		return
	}
	values := types.NewMethodSet(t)
	pointers := types.NewMethodSet(types.NewPointer(t))
	for i := range pointers.Len() {
		m := pointers.At(i).Obj()
		s.add(m, "method (*"+name+")."+m.Name(), d.typ(m.Type()))
		if values.Lookup(m.Pkg(), m.Name()) != nil {
			s.add(m, "method ("+name+")."+m.Name(), d.typ(m.Type()))
		}
	}
}

func (d describer) fields(s surface, name string, t *types.Struct) {
	var exported []string
	for i := range t.NumFields() {
		f := t.Field(i)
		if f.Exported() {
			s["field "+name+"."+f.Name()] = d.typ(f.Type()) + " `" + t.Tag(i) + "`"
			exported = append(exported, f.Name())
		}
	}
	if len(exported) == t.NumFields() {
		s["literal "+name] = strings.Join(exported, ", ")
	}
}

func (d describer) typ(t types.Type) string {
	text := types.TypeString(withoutNames(t), func(p *types.Package) string { return p.Name() })
	text = strings.ReplaceAll(text, "interface{}", "any")
	for name, what := range d.hidden {
		text = name.ReplaceAllString(text, what)
	}
	return text
}

// withoutNames removes the names of parameters from a signature, or from the
// methods of an interface. They are not part of the type.
func withoutNames(t types.Type) types.Type {
	switch t := t.(type) {
	case *types.Signature:
		return types.NewSignatureType(nil, nil, nil, unnamed(t.Params()), unnamed(t.Results()), t.Variadic())
	case *types.Interface:
		var methods []*types.Func
		for m := range t.Methods() {
			methods = append(methods, types.NewFunc(m.Pos(), m.Pkg(), m.Name(), withoutNames(m.Type()).(*types.Signature)))
		}
		return types.NewInterfaceType(methods, nil).Complete()
	}
	return t
}

func unnamed(tuple *types.Tuple) *types.Tuple {
	var vars []*types.Var
	for v := range tuple.Variables() {
		vars = append(vars, types.NewParam(v.Pos(), v.Pkg(), "", withoutNames(v.Type())))
	}
	return types.NewTuple(vars...)
}

// difference is one name for which a package cannot replace another.
type difference struct {
	name, was, is string // descriptions; is is empty if the name is missing
}

func (d difference) String() string {
	return fmt.Sprintf("%s\n\twas %s\n\tis  %s", d.name, d.was, cmp.Or(d.is, "missing"))
}

// compare returns the names of was that are missing from is or have another
// description there, in sorted order. It ignores names that only is has.
func compare(was, is surface) []difference {
	var found []difference
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if was[name] != is[name] {
			found = append(found, difference{name, was[name], is[name]})
		}
	}
	return found
}
