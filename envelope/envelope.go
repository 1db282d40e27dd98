// Package envelope puts headers in front of a message's body. NSQ's messages have no
// headers, so what a publisher wants to say about a message, such as a trace context, a
// content type or a key for deduplication, has to travel in the body.
//
// An envelope is a line that names the format, headers as in MIME, an empty line, and the
// unchanged body:
//
//	NSQ-Envelope: 1
//	content-type: application/json
//	traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
//
//	{"order":17}
//
// [Seal] makes an envelope, and [Open] takes it apart. Anything that is not an envelope is a
// plain body, which Open returns untouched. So consumers can open envelopes before the first
// publisher seals any. Upgrade consumers first: one that does not open envelopes gets the
// headers as part of the body.
//
// A plain body may happen to be an envelope, or be made to look like one. So headers deserve
// no more trust than bodies: an author of whole bodies is an author of headers. A publisher
// that passes on what others have written puts it into an envelope of its own, if need be
// one without headers; Open then returns it as the body, whatever it is.
//
// # Format
//
// Lines end in LF; Open also accepts CRLF. A header is a name, a colon, a space and a
// value, all on one line. Names are not case-sensitive. Seal writes them in lower case and
// in alphabetical order, so that equal headers and bodies make equal envelopes. If a name
// occurs more than once, the first one counts.
//
// A value of printable characters is written as it is. A value that has other characters,
// begins with a double quote, or begins or ends with a space is written as a Go string
// literal: in double quotes, with escapes such as \n and \x00. In a name, every byte other
// than a letter, a digit, '-', '_', '.' and '~' is escaped as in the query of a URL. Open
// reverses both. So no name or value can add a header or end the headers.
package envelope

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// MaxHeaderLen is how many bytes the headers of an envelope may take, from the first
	// line up to and including the empty line.
	MaxHeaderLen = 64 << 10

	firstLine = "NSQ-Envelope: 1"
)

// Header holds the headers of an envelope: values by name. Names are in lower case;
// [Header.Get] and [Header.Set] accept any case. As with any map, several goroutines may
// read a Header, but not while one changes it.
type Header map[string]string

// Get returns the value of a header, or "" if there is none.
func (h Header) Get(name string) string { return h[lower(name)] }

// Set sets the value of a header. The Header must not be nil.
func (h Header) Set(name, value string) { h[lower(name)] = value }

// lower returns a name with its ASCII letters in lower case. strings.ToLower would replace
// bytes that are not UTF-8.
func lower(name string) string {
	b := []byte(name)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// Seal returns an envelope with these headers and a copy of this body. Both may be empty. A
// header with an empty name is left out.
//
// A body that is an envelope itself is sealed like any other: [Open] then returns it as the
// body. To add a header to an envelope, open it, set the header and seal it again.
//
// Seal does not fail. But if the headers take more than [MaxHeaderLen] bytes, Open takes
// the result for a plain body. The headers take as many bytes as the result is longer than
// the body.
func Seal(h Header, body []byte) []byte {
	names := slices.SortedFunc(maps.Keys(h), func(a, b string) int {
		return cmp.Or(cmp.Compare(lower(a), lower(b)), cmp.Compare(a, b))
	})
	size := len(firstLine) + 2 + len(body)
	for _, name := range names {
		size += len(name) + len(": ") + len(h[name]) + 1
	}
	data := append(make([]byte, 0, size), firstLine...)
	data = append(data, '\n')
	last := ""
	for _, name := range names {
		written := lower(name)
		if written == last { // also true of an empty name
			continue
		}
		last = written
		data = append(data, url.QueryEscape(written)...)
		data = append(data, ": "...)
		data = appendValue(data, h[name])
		data = append(data, '\n')
	}
	data = append(data, '\n')
	return append(data, body...)
}

// Open takes an envelope apart. It returns the headers, the body and true; the Header is
// not nil, and the body aliases data. If data is not a complete, well-formed envelope, Open
// returns nil, data and false, and allocates nothing.
func Open(data []byte) (Header, []byte, bool) {
	if !bytes.HasPrefix(data, []byte(firstLine)) {
		return nil, data, false
	}
	line, rest, ok := cutLine(data)
	if !ok || string(line) != firstLine {
		return nil, data, false
	}
	h := Header{}
	for {
		if line, rest, ok = cutLine(rest); !ok || len(data)-len(rest) > MaxHeaderLen {
			return nil, data, false
		}
		if len(line) == 0 {
			return h, rest, true
		}
		name, value, ok := parseHeader(line)
		if !ok {
			return nil, data, false
		}
		if _, repeated := h[name]; !repeated {
			h[name] = value
		}
	}
}

// cutLine returns the first line of data without its end, and what follows it. It looks
// no further than an envelope's headers may reach.
func cutLine(data []byte) (line, rest []byte, ok bool) {
	end := bytes.IndexByte(data[:min(len(data), MaxHeaderLen)], '\n')
	if end < 0 {
		return nil, nil, false
	}
	return bytes.TrimSuffix(data[:end], []byte("\r")), data[end+1:], true
}

// parseHeader parses the line of a header.
func parseHeader(line []byte) (name, value string, ok bool) {
	rawName, rawValue, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(rawName) == 0 || bytes.ContainsFunc(rawName, notInName) || bytes.ContainsFunc(rawValue, notInValue) {
		return "", "", false
	}
	name, value = string(rawName), string(bytes.Trim(rawValue, " \t"))
	if unescaped, err := url.QueryUnescape(name); err == nil {
		name = unescaped
	}
	if strings.HasPrefix(value, `"`) {
		if unquoted, err := strconv.Unquote(value); err == nil {
			value = unquoted
		}
	}
	return lower(name), value, true
}

// notInName reports whether a header's name, as it is written, must not contain r: MIME
// allows printable ASCII, other than the colon that ends the name.
func notInName(r rune) bool { return r <= ' ' || r >= 0x7f }

// notInValue reports whether a header's value, as it is written, must not contain r.
func notInValue(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// appendValue appends a value as it is written.
func appendValue(data []byte, value string) []byte {
	if strings.HasPrefix(value, `"`) || strings.TrimSpace(value) != value || !utf8.ValidString(value) ||
		strings.ContainsFunc(value, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.AppendQuote(data, value)
	}
	return append(data, value...)
}

type contextKey struct{}

// NewContext returns a context that carries h. Neither the caller nor the handler that gets
// the context may change h afterwards.
func NewContext(ctx context.Context, h Header) context.Context {
	return context.WithValue(ctx, contextKey{}, h)
}

// FromContext returns the Header of the innermost [NewContext], and whether there is one.
// The Header must not be changed.
func FromContext(ctx context.Context) (Header, bool) {
	h, ok := ctx.Value(contextKey{}).(Header)
	return h, ok
}
