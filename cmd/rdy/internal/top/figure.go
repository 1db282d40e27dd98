package top

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// unknown stands for a figure that is not known.
const unknown = "–"

// count returns a figure, marked if a daemon is missing from it.
func count(n int64, lower bool) string { return atLeast(figures.Count(n), lower) }

// atLeast marks a figure that a daemon is missing from.
func atLeast(figure string, lower bool) string {
	if lower {
		return "≥ " + figure
	}
	return figure
}

// precise returns a rate with a decimal up to 100, for where there is room.
func precise(perSecond float64) string {
	if perSecond < 9.95 || perSecond >= 99.95 {
		return figures.Rate(perSecond)
	}
	return fmt.Sprintf("%.1f", perSecond)
}

// growth returns what is written behind a depth that grows or shrinks, empty if it does neither.
func growth(perSecond float64) string {
	switch text := figures.Rate(math.Abs(perSecond)); {
	case text == "0":
		return ""
	case perSecond < 0:
		return " -" + text + "/s"
	default:
		return " +" + text + "/s"
	}
}

// seconds returns an interval.
func seconds(d time.Duration) string {
	if d >= time.Minute {
		return figures.Duration(d)
	}
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + " s"
}

// short returns a count in five cells at most, such as 10k for 10,000.
func short(n int64) string {
	if n >= 10_000 && n < 1_000_000 {
		return fmt.Sprintf("%dk", n/1000)
	}
	return figures.Count(n)
}

// bytesText returns a number of bytes.
func bytesText(n float64) string {
	const step = 1024
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	unit := 0
	for n >= step && unit < len(units)-1 {
		n, unit = n/step, unit+1
	}
	if unit == 0 || n >= 99.95 {
		return fmt.Sprintf("%.0f %s", n, units[unit])
	}
	return fmt.Sprintf("%.1f %s", n, units[unit])
}

// ago returns how long ago something was.
func ago(at, now time.Time) string {
	if at.IsZero() {
		return unknown
	}
	if now.Sub(at) < time.Second {
		return "now"
	}
	return figures.Duration(now.Sub(at)) + " ago"
}

// mark returns the mark of a level in its colour, in one cell.
func mark(l judge.Level) string {
	switch l {
	case judge.Critical:
		return paint(red, "■")
	case judge.Warning:
		return paint(amber, "▲")
	case judge.Notice:
		return paint(cyan, "○")
	case judge.ByChoice:
		return paint(violet, "‖")
	}
	return " "
}

// resolved is the mark of a problem that has ended.
func resolved() string { return paint(green, "✓") }
