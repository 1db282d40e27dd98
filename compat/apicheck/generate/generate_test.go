package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The committed package is up to date with the root package.
func TestCommittedIsGenerated(t *testing.T) {
	want, err := generate("../" + root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../" + target)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("compat/go-nsq/nsq.go is out of date: run GOWORK=off go generate in compat/go-nsq")
	}
}

func TestGenerate(t *testing.T) {
	tests := []struct{ name, source, want string }{
		{"constants keep their block",
			"// Doc of all. More.\nconst (\n\tA = 1 // of A\n\tb = 2\n\tC\n)",
			"// Doc of all.\nconst (\n\t// of A\n\tA = nsq.A\n\tC = nsq.C\n)\n"},
		{"constants of a type", "type Level int\nconst Low Level = 0", "const Low = nsq.Low\n\ntype Level = nsq.Level\n"},
		{"variables", "var ErrA, errB = 1, 2", "var ErrA = nsq.ErrA\n"},
		{"types", "// T is one. And so on.\ntype T struct{}\nfunc (T) M() {}\ntype u int", "// T is one.\ntype T = nsq.T\n"},
		{"functions", "func F(a, b int, c ...string) (n int, err error) { return }\nfunc g() {}",
			"func F(a, b int, c ...string) (n int, err error) { return nsq.F(a, b, c...) }\n"},
		{"generic functions", "func F[K comparable, V any](k K, f func(v V) error) H { return nil }\ntype H any",
			"func F[K comparable, V any](k K, f func(v V) error) H { return nsq.F[K, V](k, f) }\n"},
		{"no result", "func F() {}", "func F() { nsq.F() }\n"},
		{"imports", "import \"io\"\nfunc F(r io.Reader) {}", "import (\n\t\"io\"\n\n\t\"github.com/rdyhq/nsq\"\n)\n\nfunc F(r io.Reader) { nsq.F(r) }\n"},
		{"v1.1.0's signature", "func ReadResponse(r T, max int32) {}\ntype T int",
			"func ReadResponse(r T) { nsq.ReadResponse(r, 0) }\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := generate(packageOf(t, tt.source))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(string(got), "\n"+tt.want) {
				t.Errorf("got\n%s\nwant it to end in\n%s", got, tt.want)
			}
		})
	}
}

func TestGenerateRefuses(t *testing.T) {
	for _, source := range []string{
		"func F(t t) {}\ntype t int",
		"type T[E any] struct{}",
		"func F(int) {}",
	} {
		if got, err := generate(packageOf(t, source)); err == nil {
			t.Errorf("%s: want an error, got\n%s", source, got)
		}
	}
}

func packageOf(t *testing.T, source string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nsq.go"), []byte("package nsq\n"+source+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
