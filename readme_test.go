package nsq

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The consumer in README is the one in examples, which compiles.
func TestReadmeShowsTheExample(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("examples/consumer/main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(example), "package main\n")
	if !strings.Contains(string(readme), "```go\npackage main\n"+code+"```\n") {
		t.Error("README.md does not contain examples/consumer/main.go word for word")
	}
}

// Every test and test file that docs/GUARANTEES.md names exists.
func TestGuaranteesNameTests(t *testing.T) {
	page, err := os.ReadFile("docs/GUARANTEES.md")
	if err != nil {
		t.Fatal(err)
	}
	var sources strings.Builder
	for _, pattern := range []string{"*_test.go", "*/*_test.go", "*/*/*_test.go", "*/*/*/*_test.go", "*/*/*/*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sources.WriteString(file + "\n")
			sources.Write(src)
		}
	}
	names := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z]*|[a-z_]*_test\\.go)`").FindAllStringSubmatch(string(page), -1)
	if len(names) < 40 {
		t.Errorf("only %d tests are named", len(names))
	}
	for _, name := range names {
		found := "func " + name[1] + "("
		if strings.HasSuffix(name[1], ".go") {
			found = name[1] + "\n"
		}
		if !strings.Contains(sources.String(), found) {
			t.Errorf("%s does not exist", name[1])
		}
	}
}
