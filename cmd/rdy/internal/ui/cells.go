package ui

import (
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
	"github.com/rdyhq/nsq/cmd/rdy/internal/visible"
)

// noFigure stands for a figure that is not known.
const noFigure = "–"

// seen returns text whose control characters, which clients may have in their names, are visible.
func seen(s string) string { return string(visible.Escape([]byte(s), "\n")) }

// escaped returns plain text as HTML.
func escaped(s string) template.HTML { return template.HTML(template.HTMLEscapeString(seen(s))) } // #nosec G203 -- escaped

// within returns plain text in a class.
func within(class, s string) template.HTML {
	if class == "" || s == "" {
		return escaped(s)
	}
	return template.HTML(`<span class="`+class+`">`) + escaped(s) + `</span>` // #nosec G203 -- escaped
}

// linked returns a link. rest is plain text after it.
func linked(href, text, rest string) template.HTML {
	return template.HTML(fmt.Sprintf(`<a href="%s">%s</a>%s`, // #nosec G203 -- escaped
		template.HTMLEscapeString(href), template.HTMLEscapeString(text), template.HTMLEscapeString(rest)))
}

// text returns a cell with plain text.
func text(id, s string) cell { return cell{ID: id, HTML: escaped(s)} }

// styled returns a cell with plain text in a class.
func styled(id, class, s string) cell { return cell{ID: id, HTML: within(class, s)} }

// count returns a count. A zero is faint, a lower bound is marked, and one that is not exact has
// its digits in a tooltip.
func count(n int64, lower bool) template.HTML {
	s := bounded(figures.Count(n), lower)
	switch {
	case n == 0 && !lower:
		return within("zero", s)
	case n >= 1e6:
		return template.HTML(fmt.Sprintf(`<span title="%d">%s</span>`, n, s)) // #nosec G203 -- made of numbers
	}
	return escaped(s)
}

func bounded(s string, lower bool) string {
	if lower {
		return "≥ " + s
	}
	return s
}

func counted(id string, n int64, lower bool) cell { return cell{ID: id, HTML: count(n, lower)} }

// rated returns a cell with a rate.
func rated(id string, perSecond float64, known, lower bool) cell {
	switch {
	case !known:
		return styled(id, "zero", noFigure)
	case perSecond <= 0 && !lower:
		return styled(id, "zero", "0")
	}
	return text(id, bounded(figures.Rate(perSecond), lower))
}

// grows returns how a backlog changes, with its sign.
func grows(perSecond float64) string {
	if perSecond < 0 {
		return "−" + figures.Rate(-perSecond) + " /s"
	}
	return "+" + figures.Rate(perSecond) + " /s"
}

// marks are the classes of levels.
var marks = map[judge.Level]string{judge.Critical: "critical", judge.Warning: "warning", judge.Notice: "notice", judge.ByChoice: "paused"}

// stateMark returns a mark, a colour and a word.
func stateMark(level judge.Level, word string) template.HTML {
	return within("state "+marks[level], word)
}

// badge returns the state beside the name of a page.
func badge(level judge.Level, state string) cell {
	return styled("state", "badge state "+marks[level], capital(state))
}

// draining returns when a channel drains.
func draining(c *judge.Channel) template.HTML {
	class := "quiet"
	switch c.Drain.Kind {
	case judge.DrainsNever:
		class = "warning"
		if c.Level == judge.Critical {
			class = "critical"
		}
	case judge.NoClients:
		if c.Level.NeedsYou() {
			class = marks[c.Level]
		}
	case judge.DrainPaused:
		class = "by-choice"
	case judge.DrainsIn, judge.DrainsLate:
		class = ""
	}
	return within(class, c.Drain.String())
}

// requeues returns the share of deliveries that are requeued.
func requeues(c *judge.Channel) template.HTML {
	if c.Rates == nil {
		return within("zero", noFigure)
	}
	share := c.Rates.RequeuedShare()
	class := ""
	switch {
	case share == 0:
		class = "zero"
	case c.State == judge.Retrying:
		class = "warning"
	}
	return within(class, figures.Share(share))
}

