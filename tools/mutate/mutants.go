package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// mutant is one change of one file.
type mutant struct {
	dir  string // of the package
	file string // its name in dir
	line int
	// The change replaces the bytes from start to end by text.
	start, end int
	was, text  string
}

// String names the place and the change, in one line.
func (m mutant) String() string {
	return fmt.Sprintf("%s: %s -> %s", m.place(), short(m.was), short(m.text))
}

func (m mutant) place() string {
	return fmt.Sprintf("%s:%d", filepath.Join(m.dir, m.file), m.line)
}

// short joins the lines of code, and cuts what is too long to read at a glance.
func short(code string) string {
	code = strings.Join(strings.Fields(code), " ")
	if len(code) > 100 {
		code = code[:100] + "…"
	}
	return "`" + code + "`"
}

// inPackage returns all mutants of the package in dir.
func inPackage(dir string) ([]mutant, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	var all []mutant
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		found, err := inFile(dir, filepath.Base(name))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no code to change in %s", dir)
	}
	return all, nil
}

func inFile(dir, file string) ([]mutant, error) {
	source, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil, err
	}
	files := token.NewFileSet()
	tree, err := parser.ParseFile(files, file, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f := &finder{dir: dir, file: file, source: source, at: files.File(tree.Pos())}
	for _, decl := range tree.Decls {
		if d, ok := decl.(*ast.GenDecl); !ok || d.Tok != token.IMPORT {
			f.search(decl, nil)
		}
	}
	return f.found, nil
}

// finder collects the mutants of one file.
type finder struct {
	dir, file string
	source    []byte
	at        *token.File
	found     []mutant
}

func (f *finder) text(n ast.Node) string {
	return string(f.source[f.at.Offset(n.Pos()):f.at.Offset(n.End())])
}

// replace adds the mutant that has text in place of n.
func (f *finder) replace(n ast.Node, text string) {
	f.found = append(f.found, mutant{
		dir: f.dir, file: f.file, line: f.at.Line(n.Pos()),
		start: f.at.Offset(n.Pos()), end: f.at.Offset(n.End()),
		was: f.text(n), text: text,
	})
}

// remove adds the mutant that never runs a statement. Its variables stay in use, so that
// it builds.
func (f *finder) remove(n ast.Stmt) { f.replace(n, "if false { "+f.text(n)+" }") }

// search adds the mutants of all code in n, which belongs to a function with these results.
func (f *finder) search(n ast.Node, results *ast.FieldList) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Body != nil {
				f.search(n.Body, n.Type.Results)
			}
			return false
		case *ast.FuncLit:
			f.search(n.Body, n.Type.Results)
			return false
		case *ast.ReturnStmt:
			f.returned(n, results)
		case ast.Stmt:
			f.statement(n)
		case ast.Expr:
			f.expression(n)
		}
		return true
	})
}

func (f *finder) statement(n ast.Stmt) {
	switch n := n.(type) {
	case *ast.IfStmt:
		condition := "(" + f.text(n.Cond) + ")"
		f.replace(n.Cond, "true || "+condition)
		f.replace(n.Cond, "false && "+condition)
	case *ast.ExprStmt:
		if call, ok := n.X.(*ast.CallExpr); ok && noticeable(call) {
			f.remove(n)
		}
	case *ast.DeferStmt:
		if noticeable(n.Call) {
			f.remove(n)
		}
	case *ast.GoStmt, *ast.SendStmt:
		f.remove(n)
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE && f.text(n.Lhs[0]) != "_" {
			f.remove(n)
		}
	case *ast.IncDecStmt:
		if n.Tok == token.INC {
			f.replace(n, f.text(n.X)+"--")
		} else {
			f.replace(n, f.text(n.X)+"++")
		}
	case *ast.BranchStmt:
		switch {
		case n.Label != nil:
		case n.Tok == token.BREAK:
			f.replace(n, "continue")
		case n.Tok == token.CONTINUE:
			f.replace(n, "break")
		}
	}
}

// noticeable reports whether tests can notice that a call is missing. They run without
// the race detector, so they miss the absence of a lock. A panic is the last statement of
// its function or a sign of a bug.
func noticeable(call *ast.CallExpr) bool {
	switch fun := call.Fun.(type) {
	case *ast.Ident:
		return fun.Name != "panic"
	case *ast.SelectorExpr:
		switch fun.Sel.Name {
		case "Lock", "Unlock", "RLock", "RUnlock":
			return false
		}
	}
	return true
}

// other maps an operator to the one that its mutant has.
var other = map[token.Token]token.Token{
	token.LSS: token.LEQ, token.LEQ: token.LSS,
	token.GTR: token.GEQ, token.GEQ: token.GTR,
	token.EQL: token.NEQ, token.NEQ: token.EQL,
	token.LAND: token.LOR, token.LOR: token.LAND,
	token.ADD: token.SUB, token.SUB: token.ADD,
	token.MUL: token.QUO, token.QUO: token.MUL, token.REM: token.MUL,
	token.AND: token.OR, token.OR: token.AND,
	token.SHL: token.SHR, token.SHR: token.SHL,
}

func (f *finder) expression(n ast.Expr) {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		if op, ok := other[n.Op]; ok {
			f.replace(n, f.text(n.X)+" "+op.String()+" "+f.text(n.Y))
		}
	case *ast.UnaryExpr:
		if n.Op == token.NOT || n.Op == token.SUB {
			f.replace(n, f.text(n.X))
		}
	case *ast.BasicLit:
		if i, err := strconv.ParseInt(n.Value, 0, 64); err == nil && n.Kind == token.INT {
			f.replace(n, strconv.FormatInt(i+1, 10))
		}
	}
}

// errorType is declared in every changed file, for the mutants that return an error.
const errorType = `

type mutantError struct{}

func (mutantError) Error() string { return "mutant" }
`

// returned adds a mutant for each value that n returns.
func (f *finder) returned(n *ast.ReturnStmt, results *ast.FieldList) {
	var types []string
	if results != nil {
		for _, field := range results.List {
			for range max(len(field.Names), 1) {
				types = append(types, f.text(field.Type))
			}
		}
	}
	if len(types) != len(n.Results) {
		return // of a call with several results
	}
	for i, result := range n.Results {
		switch value := f.text(result); {
		case types[i] == "bool":
			f.replace(result, "!("+value+")")
		case types[i] == "error" && value == "nil":
			f.replace(result, "mutantError{}")
		case value == "nil" || value == "0" || value == `""` || strings.HasSuffix(value, "{}"):
			// The zero value would change nothing.
		default:
			f.replace(result, "*new("+types[i]+")")
		}
	}
}
