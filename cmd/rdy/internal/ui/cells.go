package ui

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// noFigure stands for a figure that is not known.
const noFigure = "–"

// text returns a cell with plain text.
func text(id, s string) cell { return cell{id, template.HTML(template.HTMLEscapeString(s))} } // #nosec G203 -- escaped

// styled returns a cell with plain text in a class.
func styled(id, class, s string) cell {
	if class == "" {
		return text(id, s)
	}
	return cell{id, template.HTML(`<span class="` + class + `">` + template.HTMLEscapeString(s) + `</span>`)} // #nosec G203 -- escaped
}

// counted returns a cell with a count. A zero is faint, and a lower bound is marked.
func counted(id string, n int64, lower bool) cell {
	s := bounded(figures.Count(n), lower)
	if n == 0 && !lower {
		return styled(id, "zero", s)
	}
	return text(id, s)
}

func bounded(s string, lower bool) string {
	if lower {
		return "≥ " + s
	}
	return s
}

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

// stateCell returns a cell with a state: a mark, a colour and a word.
func stateCell(id string, level judge.Level, word string) cell {
	if word == "" {
		return cell{ID: id}
	}
	return styled(id, "state "+marks[level], word)
}

// draining returns the cell of when a channel drains.
func draining(id string, c *judge.Channel) cell {
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
	return styled(id, class, c.Drain.String())
}

// requeues returns the cell of the share of deliveries that are requeued.
func requeues(id string, c *judge.Channel) cell {
	if c.Rates == nil {
		return styled(id, "zero", noFigure)
	}
	share := c.Rates.RequeuedShare()
	class := ""
	switch {
	case share == 0:
		class = "zero"
	case c.State == judge.Retrying:
		class = "warning"
	}
	return styled(id, class, figures.Share(share))
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
func spark(id string, h judge.History, level judge.Level) cell {
	most := int64(sparkLeast)
	depth := h.Depth
	if n := len(depth); n > 1 && depth[n-2] >= 0 {
		depth = depth[:n-1] // the minute that has begun would change the chart with each poll
	}
	for _, d := range depth {
		most = max(most, d)
	}
	var line strings.Builder
	step, pen := float64(sparkWidth-6)/float64(max(judge.Points-1, 1)), false
	var x, y, first float64
	for i, d := range depth {
		if d < 0 { // not known: a gap
			pen = false
			continue
		}
		x, y = 2+float64(i)*step, sparkHeight-3-float64(d)/float64(most)*(sparkHeight-6)
		if line.Len() == 0 {
			first = x
		}
		command := "M"
		if pen {
			command = "L"
		}
		fmt.Fprintf(&line, "%s%.1f %.1f", command, x, y)
		pen = true
	}
	if line.Len() == 0 {
		return cell{ID: id}
	}
	bottom := sparkHeight - 2
	svg := fmt.Sprintf(`<svg class="spark" viewBox="0 0 %d %d" aria-hidden="true"><path class="area" d="%sL%.1f %dL%.1f %dZ"/>`+
		`<path class="stroke" d="%s"/><circle class="%s" cx="%.1f" cy="%.1f" r="2"/></svg>`,
		sparkWidth, sparkHeight, line.String(), x, bottom, first, bottom, line.String(), marks[level], x, y)
	return cell{id, template.HTML(svg)} // #nosec G203 -- made of numbers
}

// meter returns a bar that is full to a share.
func meter(share float64, class string) string {
	const width = 56
	full := min(max(share, 0), 1) * width
	return fmt.Sprintf(`<svg class="meter" viewBox="0 0 56 6" aria-hidden="true"><rect width="56" height="6" rx="3"/>`+
		`<rect class="%s" width="%.1f" height="6" rx="3"/></svg>`, class, full)
}

// flight returns the cell of the messages in flight, and of the RDY if the clients are known.
func flight(id string, c *judge.Channel) cell {
	inFlight := bounded(figures.Count(c.InFlight), c.Lower)
	if len(c.Clients) == 0 {
		return counted(id, c.InFlight, c.Lower)
	}
	var rdy int64
	for _, client := range c.Clients {
		rdy += client.RDY
	}
	class := "full"
	share := 0.0
	if rdy > 0 {
		share = float64(c.InFlight) / float64(rdy)
	}
	if share >= 0.95 && c.Level.NeedsYou() {
		class = "warning"
	}
	return cell{id, template.HTML(fmt.Sprintf(`%s <span class="zero">/ %s</span>%s`, inFlight, figures.Count(rdy), meter(share, class)))} // #nosec G203 -- made of numbers
}
