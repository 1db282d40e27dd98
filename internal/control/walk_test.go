package control

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/fleet"
	"github.com/rdyhq/nsq/internal/flow"
)

// walker drives a machine through random events, and checks after each one what must
// always hold.
type walker struct {
	testing.TB
	rand *rand.Rand
	m    *Machine
	now  time.Time
	log  []Command // all commands, if keep is set
	keep bool

	dials    map[ID]string // addresses of dials under way
	conns    map[ID]string // addresses of open connections
	draining map[ID]bool
	waiting  map[ID]bool // draining ones that wait for nothing but CLOSE_WAIT
	samples  map[ID]*flow.Sample
	told     map[string]bool // addresses for which a Connect got OK
	calls    map[Call]string // calls without a reply; the address of a Connect, or what else it is
	lastCall Call
	flags    SetFlags
	max      int
	maxDials int
	paused   bool
	polling  bool

	workers Workers
	stopped int // 1 after StopDialling, 2 after StopHandlers
	phase   Phase
	done    bool
}

func newWalker(tb testing.TB, r *rand.Rand, keep bool) *walker {
	w := &walker{
		TB: tb, rand: r, now: epoch, keep: keep,
		dials: map[ID]string{}, conns: map[ID]string{}, draining: map[ID]bool{}, waiting: map[ID]bool{}, samples: map[ID]*flow.Sample{},
		told: map[string]bool{}, calls: map[Call]string{},
		max: 1 + r.IntN(20), maxDials: 1 + r.IntN(4),
	}
	w.m = New(Config{
		Flow: flow.Config{
			MaxInFlight: w.max, Idle: 500 * time.Millisecond, Seed: r.Uint64(), MaxBackoff: time.Minute,
			Backoff:  func(level int, _ *rand.Rand) time.Duration { return time.Second << level },
			MaxBytes: 1000 * r.Int64N(2),
			Adaptive: r.IntN(2) == 0, Uniform: r.IntN(4) == 0,
		},
		Fleet: fleet.Config{
			MinDelay: 100 * time.Millisecond, MaxDelay: time.Minute, RefusedDelay: 2 * time.Second,
			MaxDials: w.maxDials, Grace: 3 * time.Second, Seed: r.Uint64(),
		},
	})
	return w
}

// one returns a random key of m, 0 if m is empty.
func one[V any](w *walker, m map[ID]V) ID {
	keys := sortedKeys(m)
	if len(keys) == 0 {
		return 0
	}
	return keys[w.rand.IntN(len(keys))]
}

// upTo returns a random duration below d.
func (w *walker) upTo(d time.Duration) time.Duration { return time.Duration(w.rand.Int64N(int64(d))) }

func (w *walker) newCall(addr string) Call {
	w.lastCall++
	w.calls[w.lastCall] = addr
	return w.lastCall
}

// step reports one event, carries out the commands and ticks. Now and then it lets
// time pass.
func (w *walker) step() {
	w.event(w.rand.IntN(100))
	w.carryOut()
	w.tick()
	w.check()
	if w.rand.IntN(3) > 0 {
		return
	}
	w.wait()
}

func (w *walker) event(n int) {
	addr := string(rune('a' + w.rand.IntN(6)))
	switch {
	case n < 12:
		w.m.Connect(w.now, addr, w.newCall(addr))
	case n < 16:
		w.m.Disconnect(w.now, addr, w.newCall(disconnecting))
		delete(w.told, addr)
	case n < 18:
		w.m.AwaitDials(w.newCall(settling))
	case n < 24:
		var listed []string
		for _, a := range "abcdef" {
			if w.rand.IntN(2) == 0 {
				listed = append(listed, string(a))
			}
		}
		said := responses(w.now.Add(-w.upTo(2*time.Second)), listed, w.rand.IntN(4) > 0)
		if w.rand.IntN(4) == 0 {
			said = fleet.Responses{AllFailed: w.now, Pending: w.rand.IntN(2) == 0, None: w.rand.IntN(2) == 0}
		}
		w.m.Discovered(w.now, said)
	case n < 50:
		w.dialEnds(one(w, w.dials))
	case n < 56:
		w.connEnds(one(w, w.conns))
	case n < 76:
		w.message(one(w, w.conns))
	case n < 86:
		w.result(one(w, w.conns))
	case n < 88:
		w.max = w.rand.IntN(20)
		w.m.SetMaxInFlight(w.now, w.max)
	case n < 90:
		w.paused = !w.paused
		w.m.Pause(w.now, w.paused)
	case n < 92:
		w.polling = w.rand.IntN(2) == 0
		w.m.Polling(w.polling)
	case n < 94:
		w.m.SetTakers(w.now, Takers{Workers: 1 + w.rand.IntN(8), Messages: w.rand.IntN(9), Asking: w.rand.IntN(2)})
	case n < 99:
		w.workers = Workers{Total: w.rand.IntN(3), Contexts: w.rand.IntN(2) == 0}
		w.workers.Idle = min(w.rand.IntN(3), w.workers.Total)
	default:
		if w.rand.IntN(10) == 0 {
			w.stop()
		}
	}
}

