package flow

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/story"
)

// TestScripts plays the stories in testdata, whose README lists the commands.
func TestScripts(t *testing.T) {
	story.Play(t, "testdata/*.txt", "consumer", func(t *testing.T, words []string) story.Player {
		p := newPlayer(t, words)
		return p.play
	})
}

// play carries out one command and returns what it led to.
func (p *player) play(words []string) []string {
	command := commands[words[0]]
	if command == nil {
		p.Fatalf("unknown command %q", words)
	}
	p.out = nil
	command(p, words[1:])
	return p.out
}

// player carries out the commands of a story in a world.
type player struct {
	*testing.T
	w     *world
	nodes map[string]*node
	out   []string
	at    time.Duration // when the last line of out happened
	quiet bool          // count decisions instead of printing them
	rdys  int           // decisions counted

	takes  time.Duration     // of handlers
	result Result            // of all messages for which next and own have none
	next   []Result          // of the next messages, in order; comes before own
	own    map[string]Result // of the messages of an nsqd, by its name
	sizes  map[string]int    // of the bodies of an nsqd, by its name
}

// newPlayer makes a consumer from options such as max=10 and uniform.
func newPlayer(t *testing.T, words []string) *player {
	p := &player{T: t, nodes: make(map[string]*node), own: make(map[string]Result), sizes: make(map[string]int)}
	cfg := Config{MaxBackoff: 2 * time.Minute, Seed: 1}
	unit, trace, listen := time.Second, false, false
	delay, buffer, lease := time.Duration(0), time.Duration(0), time.Minute
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "max":
			cfg.MaxInFlight = p.number(value)
		case "bytes":
			cfg.MaxBytes = int64(p.size(value))
		case "uniform":
			cfg.Uniform = true
		case "adaptive":
			cfg.Adaptive = true
		case "backoff":
			unit = p.duration(value)
		case "cap":
			cfg.MaxBackoff = p.duration(value)
		case "wire":
			delay = p.duration(value)
		case "buffer":
			buffer = p.duration(value)
		case "lease":
			lease = p.duration(value)
		case "trace":
			trace = true
		case "listen":
			listen = true
		default:
			t.Fatalf("unknown option %q", word)
		}
	}
	cfg.Backoff = exponential(unit)
	p.w = newWorld(t, cfg)
	p.w.delay, p.w.buffer, p.w.lease = delay, buffer, lease
	p.takes, p.result = 10*time.Millisecond, Success
	p.w.handle = p.handle
	p.w.size = func(n *node) int { return p.sizes[n.name] }
	p.w.decided = func(n *node, rdy int) {
		p.rdys++
		if !p.quiet {
			p.print(fmt.Sprintf("%s %d", n.name, rdy))
		}
	}
	if trace {
		p.w.completed = func(n *node, o Result) {
			p.print(n.name + " " + map[Result]string{Success: "FIN", discard: "FIN", Failure: "REQ", Continue: "REQ"}[o])
		}
	}
	if listen {
		p.w.listened = func(listening bool) {
			p.print(map[bool]string{true: "listening", false: "awake"}[listening])
		}
	}
	return p
}

// print adds to the last line if that happened at the same time.
func (p *player) print(s string) {
	if at := p.w.clock(); len(p.out) == 0 || at != p.at {
		p.out = append(p.out, at.String()+"  "+s)
		p.at = at
		return
	}
	p.out[len(p.out)-1] += ", " + s
}

func (p *player) handle(n *node) (time.Duration, Result) {
	result := p.result
	if o, ok := p.own[n.name]; ok {
		result = o
	}
	if len(p.next) > 0 {
		result, p.next = p.next[0], p.next[1:]
	}
	return p.takes, result
}

func (p *player) number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		p.Fatal(err)
	}
	return n
}

// size returns a number of bytes such as 200 or 64M.
func (p *player) size(s string) int {
	for unit, factor := range map[string]int{"K": 1 << 10, "M": 1 << 20} {
		if n, ok := strings.CutSuffix(s, unit); ok {
			return p.number(n) * factor
		}
	}
	return p.number(s)
}

func (p *player) duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		p.Fatal(err)
	}
	return d
}

var results = map[string]Result{
	"succeed": Success, "fail": Failure, "continue": Continue, "discard": discard, "never": never,
}

func (p *player) word(s string) Result {
	o, ok := results[s]
	if !ok {
		p.Fatalf("unknown result %q, want one of %v", s, slices.Sorted(maps.Keys(results)))
	}
	return o
}

