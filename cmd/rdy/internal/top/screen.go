package top

import (
	"fmt"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

// View returns what the terminal shows.
func (m *Model) View() tea.View {
	v := tea.NewView(strings.Join(m.lines(), "\n"))
	v.AltScreen = true
	return v
}

// lines draws the screen: as many lines as the terminal has, none wider than it is.
func (m *Model) lines() []string {
	if m.width <= 0 || m.height <= 0 {
		return nil
	}
	lines := m.page()
	if m.dialog != nil {
		lines = overlay(lines, m.dialog.lines(m, m.width), m.width)
	}
	for i := range lines {
		lines[i] = cut(lines[i], m.width)
		if m.options.ASCII {
			lines[i] = asciiOnly(lines[i])
		}
	}
	return lines
}

// page draws the screen without its dialog.
func (m *Model) page() []string {
	var lines, foot []string
	switch {
	case m.report == nil:
		lines, foot = m.asking(), []string{" q quit"}
	case m.screen == ofChannel:
		foot = []string{m.channelKeys()}
		if notice := m.message(); notice != "" {
			foot = []string{" " + notice, foot[0]}
		}
		lines = m.muted(m.channelScreen(m.height-len(foot)), 2)
	default:
		head := m.head()
		foot = m.foot()
		lines = m.muted(append(head, m.table(m.rowsHigh())...), 1)
	}
	foot = foot[:min(len(foot), max(m.height-1, 0))]
	room := m.height - len(foot)
	for len(lines) < room {
		lines = append(lines, "")
	}
	return append(lines[:room], foot...)
}

// muted makes lines faint from a line on, if their figures are stale.
func (m *Model) muted(lines []string, from int) []string {
	if _, stale := m.stale(); stale {
		for i := from; i < len(lines); i++ {
			lines[i] = faint(lines[i])
		}
	}
	return lines
}

func (m *Model) rule() string { return repeat("─", m.width) }

// asking is the screen until the first daemon responds.
func (m *Model) asking() []string {
	lookupds, nsqds := m.options.Cluster.Lookupds, m.options.Cluster.NSQDs
	var kinds []string
	if len(lookupds) > 0 {
		kinds = append(kinds, figures.Things(len(lookupds), "nsqlookupd"))
	}
	if len(nsqds) > 0 {
		kinds = append(kinds, figures.Things(len(nsqds), "nsqd"))
	}
	lines := []string{m.title(), m.rule(), " Asking " + strings.Join(kinds, " and ") + "…"}
	for _, addr := range slices.Concat(lookupds, nsqds) {
		lines = append(lines, "   "+clean(addr))
	}
	return lines
}

// The heights from which on a screen has all lines above its table, the figures, and lines below.
const (
	highForAll     = 15
	highForFigures = 8
	highForFoot    = 6
)

// head returns the lines above a table. A low terminal has fewer.
func (m *Model) head() []string {
	switch {
	case m.height < highForFigures:
		return []string{m.title()}
	case m.height < highForAll:
		return []string{m.title(), m.sums(), m.rule()}
	}
	lines := append([]string{m.title(), m.sums(), m.rule()}, m.problems()...)
	return append(lines, m.rule())
}

// foot returns the lines below a table.
func (m *Model) foot() []string {
	if m.height < highForFoot {
		return nil
	}
	return []string{m.status(), m.keys()}
}

// rowsHigh returns how many rows of a table are on the screen, beside its titles and what head
// and foot return.
func (m *Model) rowsHigh() int {
	around := 1 + 1
	switch {
	case m.height >= highForAll:
		around = 4 + problemRows + 1 + 2
	case m.height >= highForFigures:
		around = 3 + 1 + 2
	case m.height >= highForFoot:
		around = 1 + 1 + 2
	}
	return max(m.height-around, 1)
}

// table draws the rows, or says why there are none.
func (m *Model) table(rows int) []string {
	if m.report.Cluster.NSQDs == 0 && len(m.report.Topics) == 0 {
		text := append([]string{"No nsqd responds."}, wrap(m.failing, m.width-4)...)
		if m.failing == "" {
			text = []string{"The nsqlookupds list no nsqd."}
		}
		return indented(text)
	}
	if len(m.report.Topics) == 0 {
		return indented([]string{"No topics yet. The first message creates one:", "", "  rdy pub orders --nsqd " + m.firstNSQD()})
	}
	if m.screen == ofTopics {
		return m.topicTable(rows)
	}
	if len(m.report.Channels) == 0 {
		return indented([]string{"No channels yet. Messages wait until the first channel exists."})
	}
	return m.channelTable(rows)
}

func indented(lines []string) []string {
	out := []string{""}
	for _, line := range lines {
		out = append(out, "   "+line)
	}
	return out
}

// firstNSQD returns the address of an nsqd to publish to.
func (m *Model) firstNSQD() string {
	for i := range m.report.NSQDs {
		if addr := m.report.NSQDs[i].TCPAddr(); addr != "" {
			return clean(addr)
		}
	}
	return "127.0.0.1:4150"
}

// message returns the notice of the moment, empty if there is none.
func (m *Model) message() string {
	if m.notice != "" && m.now.Sub(m.noticed) < noticeFor {
		return m.notice
	}
	return ""
}

// status returns the line below a table: how many rows there are, or what is being said.
func (m *Model) status() string {
	if m.typing {
		return between(" filter: "+m.filter+"_", "enter keep  esc clear    ", m.width)
	}
	if notice := m.message(); notice != "" {
		return " " + notice
	}
	left, l := m.counted()
	if m.failing != "" {
		left += "   " + m.failing
	}
	return between(left, fmt.Sprintf("order %s old, r sorts    ", figures.Duration(m.now.Sub(l.arranged))), m.width)
}

// counted returns how many rows there are, and which of them are on the screen.
func (m *Model) counted() (text string, l *list) {
	l, thing, shown, existing := &m.channels, "channel", m.shownChannels(), len(m.report.Channels)
	if m.screen == ofTopics {
		l, thing, shown, existing = &m.topics, "topic", m.shownTopics(), len(m.report.Topics)
	}
	text = " " + figures.Things(len(shown), thing)
	if m.topic != "" && m.screen == ofChannels {
		text += " of " + clean(m.topic)
	}
	if m.filter != "" {
		text += " like " + clean(m.filter)
	}
	if n := len(l.page(shown, m.rowsHigh())); n > 0 {
		text += fmt.Sprintf(", %d-%d", l.offset+1, l.offset+n)
	}
	if added := existing - m.present(l); added > 0 {
		text += fmt.Sprintf(", %d new", added)
	}
	return text, l
}

// present returns how many rows of a list still exist.
func (m *Model) present(l *list) (n int) {
	for _, s := range l.order {
		if s.channel == "" && m.topicOf(s) != nil || s.channel != "" && m.channelOf(s) != nil {
			n++
		}
	}
	return n
}

// keys returns the line of keys below a table.
func (m *Model) keys() string {
	other := "topics"
	if m.screen == ofTopics {
		other = "channels"
	}
	return fmt.Sprintf(" enter open  / filter  s sort  h hold  . actions  tab %s  ? keys  q quit", other)
}

// channelKeys returns the line of keys below a channel.
func (m *Model) channelKeys() string {
	var names []string
	for _, c := range m.choices(m.opened) {
		names = append(names, c.name)
	}
	return fmt.Sprintf(" esc back  . %s  y copy  h hold  ? keys  q quit", strings.Join(names, " "))
}
