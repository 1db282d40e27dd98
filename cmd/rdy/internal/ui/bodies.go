package ui

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"unicode/utf8"

	"github.com/rdyhq/nsq/cmd/rdy/internal/visible"
)

// form is how a body is shown.
type form string

const (
	asLine form = "line" // text without line breaks
	asText form = "text"
	asJSON form = "json" // indented; text if it is none
	asHex  form = "hex"
)

// formOf returns the form that a viewer wants, or the first one of those that there are.
func formOf(name string, forms []form) form {
	for _, f := range forms {
		if name == string(f) {
			return f
		}
	}
	return forms[0]
}

// show returns a body as text: valid UTF-8 without control characters, except line breaks and
// tabs in other forms than asLine. It is at most 4 times as long as the body, or 5 times asHex.
func (f form) show(body []byte) string {
	switch f {
	case asHex:
		return hex.Dump(body)
	case asLine:
		return string(visible.Escape(body, ""))
	case asJSON:
		if text, ok := indented(body); ok {
			return string(visible.Escape(text, "\n"))
		}
	}
	return string(visible.Escape(body, "\n\t"))
}

// maxIndent bounds how deep JSON is nested that is indented. Indented JSON is longer than the
// body by its depth: a body of 32 KiB with 10,000 opening brackets would become 100 MB.
const maxIndent = 32

// indented returns JSON with line breaks. ok is false if the body is no JSON, or would become
// much longer.
func indented(body []byte) (text []byte, ok bool) {
	if depthOf(body) > maxIndent {
		return nil, false
	}
	var out bytes.Buffer
	if json.Indent(&out, bytes.TrimSpace(body), "", "  ") != nil || out.Len() > 2*len(body)+1024 {
		return nil, false
	}
	return out.Bytes(), true
}

// depthOf returns how deep JSON is nested.
func depthOf(body []byte) (most int) {
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			depth++
			most = max(most, depth)
		case c == '}', c == ']':
			depth--
		}
	}
	return most
}

// beginning returns a copy of the first bytes of a body, at most limit of them. It does not end
// within a character.
func beginning(body []byte, limit int) []byte {
	if len(body) <= limit {
		return bytes.Clone(body)
	}
	n := limit
	for n > limit-utf8.UTFMax && n > 0 && !utf8.RuneStart(body[n]) {
		n--
	}
	return bytes.Clone(body[:n])
}
