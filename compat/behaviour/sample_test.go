package behaviour

import (
	"archive/zip"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// The program in compat/sample builds and runs with go-nsq and, without a change
// of its source, after both ways of switching to this client.
func TestSample(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	compat := filepath.Join(root, "compat", "go-nsq")
	proxy := startProxy(t, root, compat)
	tests := []struct {
		name     string
		env      []string
		replaces []string
	}{
		{"go-nsq", nil, nil},
		{"a checkout", nil, []string{"github.com/nsqio/go-nsq=" + compat, "github.com/rdyhq/nsq=" + root}},
		{"a release", proxy, []string{"github.com/nsqio/go-nsq=github.com/rdyhq/nsq/compat/go-nsq@" + version}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS("../sample")); err != nil {
				t.Fatal(err)
			}
			for _, replace := range tt.replaces {
				run(t, dir, tt.env, "go", "mod", "edit", "-replace", replace)
			}
			run(t, dir, tt.env, "go", "mod", "tidy")
			run(t, dir, tt.env, "go", "build", "-o", "orders", ".")

			nsqd := nsqtest.NewNsqd(t, nsqtest.Options{})
			out := run(t, dir, nil, "./orders", "--nsqd-tcp-address", nsqd.Addr(), "--orders", "100", "--option", "client-id,till")
			if want := "100 billed: received 110, finished 100, requeued 10\n"; out != want {
				t.Errorf("the program printed %q, want %q", out, want)
			}
			if s := nsqd.Stats("orders", "billing"); s.Finished != 100 || s.Requeued != 10 || s.InFlight != 0 || s.TimedOut != 0 {
				t.Errorf("nsqd has %+v", s)
			}
		})
	}
}

// The documents describe the switch to a release exactly as TestSample performs
// it.
func TestDocumentsDescribeTheSwitch(t *testing.T) {
	for _, name := range []string{"README.md", "docs/MIGRATION.md", "compat/go-nsq/README.md"} {
		text, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []string{
			"\nreplace github.com/nsqio/go-nsq => github.com/rdyhq/nsq/compat/go-nsq " + version + "\n",
			"then `go mod tidy`",
		} {
			if !strings.Contains(string(text), step) {
				t.Errorf("%s does not contain %q", name, step)
			}
		}
	}
}

// version is the version of both modules in the proxy.
const version = "v0.1.0"

// startProxy puts the root module and compat/go-nsq into a file-based module
// proxy, as a release would. It returns the environment for go to find them there.
func startProxy(t *testing.T, root, compat string) (env []string) {
	t.Helper()
	proxy := t.TempDir()
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	addToProxy(t, proxy, "github.com/rdyhq/nsq", root, mod)

	// A release of compat/go-nsq requires a version of the root module.
	edited := filepath.Join(t.TempDir(), "go.mod")
	if mod, err = os.ReadFile(filepath.Join(compat, "go.mod")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(edited, mod, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, compat, nil, "go", "mod", "edit", "-require", "github.com/rdyhq/nsq@"+version, edited)
	if mod, err = os.ReadFile(edited); err != nil {
		t.Fatal(err)
	}
	addToProxy(t, proxy, "github.com/rdyhq/nsq/compat/go-nsq", compat, mod)

	configured := strings.Fields(run(t, compat, nil, "go", "env", "GOMODCACHE", "GOPROXY"))
	return []string{
		// A cache of its own keeps these releases out of the user's.
		"GOMODCACHE=" + filepath.Join(t.TempDir(), "cache"),
		"GOPROXY=file://" + proxy + ",file://" + configured[0] + "/cache/download," + configured[1],
		"GONOSUMDB=github.com/rdyhq/*",
		"GOFLAGS=-modcacherw",
	}
}

// addToProxy adds the module in dir to a proxy.
func addToProxy(t *testing.T, proxy, path, dir string, mod []byte) {
	t.Helper()
	at := filepath.Join(proxy, path, "@v")
	if err := os.MkdirAll(at, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(at, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("list", []byte(version+"\n"))
	write(version+".info", fmt.Appendf(nil, `{"Version":%q,"Time":"2026-01-01T00:00:00Z"}`, version))
	write(version+".mod", mod)
	archive, err := os.Create(filepath.Join(at, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(archive)
	if err := zipGoFiles(w, path+"@"+version+"/", dir, mod); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
}

// zipGoFiles adds the Go files of the module in dir to w, without those of nested
// modules.
func zipGoFiles(w *zip.Writer, prefix, dir string, mod []byte) error {
	add := func(name string, data []byte) error {
		f, err := w.Create(prefix + name)
		if err == nil {
			_, err = f.Write(data)
		}
		return err
	}
	if err := add("go.mod", mod); err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, nested := os.Stat(filepath.Join(path, "go.mod"))
			if path != dir && (nested == nil || strings.HasPrefix(d.Name(), ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return add(filepath.ToSlash(name), data)
	})
}

// run runs a command outside any workspace and returns its output.
func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "GOWORK=off"), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, stderr.String())
	}
	return string(out)
}
