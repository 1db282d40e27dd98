package nsqpubsub

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
	blocks := 0
	rest := string(readme)
	for {
		_, block, found := strings.Cut(rest, "```go\n")
		if !found {
			break
		}
		block, rest, _ = strings.Cut(block, "```")
		var indented strings.Builder
		for line := range strings.Lines(block) {
			indented.WriteString("\t" + line)
		}
		if !strings.Contains(string(example), indented.String()) {
			t.Errorf("example_test.go does not have the code of README.md:\n%s", block)
		}
		blocks++
	}
	if blocks != 2 {
		t.Errorf("README.md has %d blocks of code, want one for a topic and one for a subscription", blocks)
	}
}