func (w *walker) stop() {
	var deadline time.Time
	if w.rand.IntN(2) == 0 {
		deadline = w.now.Add(w.upTo(time.Minute))
	}
	w.m.Stop(w.now, deadline)
	w.carryOut()
	if w.rand.IntN(3) == 0 {
		w.m.Hurry(w.now)
	}
}

func (w *walker) dialEnds(id ID) {
	switch w.rand.IntN(4) {
	case 0:
		if id != 0 {
			delete(w.dials, id)
			w.m.DialFailed(w.now, id, fleet.Failure(w.rand.IntN(4)), errors.New("no"))
		}
	default:
		if id != 0 {
			w.m.Dialled(w.now, id, Limits{MaxRDY: w.rand.IntN(30), Lease: time.Second + w.upTo(time.Minute)})
		}
	}
}

func (w *walker) connEnds(id ID) {
	if id == 0 {
		return
	}
	delete(w.conns, id)
	delete(w.draining, id)
	delete(w.samples, id)
	var err error
	if w.rand.IntN(2) == 0 {
		err = errors.New("reset")
	}
	w.m.Down(w.now, id, fleet.Loss(w.rand.IntN(3)), err)
}

func (w *walker) message(id ID) {
	s := w.samples[id]
	switch {
	case s == nil:
	case w.rand.IntN(2) == 0 && s.InFlight > 0:
		s.BytesInFlight -= s.BytesInFlight / int64(s.InFlight)
		s.InFlight--
	default:
		size := 1 + w.rand.Int64N(500)
		s.Bytes, s.BytesInFlight = s.Bytes+uint64(size), s.BytesInFlight+size // #nosec G115 -- positive
		s.Received++
		s.InFlight++
		s.Peak = max(s.Peak, s.InFlight)
		s.LastMessage = w.now
		if at := w.flags.WeighAt; at > 0 && s.BytesInFlight >= at {
			w.flags.WeighAt = 0
			w.m.Weigh(w.now)
		}
		if w.flags.Listening && (!w.m.recheck || w.rand.IntN(2) == 0) { // otherwise its reader looked too early
			w.flags.Listening = false
			w.m.Wake(w.now)
		}
	}
}

func (w *walker) result(id ID) {
	if id != 0 {
		w.m.Result(w.now, id, flow.Result(w.rand.IntN(3)), w.flags.Epoch-uint32(w.rand.IntN(2)))
	}
}

func (w *walker) tick() {
	if w.done {
		return
	}
	if lease := w.m.Needs(w.now).Sweep; lease > 0 {
		w.m.Swept(w.now, w.now.Add(lease), w.rand.IntN(2))
		w.carryOut()
	}
	want := w.m.Needs(w.now)
	if want.Sweep > 0 {
		w.Fatal("a sweep is wanted right after one")
	}
	if want.Samples {
		for _, id := range sortedKeys(w.samples) {
			w.m.Sample(w.now, id, *w.samples[id])
			w.samples[id].Peak = w.samples[id].InFlight
		}
	}
	if want.Drains {
		for _, id := range sortedKeys(w.draining) {
			if w.conns[id] != "" {
				s := w.samples[id]
				w.waiting[id] = s.InFlight == 0 && w.rand.IntN(4) > 0
				w.m.SetDrain(w.now, id, DrainState{Received: s.Received, Waiting: w.waiting[id]})
			}
		}
	}
	if want.Workers {
		w.m.SetWorkers(w.workers)
	}
	w.m.Tick(w.now)
	w.carryOut()
}

