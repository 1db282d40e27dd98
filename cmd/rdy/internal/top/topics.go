package top

import (
	"slices"
	"strings"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

var topicColumns = []column{
	{title: "STATE", sort: byState, width: 8, left: true},
	{title: "TOPIC", sort: byName, gap: 1, flex: leastName},
	{title: "CHANNELS", sort: byChannels, gap: 1, width: 8},
	{title: "WAITING", sort: byDepth, gap: 1, width: 7},
	{title: "PUB/S", sort: byIn, gap: 1, width: 7},
	{title: "BYTES/S", sort: byBytes, gap: 1, width: 9},
	{title: "MEAN SIZE", gap: 1, width: 9},
	{title: "CLI", sort: byClients, gap: 1, width: 3},
}

// topicRows returns the cells of topics.
func (m *Model) topicRows(page []subject) [][]string {
	rows := make([][]string, len(page))
	for i, s := range page {
		rows[i] = m.topicCells(s, m.topicOf(s))
	}
	return rows
}

// topicOf returns a topic of the report, nil if it is gone.
func (m *Model) topicOf(s subject) *judge.Topic {
	i, found := slices.BinarySearchFunc(m.report.Topics, s.topic, func(t judge.Topic, name string) int {
		return strings.Compare(t.Name, name)
	})
	if !found {
		return nil
	}
	return &m.report.Topics[i]
}

// topicCells returns the cells of a topic. t is nil if it is gone.
func (m *Model) topicCells(s subject, t *judge.Topic) []string {
	if t == nil {
		return []string{"gone", s.String(), unknown, unknown, unknown, unknown, unknown, unknown}
	}
	published, bytes, size := unknown, unknown, unknown
	if t.RatesKnown && !m.ratesOld() {
		published, bytes = atLeast(figures.Rate(t.Published), t.Lower), bytesText(t.Bytes)
		if t.Published > 0 {
			size = bytesText(t.Bytes / t.Published)
		}
	}
	state := string(t.State)
	if t.Paused && state == "" {
		state = string(judge.Paused)
	}
	// What waits in the topic itself waits for a channel, or for the end of a pause.
	return []string{
		state, s.String(), figures.Count(int64(t.Channels)), count(t.Waiting+t.Depth, t.Lower),
		published, bytes, size, figures.Count(int64(t.Clients)),
	}
}

// shownTopics returns the topics that the filter leaves, in their order.
func (m *Model) shownTopics() []subject {
	return filtered(m.topics.order, func(s subject) bool { return matches(s.String(), m.filter) })
}

// topicTable draws the topics.
func (m *Model) topicTable(rows int) []string {
	shown := m.shownTopics()
	page := m.topics.page(shown, rows)
	t := newTable(topicColumns, m.topics.needs, m.tableWidth())
	lines := []string{t.header(m.topics.sort)}
	for i, cells := range m.topicRows(page) {
		level := judge.Fine
		if topic := m.topicOf(page[i]); topic != nil {
			level = topic.Level
			if topic.Paused && level == judge.Fine {
				level = judge.ByChoice
			}
		}
		lines = append(lines, t.line(cursor(page[i] == m.topics.current(shown))+mark(level)+" ", cells))
	}
	return lines
}
