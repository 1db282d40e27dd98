package nsq

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// page is a file of Markdown.
type page struct {
	links   []string
	anchors map[string]bool
}

var (
	codeSpan  = regexp.MustCompile("`[^`\n]*`")
	linkOf    = regexp.MustCompile(`\]\(([^)\s]*)\)|^ *\[[^\]]+\]: +(\S+)|<(?:img|a) [^>]*(?:src|href)="([^"]*)"`)
	heading   = regexp.MustCompile(`^#+ +(.*)$`)
	textOf    = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	ownAnchor = regexp.MustCompile(`<a (?:id|name)="([^"]*)"`)
)

// readPage reads what a page links to, and what can be linked to on it. Code has no links.
func readPage(text string) page {
	p := page{anchors: map[string]bool{}}
	fenced := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
			continue
		}
		if fenced {
			continue
		}
		if h := heading.FindStringSubmatch(line); h != nil {
			p.addAnchor(slug(h[1]))
		}
		for _, a := range ownAnchor.FindAllStringSubmatch(line, -1) {
			p.addAnchor(a[1])
		}
		for _, l := range linkOf.FindAllStringSubmatch(codeSpan.ReplaceAllString(line, "`"), -1) {
			p.links = append(p.links, l[1]+l[2]+l[3])
		}
	}
	return p
}

// addAnchor adds an anchor; GitHub numbers those of equal headings.
func (p *page) addAnchor(name string) {
	anchor := name
	for n := 1; p.anchors[anchor]; n++ {
		anchor = fmt.Sprintf("%s-%d", name, n)
	}
	p.anchors[anchor] = true
}

// slug returns the anchor that GitHub gives a heading.
func slug(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		}
		return -1
	}, textOf.ReplaceAllString(title, "$1"))
}

