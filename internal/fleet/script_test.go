package fleet

import (
	"fmt"
	"maps"
	"slices"
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
// it takes the addresses to dial and polls, then asks when the next is due.
type player struct {
	*testing.T
	m         *Machine
	now       time.Time
	down      map[string]bool // nsqds whose dials fail at once
	listed    []string        // what nsqlookupds list in response to Poll
	keen      bool            // they respond at once
	asked     map[string]time.Time
	responses Responses // the last ones
	out       []string
	at        time.Time // when the last line of out happened
}

// newPlayer makes a machine from options such as dials=3.
func newPlayer(t *testing.T, words []string) *player {
	cfg := usual
	p := &player{T: t, now: start, down: make(map[string]bool), asked: make(map[string]time.Time)}
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

// dial takes the addresses to dial, and polls. Dials of nsqds that are down fail at
// once. It returns the number of both.
func (p *player) dial() (dials, polls int) {
	for _, addr := range p.m.Take(p.now, nil) {
		dials++
		after := ""
		if d := p.m.SubAfter(addr).Sub(p.now); d > 0 {
			after = fmt.Sprintf(" and subscribe in %v", round(d))
		}
		p.print("dial %s%s", addr, after)
		if p.down[addr] {
			p.m.Failed(p.now, addr, Unreachable)
		}
	}
	if due, ok := p.m.Next(); ok && !due.After(p.now) {
		p.Fatalf("at %v: a dial is due and was not taken", p.now.Sub(start))
	}
	if p.m.Poll(p.now) {
		polls++
		p.print("poll")
		if p.keen {
			p.poll(p.listed)
			more, none := p.dial()
			return dials + more, polls + none
		}
	}
	if due, ok := p.m.NextPoll(); ok && !due.After(p.now) {
		p.Fatalf("at %v: a poll is due and was not made", p.now.Sub(start))
	}
	return dials, polls
}

// next returns when a dial or a poll is due.
func (p *player) next() (time.Time, bool) {
	due, ok := p.m.Next()
	poll, polls := p.m.NextPoll()
	if !ok || polls && poll.Before(due) {
		return poll, polls
	}
	return due, ok
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
	"poll":    (*player).poll,
	"partial": func(p *player, addrs []string) { p.partial(addrs, false) },
	"slow":    func(p *player, addrs []string) { p.partial(addrs, true) },
	"allfail": func(p *player, _ []string) { p.fails() },
	"none":    func(p *player, _ []string) { p.say(Responses{None: true}) },
	"keen":    func(p *player, addrs []string) { p.listed, p.keen = addrs, true },
	"mute":    func(p *player, _ []string) { p.keen = false },
	"up": func(p *player, addrs []string) {
		for _, addr := range addrs {
			p.m.Up(p.now, addr)
		}
	},
	"fail":    func(p *player, addrs []string) { p.fail(Unreachable, addrs) },
	"unbound": func(p *player, addrs []string) { p.fail(NotListening, addrs) },
	"refuse":  func(p *player, addrs []string) { p.fail(Refused, addrs) },
	"hang":    func(p *player, addrs []string) { p.fail(Hung, addrs) },
	"lose":    func(p *player, addrs []string) { p.lose(Broken, addrs) },
	"eof":     func(p *player, addrs []string) { p.lose(ClosedByNSQD, addrs) },
	"violate": func(p *player, addrs []string) { p.lose(Violated, addrs) },
	"down": func(p *player, addrs []string) {
		for _, addr := range addrs {
			p.down[addr] = true
		}
	},
	"look": (*player).look,
	"run":  func(p *player, args []string) { p.run(p.duration(args[0])) },
	"pass": (*player).pass,
}

func (p *player) fail(kind Failure, addrs []string) {
	for _, addr := range addrs {
		p.redial(addr, p.m.Failed(p.now, addr, kind))
	}
}

func (p *player) lose(kind Loss, addrs []string) {
	for _, addr := range addrs {
		p.redial(addr, p.m.Lost(p.now, addr, kind))
	}
}

// ask sends requests to nsqlookupds a nanosecond after what happened last, and returns
// when.
func (p *player) ask() time.Time {
	p.now = p.now.Add(1)
	return p.now
}

// poll plays a poll to which every nsqlookupd responds.
func (p *player) poll(addrs []string) {
	w := Responses{Responded: p.ask(), Complete: true}
	clear(p.asked)
	for _, addr := range addrs {
		p.asked[addr] = w.Responded
		w.Listed = append(w.Listed, Listing{addr, w.Responded})
	}
	p.say(w)
}

// partial plays a poll to which not every nsqlookupd responds. The last response of the
// others, which lists what was listed before, still counts. If they are slow, their
// requests have not failed yet.
func (p *player) partial(addrs []string, slow bool) {
	w := Responses{Responded: p.ask(), Pending: slow}
	for _, addr := range addrs {
		p.asked[addr] = w.Responded
	}
	for _, addr := range slices.Sorted(maps.Keys(p.asked)) {
		w.Listed = append(w.Listed, Listing{addr, p.asked[addr]})
	}
	p.say(w)
}

// fails plays a poll to which no nsqlookupd responds.
func (p *player) fails() {
	w := p.responses
	w.AllFailed, w.Complete = p.ask(), false
	p.say(w)
}

// say passes Responses on, and prints what is let go.
func (p *player) say(w Responses) {
	p.responses = w
	for _, addr := range p.m.Discovered(p.now, w, nil) {
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
		case state == Waiting && due.IsZero():
			p.print("%s waiting for a regular poll", addr)
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

// run lets time pass, dials what becomes due, and polls.
func (p *player) run(d time.Duration) {
	end := p.now.Add(d)
	for {
		due, ok := p.next()
		if !ok || due.After(end) {
			break
		}
		p.now = due
		p.dial()
	}
	p.now = end
}

// pass lets time pass and prints the number of dials and polls, and the longest time
// between two dials.
func (p *player) pass(args []string) {
	from, last, longest, dials, polls := p.now, p.now, time.Duration(0), 0, 0
	for {
		due, ok := p.next()
		if !ok || due.Sub(from) > p.duration(args[0]) {
			break
		}
		p.now = due
		n, asked := p.dial()
		if n > 0 {
			longest, last = max(longest, due.Sub(last)), due
		}
		dials, polls = dials+n, polls+asked
	}
	p.now = from.Add(p.duration(args[0]))
	p.out = []string{fmt.Sprintf("%d dials, at most %v apart", dials, round(longest))}
	if polls > 0 {
		p.out = append(p.out, fmt.Sprintf("%d polls", polls))
	}
}
