package nsq

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The code in README is that of functions in examples, which compile.
func TestReadmeShowsTheExamples(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	body := regexp.MustCompile(`(?ms)^func (?:consume|publish)\(.*?\n(.*?)^}`)
	for _, name := range []string{"consumer", "publish"} {
		example, err := os.ReadFile("examples/" + name + "/main.go")
		if err != nil {
			t.Fatal(err)
		}
		code := strings.TrimPrefix(strings.ReplaceAll("\n"+string(body.FindSubmatch(example)[1]), "\n\t", "\n"), "\n")
		if !strings.Contains(string(readme), "```go\n"+code+"```\n") {
			t.Errorf("README.md does not contain this code of examples/%s:\n%s", name, code)
		}
	}
	if n := strings.Count(string(readme), "```go"); n != 2 {
		t.Errorf("README.md has %d blocks of Go code, of which this test knows two", n)
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