// clientCount returns the number of connections. None at all stands out where somebody should look.
func clientCount(c *judge.Channel) template.HTML {
	if c.ClientCount == 0 && !c.Lower && c.State == judge.Orphan {
		return within(marks[c.Level], "0")
	}
	return count(int64(c.ClientCount), c.Lower)
}

// ago returns how long ago something was, for people.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return noFigure
	}
	return figures.Duration(now.Sub(t))
}

const (
	sparkWidth  = 96
	sparkHeight = 22
	sparkLeast  = 10 // a depth below this looks flat
)

// spark returns a small chart of the last hour. Its dot has the colour of the channel's state.
func spark(h judge.History, level judge.Level) template.HTML {
	most := int64(sparkLeast)
	depth := h.Depth
	if n := len(depth); n > 1 && depth[n-2] >= 0 {
		depth = depth[:n-1] // the minute that has begun would change the chart with each poll
	}
	for _, d := range depth {
		most = max(most, d)
	}
	var line, area strings.Builder
	step := float64(sparkWidth-6) / float64(judge.Points-1)
	const bottom = sparkHeight - 2
	var x, y, first float64
	pen := false
	for i, d := range depth {
		if d < 0 { // not known: a gap
			if pen {
				fmt.Fprintf(&area, "L%.1f %dL%.1f %dZ", x, bottom, first, bottom)
			}
			pen = false
			continue
		}
		x, y = 2+float64(i)*step, sparkHeight-3-float64(d)/float64(most)*(sparkHeight-6)
		command := "L"
		if !pen {
			command, first, pen = "M", x, true
		}
		fmt.Fprintf(&line, "%s%.1f %.1f", command, x, y)
		fmt.Fprintf(&area, "%s%.1f %.1f", command, x, y)
	}
	if line.Len() == 0 {
		return ""
	}
	if pen {
		fmt.Fprintf(&area, "L%.1f %dL%.1f %dZ", x, bottom, first, bottom)
	}
	return template.HTML(fmt.Sprintf(`<svg class="spark" viewBox="0 0 %d %d" aria-hidden="true"><path class="area" d="%s"/>`+ // #nosec G203 -- made of numbers
		`<path class="stroke" d="%s"/><circle class="%s" cx="%.1f" cy="%.1f" r="2"/></svg>`,
		sparkWidth, sparkHeight, area.String(), line.String(), marks[level], x, y))
}

// meter returns a bar that is full to a share.
func meter(share float64, class string) string {
	const width = 56
	full := min(max(share, 0), 1) * width
	return fmt.Sprintf(`<svg class="meter" viewBox="0 0 56 6" aria-hidden="true"><rect width="56" height="6" rx="3"/>`+
		`<rect class="%s" width="%.1f" height="6" rx="3"/></svg>`, class, full)
}

// held returns how many messages are in flight, of how many that the clients accept.
func held(inFlight, rdy int64, lower bool, class string) template.HTML {
	share := 0.0
	if rdy > 0 {
		share = float64(inFlight) / float64(rdy)
	}
	return template.HTML(fmt.Sprintf(`%s <span class="zero">/ %s</span>%s`, // #nosec G203 -- made of numbers
		bounded(figures.Count(inFlight), lower), figures.Count(rdy), meter(share, class)))
}

// flight returns the messages in flight, and the RDY if the clients are known.
func flight(c *judge.Channel) template.HTML {
	if len(c.Clients) == 0 {
		return count(c.InFlight, c.Lower)
	}
	rdy := readyFor(c)
	class := "full"
	if rdy > 0 && float64(c.InFlight) >= 0.95*float64(rdy) && c.Level.NeedsYou() {
		class = "warning"
	}
	return held(c.InFlight, rdy, c.Lower, class)
}

// readyFor returns how many messages the clients accept.
func readyFor(c *judge.Channel) (rdy int64) {
	for _, client := range c.Clients {
		rdy += client.RDY
	}
	return rdy
}

// shortened returns a name that fits, without its middle if it is long.
func shortened(name string) string {
	const most, head, tail = 40, 22, 16
	runes := []rune(name)
	if len(runes) <= most {
		return name
	}
	return string(runes[:head]) + "…" + string(runes[len(runes)-tail:])
}

func numbered(prefix string, i int) string { return prefix + strconv.Itoa(i) }
