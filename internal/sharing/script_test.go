package sharing

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/story"
)

// TestScripts plays the stories in testdata, whose README lists the commands.
func TestScripts(t *testing.T) {
	story.Play(t, "testdata/*.txt", "group", func(t *testing.T, words []string) story.Player {
		p := &player{T: t, consumers: make(map[string]*consumer)}
		options := p.options(words)
		p.w = newWorld(t, p.number(options["slots"]))
		return p.play
	})
}

// player carries out the commands of a story in a world.
type player struct {
	*testing.T
	w         *world
	consumers map[string]*consumer
}

func (p *player) play(words []string) []string {
	options := p.options(words[1:])
	switch words[0] {
	case "add":
		is := Member{Weight: p.number(options["weight"]), Strict: words[len(words)-1] == "strict"}
		if limit := options["limit"]; limit != "" {
			is.Limit = p.number(limit)
		}
		nsqds := 1
		if n := options["nsqds"]; n != "" {
			nsqds = p.number(n)
		}
		p.consumers[words[1]] = p.w.add(words[1], nsqds, is)
	case "load":
		p.load(p.consumers[words[1]], options)
	case "holds":
		p.consumers[words[1]].held = words[2] == "back"
	case "drain":
		p.w.m.Drain(p.consumers[words[1]].id)
	case "remove":
		p.w.remove(p.consumers[words[1]])
	case "run":
		return p.run(words[1])
	default:
		p.Fatalf("unknown command %q", words)
	}
	return nil
}

// load sets which messages come, and how long their handlers take.
func (p *player) load(c *consumer, options map[string]string) {
	c.every, c.nextMessage, c.backlog = 0, p.w.now, 0
	switch messages := options["messages"]; messages {
	case "none":
	case "flood":
		c.backlog = math.MaxInt32
	default:
		if each, ok := strings.CutPrefix(messages, "each-"); ok {
			c.every = p.duration(each)
		} else {
			c.backlog = p.number(messages)
		}
	}
	if takes := options["takes"]; takes != "" {
		c.takes = p.duration(takes)
	}
}

// run lets time pass, and returns the slots of all Consumers and what they have handled
// meanwhile.
func (p *player) run(d string) []string {
	before := map[*consumer]int{}
	for _, c := range p.w.consumers {
		before[c] = c.finished
	}
	changes := p.w.changes
	p.w.run(p.duration(d))
	line := fmt.Sprintf("%v ", p.w.now.Sub(p.w.start))
	for _, c := range p.w.consumers {
		line += fmt.Sprintf(" %s has %d, handled %d;", c.name, p.w.m.find(c.id).granted, c.finished-before[c])
	}
	return []string{fmt.Sprintf("%s %d changes", line, p.w.changes-changes)}
}

func (p *player) options(words []string) map[string]string {
	options := map[string]string{}
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		options[key] = value
	}
	return options
}

func (p *player) number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		p.Fatal(err)
	}
	return n
}

func (p *player) duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		p.Fatal(err)
	}
	return d
}
