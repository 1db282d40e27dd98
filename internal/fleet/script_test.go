package fleet

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/story"
)

// TestScripts plays the stories in testdata, whose README lists the commands.
func TestScripts(t *testing.T) {
	story.Play(t, "testdata/*.txt", "fleet", func(t *testing.T, words []string) story.Player {
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
	p.dial()
	return p.out
}

// player carries out the commands of a story as the run loop would: after each event
// it takes the addresses to dial, then asks when the next is due.
type player struct {
	*testing.T
	m    *Machine
	now  time.Time
	down map[string]bool // nsqds whose dials fail at once
	out  []string
	at   time.Time // when the last line of out happened
}

// newPlayer makes a machine from options such as dials=3.
func newPlayer(t *testing.T, words []string) *player {
	cfg := usual
	p := &player{T: t, now: start, down: make(map[string]bool)}
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "dials":
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			cfg.MaxDials = n
		case "grace":
			cfg.Grace = p.duration(value)
		default:
			t.Fatalf("unknown option %q", word)
		}
	}
	p.m = New(cfg)
	return p
}

func (p *player) duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		p.Fatal(err)
	}
	return d
}

// print adds to the last line if that happened at the same time.
func (p *player) print(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	if len(p.out) == 0 || !p.now.Equal(p.at) {
		p.out = append(p.out, round(p.now.Sub(start)).String()+"  "+s)
		p.at = p.now
		return
	}
	p.out[len(p.out)-1] += ", " + s
}

func round(d time.Duration) time.Duration { return d.Round(ms) }

// dial takes the addresses to dial. Dials of nsqds that are down fail at once.
func (p *player) dial() {
	for _, addr := range p.m.Take(p.now, nil) {
		p.print("dial %s", addr)
		if p.down[addr] {
			p.m.Failed(p.now, addr)
		}
	}
	if due, ok := p.m.Next(); ok && !due.After(p.now) {
		p.Fatalf("at %v: a dial is due and was not taken", p.now.Sub(start))
	}
}

// redial prints when the next dial is due.
func (p *player) redial(addr string, due time.Time) {
	if due.IsZero() {
		p.print("no redial of %s", addr)
		return
	}
	p.print("redial %s in %v", addr, round(due.Sub(p.now)))
}

// commands holds the commands by name.
var commands = map[string]func(p *player, addrs []string){
	"add": func(p *player, addrs []string) {
		for _, addr := range addrs {
			p.m.Add(p.now, addr)
		}
	},
	"remove": func(p *player, addrs []string) {
		for _, addr := range addrs {
			if !p.m.Remove(p.now, addr) {
				p.print("%s was not wanted", addr)
			}
		}
	},
	"poll":    func(p *player, addrs []string) { p.poll(addrs, true) },
	"partial": func(p *player, addrs []string) { p.poll(addrs, false) },
	"up": func(p *player, addrs []string) {
		for _, addr := range addrs {
			p.m.Up(p.now, addr)
		}
	},
	"fail": func(p *player, addrs []string) {
		for _, addr := range addrs {
			p.redial(addr, p.m.Failed(p.now, addr))
		}
	},
	"refuse": func(p *player, addrs []string) {
		for _, addr := range addrs {
			p.redial(addr, p.m.Refused(p.now, addr))
		}
	},
	"lose": func(p *player, addrs []string) {
		for _, addr := range addrs {
			p.redial(addr, p.m.Lost(p.now, addr))
		}
	},
	"down": func(p *player, addrs []string) {
		for _, addr := range addrs {
			p.down[addr] = true
		}
	},
	"look": (*player).look,
	"run":  func(p *player, args []string) { p.run(p.duration(args[0])) },
	"pass": (*player).pass,
}

// poll reports what nsqlookupds list, and prints what is let go.
func (p *player) poll(addrs []string, complete bool) {
	for _, addr := range p.m.Discovered(p.now, addrs, complete, nil) {
		p.print("let go of %s", addr)
	}
}

// look prints the state of addresses.
func (p *player) look(addrs []string) {
	for _, addr := range addrs {
		state, due, ok := p.m.Look(addr)
		switch {
		case ok != p.m.Wants(addr):
			p.Fatalf("Look says wanted %v of %s, Wants says %v", ok, addr, !ok)
		case !ok && (state != 0 || !due.IsZero()):
			p.Fatalf("Look returns state %d, due %v for %s, which is unwanted", state, due, addr)
		case !ok:
			p.print("%s unwanted", addr)
		case state == Waiting:
			p.print("%s waiting, due in %v", addr, round(due.Sub(p.now)))
		case !due.IsZero():
			p.Fatalf("Look returns a due time for %s, which does not wait", addr)
		case state == Dialling:
			p.print("%s dialling", addr)
		default:
			p.print("%s connected", addr)
		}
	}
}

// run lets time pass, and dials what becomes due.
func (p *player) run(d time.Duration) {
	end := p.now.Add(d)
	for {
		due, ok := p.m.Next()
		if !ok || due.After(end) {
			break
		}
		p.now = due
		p.dial()
	}
	p.now = end
}

// pass lets time pass and prints the number of dials, and the longest time between
// two.
func (p *player) pass(args []string) {
	from, last, longest, n := p.now, p.now, time.Duration(0), 0
	for {
		due, ok := p.m.Next()
		if !ok || due.Sub(from) > p.duration(args[0]) {
			break
		}
		longest, last = max(longest, due.Sub(last)), due
		p.now = due
		p.dial()
		n++
	}
	p.now = from.Add(p.duration(args[0]))
	p.out = []string{fmt.Sprintf("%d dials, at most %v apart", n, round(longest))}
}
