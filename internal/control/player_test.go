package control

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/fleet"
	"github.com/rdyhq/nsq/internal/flow"
)

// player owns the machine of a story. It drives the machine as a Consumer's run loop
// does, and prints the commands. Links are named after their addresses: a is the
// first dial of address a and its connection, a/2 the second.
type player struct {
	testing.TB
	m    *Machine
	zero time.Time
	now  time.Time

	out       []string // commands that are not in lines yet
	lines     []string
	names     map[ID]string
	ids       map[string]ID
	dials     map[string]int // number of dials of each address
	calls     map[Call]string
	call      Call
	samples   map[ID]*flow.Sample // of open connections
	flags     SetFlags
	workers   Workers
	expired   int         // number of expired messages that the next sweep finds
	confirmed map[ID]bool // CLOSE_WAIT has come
	slips     ID          // gets a message right before the listening flag is next raised
	rdys      int         // number of RDYs so far
	done      bool
	begun     ID // of the last DialBegun
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newPlayer(tb testing.TB, words []string) *player {
	p := &player{
		TB: tb, zero: epoch, now: epoch,
		names: map[ID]string{}, ids: map[string]ID{}, dials: map[string]int{}, calls: map[Call]string{},
		samples: map[ID]*flow.Sample{}, confirmed: map[ID]bool{},
	}
	cfg := Config{
		Flow: flow.Config{
			MaxInFlight: p.number(cmp.Or(option(words, "max"), "10")), Idle: 500 * time.Millisecond, Seed: 1,
			MaxBackoff: 2 * time.Minute, MaxBytes: int64(p.number(cmp.Or(option(words, "bytes"), "0"))),
		},
		Fleet: fleet.Config{
			MinDelay: 100 * time.Millisecond, MaxDelay: time.Minute, RefusedDelay: 2 * time.Second,
			MaxDials: p.number(cmp.Or(option(words, "dials"), "64")), Grace: 3 * time.Minute, Seed: 1,
		},
	}
	if unit := option(words, "backoff"); unit != "" {
		d := p.duration(unit)
		cfg.Flow.Backoff = func(level int, _ *rand.Rand) time.Duration { return d << (level - 1) }
	}
	p.m = New(cfg)
	return p
}

// option returns the value of the word key=value, "" if there is none.
func option(words []string, key string) string {
	for _, w := range words {
		if k, v, ok := strings.Cut(w, "="); ok && k == key {
			return v
		}
	}
	return ""
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

// play reports the event of one line of a story, and returns the lines to print.
func (p *player) play(fields []string) []string {
	p.lines = nil
	verb, words := fields[0], fields[1:]
	first := ""
	if len(words) > 0 {
		first = words[0]
	}
	id := p.ids[first]
	known := id != 0
	switch verb {
	case "connect":
		p.m.Connect(p.now, first, p.newCall("connect "+first))
	case "disconnect":
		p.m.Disconnect(p.now, first, p.newCall("disconnect "+first))
	case "await":
		p.m.AwaitDials(p.newCall("await dials"))
	case "max":
		p.m.SetMaxInFlight(p.now, p.number(first))
	case "pause", "resume":
		p.m.Pause(p.now, verb == "pause")
	case "stop":
		var deadline time.Time
		if first != "" {
			deadline = p.now.Add(p.duration(first))
		}
		p.m.Stop(p.now, deadline)
	case "hurry":
		p.m.Hurry(p.now)
	case "stall":
		p.m.Stall(p.now)
	case "polling":
		p.m.Polling(first == "on")
	case "listed", "partly":
		p.m.Discovered(p.now, responses(p.now, words, verb == "listed"))
	case "handlers":
		p.m.SetTakers(p.now, Takers{Workers: p.number(first), Messages: p.number(first)})
	case "takers":
		p.sampleAll()
		p.m.SetTakers(p.now, Takers{
			Workers:  p.number(cmp.Or(option(words, "workers"), "0")),
			Messages: p.number(cmp.Or(option(words, "messages"), "0")),
			Asking:   p.number(cmp.Or(option(words, "asking"), "0")),
		})
	case "ask":
		p.sampleAll()
		p.m.Ask(p.now, p.number(first))
	case "workers":
		p.workers = Workers{Contexts: option(words, "contexts") == "yes"}
		p.workers.Total = p.number(cmp.Or(option(words, "total"), "0"))
		p.workers.Idle = p.number(cmp.Or(option(words, "idle"), "0"))
	case "expired":
		p.expired = p.number(first)
	case "run":
		return p.pass(p.duration(first))
	case "pass":
		before := p.rdys
		p.pass(p.duration(first))
		return []string{fmt.Sprintf("%d RDYs", p.rdys-before)}
	case "state":
		return p.state()
	default:
		if !known || !p.aboutLink(verb, id, words[1:]) {
			p.Fatalf("%s: no such command", strings.Join(fields, " "))
		}
	}
	p.act()
	return p.lines
}

// state returns lines with the state that Consumer.Snapshot reads.
func (p *player) state() (lines []string) {
	n, paused := p.m.MaxInFlight()
	level, until := p.m.Backoff()
	lines = append(lines, fmt.Sprintf("phase %d, max %d, paused %t, backoff %d for %v",
		p.m.Phase(), n, paused, level, max(until.Sub(p.now), 0)))
	for _, n := range p.m.NSQDs() {
		line := fmt.Sprintf("%s %s", n.Addr, [...]string{"waits", "is dialled", "is connected"}[n.State])
		if n.State == fleet.Waiting && !n.Due.IsZero() {
			line += fmt.Sprintf(" for %v", n.Due.Sub(p.now).Round(time.Millisecond))
		}
		if n.Err != nil {
			line += ", was: " + n.Err.Error()
		}
		lines = append(lines, line)
	}
	return lines
}

// responses returns the Responses of nsqlookupds that were asked now, of which all have
// responded, or not all.
func responses(now time.Time, addrs []string, complete bool) fleet.Responses {
	w := fleet.Responses{Responded: now, Complete: complete}
	for _, addr := range addrs {
		w.Listed = append(w.Listed, fleet.Listing{Addr: addr, Asked: now})
	}
	return w
}

// aboutLink reports an event of a dial or a connection.
func (p *player) aboutLink(verb string, id ID, words []string) bool {
	if l := p.m.links[id]; l == nil || l.open != slices.Contains([]string{"down", "eof", "violates", "receives", "slips", "acks", "spends", "confirms", "result"}, verb) {
		p.Fatalf("%s %s: not in a state for that", verb, p.names[id])
	}
	switch verb {
	case "up":
		lease := p.duration(cmp.Or(option(words, "lease"), "1m"))
		p.m.Dialled(p.now, id, Limits{MaxRDY: p.number(cmp.Or(option(words, "max"), "2500")), Lease: lease})
	case "fails":
		p.m.DialFailed(p.now, id, fleet.Unreachable, errors.New("connection refused"))
	case "unbound":
		p.m.DialFailed(p.now, id, fleet.NotListening, errors.New("connection refused"))
	case "refuses":
		p.m.DialFailed(p.now, id, fleet.Refused, errors.New("E_BAD_CHANNEL"))
	case "eof":
		delete(p.samples, id)
		p.m.Down(p.now, id, fleet.ClosedByNSQD, errors.New("EOF"))
	case "down":
		var err error
		if len(words) > 0 {
			err = errors.New(strings.Join(words, " "))
		}
		delete(p.samples, id)
		p.m.Down(p.now, id, fleet.Broken, err)
	case "violates":
		delete(p.samples, id)
		p.m.Down(p.now, id, fleet.Violated, errors.New("too many messages"))
	case "receives":
		p.receive(id, p.number(cmp.Or(option(words, "bytes"), "0")))
		if p.flags.WeighAt > 0 && p.weight() >= p.flags.WeighAt {
			p.flags.WeighAt = 0
			p.m.Weigh(p.now)
			p.carryOut()
		}
		if p.flags.Listening { // as its reader does
			p.flags.Listening = false
			p.m.Wake(p.now)
		}
	case "slips":
		p.slips = id
	case "confirms":
		p.confirmed[id] = true
	case "acks":
		p.samples[id].InFlight--
		p.samples[id].BytesInFlight -= int64(p.number(cmp.Or(option(words, "bytes"), "0")))
	case "spends":
		p.m.Sample(p.now, id, *p.samples[id])
		p.m.Spend(p.now, id, p.flags.Epoch)
		p.carryOut()
		p.samples[id].InFlight--
		p.say("ack %s", p.names[id])
	case "result":
		r := map[string]flow.Result{"success": flow.Success, "fail": flow.Failure, "continue": flow.Continue}[words[0]]
		p.m.Result(p.now, id, r, p.flags.Epoch)
		p.carryOut()
		p.say("ack %s", p.names[id])
	default:
		return false
	}
	return true
}

// weight returns what the bodies in memory weigh.
func (p *player) weight() (sum int64) {
	for _, s := range p.samples {
		sum += s.BytesInFlight
	}
	return sum
}

func (p *player) receive(id ID, bytes int) {
	s := p.samples[id]
	s.Received++
	s.Bytes += uint64(bytes) // #nosec G115 -- not negative
	s.BytesInFlight += int64(bytes)
	s.InFlight++
	s.Peak = max(s.Peak, s.InFlight)
	s.LastMessage = p.now
}

func (p *player) newCall(who string) Call {
	p.call++
	p.calls[p.call] = who
	return p.call
}

// pass lets time pass, and ticks whenever Next is due.
func (p *player) pass(d time.Duration) []string {
	end := p.now.Add(d)
	for !p.done {
		due, ok := p.m.Next()
		if !ok || due.After(end) {
			break
		}
		if due.After(p.now) {
			p.now = due
		}
		p.act()
	}
	p.now = end
	return p.lines
}

// act carries out the commands of an event and ticks, as the run loop does. It puts
// all commands into one line.
func (p *player) act() {
	p.carryOut()
	ticks := 0
	for more := !p.done; more; {
		if ticks++; ticks > 9 {
			p.Fatalf("due again and again at %v: %v", p.now.Sub(p.zero), p.out)
		}
		p.tick()
		p.carryOut()
		due, ok := p.m.Next()
		more = ok && !due.After(p.now) && !p.done
	}
	if len(p.out) > 0 {
		p.lines = append(p.lines, fmt.Sprintf("%v  %s", p.now.Sub(p.zero), strings.Join(p.out, ", ")))
	}
	p.out = nil
}

func (p *player) sampleAll() {
	for _, id := range sortedKeys(p.samples) {
		s := p.samples[id]
		p.m.Sample(p.now, id, *s)
		s.Peak = s.InFlight
	}
}

func (p *player) tick() {
	if p.m.Needs(p.now).Sweep > 0 {
		lease := p.m.Needs(p.now).Sweep
		p.say("sweep")
		p.m.Swept(p.now, p.now.Add(lease), p.expired)
		p.expired = 0
	}
	w := p.m.Needs(p.now)
	if w.Samples {
		p.sampleAll()
	}
	if w.Drains {
		for _, id := range sortedKeys(p.samples) {
			if s := p.samples[id]; p.m.links[id].draining {
				p.m.SetDrain(p.now, id, DrainState{Received: s.Received, Waiting: s.InFlight == 0 && !p.confirmed[id]})
			}
		}
	}
	if w.Workers {
		p.m.SetWorkers(p.workers)
	}
	p.m.Tick(p.now)
}

func sortedKeys[V any](m map[ID]V) []ID {
	var keys []ID
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (p *player) carryOut() {
	for _, c := range p.m.Take(nil) {
		p.do(c)
	}
}

func (p *player) say(format string, args ...any) { p.out = append(p.out, fmt.Sprintf(format, args...)) }

// do prints a command, and carries it out as far as stories need that.
func (p *player) do(c Command) {
	switch c := c.(type) {
	case Dial:
		if p.begun != c.ID {
			p.Errorf("dial %d of %s was not told", c.ID, c.Addr)
		}
		p.dials[c.Addr]++
		name := c.Addr
		if n := p.dials[c.Addr]; n > 1 {
			name = fmt.Sprintf("%s/%d", c.Addr, n)
		}
		p.names[c.ID], p.ids[name] = name, c.ID
		wait := ""
		if after := c.SubAfter.Sub(p.now); after > 0 {
			wait = fmt.Sprintf(" and subscribe in %v", after.Round(time.Millisecond))
		}
		p.say("dial %s%s", name, wait)
	case CancelDial:
		p.say("cancel %s", p.names[c.ID])
	case Open:
		p.samples[c.ID] = &flow.Sample{}
		p.say("open %s", p.names[c.ID])
	case Close:
		how := "close"
		switch {
		case c.Cut:
			how = "cut"
		case c.Silent:
			how = "close silent"
		}
		p.say("%s %s", how, p.names[c.ID])
	case SetRDY:
		p.rdys++
		p.say("%s RDY %d", p.names[c.ID], c.RDY)
	case SetFlags:
		if c.Listening && p.slips != 0 {
			p.receive(p.slips, 0)
			p.slips = 0
		}
		p.flags = c
		weigh := ""
		if c.WeighAt > 0 {
			weigh = fmt.Sprintf(" weigh at %d", c.WeighAt)
		}
		p.say("flags epoch=%d%s%s%s%s%s", c.Epoch, map[bool]string{true: " reporting"}[c.Reporting],
			map[bool]string{true: " listening"}[c.Listening], map[bool]string{true: " spending"}[c.Spending], weigh,
			map[bool]string{true: " bounded"}[c.Bounded])
	case Drain:
		p.say("%s CLS", p.names[c.ID])
	case Requeue:
		p.say("requeue unbegun of %s", p.names[c.ID])
	case Abandon:
		p.say("abandon %s", p.names[c.ID])
	case Reply:
		p.say("reply %s: %s", p.calls[c.Call], resultText(c))
		delete(p.calls, c.Call)
	case Tell:
		p.tell(c.Event)
	case Done:
		p.done = true
		p.say("done")
	default:
		p.say("%s", map[Command]string{
			Poll{}: "poll", StopDialling{}: "stop dialling", StopHandlers{}: "stop handlers",
			EndContexts{}: "end contexts", AbandonHandlers{}: "abandon handlers",
			ReturnWaiting{}: "requeue what waits", HurryTakers{}: "hurry takers",
		}[c])
	}
}

func resultText(r Reply) string {
	if r.Result == Failed {
		return r.Err.Error()
	}
	return [...]string{"ok", "already connected", "not connected", "closing", "stopped"}[r.Result]
}

func (p *player) tell(e Event) {
	switch e := e.(type) {
	case DialBegun:
		p.begun = e.ID
	case DialFailed:
		how := "again"
		if e.First {
			how = "first"
		}
		p.say("tell: not connected to %s (%s), retry in %v", p.names[e.ID], how, e.Retry.Round(time.Millisecond))
	case ConnUp:
		p.say("tell: connected to %s", p.names[e.ID])
	case ConnLost:
		p.say("tell: lost %s, retry in %v", p.names[e.ID], e.Retry.Round(time.Millisecond))
	case ConnClosed:
		early := ""
		if e.Err != nil {
			early = " early"
		}
		p.say("tell: disconnected from %s%s", p.names[e.ID], early)
	case Listed:
		for _, addr := range e.Added {
			p.say("tell: %s is listed", addr)
		}
		for _, addr := range e.Removed {
			p.say("tell: %s is not listed", addr)
		}
	case LowMaxRDY:
		p.say("tell: max-rdy-count %d of %s is below %d", e.MaxRDY, p.names[e.ID], e.MaxInFlight)
	case FewSlots:
		p.say("tell: %d slots for %d messages and %d nsqds", e.MaxInFlight, e.Messages, e.NSQDs)
	case Overload:
		p.say("tell: overload of %d handlers with %d slots in %v", e.Handlers, e.MaxInFlight, e.Lease)
	case Backoff:
		p.say("tell: backoff %d for %v", e.Level, e.Pause)
	case StopBegun:
		p.say("tell: stopping")
	case StopEnded:
		p.say("tell: stopped")
	}
}
