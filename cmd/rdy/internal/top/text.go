package top

import (
	"regexp"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/rdyhq/nsq/cmd/rdy/internal/visible"
)

// width returns how many cells text takes on a terminal. Colours take none.
func width(text string) int { return ansi.StringWidth(text) }

// clean returns text of the cluster as it may be drawn: on one line, and steering nothing.
func clean(text string) string { return string(visible.Escape([]byte(text), "")) }

// alignLeft returns text with spaces behind it, w cells wide. Text that is too long is cut in
// its middle.
func alignLeft(text string, w int) string {
	text = middle(text, w)
	return text + blank(w-width(text))
}

// alignRight returns text with spaces before it, at least w cells wide.
func alignRight(text string, w int) string { return blank(w-width(text)) + text }

// blank returns n spaces, none if n is negative.
func blank(n int) string { return repeat(" ", n) }

// middle cuts text in its middle to w cells: the beginning and the end of a name tell most.
func middle(text string, w int) string {
	total := width(text)
	switch {
	case total <= w:
		return text
	case w < 3:
		return cut(text, w)
	}
	most := (w - 1) / 2
	tail := ansi.TruncateLeft(text, total-most, "")
	if width(tail) > most { // it begins with half of a wide character
		tail = ansi.TruncateLeft(text, total-most+1, "")
	}
	return ansi.Truncate(text, w-1-most, "") + "…" + tail
}

// cut cuts text to w cells at its end.
func cut(text string, w int) string { return ansi.Truncate(text, max(w, 0), "") }

// between returns a line of w cells that begins with left and ends with right. Where both do
// not fit, right is left out.
func between(left, right string, w int) string {
	space := w - width(left) - width(right)
	if space < 1 {
		return left
	}
	return left + blank(space) + right
}

// wrap breaks text between words into lines of at most w cells.
func wrap(text string, w int) []string {
	return strings.Split(ansi.Wordwrap(text, max(w, 1), " "), "\n")
}

// overlay returns lines with a box drawn over their middle. The lines have w cells. Of a box that is
// too high the last lines stay: a field, the keys and the frame.
func overlay(lines, box []string, w int) []string {
	const last = 3
	if len(box) > len(lines) {
		end := min(last, len(lines))
		box = slices.Concat(box[:len(lines)-end], box[len(box)-end:])
	}
	if len(box) == 0 {
		return lines
	}
	boxWidth := width(box[0])
	x, y := max((w-boxWidth)/2, 0), max((len(lines)-len(box))/2, 0)
	for i, text := range box {
		under := lines[y+i] + blank(w-width(lines[y+i]))
		lines[y+i] = cut(under, x) + text + ansi.TruncateLeft(under, x+boxWidth, "")
	}
	return lines
}

// bars are the steps of a spark, lowest first.
var bars = []rune("▁▂▃▄▅▆▇█")

// spark draws points in w cells, oldest first. A cell shows the highest of its points, relative
// to the highest of all. A gap, which is negative, stays empty. Figures below 10 look flat.
func spark[T int64 | float64](points []T, w int) string {
	var out strings.Builder
	highest := highestOf(points)
	for i := range w {
		from := i * len(points) / w
		p := highestOf(points[from:min(max((i+1)*len(points)/w, from+1), len(points))])
		switch {
		case p < 0:
			out.WriteByte(' ')
		case highest < 10:
			out.WriteRune(bars[0])
		default:
			out.WriteRune(bars[min(int(float64(p)/float64(highest)*float64(len(bars))), len(bars)-1)])
		}
	}
	return out.String()
}

// highestOf returns the highest point, -1 if there is none.
func highestOf[T int64 | float64](points []T) T {
	highest := T(-1)
	for _, p := range points {
		highest = max(highest, p)
	}
	return highest
}

// The colours of marks, of the 16 that the user's terminal defines.
const (
	red    = "31"
	green  = "32"
	amber  = "33"
	violet = "35"
	cyan   = "36"
)

// paint returns text in a colour.
func paint(colour, text string) string {
	if colour == "" || strings.TrimSpace(text) == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[39m"
}

// faint returns text in muted colours.
func faint(text string) string { return "\x1b[2m" + text + "\x1b[22m" }

// toASCII writes what the screens are drawn with in ASCII, in as many cells.
var toASCII = strings.NewReplacer(
	"■", "#", "▲", "^", "○", "o", "‖", "=", "✓", "+", "↓", "v", "≥ ", ">=", "–", "-", "…", "~",
	"─", "-", "│", "|", "┌", "+", "┐", "+", "└", "+", "┘", "+",
	"▁", "_", "▂", ".", "▃", ",", "▄", "-", "▅", "=", "▆", "+", "▇", "*", "█", "#",
)

// beyondASCII finds text that is not ASCII.
var beyondASCII = regexp.MustCompile(`[^\x00-\x7f]+`)

// asciiOnly returns a line without anything beyond ASCII, in as many cells.
func asciiOnly(line string) string {
	return beyondASCII.ReplaceAllStringFunc(toASCII.Replace(line), func(text string) string {
		return repeat("?", width(text))
	})
}

// repeat returns text n times, not at all if n is negative.
func repeat(text string, n int) string { return strings.Repeat(text, max(n, 0)) }
