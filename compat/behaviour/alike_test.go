package behaviour

import (
	"os"
	"strings"
	"testing"
)

// The adapters of both clients have the same source. Otherwise the scenarios
// would compare the adapters as well.
func TestClientsAreAlike(t *testing.T) {
	theirs := body(t, "gonsq/gonsq.go", `"github.com/nsqio/go-nsq"`)
	ours := body(t, "rdy/rdy.go", `"github.com/rdyhq/nsq"`)
	if theirs != ours {
		t.Error("gonsq/gonsq.go and rdy/rdy.go differ in more than their package and import")
	}
}

// body returns the source after the import of the client's package.
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
