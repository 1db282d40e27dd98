package top

import (
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

// choices returns what can be done with a topic or a channel.
func (m *Model) choices(s subject) []choice {
	var all []choice
	if m.options.Act != nil && valid(s) {
		pause := Pause
		if m.isPaused(s) {
			pause = Unpause
		}
		for _, verb := range []string{pause, Empty, Delete} {
			all = append(all, choice{verb, aboutVerb[verb], func(m *Model) tea.Cmd {
				m.resume() // what is lost must be told in figures of now
				m.dialog = &confirmation{action: Action{verb, s.topic, s.channel}}
				return nil
			}})
		}
	}
	return append(all,
		choice{"tail", "copy the command that prints new messages", func(m *Model) tea.Cmd { return m.copy(m.newMessages(s)) }},
		choice{"peek", "copy the command that looks without taking", func(m *Model) tea.Cmd { return m.copy(m.peekCommand(s)) }})
}

var aboutVerb = map[string]string{
	Pause: "keep messages from consumers", Unpause: "let messages go to consumers again",
	Empty: "lose all messages in it", Delete: "lose it and all its messages",
}

func (m *Model) isPaused(s subject) bool {
	if s.channel == "" {
		t := m.topicOf(s)
		return t != nil && t.Paused
	}
	c := m.channelOf(s)
	return c != nil && c.Paused
}

// copyCommand copies the command that helps with what is selected.
func (m *Model) copyCommand() tea.Cmd {
	s := m.current()
	if s == (subject{}) {
		return nil
	}
	if c := m.channelOf(s); c != nil && s.channel != "" {
		if p := m.problemOf(c); p != nil && len(p.Command) > 0 {
			return m.copy(figures.Command(p.Command, m.clusterFlags()...))
		}
		return m.copy(m.command("channel describe", s))
	}
	return m.copy(m.command("topic describe", s))
}

// command returns a command about a topic or a channel.
func (m *Model) command(name string, s subject, flags ...string) []string {
	words := append(strings.Fields(name), s.topic)
	if s.channel != "" {
		words = append(words, s.channel)
	}
	return figures.Command(words, append(m.clusterFlags(), flags...)...)
}

// clusterFlags returns the flags that name the cluster.
func (m *Model) clusterFlags() []string {
	var flags []string
	for _, addr := range m.options.Cluster.Lookupds {
		flags = append(flags, "--lookupd", addr)
	}
	for _, addr := range m.options.Cluster.NSQDs {
		flags = append(flags, "--nsqd-http", addr)
	}
	return flags
}

// newMessages returns the command that prints what is published to a topic. It takes the TCP
// addresses of nsqds.
func (m *Model) newMessages(s subject) []string {
	var flags []string
	for _, addr := range m.options.Cluster.Lookupds {
		flags = append(flags, "--lookupd", addr)
	}
	if len(m.options.Cluster.Lookupds) == 0 {
		for i := range m.report.NSQDs {
			if addr := m.report.NSQDs[i].TCPAddr(); addr != "" {
				flags = append(flags, "--nsqd", addr, "--nsqd-http", m.report.NSQDs[i].Addr)
			}
		}
	}
	return figures.Command([]string{"tail", s.topic}, flags...)
}

// peekCommand returns the command that looks at new messages of a topic, or at those that wait
// in a channel.
func (m *Model) peekCommand(s subject) []string {
	if s.channel == "" {
		return m.command("peek", s)
	}
	return m.command("peek", s, "--backlog") // which asks before it takes them
}

// copy copies a command to the clipboard, as far as the terminal does that, and shows it.
func (m *Model) copy(args []string) tea.Cmd {
	text := quoted(args)
	m.say("copied: %s", text)
	return tea.SetClipboard(text)
}

// valid reports whether a name is one that nsqd accepts, so that an action can be about it.
func valid(s subject) bool {
	return nsq.IsValidTopicName(s.topic) && (s.channel == "" || nsq.IsValidChannelName(s.channel))
}
