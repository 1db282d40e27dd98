// Package visible makes control characters in text visible.
package visible

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape returns text with its control characters written as escapes, such as \x1b,
// so that it cannot steer a terminal, reorder what is shown, or pass for another line.
// keep lists control characters that stay. Bytes that are not UTF-8 are escaped as well.
// JSON stays valid JSON with the same meaning: what it may contain unescaped is written
// as \u escapes.
func Escape(text []byte, keep string) []byte {
	if bytes.IndexFunc(text, func(r rune) bool { return Steers(r, keep) }) < 0 {
		return text
	}
	var out bytes.Buffer
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case !Steers(r, keep), r == utf8.RuneError && n > 1: // the latter is U+FFFD itself
			out.Write(text[:n])
		case r == utf8.RuneError:
			fmt.Fprintf(&out, `\x%02x`, text[0])
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\r':
			out.WriteString(`\r`)
		case r == '\t':
			out.WriteString(`\t`)
		case r < ' ':
			fmt.Fprintf(&out, `\x%02x`, r)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
		text = text[n:]
	}
	return out.Bytes()
}

// Steers reports whether r must not reach a terminal: a control character, or one that
// changes the direction of text. It also reports true for utf8.RuneError.
func Steers(r rune, keep string) bool {
	return (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == utf8.RuneError) && !strings.ContainsRune(keep, r)
}
