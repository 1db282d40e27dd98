package judge

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

// Level is how bad a State is. A lower Level is worse.
type Level int

// The levels.
const (
	Critical Level = iota + 1
	Warning
	Notice
	ByChoice
	Fine
)

// NeedsYou reports whether somebody should look.
func (l Level) NeedsYou() bool { return l == Critical || l == Warning }

// levels are the levels in words.
var levels = []string{Critical: "critical", Warning: "warning", Notice: "notice", ByChoice: "by choice", Fine: "fine"}

// String returns the level in words.
func (l Level) String() string {
	if l < Critical || l > Fine {
		return "unknown"
	}
	return levels[l]
}

// MarshalText returns String.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what String returns.
func (l *Level) UnmarshalText(text []byte) error {
	i := slices.Index(levels, string(text))
	if i < int(Critical) {
		return fmt.Errorf("unknown level %q", text)
	}
	*l = Level(i)
	return nil
}

// State is what is the matter with a subject, in one word.
type State string

// The states, in the order of their levels.
const (
	Missing    State = "missing"    // a daemon does not respond
	Stuck      State = "stuck"      // messages wait, and clients finish none
	Orphan     State = "orphan"     // messages wait, and there are no clients
	Starved    State = "starved"    // messages wait, and a client accepts none
	Retrying   State = "retrying"   // many messages are requeued or time out
	Growing    State = "growing"    // the backlog has grown for five minutes
	Disagree   State = "disagree"   // nsqlookupds list different nsqds
	Skewed     State = "skewed"     // one nsqd has much more than the others
	Draining   State = "draining"   // a backlog shrinks
	Emptied    State = "emptied"    // messages were deleted
	Restarted  State = "restarted"  // an nsqd has restarted
	Saturated  State = "saturated"  // clients hold all that they accept
	Slow       State = "slow"       // a client finishes much less than the others
	Mixed      State = "mixed"      // nsqds have different versions
	Tombstoned State = "tombstoned" // consumers do not find an nsqd that has the topic
	Paused     State = "paused"
)

// Predicate returns the state as it follows "is" or "was".
func (s State) Predicate() string {
	switch s {
	case Orphan:
		return "an orphan"
	case Disagree:
		return "in disagreement"
	case Mixed:
		return "of mixed versions"
	}
	return string(s)
}

// Kind is what a problem is about.
type Kind string

// The kinds.
const (
	OfChannel Kind = "channel"
	OfNSQD    Kind = "nsqd"
	OfLookupd Kind = "nsqlookupd"
	OfCluster Kind = "cluster"
	OfTopic   Kind = "topic" // no problem of a Judge is
)

// Subject is a channel, a topic, a daemon or the cluster.
type Subject struct {
	Kind    Kind   `json:"kind"`
	Topic   string `json:"topic,omitempty"`   // of a channel or topic
	Channel string `json:"channel,omitempty"` // of a channel
	Addr    string `json:"addr,omitempty"`    // of a daemon
}

// String returns the subject's name: topic/channel, or an address.
func (s Subject) String() string {
	switch s.Kind {
	case OfChannel:
		return s.Topic + "/" + s.Channel
	case OfTopic:
		return s.Topic
	case OfCluster:
		return "cluster"
	}
	return s.Addr
}

func channelSubject(n Name) Subject {
	return Subject{Kind: OfChannel, Topic: n.Topic, Channel: n.Channel}
}

// Problem is what is wrong with a subject.
type Problem struct {
	Subject
	Level Level     `json:"level"`
	State State     `json:"state"`
	Since time.Time `json:"since"` // when it began
	// Ended is when it ended, zero if it has not. A problem stays for a minute after that.
	Ended time.Time `json:"ended,omitzero"`
	// Text is a sentence that fits on a line beside the subject, without a period.
	Text string `json:"text"`
	// Advice is a longer text, in sentences: what it means, and what to do.
	Advice string `json:"advice"`
	// Command has the words of the rdy command that helps, without the flags that name the
	// cluster: see [figures.Command].
	Command []string `json:"command"`
}