func (p *player) node(name string) *node {
	if p.nodes[name] == nil {
		p.Fatalf("unknown nsqd %q", name)
	}
	return p.nodes[name]
}

// commands holds the commands by name.
var commands = map[string]func(p *player, args []string){
	"up":      (*player).up,
	"down":    func(p *player, args []string) { p.w.disconnect(p.node(args[0])) },
	"drain":   func(p *player, args []string) { p.w.drain(p.node(args[0])) },
	"max":     func(p *player, args []string) { p.w.setMax(p.number(args[0])) },
	"publish": func(p *player, args []string) { p.w.publish(p.node(args[0]), p.number(args[1])) },
	"handle":  (*player).setHandler,
	"next": func(p *player, args []string) {
		for _, word := range args {
			p.next = append(p.next, p.word(word))
		}
	},
	"overload": (*player).overload,
	"run":      func(p *player, args []string) { p.w.run(p.duration(args[0])) },
	"pass": func(p *player, args []string) {
		p.quiet, p.rdys = true, 0
		p.w.run(p.duration(args[0]))
		p.quiet = false
		p.out = append(p.out, fmt.Sprintf("%d RDYs, then %s", p.rdys, p.shares()))
	},
	"shares": func(p *player, _ []string) { p.out = append(p.out, p.shares()) },
	"flight": func(p *player, _ []string) {
		var s []string
		for _, n := range p.w.nodes {
			s = append(s, fmt.Sprint(n.name, " ", n.held))
		}
		p.out = append(p.out, "in flight: "+strings.Join(s, ", "))
	},
	"level": func(p *player, _ []string) {
		level, until := p.w.m.BackoffLevel()
		if level == 0 {
			p.out = append(p.out, "no backoff")
			return
		}
		p.out = append(p.out, fmt.Sprintf("level %d, until %v", level, until.Sub(epochStart)))
	},
	"visits": (*player).visits,
	"size":   func(p *player, args []string) { p.sizes[args[0]] = p.size(args[1]) },
	"weight": func(p *player, _ []string) {
		var s []string
		for _, n := range p.w.nodes {
			s = append(s, fmt.Sprintf("%s %.1f MiB", n.name, float64(n.heldBytes)/(1<<20)))
		}
		p.out = append(p.out, "in flight: "+strings.Join(s, ", "))
	},
}

// up connects nsqds. Those after max=N have that max_rdy_count.
func (p *player) up(args []string) {
	maxRDY := 2500
	for _, name := range args {
		if value, ok := strings.CutPrefix(name, "max="); ok {
			maxRDY = p.number(value)
			continue
		}
		n := p.nodes[name]
		if n == nil {
			n = p.w.add(false)
			n.name = name
			p.nodes[name] = n
		}
		p.w.connect(n, maxRDY)
	}
}

// overload reports an overload, now or after a time. If the machine is due at that
// time, the overload comes before the tick.
func (p *player) overload(args []string) {
	lease, after := p.duration(args[0]), time.Duration(0)
	if len(args) > 1 {
		after = p.duration(args[2])
	}
	report := func() { p.w.m.Overload(p.w.now, lease) }
	if after > 0 {
		p.w.after(after, report)
		return
	}
	report()
	p.w.take()
}

// setHandler sets what handlers do with all messages, or with those of one nsqd.
func (p *player) setHandler(args []string) {
	if p.nodes[args[0]] != nil {
		p.own[args[0]] = p.word(args[1])
		return
	}
	p.takes, p.result = p.duration(args[0]), p.word(args[1])
	clear(p.own)
}

// visits lets time pass, and prints the order in which nsqds were given RDY.
func (p *player) visits(args []string) {
	decided, order := p.w.decided, []string(nil)
	p.w.decided = func(n *node, rdy int) {
		if rdy > 0 {
			order = append(order, n.name)
		}
	}
	p.w.run(p.duration(args[0]))
	p.w.decided = decided
	p.out = append(p.out, strings.Join(order, " "))
}

// shares returns the RDY of each connection and their sum.
func (p *player) shares() string {
	var s []string
	sum := 0
	for _, n := range p.w.nodes {
		if n.up {
			s = append(s, fmt.Sprint(n.name, " ", n.sent))
			sum += n.sent
		}
	}
	return fmt.Sprintf("%s: %d of %d", strings.Join(s, ", "), sum, p.w.max)
}

// exponential is the backoff of these tests: the unit doubles per level.
func exponential(unit time.Duration) func(int, *rand.Rand) time.Duration {
	return func(level int, _ *rand.Rand) time.Duration { return unit << min(level, 30) }
}
