package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

// docsModule is the path of the root module.
const docsModule = "github.com/rdyhq/nsq"

// docsOthers are commands of others, which the pages use and no test checks.
var docsOthers = []string{"command", "cp", "echo", "find", "git", "grep", "jq", "ln", "mkdir", "mv", "rm", "seq", "tail"}

// consoleCommands returns the commands of a block that shows a session: the lines that begin
// with a prompt.
func consoleCommands(code string) string {
	var commands strings.Builder
	for line := range strings.Lines(code) {
		if command, found := strings.CutPrefix(line, "$ "); found {
			commands.WriteString(command)
		}
	}
	return commands.String()
}

// shell checks each command of shell code, and returns what is wrong with the first bad one.
// Without complete, a command may lack arguments.
func (tree *docsTree) shell(code string, complete bool) (problem string) {
	file, err := syntax.NewParser().Parse(strings.NewReader(strings.ReplaceAll(code, ":PORT", ":1")), "")
	if err != nil {
		return err.Error()
	}
	// Variables and the output of commands count as "1".
	values := &expand.Config{
		Env:      expand.FuncEnviron(func(string) string { return "1" }),
		CmdSubst: func(w io.Writer, _ *syntax.CmdSubst) error { _, err := io.WriteString(w, "1"); return err },
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		call, isCall := n.(*syntax.CallExpr)
		if !isCall || len(call.Args) == 0 || problem != "" {
			return true
		}
		args, err := expand.Fields(values, call.Args...)
		if err == nil {
			err = tree.command(args, complete)
		}
		if err != nil {
			problem = strings.Join(args, " ") + ": " + err.Error()
		}
		return true
	})
	return problem
}

// command checks a command with its arguments.
func (tree *docsTree) command(args []string, complete bool) error {
	name := args[0]
	switch {
	case name == "rdy":
		return rdyCommand(args[1:], complete)
	case name == "go":
		return tree.goCommand(args[1:], complete)
	case name == "curl":
		return curlCommand(args[1:])
	case name == "sh" && len(args) > 1:
		if !docsFileExists("compat/" + args[1]) {
			return fmt.Errorf("no script %s", args[1])
		}
	case strings.HasPrefix(name, "./") || strings.HasPrefix(name, ".ci/"):
		if !docsFileExists(name) {
			return fmt.Errorf("no such file")
		}
	case !slices.Contains(docsOthers, name):
		return fmt.Errorf("no test knows this command")
	}
	return nil
}

// rdyCommand checks that rdy has a command, that it has these flags, and that it accepts the
// arguments.
func rdyCommand(args []string, complete bool) error {
	root := newRoot(&app{})
	cmd, rest, err := root.Find(args)
	if err != nil || cmd.DisableFlagParsing {
		return err
	}
	cmd.InitDefaultHelpFlag()
	switch err := cmd.ParseFlags(rest); {
	case err == nil, errors.Is(err, fs.ErrNotExist): // a file of the reader's
	case !complete && strings.Contains(err.Error(), "flag needs an argument"):
	default:
		return err
	}
	if !complete && !cmd.HasSubCommands() {
		return nil
	}
	if yes := cmd.Flags().Lookup("yes"); yes != nil {
		_ = yes.Value.Set("true") // the reader is asked on the terminal
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

// goCommand checks that the packages and modules that a go command names exist, the tests that
// it selects, and the flags of the programs that it runs.
func (tree *docsTree) goCommand(args []string, complete bool) error {
	dir := ""
	if len(args) > 1 && args[0] == "-C" {
		dir, args = args[1], args[2:]
	}
	if len(args) == 0 {
		return fmt.Errorf("no command of go")
	}
	if strings.HasPrefix(dir, "/tmp/") {
		return nil // a copy of something else
	}
	if dir != "" && !docsFileExists(dir) {
		return fmt.Errorf("no folder %s", dir)
	}
	verb, args := args[0], args[1:]
	switch verb {
	case "mod", "list", "generate", "work", "env", "version", "doc", "tool":
		return nil
	case "run", "test", "build", "install", "vet", "get":
	default:
		return fmt.Errorf("no test knows go %s", verb)
	}
	var pattern string
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		flag, value, joined := strings.Cut(args[0], "=")
		args = args[1:]
		if takes := slices.Contains([]string{"-run", "-bench", "-fuzz", "-o", "-tags", "-timeout", "-count"}, flag); takes && !joined && len(args) > 0 {
			value, args = args[0], args[1:]
		}
		if flag == "-run" || flag == "-bench" || flag == "-fuzz" {
			pattern = value
		}
	}
	packages := args
	if verb == "run" && len(args) > 0 {
		packages = args[:1]
	} else if own := slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, "-") }); own >= 0 {
		packages = args[:own] // flags of the test follow
	}
	args = args[len(packages):]
	for _, p := range packages {
		folder, err := docsPackage(dir, p)
		if err == nil && pattern != "" {
			err = tree.hasTest(folder, pattern)
		}
		if err == nil && len(args) > 0 {
			err = programFlags(folder, args, complete)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// docsPackage returns the folder of a package or module that a go command names: a path
// relative to dir, or an import path with or without a version.
func docsPackage(dir, name string) (string, error) {
	name, _, _ = strings.Cut(name, "@")
	folder := path.Join(dir, strings.TrimSuffix(name, "/..."))
	if imported, found := strings.CutPrefix(name, docsModule); found {
		folder = path.Join(".", imported)
	}
	if name == "work" {
		folder = "."
	}
	if !docsFileExists(folder) {
		return "", fmt.Errorf("no package %s", name)
	}
	return folder, nil
}

// hasTest checks that a folder, or one below it, has a test that a pattern selects.
func (tree *docsTree) hasTest(folder, pattern string) error {
	top, _, _ := strings.Cut(pattern, "/")
	selects, err := regexp.Compile(top)
	if err != nil {
		return err
	}
	for dir, names := range tree.tests {
		if (folder == "." || dir == folder || strings.HasPrefix(dir, folder+"/")) && slices.ContainsFunc(names, selects.MatchString) {
			return nil
		}
	}
	return fmt.Errorf("no test in %s matches %s", folder, pattern)
}

// programFlags checks the arguments of a program or test of the repository. Those of rdy are parsed; of
// others the source names the flags.
func programFlags(folder string, args []string, complete bool) error {
	if folder == "cmd/rdy" {
		return rdyCommand(args, complete)
	}
	files, err := filepath.Glob(filepath.Join(docsRoot, filepath.FromSlash(folder), "*.go"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no program in %s: %w", folder, err)
	}
	var source strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		source.Write(text)
	}
	for _, arg := range args {
		flag, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if strings.HasPrefix(arg, "-") && !strings.Contains(source.String(), `"`+flag+`"`) {
			return fmt.Errorf("%s has no flag %s", folder, flag)
		}
	}
	return nil
}

// curlCommand checks that what curl gets from the repository is there.
func curlCommand(args []string) error {
	for _, arg := range args {
		file, found := strings.CutPrefix(arg, "https://raw.githubusercontent.com/rdyhq/nsq/main/")
		if found && !docsFileExists(file) {
			return fmt.Errorf("no file %s", file)
		}
	}
	return nil
}

// docsFileExists reports whether the repository has a file or folder.
func docsFileExists(name string) bool {
	_, err := os.Stat(filepath.Join(docsRoot, filepath.FromSlash(name)))
	return err == nil
}
