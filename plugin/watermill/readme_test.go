package nsqwatermill

import (
	"os"
	"strings"
	"testing"
)

// TestREADME fails unless README.md shows code of the Example, which is run.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(readme), "```go\n")
	block, _, ok := strings.Cut(block, "```")
	if !ok {
		t.Fatal("README.md has no code")
	}
	var indented strings.Builder
	for line := range strings.Lines(block) {
		indented.WriteString("\t" + line)
	}
	if !strings.Contains(string(example), indented.String()) {
		t.Error("example_test.go does not have the code that README.md shows")
	}
}
