package top

import (
	"time"

	tea "charm.land/bubbletea/v2"
)

// press takes a key.
func (m *Model) press(key tea.KeyPressMsg) tea.Cmd {
	m.key = m.now
	switch name := key.String(); {
	case name == "ctrl+c":
		return tea.Quit
	case name == "ctrl+z":
		return tea.Suspend
	case m.report == nil:
		if name == "q" || name == "esc" {
			return tea.Quit
		}
		return nil
	case m.dialog != nil:
		return m.dialog.key(m, key)
	case m.typing:
		m.typeFilter(key)
		return nil
	}
	m.notice = ""
	switch key.String() {
	case "q":
		return m.leave()
	case "?":
		m.dialog = help{}
	case "h":
		m.hold()
	case ".":
		if s := m.current(); s != (subject{}) {
			m.dialog = &menu{subject: s}
		}
	case "y":
		return m.copyCommand()
	default:
		if m.screen == ofChannel {
			m.pressChannel(key.String())
			return nil
		}
		return m.pressList(key.String())
	}
	return nil
}

// leave quits once no action is under way. An action that is cut off would be done at only some
// of the nsqds.
func (m *Model) leave() tea.Cmd {
	if m.acting == 0 {
		return tea.Quit
	}
	m.leaving = true
	m.say("an action is under way: rdy quits when it has finished, or at once on ^C")
	return nil
}

// paste takes text that was pasted, into the field that is open. It presses no key: a line break in
// it confirms nothing.
func (m *Model) paste(text string) {
	m.key = m.now
	switch asked, ok := m.dialog.(*confirmation); {
	case ok && asked.mustType():
		asked.typed = appended(asked.typed, text)
	case m.dialog == nil && m.typing:
		m.filter = appended(m.filter, text)
	}
}

// typeFilter takes a key of the filter.
func (m *Model) typeFilter(key tea.KeyPressMsg) {
	switch key.String() {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, m.filter = false, ""
	default:
		m.filter = edited(m.filter, key)
	}
}

// hold holds the screen, or makes it live again. Polls go on meanwhile.
func (m *Model) hold() {
	if m.held.IsZero() {
		m.held = m.now
		return
	}
	m.resume()
}

// resume makes the screen live.
func (m *Model) resume() {
	m.held = time.Time{}
	m.show()
}

// current returns what is selected, zero if nothing is.
func (m *Model) current() subject {
	switch m.screen {
	case ofChannel:
		return m.opened
	case ofTopics:
		return m.topics.current(m.shownTopics())
	}
	return m.channels.current(m.shownChannels())
}

// pressChannel takes a key on the screen of a channel.
func (m *Model) pressChannel(key string) {
	c := m.channelOf(m.opened)
	last := 0
	if c != nil {
		last = max(m.lineCount(c)-1, 0)
	}
	switch key {
	case "esc", "left", "backspace":
		m.screen = ofChannels
	case "up", "k":
		m.line = max(m.line-1, 0)
	case "down", "j":
		m.line = min(m.line+1, last)
	case "pgup", "ctrl+b":
		m.line = max(m.line-m.height/2, 0)
	case "pgdown", "ctrl+f":
		m.line = min(m.line+m.height/2, last)
	case "home":
		m.line = 0
	case "end":
		m.line = last
	}
}

// pressList takes a key on a screen of rows.
func (m *Model) pressList(key string) tea.Cmd {
	l, shown, orders := &m.channels, m.shownChannels(), channelSortings
	if m.screen == ofTopics {
		l, shown, orders = &m.topics, m.shownTopics(), topicSortings
	}
	page := m.rowsHigh()
	switch key {
	case "up", "k":
		l.move(shown, -1)
	case "down", "j":
		l.move(shown, 1)
	case "pgup", "ctrl+b":
		l.move(shown, -page)
	case "pgdown", "ctrl+f":
		l.move(shown, page)
	case "home":
		l.selected = subject{}
	case "end":
		l.move(shown, len(shown))
	case "/", "f":
		m.typing = true
	case "s":
		l.sort = nextSorting(orders, l.sort, 1)
		m.arrange()
	case "S":
		l.sort = nextSorting(orders, l.sort, -1)
		m.arrange()
	case "r":
		m.arrange()
	case "tab":
		m.screen, m.topic = ofChannels+ofTopics-m.screen, ""
	case "esc", "left", "backspace":
		m.back()
	case "enter", "right":
		return m.enter(l.current(shown))
	}
	return nil
}

// back undoes what limits the rows.
func (m *Model) back() {
	switch {
	case m.filter != "":
		m.filter = ""
	case m.topic != "":
		m.topic, m.screen = "", ofTopics
	}
}

// enter opens a row: a channel, or the channels of a topic.
func (m *Model) enter(s subject) tea.Cmd {
	switch {
	case s == subject{}:
	case s.channel == "":
		m.topic, m.filter, m.screen = s.topic, "", ofChannels
		m.channels.selected = subject{}
	default:
		m.opened, m.line, m.screen = s, 0, ofChannel
		return m.pollNow()
	}
	return nil
}
