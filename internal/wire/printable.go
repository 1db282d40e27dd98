package wire

import "strconv"

// maxPrintable is how many bytes of a peer's text an error shows.
const maxPrintable = 500

// Printable returns a peer's text as an error may show it: as it is, if it is one line of
// printable characters and not too long. Otherwise it is cut, and what could forge a line
// of a log or reach a terminal as an escape sequence is escaped as in a Go string.
func Printable(s string) string {
	cut := len(s) > maxPrintable
	if cut {
		s = s[:maxPrintable]
	}
	for _, r := range s {
		if !strconv.IsPrint(r) || r == '\ufffd' { // bytes that are no UTF-8 come as U+FFFD
			s = strconv.Quote(s)
			s = s[1 : len(s)-1]
			break
		}
	}
	if cut {
		s += "..."
	}
	return s
}