// wait lets time pass until Next is due, or for up to a minute. It checks that a tick
// before that does nothing, and that three ticks then do all that is due.
func (w *walker) wait() {
	due, ok := w.m.Next()
	if !ok || due.After(w.now.Add(time.Minute)) {
		due = w.now.Add(w.upTo(time.Minute))
	}
	if due.After(w.now) {
		w.now = w.now.Add(w.upTo(due.Sub(w.now)))
		if got := w.m.Needs(w.now); !w.done && (got.Samples || got.Drains || got.Sweep > 0) {
			w.Fatalf("%+v is wanted before Next", got)
		}
		w.m.Tick(w.now)
		for _, c := range w.m.Take(nil) {
			w.do(c)
			if _, ok := c.(Tell); !ok && c != (Done{}) {
				w.Fatalf("%#v before Next", c)
			}
		}
		w.now = due
	}
	for range 3 {
		w.tick()
	}
	if due, ok := w.m.Next(); ok && !due.After(w.now) && !w.done {
		w.Fatalf("still due after three ticks: %v, now %v", due, w.now)
	}
}

func (w *walker) carryOut() {
	rdys, settled := false, false
	for _, c := range w.m.Take(nil) {
		switch c := c.(type) {
		case SetRDY:
			rdys = true
		case SetFlags:
			if rdys {
				w.Fatal("flags are set after an RDY of the same decision")
			}
		case Reply:
			settled = settled || w.calls[c.Call] == settling && c.Result == OK
		case Dial:
			if settled {
				w.Fatal("all is settled before a dial of the same tick")
			}
		}
		w.do(c)
	}
}

func (w *walker) must(ok bool, c Command) {
	if !ok {
		w.Helper()
		w.Fatalf("%#v: dials %v, open %v, draining %v, phase %d", c, w.dials, w.conns, w.draining, w.m.Phase())
	}
}

// do carries out a command, and checks that it is allowed now.
func (w *walker) do(c Command) {
	if w.keep {
		w.log = append(w.log, c)
	}
	switch c := c.(type) {
	case Dial:
		w.must(w.stopped == 0 && w.dials[c.ID] == "" && w.conns[c.ID] == "", c)
		w.dials[c.ID] = c.Addr
	case CancelDial:
		w.must(w.dials[c.ID] != "", c)
	case Open:
		w.must(w.dials[c.ID] != "" && w.stopped == 0, c)
		w.conns[c.ID], w.samples[c.ID] = w.dials[c.ID], &flow.Sample{}
		delete(w.dials, c.ID)
	case Close:
		switch {
		case c.Cut:
			w.must(w.conns[c.ID] != "" && w.m.Phase() == Cut, c)
		case c.Silent:
			w.must(w.conns[c.ID] != "" && w.draining[c.ID] && w.waiting[c.ID] && w.m.Phase() < Abandoned, c)
			w.waiting[c.ID] = false // once
		default:
			w.must(w.dials[c.ID] != "", c)
		}
		delete(w.dials, c.ID)
	case SetRDY:
		w.must(w.conns[c.ID] != "" && !w.draining[c.ID] && c.RDY >= 0, c)
	case SetFlags:
		w.flags = c
	case Drain:
		w.must(w.conns[c.ID] != "" && !w.draining[c.ID], c)
		w.draining[c.ID] = true
	case Requeue:
		w.must(w.draining[c.ID], c)
	case Abandon:
		w.must(w.draining[c.ID] && w.m.Phase() >= Abandoned, c)
	case Reply:
		w.reply(c)
	case StopDialling:
		w.must(w.stopped == 0, c)
		w.stopped = 1
	case StopHandlers:
		w.must(w.stopped == 1 && len(w.draining) == len(w.conns), c)
		w.stopped = 2
	case EndContexts, AbandonHandlers:
		w.must(w.stopped == 2, c)
	case Done:
		w.must(!w.done && w.stopped == 2 && len(w.conns) == 0, c)
		w.must(len(w.dials) == 0 && w.workers.Total == 0 || w.m.Phase() >= Abandoned && w.workers.Idle == 0, c)
		w.done = true
	}
}

// What calls other than Connect wait for.
const disconnecting, settling = "disconnecting", "settling"

