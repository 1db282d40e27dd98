package apicheck

import (
	"cmp"
	"fmt"
	"go/types"
	"maps"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"

	_ "github.com/nsqio/go-nsq" // what is compared with; go.mod keeps it
)

// surface is all that a program may refer to in a package, each with a text
// that is equal in two packages if one can stand in for the other there:
// "func NewConfig", "type Config", "field Config.MaxInFlight" and so on.
type surface map[string]string

// load reads a package, given by its import path as seen from a directory.
func load(dir, path string) (*types.Package, error) {
	pkgs, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedTypes | packages.NeedImports | packages.NeedDeps,
		Dir:  dir,
	}, path)
	if err != nil {
		return nil, err
	}
	if len(pkgs) != 1 || len(pkgs[0].Errors) > 0 {
		return nil, fmt.Errorf("%s in %s: %d packages, %v", path, dir, len(pkgs), pkgs[0].Errors)
	}
	return pkgs[0].Types, nil
}

// describer writes types without the package's path, so that they can be
// compared. Unexported interfaces, such as that of loggers, are written out:
// callers cannot see their names.
type describer struct {
	hidden map[*regexp.Regexp]string // an unexported interface's name: what it is
}

func surfaceOf(pkg *types.Package) surface {
	d := describer{hidden: make(map[*regexp.Regexp]string)}
	s := make(surface)
	scope := pkg.Scope()
	for _, p := range append(pkg.Imports(), pkg) {
		d.hide(p)
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

// hide notes the unexported interfaces of a package that is called nsq.
func (d describer) hide(pkg *types.Package) {
	if pkg.Name() != "nsq" {
		return
	}
	for _, name := range pkg.Scope().Names() {
		obj := pkg.Scope().Lookup(name)
		if types.IsInterface(obj.Type()) && !obj.Exported() {
			d.hidden[regexp.MustCompile(`\bnsq\.`+name+`\b`)] = d.typ(obj.Type().Underlying())
		}
	}
}

func (s surface) add(obj types.Object, name, description string) {
	if obj.Exported() {
		s[name] = description
	}
}

// describe adds a type, its fields and its methods. An interface's methods are
// in its description: more or fewer break those who implement it. A struct that
// has exported fields only can be written without their names, so that
// their number and order count.
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

// withoutNames drops the names of a signature's parameters, those of an
// interface's methods included: they are no part of the type.
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

// difference is one name at which a package cannot stand in for another.
type difference struct {
	name, was, is string // is is empty if the name is missing
}

func (d difference) String() string {
	return fmt.Sprintf("%s\n\twas %s\n\tis  %s", d.name, d.was, cmp.Or(d.is, "missing"))
}

// compare returns what of the old surface is not the same in the new one, in
// the order of names. What only the new one has does not matter.
func compare(was, is surface) []difference {
	var found []difference
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if was[name] != is[name] {
			found = append(found, difference{name, was[name], is[name]})
		}
	}
	return found
}