// readPages reads all pages of the tree, by their paths.
func readPages(t *testing.T) map[string]page {
	t.Helper()
	pages := map[string]page{}
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || name != "." && name != ".github" && strings.HasPrefix(d.Name(), ".")) {
			return fs.SkipDir
		}
		if path.Ext(name) != ".md" {
			return nil
		}
		text, err := os.ReadFile(name)
		pages[name] = readPage(string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

// Links between pages, to files and to images lead somewhere, anchors included. Links to
// other sites are well-formed.
func TestLinks(t *testing.T) {
	pages, links := readPages(t), 0
	for name, p := range pages {
		for _, link := range p.links {
			links++
			to, anchor, broken := resolve(name, link)
			if broken == nil && to != "" {
				if _, err := os.Stat(to); err != nil {
					broken = err
				} else if anchor != "" && !pages[to].anchors[anchor] {
					broken = fmt.Errorf("%s has no heading %q", to, anchor)
				}
			}
			if broken != nil {
				t.Errorf("%s: link %q: %v", name, link, broken)
			}
		}
	}
	if len(pages) < 30 || links < 100 {
		t.Errorf("only %d links on %d pages were found", links, len(pages))
	}
}

// resolve returns the file or folder of the tree that a link on a page leads to, and the
// anchor there. The path is empty for a link to another site.
func resolve(page, link string) (to, anchor string, err error) {
	u, err := url.Parse(link)
	switch {
	case err != nil:
		return "", "", err
	case u.Scheme != "" || u.Host != "":
		if u.Scheme != "https" || u.Host == "" {
			err = fmt.Errorf("a link to another site begins with https://")
		}
		return "", "", err
	case link == "" || strings.HasPrefix(u.Path, "/"):
		return "", "", fmt.Errorf("neither relative nor to another site")
	case u.Path == "":
		return page, u.Fragment, nil
	}
	to = path.Join(path.Dir(page), u.Path)
	if strings.HasPrefix(to, "..") {
		err = fmt.Errorf("leads out of the repository")
	}
	return to, u.Fragment, err
}

// Readers find every page: links lead to it from README.md, over other pages perhaps.
func TestPagesAreLinked(t *testing.T) {
	pages := readPages(t)
	found := map[string]bool{"README.md": true}
	for next := []string{"README.md"}; len(next) > 0; next = next[1:] {
		for _, link := range pages[next[0]].links {
			to, _, err := resolve(next[0], link)
			if _, isPage := pages[to]; !isPage && err == nil {
				to = path.Join(to, "README.md") // which GitHub shows for a folder
			}
			if _, isPage := pages[to]; isPage && !found[to] {
				found[to] = true
				next = append(next, to)
			}
		}
	}
	for name := range pages {
		if !found[name] && !strings.HasPrefix(name, ".github/") {
			t.Errorf("no link leads from README.md to %s", name)
		}
	}
}

// The anchors are those of GitHub.
func TestSlug(t *testing.T) {
	for title, want := range map[string]string{
		"What replaces NSQ's tools":             "what-replaces-nsqs-tools",
		"5. The policy":                         "5-the-policy",
		"`rdy check`, and [links](docs/a.md)":   "rdy-check-and-links",
		"How large is max_in_flight? – Größe…":  "how-large-is-max_in_flight--größe",
		"A command: what is not reached, & why": "a-command-what-is-not-reached--why",
	} {
		if got := slug(title); got != want {
			t.Errorf("the anchor of %q is %q, want %q", title, got, want)
		}
	}
	p := readPage("# One\n## One\n```\n# no [link](x)\n```\n`[code](y)` [a](b.md) <img width=\"1\" src=\"c.png\">\n[ref]: d.md\n")
	if got := fmt.Sprint(p.links); got != "[b.md c.png d.md]" || !p.anchors["one"] || !p.anchors["one-1"] || len(p.anchors) != 2 {
		t.Errorf("links %s, anchors %v", got, p.anchors)
	}
}

// docs/DESIGN.md shows the packages of the root module and of cmd/rdy/internal, and names the
// nested modules: those that there are, and no others.
func TestDesign(t *testing.T) {
	text, err := os.ReadFile("docs/DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tree, _ := strings.Cut(string(text), "\n```text\n")
	tree, rest, _ := strings.Cut(tree, "\n```\n")
	_, table, _ := strings.Cut(rest, "| package | what it does |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")

	shown := map[string]bool{}
	for line := range strings.Lines(tree) {
		name := strings.Fields(strings.Trim(line, "├─└│ "))[0]
		switch {
		case strings.HasSuffix(name, "/"):
			shown[strings.TrimSuffix(name, "/")] = true
		case shown["internal"]:
			shown["internal/"+name] = true
		}
	}
	delete(shown, "internal")
	for line := range strings.Lines(table) {
		names, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		for name := range strings.SplitSeq(names, ", ") {
			shown["cmd/rdy/internal/"+name] = true
		}
	}
	if len(shown) < 20 {
		t.Errorf("only %d packages are shown: %v", len(shown), shown)
	}
	packages, modules := folders(t)
	for name := range packages {
		if !shown[name] {
			t.Errorf("docs/DESIGN.md does not show package %s", name)
		}
	}
	for name := range shown {
		if !packages[name] {
			t.Errorf("docs/DESIGN.md shows package %s, which does not exist", name)
		}
	}
	for _, name := range modules {
		if !strings.Contains(rest, "`"+strings.TrimPrefix(name, "compat/")+"`") {
			t.Errorf("docs/DESIGN.md does not name module %s", name)
		}
	}
}

// folders returns the packages that docs/DESIGN.md shows, and the folders of nested modules.
func folders(t *testing.T) (packages map[string]bool, modules []string) {
	t.Helper()
	packages = map[string]bool{}
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || name == "." {
			return err
		}
		if d.Name() == "testdata" || name == "examples" || strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if _, err := os.Stat(path.Join(name, "go.mod")); err == nil {
			modules = append(modules, name)
		}
		inModule := slices.ContainsFunc(modules, func(m string) bool { return strings.HasPrefix(name+"/", m+"/") })
		if inModule && path.Dir(name) != "cmd/rdy/internal" {
			return nil
		}
		files, err := fs.Glob(os.DirFS(name), "*.go")
		if len(files) > 0 {
			packages[name] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return packages, modules
}
