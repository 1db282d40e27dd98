package nsq

import (
	"os"
	"strings"
	"testing"
)

// The consumer that README shows is the one under examples, which compiles.
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
