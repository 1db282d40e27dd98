package top

import (
	"fmt"

	tea "charm.land/bubbletea/v2"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

const (
	// boxWidth is how wide dialogs are, with their frame.
	boxWidth = 62
	// maxTyped is how many characters a field keeps. Names have at most 64 and #ephemeral.
	maxTyped = 80
)

// dialog is a box over a screen. It takes all keys until it is gone.
type dialog interface {
	// lines returns the box for a screen of w cells.
	lines(m *Model, w int) []string
	// key takes a key.
	key(m *Model, key tea.KeyPressMsg) tea.Cmd
}

// box returns text in a frame. The keys stand in its last line, at the right.
func box(title string, text []string, keys string, w int) []string {
	w = max(min(w, boxWidth), 12)
	inner := w - 4
	title = middle(title, inner-2)
	lines := []string{"┌ " + title + " " + repeat("─", w-4-width(title)) + "┐"}
	for _, line := range text {
		line = cut(line, inner)
		lines = append(lines, "│ "+line+blank(inner-width(line))+" │")
	}
	lines = append(lines, "│ "+alignRight(cut(keys, w-3), w-3)+"│")
	return append(lines, "└"+repeat("─", w-2)+"┘")
}

// innerWidth returns how wide text in a box is.
func innerWidth(w int) int { return max(min(w, boxWidth), 12) - 4 }

// confirmation asks before an action.
type confirmation struct {
	action Action
	typed  string // of the name, if it has to be typed
}

// mustType reports whether the action needs the name to be typed: it destroys messages.
func (c *confirmation) mustType() bool { return c.action.Verb == Empty || c.action.Verb == Delete }

func (c *confirmation) lines(m *Model, w int) []string {
	var text []string
	for _, sentence := range m.consequence(c.action) {
		text = append(text, wrap(sentence, innerWidth(w))...)
	}
	text = append(text, "")
	title := fmt.Sprintf("%s %s?", verbTitle[c.action.Verb], c.action.subject())
	if !c.mustType() {
		return box(title, text, "y "+c.action.Verb+"  esc cancel", w)
	}
	// The field shows the end of what was typed if there is no room for all.
	ask := fmt.Sprintf("Type %s to %s it: ", clean(c.action.name()), c.action.Verb)
	if width(ask) > innerWidth(w)-12 {
		text, ask = append(text, middle(ask, innerWidth(w))), "> "
	}
	field := c.typed
	if over := width(field) - (innerWidth(w) - width(ask) - 1); over > 0 {
		field = field[min(over, len(field)):]
	}
	text = append(text, ask+field+"_")
	if c.typed == c.action.name() {
		return box(title, text, "enter "+c.action.Verb+"  esc cancel", w)
	}
	return box(title, text, "esc cancel", w)
}

// verbTitle has the verbs as a title begins with them.
var verbTitle = map[string]string{Pause: "Pause", Unpause: "Unpause", Empty: "Empty", Delete: "Delete"}

func (c *confirmation) key(m *Model, key tea.KeyPressMsg) tea.Cmd {
	switch name := key.String(); {
	case name == "esc":
		m.dialog = nil
	case !c.mustType():
		if name == "y" {
			return m.act(c.action)
		}
	case name == "enter":
		if c.typed == c.action.name() {
			return m.act(c.action)
		}
	default:
		c.typed = edited(c.typed, key)
	}
	return nil
}

// edited returns what a key makes of a field.
func edited(text string, key tea.KeyPressMsg) string {
	switch key.String() {
	case "backspace", "ctrl+h":
		return text[:max(len(text)-1, 0)]
	case "ctrl+u":
		return ""
	}
	return appended(text, key.Text)
}

// appended returns a field with more text in it. A field takes ASCII only, which is all that names
// have.
func appended(text, more string) string {
	for _, r := range more {
		if r > ' ' && r <= '~' && len(text) < maxTyped {
			text += string(r)
		}
	}
	return text
}

// outcome shows what has failed, until it is dismissed.
type outcome struct{ acted }

func (o *outcome) lines(_ *Model, w int) []string {
	text := wrap(o.summary()+".", innerWidth(w))
	for _, line := range o.failures() {
		text = append(text, wrap(line, innerWidth(w))...)
	}
	const most = 12
	if more := len(text) - most; more > 0 {
		text = append(text[:most], fmt.Sprintf("and %s more", figures.Things(more, "line")))
	}
	return box(fmt.Sprintf("Not everything was %s", past[o.action.Verb]), text, "r retry  esc close", w)
}

func (o *outcome) key(m *Model, key tea.KeyPressMsg) tea.Cmd {
	switch key.String() {
	case "esc", "enter", "q":
		m.dialog = nil
	case "r":
		return m.act(o.action)
	}
	return nil
}

// menu offers what can be done with a topic or a channel.
type menu struct {
	subject subject
	at      int
}

// choice is a line of a menu.
type choice struct {
	name, about string
	choose      func(m *Model) tea.Cmd
}

func (n *menu) lines(m *Model, w int) []string {
	var text []string
	for i, c := range m.choices(n.subject) {
		cursor := " "
		if i == n.at {
			cursor = ">"
		}
		text = append(text, fmt.Sprintf("%s %-8s %s", cursor, c.name, c.about))
	}
	return box(n.subject.String(), text, "enter choose  esc cancel", w)
}

func (n *menu) key(m *Model, key tea.KeyPressMsg) tea.Cmd {
	choices := m.choices(n.subject)
	switch key.String() {
	case "esc", ".", "q":
		m.dialog = nil
	case "up", "k":
		n.at = max(n.at-1, 0)
	case "down", "j":
		n.at = min(n.at+1, len(choices)-1)
	case "enter":
		m.dialog = nil
		if n.at < len(choices) {
			return choices[n.at].choose(m)
		}
	}
	return nil
}

// help lists the keys.
type help struct{}

var helpText = []string{
	"j k up down   row           enter  open",
	"pgup pgdn     page          esc    back",
	"home end      first, last   tab    topics, channels",
	"/ f           filter: part of a name, * for anything",
	"s S           sort by the next, previous column",
	"r             sort again    h      hold, go on",
	".             actions       y      copy the command",
	"^Z            suspend       q ^C   quit",
	"",
	"■ critical  ▲ warning  ○ notice  ‖ paused by choice",
	"≥ an nsqd is missing from the figure",
}

func (help) lines(_ *Model, w int) []string { return box("Keys", helpText, "esc close", w) }

func (help) key(m *Model, _ tea.KeyPressMsg) tea.Cmd {
	m.dialog = nil
	return nil
}
