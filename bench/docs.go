package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The documents hold what the bench has measured: benchmarks.json all runs, benchmarks.svg a
// picture, and BENCHMARKS.md tables between markers and prose around them.

const (
	docRuns    = "benchmarks.json"
	docPicture = "benchmarks.svg"
	docText    = "BENCHMARKS.md"
)

// updateDocs puts measurements into the documents of a directory. The cases that are not
// among them keep their figures.
func updateDocs(dir string, measurements []measurement) error {
	known, err := readMeasurements(filepath.Join(dir, docRuns))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	merged := merge(known, measurements)
	runs, err := json.Marshal(merged)
	if err != nil {
		return err
	}
	picture, err := drawHeadlines(merged)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, docText)) // #nosec G304 -- where the user wants it
	if err != nil {
		return err
	}
	if text, err = fillIn(text, merged); err != nil {
		return fmt.Errorf("%s: %w", docText, err)
	}
	for name, data := range map[string][]byte{docRuns: append(runs, '\n'), docPicture: picture, docText: text} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// merge returns what was known, with newer measurements in the place of older ones, in the
// order of the matrix. It leaves out cases that the matrix no longer has.
func merge(known, newer []measurement) (merged []measurement) {
	for _, s := range matrix() {
		for _, from := range [][]measurement{newer, known} {
			i := slices.IndexFunc(from, func(m measurement) bool { return m.Case == s.Name() })
			if i >= 0 {
				merged = append(merged, from[i])
				break
			}
		}
	}
	return merged
}

const (
	markStart = "<!-- bench: " // and the name of a table
	markEnd   = "<!-- end of bench -->\n"
)

// fillIn replaces what is between the markers of a document by the tables that they name.
func fillIn(text []byte, measurements []measurement) ([]byte, error) {
	var out bytes.Buffer
	for {
		before, rest, found := bytes.Cut(text, []byte(markStart))
		out.Write(before)
		if !found {
			return out.Bytes(), nil
		}
		name, rest, named := bytes.Cut(rest, []byte(" -->\n"))
		_, rest, ended := bytes.Cut(rest, []byte(markEnd))
		if !named || !ended {
			return nil, fmt.Errorf("the marker %.40q has no end", name)
		}
		var table bytes.Buffer
		if err := writeNamed(&table, string(name), measurements); err != nil {
			return nil, err
		}
		_, _ = fmt.Fprintf(&out, "%s%s -->\n\n%s\n\n%s", markStart, name, strings.TrimSpace(table.String()), markEnd)
		text = rest
	}
}

// writeNamed writes the table of a marker.
func writeNamed(w *bytes.Buffer, name string, measurements []measurement) error {
	switch {
	case name == "headlines":
		writeHeadlines(w, measurements)
	case name == "aims":
		writeAims(w, measurements)
	case slices.Contains(kinds, name):
		writeTable(w, name, measurements)
	default:
		return fmt.Errorf("no table is called %q", name)
	}
	return nil
}
