package release

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// installed maps the modules that users install to their directories. A release
// tags each of them.
var installed = map[string]string{
	"github.com/rdyhq/nsq":                  ".",
	"github.com/rdyhq/nsq/broker":           "broker",
	"github.com/rdyhq/nsq/cmd/rdy":          "cmd/rdy",
	"github.com/rdyhq/nsq/middleware":       "middleware",
	"github.com/rdyhq/nsq/plugin/gocloud":   "plugin/gocloud",
	"github.com/rdyhq/nsq/plugin/otel":      "plugin/otel",
	"github.com/rdyhq/nsq/plugin/prom":      "plugin/prom",
	"github.com/rdyhq/nsq/plugin/watermill": "plugin/watermill",
	"github.com/rdyhq/nsq/compat/go-nsq":    "compat/go-nsq",
}

// world is a released tree.
type world struct {
	checkout string   // the tree: what git would commit of the work tree
	version  string   // of all modules
	env      []string // in which the go command finds the release
}

func TestMain(m *testing.M) {
	code := m.Run()
	if w, err := released(); err == nil {
		_ = os.RemoveAll(filepath.Dir(w.checkout))
	}
	os.Exit(code)
}

// release returns the released tree, which all tests share.
func release(t *testing.T) *world {
	t.Helper()
	w, err := released()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

var released = sync.OnceValues(func() (*world, error) {
	dir, err := os.MkdirTemp("", "release")
	if err != nil {
		return nil, err
	}
	w := &world{checkout: filepath.Join(dir, "nsq")}
	if err := copyTree("..", w.checkout); err != nil {
		return nil, err
	}
	rdy, err := w.mod("cmd/rdy")
	if err != nil {
		return nil, err
	}
	for _, r := range rdy.Require {
		if r.Mod.Path == "github.com/rdyhq/nsq" {
			w.version = r.Mod.Version
		}
	}
	for path, at := range installed {
		if err := addToProxy(filepath.Join(dir, "proxy"), module.Version{Path: path, Version: w.version}, filepath.Join(w.checkout, at)); err != nil {
			return nil, err
		}
	}
	configured, err := exec.Command("go", "env", "GOMODCACHE", "GOPROXY").Output()
	if err != nil {
		return nil, err
	}
	cache, proxy, _ := strings.Cut(strings.TrimSpace(string(configured)), "\n")
	w.env = append(os.Environ(),
		"GOWORK=off", "GOTOOLCHAIN=local", "GOFLAGS=-modcacherw",
		// A cache of its own keeps this release out of the user's.
		"GOMODCACHE="+filepath.Join(dir, "cache"),
		"GOBIN="+filepath.Join(dir, "bin"),
		"GOPROXY=file://"+filepath.Join(dir, "proxy")+",file://"+filepath.Join(cache, "cache", "download")+","+proxy,
		// The checksum database does not know this release.
		"GOSUMDB=off", "GOPRIVATE=", "GONOPROXY=")
	return w, nil
})

// mod returns the go.mod of the module in a directory of the tree.
func (w *world) mod(dir string) (*modfile.File, error) {
	name := filepath.Join(w.checkout, dir, "go.mod")
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return modfile.Parse(name, data, nil)
}

// copyTree copies the files that git tracks in from, and those that it would add.
func copyTree(from, to string) error {
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = from
	names, err := list.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", list, err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, but still in git's index
		}
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(to, name), data); err != nil {
			return err
		}
	}
	return nil
}

// addToProxy adds the module in dir to the proxy, as the go command would pack it
// from a tag.
func addToProxy(proxy string, m module.Version, dir string) error {
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	if err := zip.CreateFromDir(&archive, m, dir); err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		"list":              []byte(m.Version + "\n"),
		m.Version + ".info": fmt.Appendf(nil, `{"Version":%q,"Time":"2026-01-01T00:00:00Z"}`, m.Version),
		m.Version + ".mod":  mod,
		m.Version + ".zip":  archive.Bytes(),
	} {
		if err := writeFile(filepath.Join(proxy, m.Path, "@v", name), data); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o600)
}
