package recipes

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	mostCode  = 40 // lines of a block of code: what fits on a screen
	mostLines = 80 // of a page
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v, %v", pattern, names, err)
	}
	return names
}

// pages returns the index and the pages of all recipes.
func pages(t *testing.T) []string {
	return slices.Concat(glob(t, "README.md"), glob(t, "*/README.md"))
}

// The code of each page is in a file of its folder, word for word but for the indentation.
func TestPagesShowTheirCode(t *testing.T) {
	block := regexp.MustCompile("(?s)```go\n(.*?)```")
	for _, page := range pages(t) {
		var sources strings.Builder
		for _, file := range glob(t, filepath.Join(filepath.Dir(page), "*.go")) {
			sources.WriteString(read(t, file))
		}
		blocks := block.FindAllStringSubmatch(read(t, page), -1)
		if len(blocks) == 0 {
			t.Errorf("%s shows no code", page)
		}
		for _, b := range blocks {
			code := b[1]
			if n := strings.Count(code, "\n"); n > mostCode {
				t.Errorf("%s has a block of %d lines, at most %d fit on a screen", page, n, mostCode)
			}
			if !strings.Contains(sources.String(), code) && !strings.Contains(sources.String(), indent(code)) {
				t.Errorf("%s shows code that is in none of its files:\n%s", page, code)
			}
		}
	}
}

// indent adds a tab to each line that is not empty.
func indent(code string) string {
	var indented strings.Builder
	for line := range strings.Lines(code) {
		if line != "\n" {
			indented.WriteString("\t")
		}
		indented.WriteString(line)
	}
	return indented.String()
}

// Each recipe has a page that is short, links that lead somewhere, tests, and a row in the
// index.
func TestPagesAreComplete(t *testing.T) {
	index := read(t, "README.md")
	link := regexp.MustCompile(`\]\(([^)#]*)[^)]*\)`)
	for _, page := range pages(t) {
		text, dir := read(t, page), filepath.Dir(page)
		for _, l := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(dir, l[1])); err != nil && !strings.HasPrefix(l[1], "https://") {
				t.Errorf("%s: %v", page, err)
			}
		}
		if n := strings.Count(text, "\n"); page != "README.md" && n > mostLines {
			t.Errorf("%s has %d lines, want at most %d", page, n, mostLines)
		}
	}
	for _, file := range glob(t, "*/*.go") {
		dir := filepath.Dir(file)
		if _, err := os.Stat(filepath.Join(dir, "README.md")); err != nil {
			t.Errorf("recipe %s has no page: %v", dir, err)
		}
		if tests, err := filepath.Glob(filepath.Join(dir, "*_test.go")); err != nil || len(tests) == 0 {
			t.Errorf("recipe %s has no tests", dir)
		}
		if !strings.Contains(index, "]("+dir+"/README.md)") {
			t.Errorf("recipe %s is not in the index", dir)
		}
	}
}

// Names of package nsq in the pages exist, and so do their methods and fields.
func TestPagesNameWhatExists(t *testing.T) {
	declaration := regexp.MustCompile(`(?m)^(?:func (?:\([^)]*\) )?|type |var |\t)([A-Z][A-Za-z]*)`)
	exists := map[string]bool{}
	for _, file := range glob(t, "../../*.go") {
		for _, d := range declaration.FindAllStringSubmatch(read(t, file), -1) {
			exists[d[1]] = true
		}
	}
	name := regexp.MustCompile("`(?:nsq|consumer|m|cfg)\\.([A-Z][A-Za-z]*)")
	named := 0
	for _, page := range pages(t) {
		for _, n := range name.FindAllStringSubmatch(read(t, page), -1) {
			named++
			if !exists[n[1]] {
				t.Errorf("%s names %s, which does not exist", page, n[1])
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d names found", named)
	}
}
