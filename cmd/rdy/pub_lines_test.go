package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// splitAll returns the lines of an input, each quoted or "too long".
func splitAll(t *testing.T, r io.Reader, delimiter string, longest int) []string {
	t.Helper()
	s := splitter{r: r, delimiter: []byte(delimiter), longest: longest, at: position{file: stdinName}}
	var got []string
	var bytes int64
	for {
		lines, read, err := s.next()
		bytes += read
		for _, l := range lines {
			if l.at.number != len(got)+1 {
				t.Errorf("line %d has number %d", len(got)+1, l.at.number)
			}
			text := fmt.Sprintf("%q", l.body)
			if l.body == nil {
				text = "too long"
			}
			got = append(got, text)
		}
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestSplitter(t *testing.T) {
	for _, tc := range []struct {
		input, delimiter string
		longest          int
		want             []string
	}{
		{"", "\n", 9, nil},
		{"\n", "\n", 9, []string{`""`}},
		{"a\nb\n", "\n", 9, []string{`"a"`, `"b"`}},
		{"a\n\nworld", "\n", 9, []string{`"a"`, `""`, `"world"`}},
		{"a\r\nb\rc\r\n\r", "\r\n", 9, []string{`"a"`, `"b\rc"`, `"\r"`}},
		{"a\x00b", "\x00", 9, []string{`"a"`, `"b"`}},
		{"aXYXYZb", "XYZ", 9, []string{`"aXY"`, `"b"`}},
		{"1234\n12345\n123\n", "\n", 4, []string{`"1234"`, "too long", `"123"`}},
		{"123456789012345", "\n", 4, []string{"too long"}},
		{"1234\r\n1234\r5\r\n1", "\r\n", 4, []string{`"1234"`, "too long", `"1"`}},
		{"123456789\n1", "\n", 1, []string{"too long", `"1"`}},
	} {
		for name, r := range map[string]io.Reader{
			"whole":        strings.NewReader(tc.input),
			"byte by byte": iotest.OneByteReader(strings.NewReader(tc.input)),
			"EOF at once":  iotest.DataErrReader(strings.NewReader(tc.input)),
		} {
			if got := splitAll(t, r, tc.delimiter, tc.longest); !slices.Equal(got, tc.want) {
				t.Errorf("%q by %q, %s: got %v, want %v", tc.input, tc.delimiter, name, got, tc.want)
			}
		}
	}
}

// Lines keep their bytes while more is read. Of a line that is too long the
// splitter keeps no more than it needs to know that.
func TestSplitterManyChunks(t *testing.T) {
	var want []string
	var input strings.Builder
	for i := range 3000 {
		body := fmt.Sprintf("%d-%s", i, strings.Repeat("x", i%500))
		if i%1000 == 7 {
			body = fmt.Sprintf("%d-%s", i, strings.Repeat("y", 3*chunkSize))
		}
		want = append(want, fmt.Sprintf("%q", body))
		input.WriteString(body + "\n")
	}
	for name, r := range map[string]io.Reader{
		"whole":  strings.NewReader(input.String()),
		"halves": iotest.HalfReader(strings.NewReader(input.String())),
	} {
		s := splitter{r: r, delimiter: []byte("\n"), longest: 4 * chunkSize}
		var lines []line
		for err := error(nil); err == nil; {
			var more []line
			more, _, err = s.next()
			lines = append(lines, more...)
		}
		var got []string
		for _, l := range lines {
			got = append(got, fmt.Sprintf("%q", l.body))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %d lines that differ from the %d in the input", name, len(got), len(want))
		}
	}
	endless := splitter{r: iotest.ErrReader(io.EOF), delimiter: []byte("\n"), longest: 10}
	endless.r = io.LimitReader(zeros{}, 64<<20)
	lines, read, _ := endless.next()
	if len(lines) != 1 || lines[0].body != nil || read != 64<<20 || cap(endless.data) > 2*chunkSize {
		t.Errorf("got %d lines, %d bytes read, a buffer of %d", len(lines), read, cap(endless.data))
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestDelimiterFlag(t *testing.T) {
	for in, want := range map[string]string{
		`\n`: "\n", `\r\n`: "\r\n", `\t`: "\t", `\0`: "\x00", `\0\0`: "\x00\x00", `\x1e`: "\x1e", `\xff`: "\xff",
		`\\`: `\`, `|`: "|", "\n": "\n", "\xfe": "\xfe", `"`: `"`, `é`: "é", `\u00e9`: "é", "--\n": "--\n",
	} {
		var d delimiterFlag
		if err := d.Set(in); err != nil || string(d) != want {
			t.Errorf("%q: got %q, %v", in, string(d), err)
		}
	}
	for _, in := range []string{"", `\`, `\q`, `\x1`} {
		var d delimiterFlag
		if err := d.Set(in); err == nil {
			t.Errorf("%q: got %q, want an error", in, string(d))
		}
	}
}
