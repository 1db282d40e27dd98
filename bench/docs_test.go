package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The documents hold exactly what the bench makes of their benchmarks.json.
func TestDocs(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{docRuns, docText} {
		data, err := os.ReadFile(filepath.Join("..", "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := updateDocs(dir, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{docRuns, docText, docPicture} {
		want, err := os.ReadFile(filepath.Join(dir, name)) // #nosec G304 -- in a directory of this test
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join("..", "docs", name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("docs/%s is out of date (%v): GOWORK=off go -C bench run . --docs ../docs --only '^$'", name, err)
		}
	}
}

func TestFillIn(t *testing.T) {
	measurements := []measurement{{Case: "publish fake sync 16B x1", Kind: publish, Clients: []clientMeasurement{{goNSQ, runsAt(1000)}}}}
	const document = "Prose.\n\n<!-- bench: publish -->\nold\n<!-- end of bench -->\n\nMore prose.\n"
	once, err := fillIn([]byte(document), measurements)
	if err != nil {
		t.Fatal(err)
	}
	s := string(once)
	if strings.Contains(s, "old") || !strings.Contains(s, "| fake sync 16B x1 | go-nsq | 1k |") ||
		!strings.HasPrefix(s, "Prose.\n\n<!-- bench: publish -->\n\n| case") || !strings.HasSuffix(s, " |\n\n<!-- end of bench -->\n\nMore prose.\n") {
		t.Errorf("got\n%s", s)
	}
	if twice, err := fillIn(once, measurements); err != nil || !bytes.Equal(once, twice) {
		t.Errorf("filled in again: %v\n%s", err, twice)
	}
	for _, bad := range []string{"<!-- bench: publish -->\n", "<!-- bench: nothing -->\n<!-- end of bench -->\n"} {
		if _, err := fillIn([]byte(bad), measurements); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// A measurement replaces the older one of its case, and cases that are no more are dropped.
func TestMerge(t *testing.T) {
	const first, second = "consume fake 200B mif=1 x1", "consume fake 200B mif=10 x4"
	known := []measurement{{Case: second, Kind: "old"}, {Case: "gone", Kind: "old"}, {Case: first, Kind: "old"}}
	merged := merge(known, []measurement{{Case: second, Kind: "new"}})
	if len(merged) != 2 || merged[0].Case != first || merged[0].Kind != "old" || merged[1].Case != second || merged[1].Kind != "new" {
		t.Errorf("got %v", merged)
	}
}

// The picture is well-formed XML, has the figures, and no bar is longer than its panel.
func TestPicture(t *testing.T) {
	theirs, ours := runsAt(100_000), runsAt(600_000)
	theirs[0].CPU, ours[0].CPU = 1, 0.5
	picture, err := drawHeadlines([]measurement{
		{Case: headlines[1].of, Clients: []clientMeasurement{{goNSQ, theirs}, {rdy, ours}}},
		{Case: headlines[0].of, Clients: []clientMeasurement{{goNSQ, ours}, {rdy, theirs}}}, // this client is worse
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"600k · 6.00 ×", "10.0 µs", "0.833 µs · 1/12.0", `width="270"`, headlines[0].title} {
		if !bytes.Contains(picture, []byte(want)) {
			t.Errorf("the picture lacks %q", want)
		}
	}
	for d := xml.NewDecoder(bytes.NewReader(picture)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		element, _ := token.(xml.StartElement)
		for _, a := range element.Attr {
			if element.Name.Local == "rect" && a.Name.Local == "width" && atoi([]byte(a.Value)) > panelLength {
				t.Errorf("a bar is %s long", a.Value)
			}
		}
	}
}
