package top

import (
	"context"
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

// The verbs of actions.
const (
	Pause   = "pause"
	Unpause = "unpause"
	Empty   = "empty"
	Delete  = "delete"
)

// past has the words for an action that is done, and doing those for one that is under way.
var (
	past  = map[string]string{Pause: "paused", Unpause: "unpaused", Empty: "emptied", Delete: "deleted"}
	doing = map[string]string{Pause: "pausing", Unpause: "unpausing", Empty: "emptying", Delete: "deleting"}
)

// Action is a change of a topic or a channel.
type Action struct {
	Verb    string // Pause, Unpause, Empty or Delete
	Topic   string
	Channel string // empty if the action is about the topic
}

// name returns what the user types to confirm the action.
func (a Action) name() string { return subject{a.Topic, a.Channel}.last() }

func (a Action) subject() subject { return subject{a.Topic, a.Channel} }

// Result is what a daemon has made of an Action.
type Result struct {
	Daemon string // nsqd or nsqlookupd
	Addr   string
	Error  string // why it failed; empty if it is done, or there was nothing to do
}

// subject names a topic, or a channel of it.
type subject struct{ topic, channel string }

// String returns the name as screens show it.
func (s subject) String() string {
	if s.channel == "" {
		return clean(s.topic)
	}
	return clean(s.topic) + "/" + clean(s.channel)
}

// last returns the name without that of the topic before it.
func (s subject) last() string {
	if s.channel == "" {
		return s.topic
	}
	return s.channel
}

// acted is the result of an Action.
type acted struct {
	action  Action
	results []Result
	err     error
}

// act returns the command that does an action.
func (m *Model) act(a Action) tea.Cmd {
	m.dialog = nil
	m.acting++
	m.say("%s %s…", doing[a.Verb], a.subject())
	return m.work.do(func(ctx context.Context) tea.Msg {
		results, err := m.options.Act(ctx, a)
		return acted{a, results, err}
	})
}

// summary returns the result of an action in words: "emptied on 2 of 3 nsqds".
func (a acted) summary() string {
	asked, done := 0, 0
	for _, r := range a.results {
		if r.Daemon == "nsqd" {
			asked++
			if r.Error == "" {
				done++
			}
		}
	}
	text := fmt.Sprintf("%s: %s on %s", a.action.subject(), past[a.action.Verb], figures.Things(asked, "nsqd"))
	if done < asked {
		text = fmt.Sprintf("%s: %s on %d of %s", a.action.subject(), past[a.action.Verb], done, figures.Things(asked, "nsqd"))
	}
	return text
}

// failures returns a line for each daemon that has failed, or for the error of them all.
func (a acted) failures() []string {
	var lines []string
	for _, r := range a.results {
		if r.Error != "" {
			lines = append(lines, fmt.Sprintf("%s %s: %s", r.Daemon, clean(r.Addr), clean(r.Error)))
		}
	}
	if len(lines) == 0 && a.err != nil {
		lines = append(lines, clean(a.err.Error()))
	}
	return lines
}

// quoted returns a command line to paste into a shell.
func quoted(args []string) string {
	var out []string
	for _, arg := range args {
		arg = clean(arg)
		if arg == "" || strings.ContainsFunc(arg, special) || strings.HasPrefix(arg, "#") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		out = append(out, arg)
	}
	return strings.Join(out, " ")
}

// special reports whether a shell may read more than the character out of r.
func special(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-/:@#,+=%", r)
}
