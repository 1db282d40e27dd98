package release

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// differs runs compat/differences.sh on a directory, and returns the lines that it prints
// for places.
func differs(t *testing.T, dir string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "../compat/differences.sh", dir)
	out, err := cmd.Output()
	exit, failed := errors.AsType[*exec.ExitError](err)
	if err != nil && (!failed || exit.ExitCode() != 1) {
		t.Fatalf("%s: %v", cmd, err)
	}
	if failed == (len(out) == 0) {
		t.Errorf("%s: exit error %v with the output %q", cmd, err, out)
	}
	places, _, _ := strings.Cut(string(out), "\n\n")
	return strings.FieldsFunc(places, func(r rune) bool { return r == '\n' })
}

// Every idiom that changes in meaning is found where it is, and nothing else is. Each place
// names a row of docs/MIGRATION.md.
func TestDifferences(t *testing.T) {
	const dir = "testdata/differences"
	var want []string
	for _, name := range []string{"conn.go", "dot.go", "main.go"} {
		src, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(src), "\n") {
			if _, row, found := strings.Cut(line, "// row: "); found {
				want = append(want, name+":"+strconv.Itoa(i+2)+" ["+row+"]")
			}
		}
	}
	var got []string
	hints := map[string]bool{}
	place := regexp.MustCompile(`^(\S+:\d+): (.*) (\[.*\])$`)
	for _, line := range differs(t, dir) {
		part := place.FindStringSubmatch(line)
		if part == nil {
			t.Fatalf("%q is not a place, a hint and a row", line)
		}
		got = append(got, part[1]+" "+part[3])
		hints[part[2]] = true
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	script, err := os.ReadFile("../compat/differences.sh")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(regexp.MustCompile(`(?m)^idiom |\| report `).FindAll(script, -1)) - 1; n != len(hints) { // idiom itself reports
		t.Errorf("the program has %d idioms, the script knows %d", len(hints), n)
	}
	page, err := os.ReadFile("../docs/MIGRATION.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range got {
		_, row, _ := strings.Cut(line, "[")
		row = strings.TrimSuffix(row, "]")
		if !strings.Contains(string(page), "\n| "+row+" |") && !strings.Contains(string(page), "\n## "+row+"\n") {
			t.Errorf("docs/MIGRATION.md has neither a row nor a section %q", row)
		}
	}
}

// A usual program has few such places, and code that does not use NSQ has none.
func TestFewDifferences(t *testing.T) {
	if places := differs(t, "../compat/sample"); len(places) > 3 {
		t.Errorf("a usual program has %d places:\n%s", len(places), strings.Join(places, "\n"))
	}
	if places := differs(t, "../internal/flow"); len(places) > 0 {
		t.Errorf("code without NSQ has places:\n%s", strings.Join(places, "\n"))
	}
}

// The program with the idioms is one for go-nsq: it builds with it.
func TestDifferencesAreOfGoNSQ(t *testing.T) {
	w := release(t)
	dir := t.TempDir()
	for _, from := range []string{"compat/sample", "release/testdata/differences"} {
		if err := os.CopyFS(filepath.Join(dir, filepath.Base(from)), os.DirFS(filepath.Join(w.checkout, from))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		if err := os.Rename(filepath.Join(dir, "sample", name), filepath.Join(dir, "differences", name)); err != nil {
			t.Fatal(err)
		}
	}
	w.run(t, filepath.Join(dir, "differences"), "go", "build", "-o", os.DevNull, ".")
}
