package ui

import (
	"html/template"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// heading is a column of the table of channels or topics.
type heading struct {
	Name  string
	Class string
	key   string // what the table is sorted by at the first click; empty if it cannot be
	Sort  string // ascending or descending, if it is sorted by this column
	Link  string // that sorts by it
}

// channelHeadings are the columns of channels, and those of newRow after the first two.
var channelHeadings = []heading{
	{Name: "State", Class: "c-state", key: "state"}, {Name: "Topic / channel", Class: "c-name", key: "name"},
	{Name: "Depth", Class: "n c-depth", key: "-depth"}, {Name: "Last hour", Class: "c-spark"},
	{Name: "In /s", Class: "n narrow-off rate", key: "-in"}, {Name: "Finished /s", Class: "n narrow-off rate", key: "-finished"},
	{Name: "Drains in", Class: "n c-drains", key: "-drains"}, {Name: "In flight / RDY", Class: "n wide", key: "-flight"},
	{Name: "Requeued", Class: "n wide", key: "-requeued"}, {Name: "Clients", Class: "n narrow-off", key: "-clients"},
}

// topicHeadings are the columns of topics.
var topicHeadings = []heading{
	{Name: "State", Class: "c-state", key: "state"}, {Name: "Topic", Class: "c-name", key: "name"},
	{Name: "Waiting", Class: "n c-depth", key: "-depth"}, {Name: "Published /s", Class: "n c-drains rate", key: "-published"},
	{Name: "Bytes /s", Class: "n narrow-off rate", key: "-bytes"}, {Name: "In, all channels /s", Class: "n narrow-off rate", key: "-in"},
	{Name: "Finished /s", Class: "n narrow-off rate", key: "-finished"}, {Name: "Channels", Class: "n narrow-off"},
	{Name: "Clients", Class: "n narrow-off", key: "-clients"},
}

// row is a row of the table.
type row struct {
	ID             string
	Topic, Channel string
	Link           string
	State          cell
	Cells          []gridCell
}

// newRow returns the row of a channel, or of a topic if the channel is empty.
func newRow(i int, name judge.Name, st *state) row {
	id := numbered("r", i)
	r := row{ID: id, Topic: name.Topic, Channel: name.Channel, Link: subjectPath(name)}
	level, word, headings := judge.Notice, "gone", channelHeadings
	var texts []template.HTML
	if name.Channel != "" {
		c := st.channels[name]
		if c != nil {
			level, word = c.Level, string(c.State)
		} else {
			c = &judge.Channel{Level: judge.Notice}
		}
		texts = channelTexts(c)
	} else {
		t := st.topics[name.Topic]
		if t != nil {
			level, word = topicState(t)
		} else {
			t = &judge.Topic{}
		}
		texts, headings = topicTexts(t), topicHeadings
	}
	r.State = cell{ID: id + "-0", HTML: stateMark(level, word), Row: id}
	for j, text := range texts {
		r.Cells = append(r.Cells, gridCell{headings[j+2].Class, cell{ID: numbered(id+"-", j+1), HTML: text}})
	}
	return r
}

// cells returns the cells of the row.
func (r row) cells() []cell {
	cells := []cell{r.State}
	for _, c := range r.Cells {
		cells = append(cells, c.Cell)
	}
	return cells
}

func channelTexts(c *judge.Channel) []template.HTML {
	var in, finished float64
	known := c.Rates != nil
	if known {
		in, finished = c.Rates.In, c.Rates.Finished
	}
	return []template.HTML{
		count(c.Depth, c.Lower), spark(c.History, c.Level), rated("", in, known, c.Lower).HTML, rated("", finished, known, c.Lower).HTML,
		draining(c), flight(c), requeues(c), clientCount(c),
	}
}

func topicTexts(t *judge.Topic) []template.HTML {
	bytes := within("zero", noFigure)
	if t.RatesKnown {
		bytes = escaped(figures.Bytes(int64(t.Bytes)))
	}
	return []template.HTML{
		count(t.Waiting+t.Depth, t.Lower), rated("", t.Published, t.RatesKnown, t.Lower).HTML, bytes,
		rated("", t.In, t.RatesKnown, t.Lower).HTML, rated("", t.Finished, t.RatesKnown, t.Lower).HTML,
		count(int64(t.Channels), false), count(int64(t.Clients), t.Lower),
	}
}

// topicState returns the state of a topic: that it is paused, or the worst of its channels.
func topicState(t *judge.Topic) (judge.Level, string) {
	if t.Paused {
		return judge.ByChoice, string(judge.Paused)
	}
	return t.Level, string(t.State)
}

// sorted returns the headings with the links that sort by them.
func sorted(headings []heading, v view) []heading {
	now := v.Sort
	if now == "" {
		now = "state"
	}
	sorted := make([]heading, len(headings))
	for i, h := range headings {
		if h.key != "" {
			next := v
			next.Page, next.Sort = 1, h.key
			switch now {
			case h.key: // the next click turns it round
				h.Sort, next.Sort = direction(now), opposite(now)
			case opposite(h.key):
				h.Sort = direction(now)
			}
			h.Link = next.Link()
		}
		sorted[i] = h
	}
	return sorted
}

func direction(sort string) string {
	if sort[0] == '-' || sort == "state" {
		return "descending"
	}
	return "ascending"
}

func opposite(sort string) string {
	if sort[0] == '-' {
		return sort[1:]
	}
	return "-" + sort
}
