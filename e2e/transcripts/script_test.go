package transcripts

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A script is played on the fake and on the real nsqd.
type script struct {
	name    string
	config  string // the key in configs
	differs string // empty, or the item in nsqtest's documentation that explains the difference
	steps   []string
}

// readScripts returns all scripts in testdata, first those that wait: the others need not
// wait for them.
func readScripts(t *testing.T) []script {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	var scripts []script
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		scripts = append(scripts, parseScripts(string(text))...)
	}
	slices.SortStableFunc(scripts, func(a, b script) int { return cmp.Compare(b.waits(), a.waits()) })
	return scripts
}

// waits returns how many steps wait for time to pass.
func (s *script) waits() int {
	n := 0
	for _, step := range s.steps {
		if strings.HasPrefix(step, "wait ") || strings.HasSuffix(step, " await") {
			n++
		}
	}
	return n
}

func parseScripts(text string) []script {
	var scripts []script
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		key, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "== "):
			scripts = append(scripts, script{name: line[len("== "):], config: "default"})
		case key == "config":
			scripts[len(scripts)-1].config = value
		case key == "differs":
			scripts[len(scripts)-1].differs = value
		default:
			s := &scripts[len(scripts)-1]
			s.steps = append(s.steps, line)
		}
	}
	return scripts
}

// encode returns the bytes of a client's command.
func encode(command string) ([]byte, error) {
	name, rest, _ := strings.Cut(command, " ")
	switch name {
	case "IDENTIFY", "AUTH":
		return withBody(name, expand(rest)), nil
	case "PUB", "MPUB", "DPUB":
		params := 1
		if name == "DPUB" {
			params = 2
		}
		words := strings.Split(rest, " ")
		if len(words) <= params {
			return nil, fmt.Errorf("%q has no body", command)
		}
		line := name + " " + strings.Join(words[:params], " ")
		if name == "MPUB" {
			return withBody(line, mpubBody(words[params:])), nil
		}
		return withBody(line, expand(strings.Join(words[params:], " "))), nil
	case "raw":
		return raw(rest)
	}
	return []byte(command + "\n"), nil
}

func withBody(line string, body []byte) []byte {
	b := append([]byte(line), '\n')
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	return append(b, body...)
}

func mpubBody(bodies []string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(bodies)))
	for _, body := range bodies {
		text := expand(body)
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...)
	}
	return b
}

var repeated = regexp.MustCompile(`^(\d+)\*(.)$`)

// expand returns a body: 3*x is xxx.
func expand(body string) []byte {
	if m := repeated.FindStringSubmatch(body); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			return bytes.Repeat([]byte(m[2]), n)
		}
	}
	return []byte(body)
}

// shorten is the reverse of expand for long bodies.
func shorten(body []byte) string {
	if len(body) > 40 && bytes.Count(body, body[:1]) == len(body) {
		return fmt.Sprintf("%d*%c", len(body), body[0])
	}
	return string(body)
}

// raw returns the bytes that strings in Go's syntax and repeated characters stand for.
func raw(text string) ([]byte, error) {
	var b []byte
	for text != "" {
		if text[0] != '"' {
			word, rest, _ := strings.Cut(text, " ")
			b, text = append(b, expand(word)...), rest
			continue
		}
		quoted, err := strconv.QuotedPrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		part, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", quoted, err)
		}
		b = append(b, part...)
		text = strings.TrimPrefix(text[len(quoted):], " ")
	}
	return b, nil
}
