package release

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// Modules that users install replace nothing: go install refuses a module with a
// replace directive, and in a dependency it is ignored. They require each other at
// the version that is tagged.
func TestInstalledModules(t *testing.T) {
	w := release(t)
	for path, dir := range installed {
		mod, err := w.mod(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(mod.Replace)+len(mod.Exclude) > 0 {
			t.Errorf("%s replaces or excludes modules", path)
		}
		for _, r := range mod.Require {
			if _, ours := installed[r.Mod.Path]; ours && r.Mod.Version != w.version {
				t.Errorf("%s requires %v, want %s", path, r.Mod, w.version)
			}
		}
	}
}

// README's install lines work in an empty module: a program with the library
// builds, and so does one with the broker, and the CLI runs.
func TestInstall(t *testing.T) {
	w := release(t)
	dir := t.TempDir()
	w.run(t, dir, "go", "mod", "init", "example.com/empty")
	lines := block(t, "README.md", "## Installing")
	w.run(t, dir, "sh", "-ec", lines)

	example, err := os.ReadFile(filepath.Join(w.checkout, "examples", "consumer", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFile(filepath.Join(dir, "consumer", "main.go"), example); err != nil {
		t.Fatal(err)
	}
	w.run(t, dir, "go", "build", "-o", os.DevNull, "./consumer")

	if err := writeFile(filepath.Join(dir, "cluster", "main.go"), []byte(cluster)); err != nil {
		t.Fatal(err)
	}
	w.run(t, dir, "go", "get", "github.com/rdyhq/nsq/broker@"+w.version)
	w.run(t, dir, "go", "vet", "./cluster")

	rdy := filepath.Join(filepath.Dir(w.checkout), "bin", "rdy")
	if out := w.run(t, dir, rdy, "version"); !strings.HasPrefix(out, "rdy "+w.version+", nsqd v") {
		t.Errorf("rdy version printed %q", out)
	}
	if out := w.run(t, dir, rdy, "demo", "--messages", "500", "--json"); !strings.Contains(out, `"published":500,`) {
		t.Errorf("rdy demo printed %q", out)
	}
}

const cluster = `package main

import (
	"context"
	"log"

	"github.com/rdyhq/nsq/broker"
)

func main() {
	b, err := broker.Start(context.Background(), broker.Options{})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(b.Stop())
}
`

// The recipes of docs/MIGRATION.md switch a program that was written for go-nsq: it
// builds and runs without a change of its source, and with the GODEBUG that it had.
func TestSwitch(t *testing.T) {
	w := release(t)
	for _, tt := range []struct{ name, recipe string }{
		{"go-nsq", ""},
		{"a release", block(t, "docs/MIGRATION.md", "**To leave the source as it is**")},
		{"a checkout", block(t, "docs/MIGRATION.md", "Until the first release")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// The checkout is at ../nsq, where the recipe expects it.
			dir, err := os.MkdirTemp(filepath.Dir(w.checkout), "orders")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(w.checkout, "compat", "sample"))); err != nil {
				t.Fatal(err)
			}
			const goDebug = "{{.DefaultGODEBUG}}"
			before := w.run(t, dir, "go", "list", "-f", goDebug, ".")
			w.run(t, dir, "sh", "-ec", tt.recipe)
			w.run(t, dir, "go", "build", "-o", "orders", ".")
			if after := w.run(t, dir, "go", "list", "-f", goDebug, "."); before != after {
				t.Errorf("GODEBUG was %q and is %q", before, after)
			}

			nsqd := nsqtest.NewNsqd(t, nsqtest.Options{})
			out := w.run(t, dir, "./orders", "--nsqd-tcp-address", nsqd.Addr(), "--orders", "100", "--option", "client-id,till")
			if want := "100 billed: received 110, finished 100, requeued 10\n"; out != want {
				t.Errorf("the program printed %q, want %q", out, want)
			}
			if s := nsqd.Stats("orders", "billing"); s.Finished != 100 || s.Requeued != 10 || s.InFlight != 0 || s.TimedOut != 0 {
				t.Errorf("nsqd has %+v", s)
			}
		})
	}
}

// All documents that show how to switch print the same recipe, and each version
// that they name is the one that would be tagged.
func TestDocumentsAgree(t *testing.T) {
	w := release(t)
	recipe := block(t, "docs/MIGRATION.md", "**To leave the source as it is**")
	versions := regexp.MustCompile(`github\.com/rdyhq/nsq\S*[@ ](v[0-9.]+)`)
	for _, name := range []string{"README.md", "docs/MIGRATION.md", "compat/go-nsq/README.md"} {
		text := document(t, name)
		if !strings.Contains(text, "```sh\n"+recipe+"```\n") {
			t.Errorf("%s does not contain the recipe of docs/MIGRATION.md", name)
		}
		for _, v := range versions.FindAllStringSubmatch(text, -1) {
			if v[1] != w.version {
				t.Errorf("%s: %s, want %s", name, v[0], w.version)
			}
		}
	}
	for _, name := range []string{"go.work", "compat/go-nsq/go.work"} {
		if text := document(t, name); !strings.Contains(text, "github.com/rdyhq/nsq "+w.version+" =>") {
			t.Errorf("%s does not say where %s is", name, w.version)
		}
	}
	text := document(t, "CONTRIBUTING.md")
	for _, dir := range installed {
		tag := "`" + strings.TrimPrefix(dir+"/vX.Y.Z", "./") + "`"
		if !strings.Contains(text, tag) {
			t.Errorf("CONTRIBUTING.md does not name the tag %s", tag)
		}
	}
}

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(release(t).checkout, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// block returns the first block of shell commands behind a text in a document.
func block(t *testing.T, name, behind string) string {
	t.Helper()
	_, rest, _ := strings.Cut(document(t, name), "\n"+behind)
	_, rest, _ = strings.Cut(rest, "\n```sh\n")
	commands, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatalf("%s has no block of commands behind %q", name, behind)
	}
	return commands
}

// run runs a command as a user would, and returns its output.
func (w *world) run(t *testing.T, dir string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = w.env
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, stderr.String())
	}
	return string(out)
}
