package top

import (
	"fmt"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

// consequence returns the sentences that a dialog says before an action.
func (m *Model) consequence(a Action) []string {
	if a.Channel == "" {
		return m.topicConsequence(a)
	}
	c := m.channelOf(a.subject())
	if c == nil {
		return []string{"The channel is gone, or no nsqd that has it responds."}
	}
	on := figures.Things(len(c.NSQDs), "nsqd")
	switch a.Verb {
	case Pause:
		if c.Rates == nil || c.Rates.In <= 0 {
			return []string{fmt.Sprintf("Consumers get nothing until the channel is unpaused, on %s.", on)}
		}
		return []string{fmt.Sprintf("Consumers get nothing until the channel is unpaused, on %s. It grows about %s/s.", on, precise(c.Rates.In))}
	case Unpause:
		return []string{fmt.Sprintf("%s go to consumers again, on %s.", messages(c.Depth, c.Lower), on)}
	}
	lost := fmt.Sprintf("%s will be lost on %s", messages(c.Depth+c.Deferred, c.Lower), on)
	if c.InFlight > 0 {
		lost += fmt.Sprintf(", and the %s in flight with them", figures.Count(c.InFlight))
	}
	sentences := []string{lost + ". This can't be undone."}
	if a.Verb == Delete && c.ClientCount > 0 {
		sentences[0] = fmt.Sprintf("%s. %s will lose %s, and may create the channel again. This can't be undone.", lost,
			figures.Things(c.ClientCount, "client"), figures.Verb(c.ClientCount, "its connection", "their connections"))
	}
	return append(sentences, "To lose nothing, pause the channel instead.")
}

// topicConsequence is consequence for a topic.
func (m *Model) topicConsequence(a Action) []string {
	t := m.topicOf(a.subject())
	if t == nil {
		return []string{"The topic is gone, or no nsqd that has it responds."}
	}
	switch a.Verb {
	case Pause:
		text := "Channels get nothing until the topic is unpaused."
		if t.RatesKnown && t.Published > 0 {
			text += fmt.Sprintf(" It grows about %s/s.", precise(t.Published))
		}
		return []string{text}
	case Unpause:
		return []string{fmt.Sprintf("%s go to channels again.", messages(t.Depth, t.Lower))}
	case Empty:
		return []string{
			fmt.Sprintf("%s that wait in the topic itself will be lost. Those in its channels stay. This can't be undone.", messages(t.Depth, t.Lower)),
			"To lose nothing, pause the topic instead.",
		}
	}
	held := t.Depth
	for i := range m.report.Channels {
		if c := &m.report.Channels[i]; c.Topic == t.Name {
			held += c.Backlog()
		}
	}
	return []string{
		fmt.Sprintf("%s and %s will be lost. This can't be undone.", messages(held, t.Lower), figures.Things(t.Channels, "channel")),
		"To lose nothing, pause the topic instead.",
	}
}

// messages returns a number of messages in words.
func messages(n int64, lower bool) string {
	text := fmt.Sprintf("%s %s", figures.Count(n), figures.Noun(n, "message"))
	if lower {
		return "At least " + text
	}
	return text
}
