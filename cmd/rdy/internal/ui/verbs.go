package ui

import (
	"context"
	"fmt"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

// verb is an action that a viewer may ask for.
type verb struct {
	word     string
	done     string // what its target is afterwards
	destroys bool   // then the viewer types the name
	onNSQD   bool   // it is done to a topic on one nsqd
	topic    func(*admin.Cluster, context.Context, string) error
	channel  func(*admin.Cluster, context.Context, string, string) error
	// meaning says what is lost and what follows, and milder what loses less.
	meaning func(target, *state) (loss, meaning string)
	milder  string
}

const pauseInstead = "To stop delivery without losing anything, pause it instead."

// verbs are the actions by their names in addresses.
var verbs = map[string]verb{
	"pause": {
		word: "Pause", done: "paused", topic: (*admin.Cluster).PauseTopic, channel: (*admin.Cluster).PauseChannel, meaning: pausing,
	},
	"unpause": {
		word: "Unpause", done: "unpaused", topic: (*admin.Cluster).UnpauseTopic, channel: (*admin.Cluster).UnpauseChannel,
		meaning: func(target, *state) (loss, meaning string) { return "", "What waits is sent to clients at once." },
	},
	"empty": {
		word: "Empty", done: "emptied", destroys: true, topic: (*admin.Cluster).EmptyTopic, channel: (*admin.Cluster).EmptyChannel,
		meaning: emptying, milder: pauseInstead,
	},
	"delete": {
		word: "Delete", done: "deleted", destroys: true, topic: (*admin.Cluster).DeleteTopic, channel: (*admin.Cluster).DeleteChannel,
		meaning: deleting, milder: pauseInstead,
	},
	"tombstone": {
		word: "Tombstone", done: "tombstoned", destroys: true, onNSQD: true, meaning: tombstoning,
		milder: "Stop what publishes to this nsqd first, and let its channels drain: then nothing is lost.",
	},
}

// do carries the action out.
func (v verb) do(ctx context.Context, c *admin.Cluster, t target) error {
	switch {
	case v.onNSQD:
		return c.Tombstone(ctx, t.Topic, t.nsqd)
	case t.Channel != "":
		return v.channel(c, ctx, t.Topic, t.Channel)
	}
	return v.topic(c, ctx, t.Topic)
}

// command returns the arguments of the same command of rdy.
func (v verb) command(name string, t target) []string {
	switch {
	case v.onNSQD:
		return []string{"topic", name, t.Topic, t.nsqd}
	case t.Channel != "":
		return []string{"channel", name, t.Topic, t.Channel}
	}
	return []string{"topic", name, t.Topic}
}

func pausing(t target, st *state) (loss, meaning string) {
	if t.Channel == "" {
		return "", "Published messages wait in the topic. Its channels get none until it is unpaused."
	}
	meaning = "Clients get no messages until it is unpaused."
	if c := st.channels[t.Name]; c != nil && c.Rates != nil && c.Rates.In > 0 {
		meaning += fmt.Sprintf(" The channel grows by about %s /s.", figures.Rate(c.Rates.In))
	}
	return "", meaning
}

func emptying(t target, st *state) (loss, meaning string) {
	if t.Channel == "" {
		topic := st.topics[t.Topic]
		if topic == nil {
			return "", "No nsqd has it."
		}
		return messages(topic.Depth, topic.Lower) + " will be lost", "before any channel has a copy. This can't be undone. The channels of the topic keep what they have."
	}
	return losing(t, st, "Other channels of "+t.Topic+" keep their copies.")
}

func deleting(t target, st *state) (loss, meaning string) {
	if t.Channel != "" {
		return losing(t, st, "Its clients are disconnected, and those that connect again create it again. Other channels of "+t.Topic+" keep their copies.")
	}
	topic := st.topics[t.Topic]
	if topic == nil {
		return "", "No nsqd has it."
	}
	return messages(topic.Depth+topic.Waiting, topic.Lower) + " will be lost", fmt.Sprintf("with %s. All clients are disconnected. This can't be undone. "+
		"Programs that go on publishing or consuming create the topic again.", figures.Things(topic.Channels, "channel"))
}

// losing says how many messages of a channel are lost, and where.
func losing(t target, st *state, rest string) (loss, meaning string) {
	c := st.channels[t.Name]
	if c == nil {
		return "", "No nsqd has it."
	}
	flying := ""
	if c.InFlight > 0 {
		flying = fmt.Sprintf(", and the %s in flight with them", figures.Count(c.InFlight))
	}
	return messages(c.Depth+c.Deferred, c.Lower) + " will be lost", fmt.Sprintf("on %s%s. This can't be undone. %s", figures.Things(len(c.NSQDs), "nsqd"), flying, rest)
}

func tombstoning(t target, st *state) (loss, meaning string) {
	var n int64
	for name, c := range st.channels {
		if name.Topic != t.Topic {
			continue
		}
		for i := range c.NSQDs {
			if c.NSQDs[i].NSQD == t.nsqd {
				n += c.NSQDs[i].Depth + c.NSQDs[i].Deferred + c.NSQDs[i].InFlight
			}
		}
	}
	return messages(n, false) + " will be lost", "on this nsqd, which deletes the topic. For 45 s, nsqlookupds do not list the nsqd for it. This can't be undone."
}

func messages(n int64, lower bool) string {
	return bounded(figures.Count(n), lower) + " " + figures.Noun(n, "message")
}