// compareProblems orders problems: resolved ones last, then by level, missing daemons first, then
// the oldest.
func compareProblems(a, b Problem) int {
	return cmp.Or(
		a.Ended.Compare(b.Ended), // zero first
		cmp.Compare(a.Level, b.Level),
		cmp.Compare(rank(a.State), rank(b.State)),
		a.Since.Compare(b.Since),
		cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.String(), b.String()), cmp.Compare(a.State, b.State))
}

func rank(s State) int {
	if s == Missing {
		return 0
	}
	return 1
}

const (
	enough  = 5           // polls after which a problem begins or ends
	lingers = time.Minute // how long a problem is shown after its end
)

// verdict is what one poll says of a state.
type verdict int

const (
	unknown verdict = iota // the poll does not tell
	good
	bad
)

// finding is what one poll says of a state of a subject.
type finding struct {
	verdict verdict
	level   Level
	since   time.Time // of a bad one, if it is known better than by polls
	// polls is how many polls have been so. Less than one stands for this poll alone.
	polls        int
	text, advice string
	command      []string
}

// track follows a state of a subject.
type track struct {
	subject   Subject
	state     State
	enough    int // polls
	bad, good int // in a row; polls that do not tell are left out
	begun     bool
	last      finding   // the last bad one
	since     time.Time // of the first bad one in a row
	recovered time.Time // of the first good one in a row
	ended     time.Time // when it ended last; zero if it has begun again
	past      Problem   // that has ended; a new one may be about to begin
}

// see adds a finding. It returns +1 if the problem begins, -1 if it ends, else 0.
func (t *track) see(f finding, at time.Time) int {
	switch f.verdict {
	case bad:
		if t.bad == 0 && !t.begun {
			t.since = at
		}
		if !f.since.IsZero() {
			t.since = f.since
		}
		t.good, t.bad, t.last = 0, max(t.bad+1, f.polls), f
		if !t.begun && t.bad >= t.enough {
			t.begun, t.ended = true, time.Time{}
			return 1
		}
	case good:
		if t.bad, t.good = 0, t.good+1; t.good == 1 {
			t.recovered = at
		}
		if t.begun && t.good >= t.enough {
			t.end(at)
			return -1
		}
	}
	return 0
}

// end ends the problem.
func (t *track) end(at time.Time) {
	t.begun, t.ended, t.past = false, at, t.problem()
	t.past.Ended, t.past.Advice = at, ""
	t.past.Text = "was " + t.state.Predicate() + " for " + figures.Duration(t.recovered.Sub(t.since))
}

// idle reports whether there is nothing to remember.
func (t *track) idle(at time.Time) bool {
	return !t.begun && t.bad == 0 && (t.ended.IsZero() || at.Sub(t.ended) >= lingers)
}

// problem returns the problem that has begun, or the one that has ended last.
func (t *track) problem() Problem {
	if !t.ended.IsZero() {
		return t.past
	}
	return Problem{
		Subject: t.subject, Level: t.last.level, State: t.state, Since: t.since,
		Text: t.last.text, Advice: t.last.advice, Command: t.last.command,
	}
}

// tracks are those of one subject, by state.
type tracks []*track

// see adds a finding of a state.
func (ts *tracks) see(subject Subject, state State, polls int, f finding, at time.Time) (*track, int) {
	i := slices.IndexFunc(*ts, func(t *track) bool { return t.state == state })
	if i < 0 {
		if f.verdict != bad {
			return nil, 0
		}
		i = len(*ts)
		*ts = append(*ts, &track{subject: subject, state: state, enough: polls})
	}
	t := (*ts)[i]
	return t, t.see(f, at)
}

// worst returns the worst problem that has begun. If nobody need look at that, it also returns the
// worst one that has just ended. Both are nil if there are none.
func (ts tracks) worst(at time.Time) (begun, ended *Problem) {
	for _, t := range ts {
		into := &begun
		if !t.begun {
			if t.ended.IsZero() || at.Sub(t.ended) >= lingers || !t.past.Level.NeedsYou() {
				continue
			}
			into = &ended
		}
		if p := t.problem(); *into == nil || compareProblems(p, **into) < 0 {
			*into = &p
		}
	}
	if begun != nil && begun.Level.NeedsYou() {
		ended = nil
	}
	return begun, ended
}

// tidy drops what need not be remembered.
func (ts *tracks) tidy(at time.Time) {
	*ts = slices.DeleteFunc(*ts, func(t *track) bool { return t.idle(at) })
}