// reply checks that a call gets one reply, and the right one.
func (w *walker) reply(c Reply) {
	addr, waits := w.calls[c.Call]
	w.must(waits && (c.Err != nil) == (c.Result == Failed), c)
	delete(w.calls, c.Call)
	switch {
	case addr == disconnecting:
		w.must(c.Result == OK || c.Result == NotConnected, c)
	case addr == settling:
		w.must(c.Result == OK && len(w.dials) == 0 || c.Result == Stopped && w.m.Phase() != Active, c)
	case c.Result == OK:
		w.must(w.connected(addr), c)
		w.told[addr] = true
	case c.Result == AlreadyConnected && w.connected(addr):
		w.must(w.told[addr], c)
	}
}

func (w *walker) connected(addr string) bool {
	for id, a := range w.conns {
		if a == addr && !w.draining[id] {
			return true
		}
	}
	return false
}

// check compares the machine's state with what it has commanded.
func (w *walker) check() {
	if p := w.m.Phase(); p < w.phase {
		w.Fatalf("phase %d after %d", p, w.phase)
	} else {
		w.phase = p
	}
	if (w.phase == Active) != (w.stopped == 0) {
		w.Fatalf("phase %d, and dialling stopped: %d", w.phase, w.stopped)
	}
	if w.phase != Active {
		for call, addr := range w.calls {
			w.Fatalf("call %d for %q waits although the Consumer is stopping", call, addr)
		}
		return
	}
	for id, s := range w.samples {
		if s.InFlight > 0 && w.m.sweepAt.IsZero() && !w.m.recheck {
			w.Fatalf("no sweep is planned although %s has a message in flight", w.conns[id])
		}
	}
	dialling := 0
	for _, n := range w.m.NSQDs() {
		if n.State == fleet.Dialling {
			dialling++
		}
	}
	if dialling > w.maxDials {
		w.Fatalf("%d nsqds are dialled, want %d at most", dialling, w.maxDials)
	}
	for _, n := range w.m.NSQDs() {
		switch n.State {
		case fleet.Connected:
			w.mustBe(w.conns[n.ID] == n.Addr && !w.draining[n.ID], n)
		case fleet.Dialling:
			w.mustBe(w.dials[n.ID] == n.Addr, n)
		default:
			due, ok := w.m.Next()
			planned := ok && !n.Due.Before(due) && n.Due.After(w.now)
			// Due is that of the next poll, or zero, while the address waits for consent.
			w.mustBe(n.ID == 0 && (planned || dialling == w.maxDials || !w.polling || n.Due.IsZero()), n)
		}
	}
	for addr := range w.told {
		if !slices.ContainsFunc(w.m.NSQDs(), func(n NSQD) bool { return n.Addr == addr }) {
			delete(w.told, addr) // no longer wanted
		}
	}
}

func (w *walker) mustBe(ok bool, n NSQD) {
	if !ok {
		w.Helper()
		w.Fatalf("%+v: dials %v, open %v, draining %v", n, w.dials, w.conns, w.draining)
	}
}

// finish stops the Consumer, ends all dials and connections, and checks that the stop
// completes.
func (w *walker) finish() {
	w.m.Stop(w.now, w.now.Add(time.Second))
	w.carryOut()
	for range 100 {
		w.tick()
		for id := range w.dials {
			delete(w.dials, id)
			w.m.DialFailed(w.now, id, fleet.Unreachable, errors.New("cancelled"))
		}
		w.connEnds(one(w, w.conns))
		w.carryOut()
		w.m.Polling(false)
		w.workers = Workers{}
		w.now = w.now.Add(100 * time.Millisecond)
	}
	if !w.done || len(w.calls) > 0 || len(w.conns) > 0 {
		w.Fatalf("done %t, calls %v, open %v", w.done, w.calls, w.conns)
	}
}

// TestWalk reports a million random events to 500 machines.
func TestWalk(t *testing.T) {
	const lives, events = 500, 2000
	for seed := range uint64(lives) {
		w := newWalker(t, rand.New(rand.NewPCG(seed, 1)), false)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w.TB = t
			for range events {
				w.step()
			}
			w.finish()
		})
		if t.Failed() {
			return
		}
	}
}

// TestSameEventsSameCommands checks that no command depends on the order of a map.
func TestSameEventsSameCommands(t *testing.T) {
	live := func() []Command {
		w := newWalker(t, rand.New(rand.NewPCG(7, 7)), true)
		for range 2000 {
			w.step()
		}
		w.finish()
		return w.log
	}
	if a, b := live(), live(); !reflect.DeepEqual(a, b) {
		t.Errorf("the same events led to different commands: %d and %d of them", len(a), len(b))
	}
}
