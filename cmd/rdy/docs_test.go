package main

import (
	"cmp"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docsRoot is the root of the repository. Go's test cache does not know of files outside the
// module, so after a change there run these tests with -count=1, as ./check does.
const docsRoot = "../.."

// docsBlock is a block of code on a page of Markdown.
type docsBlock struct {
	page     string // path below docsRoot
	line     int    // of the first line of code
	language string
	code     string // without the indentation that all lines share
}

// docsHeld names the tests that hold the blocks of text on a page, where no file has them.
var docsHeld = map[string]string{
	"docs/DESIGN.md":        "TestDesign",
	"docs/RDY.md":           "TestReference",
	"plugin/otel/README.md": "TestTraceThroughNSQD",
}

// Every block of code on a page is checked: Go code is compiled, commands and flags exist, and
// so on. A block in a language that is not known here fails.
func TestDocumentedCode(t *testing.T) {
	tree := readDocsTree(t)
	count := map[string]int{}
	for _, b := range tree.blocks {
		count[b.language]++
		if problem := tree.check(t, b); problem != "" {
			t.Errorf("%s:%d: %s block: %s\n%s", b.page, b.line, cmp.Or(b.language, "unnamed"), problem, b.code)
		}
	}
	for language, least := range map[string]int{"go": 30, "sh": 15, "text": 60} {
		if count[language] < least {
			t.Errorf("only %d blocks of %s were found", count[language], language)
		}
	}
	t.Logf("blocks: %v", count)
}

// Commands that the text of a page names exist, with their flags. Arguments may be missing.
func TestDocumentedCommands(t *testing.T) {
	tree, found := readDocsTree(t), 0
	span := regexp.MustCompile("`(rdy [a-z][^`]*)`")
	for page, text := range tree.pages {
		if page == "CHANGELOG.md" || page == "docs/BENCHMARKS.md" {
			continue // one names what was, the other measured variants: "rdy recycle"
		}
		for _, s := range span.FindAllStringSubmatch(docsFence.ReplaceAllString(text, ""), -1) {
			found++
			line := strings.NewReplacer("\n", " ", "…", "", " ...", "").Replace(s[1])
			if problem := tree.shell(line, false); problem != "" {
				t.Errorf("%s: `%s`: %s", page, s[1], problem)
			}
		}
	}
	if found < 100 {
		t.Errorf("only %d commands were found", found)
	}
}

// The examples in the help of commands are commands that rdy accepts.
func TestExamplesOfHelp(t *testing.T) {
	tree := readDocsTree(t)
	for _, cmd := range commandTree(newRoot(&app{})) {
		if problem := tree.shell(cmd.Example, true); problem != "" {
			t.Errorf("%s: %s:\n%s", cmd.CommandPath(), problem, cmd.Example)
		}
	}
}

// docsTree is what the pages and their checks need of the repository.
type docsTree struct {
	pages  map[string]string // text by path, slashes
	blocks []docsBlock
	source map[string]string   // the texts of all files, by extension
	golden string              // the texts of all files under testdata, and of all tests
	tests  map[string][]string // names of Test, Fuzz and Benchmark functions, by folder
}

func readDocsTree(t *testing.T) *docsTree {
	t.Helper()
	tree := &docsTree{pages: map[string]string{}, source: map[string]string{}, tests: map[string][]string{}}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w*)\(`)
	texts := map[string]*strings.Builder{}
	var golden strings.Builder
	err := fs.WalkDir(os.DirFS(docsRoot), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && name != ".github" && strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		}
		ext, inTestdata := path.Ext(name), strings.Contains(name, "testdata/")
		if !slices.Contains([]string{".go", ".md", ".yaml", ".yml", ".txt"}, ext) {
			return nil
		}
		data, err := os.ReadFile(filepath.Join(docsRoot, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		text := strings.ReplaceAll(string(data), "\r\n", "\n")
		switch {
		case inTestdata:
			golden.WriteString("\n" + text)
		case ext == ".md":
			tree.pages[name] = text
			tree.blocks = append(tree.blocks, docsBlocks(name, text)...)
		default:
			if texts[ext] == nil {
				texts[ext] = &strings.Builder{}
			}
			texts[ext].WriteString("\n" + text)
			if strings.HasSuffix(name, "_test.go") {
				golden.WriteString("\n" + text)
				for _, f := range function.FindAllStringSubmatch(text, -1) {
					tree.tests[path.Dir(name)] = append(tree.tests[path.Dir(name)], f[1])
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for ext, b := range texts {
		tree.source[ext] = b.String()
	}
	tree.golden = golden.String()
	return tree
}

// docsFence matches a block of code, which may be indented as part of a list.
var docsFence = regexp.MustCompile("(?m)^( *)```([a-z]*)\n((?s:.*?))^ *```$")

// docsBlocks returns the blocks of a page. Code that is only indented is one without a
// language, which no check accepts.
func docsBlocks(page, text string) []docsBlock {
	var blocks []docsBlock
	for _, m := range docsFence.FindAllStringSubmatchIndex(text, -1) {
		blocks = append(blocks, docsBlock{
			page: page, line: 1 + strings.Count(text[:m[6]], "\n"),
			language: text[m[4]:m[5]], code: dedented(text[m[6]:m[7]]),
		})
	}
	prose := docsFence.ReplaceAllStringFunc(text, func(block string) string { return strings.Repeat("\n", strings.Count(block, "\n")) })
	lines, inList := strings.Split(prose, "\n"), false
	for i, line := range lines {
		if line == "" {
			continue
		}
		if !strings.HasPrefix(line, " ") {
			inList = regexp.MustCompile(`^([-*]|\d+\.) `).MatchString(line)
		}
		if strings.HasPrefix(line, "    ") && !inList && i > 0 && lines[i-1] == "" {
			blocks = append(blocks, docsBlock{page: page, line: i + 1, code: line})
		}
	}
	return blocks
}

// dedented removes the indentation that all lines share.
func dedented(code string) string {
	var shared string
	first := true
	for line := range strings.Lines(code) {
		indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		if strings.TrimSpace(line) == "" {
			continue
		}
		for !first && !strings.HasPrefix(indent, shared) {
			shared = shared[:len(shared)-1]
		}
		if first {
			shared, first = indent, false
		}
	}
	return indented(code, "", shared)
}

// indented puts one indentation in the place of another, in all lines that are not empty.
func indented(code, indent, former string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		if line != "\n" {
			b.WriteString(indent)
		}
		b.WriteString(strings.TrimPrefix(line, former))
	}
	return b.String()
}

// check returns what is wrong with a block, "" if nothing is.
func (tree *docsTree) check(t *testing.T, b docsBlock) string {
	t.Helper()
	switch b.language {
	case "go":
		return tree.isExcerpt(b.code, ".go", "\t")
	case "yaml":
		return tree.isExcerpt(b.code, ".yaml", " ")
	case "sh":
		return tree.shell(b.code, true)
	case "console":
		return tree.shell(consoleCommands(b.code), true)
	case "nagios":
		return tree.nagios(b.code)
	case "nginx":
		return tree.nginx(b)
	case "commit":
		return commitMessage(b.code)
	case "text":
		return tree.isText(b)
	}
	return "no test knows this language: name one that TestDocumentedCode checks"
}

// isExcerpt checks that code is in a file of the repository, and so compiled or parsed by its
// tests, word for word but for the indentation. A comment "// ..." leaves something out.
func (tree *docsTree) isExcerpt(code, ext, unit string) string {
	left := regexp.MustCompile(`(?m)^\s*// (?:\.\.\.|…)\n`)
	for _, part := range left.Split(code, -1) {
		part = dedented(part)
		found := false
		for n := 0; n <= 8 && !found; n++ {
			found = strings.Contains(tree.source[ext], "\n"+strings.Trim(indented(part, strings.Repeat(unit, n), ""), "\n")+"\n")
		}
		if !found {
			return "no *" + ext + " file has this code: show that of an example or a test\n" + part
		}
	}
	return ""
}

// isText checks that each line of a block is what a test expects: in a file under testdata or in
// the test itself. For some pages another test does that.
func (tree *docsTree) isText(b docsBlock) string {
	if test := docsHeld[b.page]; test != "" {
		for _, names := range tree.tests {
			if slices.Contains(names, test) {
				return ""
			}
		}
		return test + " does not exist"
	}
	for line := range strings.Lines(b.code) {
		if !strings.Contains(tree.golden, strings.TrimSpace(line)) {
			return "no test expects this line, and docsHeld names no test: " + line
		}
	}
	return ""
}

// nginx checks that braces are balanced, that statements end, and that the proxy of the page
// passes on to where rdy listens, with the header that rdy is told to trust.
func (tree *docsTree) nginx(b docsBlock) string {
	depth := 0
	for line := range strings.Lines(b.code) {
		line = strings.TrimSpace(line)
		depth += strings.Count(line, "{") - strings.Count(line, "}")
		if line != "" && !strings.ContainsAny(line[len(line)-1:], "{};") {
			return "a statement does not end: " + line
		}
	}
	listen := commandOf("ui").Flags().Lookup("listen").DefValue
	header := regexp.MustCompile(`--trust-header (\S+)`).FindStringSubmatch(tree.pages[b.page])
	switch {
	case depth != 0:
		return "braces are not balanced"
	case !strings.Contains(b.code, "proxy_pass http://"+listen+";"):
		return "it does not pass requests on to " + listen
	case header == nil || !strings.Contains(b.code, "proxy_set_header "+header[1]+" "):
		return "it does not set the header of --trust-header"
	}
	return ""
}

// nagios checks the command of a "define command".
func (tree *docsTree) nagios(code string) string {
	line := regexp.MustCompile(`command_line +/usr/bin/(rdy .*)`).FindStringSubmatch(code)
	if line == nil {
		return "no command_line with rdy"
	}
	return tree.shell(regexp.MustCompile(`\$ARG\d\$`).ReplaceAllString(line[1], "1"), true)
}

// commitMessage checks what CONTRIBUTING.md says of commits.
func commitMessage(code string) string {
	subject, body, _ := strings.Cut(code, "\n")
	if !regexp.MustCompile(`^[a-z/]+: [a-z]`).MatchString(subject) || !strings.HasPrefix(body, "\n") {
		return "the subject does not name the room, or no empty line follows"
	}
	for line := range strings.Lines(code) {
		if len([]rune(line)) > 89 {
			return "a line has more than 88 columns: " + line
		}
	}
	return ""
}
