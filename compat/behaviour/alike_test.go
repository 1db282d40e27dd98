package behaviour

import (
	"os"
	"strings"
	"testing"
)

// Both clients are made by the same source: it is part of what is compared.
func TestClientsAreAlike(t *testing.T) {
	real := body(t, "gonsq/gonsq.go", `"github.com/nsqio/go-nsq"`)
	ours := body(t, "rdy/rdy.go", `"github.com/rdyhq/nsq"`)
	if real != ours {
		t.Error("gonsq/gonsq.go and rdy/rdy.go differ in more than their package and import")
	}
}

// body is the source after the import of the client's package.
func body(t *testing.T, file, nsq string) string {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, body, ok := strings.Cut(string(source), "\t"+nsq+"\n")
	if !ok {
		t.Fatalf("%s does not import %s", file, nsq)
	}
	return body
}
