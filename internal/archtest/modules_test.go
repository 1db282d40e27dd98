package archtest

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The file that has all dependencies kept up to date lists each module, and nothing else.
func TestDependabotListsModules(t *testing.T) {
	root := os.DirFS("../..")
	var modules []string
	err := fs.WalkDir(root, ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && name != "." && strings.HasPrefix(e.Name(), "."), e.Name() == "testdata":
			return fs.SkipDir
		case e.Name() == "go.mod":
			modules = append(modules, path.Join("/", path.Dir(name)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	config, err := fs.ReadFile(root, ".github/dependabot.yml")
	if err != nil {
		t.Fatal(err)
	}
	gomod, _, _ := strings.Cut(string(config), "package-ecosystem: github-actions")
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^      - (/\S*)$`).FindAllStringSubmatch(gomod, -1) {
		listed = append(listed, m[1])
	}
	slices.Sort(modules)
	slices.Sort(listed)
	if !slices.Equal(modules, listed) {
		t.Errorf("modules: %v\n listed: %v", modules, listed)
	}
}
