package fleet

import (
	"fmt"
	"testing"
	"time"
)

// responses returns Responses after a request sent at a time. Each of listed is in the
// response.
func responses(at time.Time, listed ...string) Responses {
	w := Responses{Responded: at, Complete: true}
	for _, addr := range listed {
		w.Listed = append(w.Listed, Listing{Addr: addr, Asked: at})
	}
	return w
}

// N4: an owner that dials by itself learns whether it may.
func TestConsent(t *testing.T) {
	m := New(ConsumerConfig(time.Minute, 1))
	now := start
	expect := func(want Consent) {
		t.Helper()
		if got := m.Consent("a"); got != want {
			t.Errorf("consent %d, want %d", got, want)
		}
	}
	expect(Withheld) // unknown
	m.Discovered(now, responses(now, "a", "b"), nil)
	expect(Given)
	m.Up(now, "a")
	now = now.Add(time.Minute)
	if !m.Parted(now, "a") {
		t.Error("no poll after a loss")
	}
	if due, ok := m.NextPoll(); !ok || due.Sub(now) < firstPoll || due.Sub(now) > firstPoll+firstSpread {
		t.Errorf("next poll in %v, %v", due.Sub(now), ok)
	}
	expect(Unasked)
	m.Discovered(now, responses(now, "a", "b"), nil) // sent at the same instant
	expect(Unasked)
	now = now.Add(time.Second)
	partial := responses(now, "b")
	partial.Complete, partial.Pending = false, true
	m.Discovered(now, partial, nil)
	expect(Doubtful)
	m.Discovered(now, responses(now, "b"), nil)
	expect(Withheld)
	now = now.Add(time.Second)
	m.Discovered(now, responses(now, "a", "b"), nil)
	expect(Given)
	now = now.Add(time.Second)
	m.Parted(now, "a") // a dial has failed
	expect(Unasked)
	now = now.Add(time.Second)
	m.Discovered(now, Responses{Responded: now.Add(-2 * time.Second), AllFailed: now}, nil)
	expect(Given)
	m.Up(now, "a")
	now = now.Add(time.Minute)
	m.Discovered(now, responses(now, "b"), nil)
	now = now.Add(time.Second)
	m.Parted(now, "a")
	now = now.Add(time.Second)
	m.Discovered(now, responses(now, "b"), nil)
	expect(Withheld)
}

// An address that was never dialled has consent as long as it is listed.
func TestConsentBeforeTheFirstDial(t *testing.T) {
	m := New(ConsumerConfig(time.Minute, 1))
	m.Discovered(start, responses(start, "a"), nil)
	later := start.Add(time.Second)
	m.Discovered(later, responses(later), nil)
	if got := m.Consent("a"); got != Withheld {
		t.Errorf("consent %d, want it withheld", got)
	}
	if _, ok := m.NextPoll(); ok {
		t.Error("polls for an nsqd that was not used")
	}
}

// An nsqd that was never dialled waits for regular polls, even if one ahead of schedule was
// due for another nsqd, which has come back before.
func TestWaitForARegularPoll(t *testing.T) {
	m := New(ConsumerConfig(time.Minute, 1))
	m.Discovered(start, responses(start, "a", "b"), nil)
	m.Up(start, "b")
	now := start.Add(time.Minute)
	m.Parted(now, "b")
	m.Up(now, "b")
	m.Discovered(now, responses(now, "b"), nil)
	if state, due, ok := m.Look("a"); state != Waiting || !due.IsZero() || !ok {
		t.Errorf("state %d, due %v, wanted %t", state, due, ok)
	}
}

// While the dials of a lost nsqd fail, polls become rarer: a failed dial is no new loss.
func TestPollsForAnOwnerWhoseDialsFail(t *testing.T) {
	m := New(ConsumerConfig(time.Minute, 1))
	m.Discovered(start, responses(start, "a"), nil)
	m.Up(start, "a")
	lost, polls := start.Add(time.Minute), 0
	for now := lost; now.Before(lost.Add(10 * time.Minute)); now = now.Add(time.Second) {
		m.Parted(now, "a")
		if m.Poll(now.Add(time.Second - 1)) {
			polls++
		}
	}
	if polls < 30 || polls > 100 {
		t.Errorf("%d polls in ten minutes, want one each second at first and then fewer", polls)
	}
}

// A second nsqd is lost after the first has come back, and before the poll that was due
// for the first: the owner, which waits for no poll then, is told that there is one.
func TestPartedTellsOfAPollThatWasDue(t *testing.T) {
	m := New(ConsumerConfig(time.Minute, 1))
	m.Discovered(start, responses(start, "a", "b"), nil)
	now := start.Add(time.Minute)
	m.Up(start, "a")
	m.Up(start, "b")
	m.Parted(now, "a")
	m.Up(now, "a")
	if _, ok := m.NextPoll(); ok {
		t.Error("a poll is due although no nsqd is lost")
	}
	for range 100 { // the first poll after a loss of its own may be due later or earlier
		if !m.Parted(now, "b") {
			t.Error("the owner is not told")
		}
		m.Up(now, "b")
	}
}

// N12: the losses of very many nsqds at once change the schedule of polls a few times
// only, so that its owner looks at it as often.
func TestManyPartAtOnce(t *testing.T) {
	const n = 50_000
	m := New(ConsumerConfig(time.Minute, 1))
	addrs := make([]string, n)
	for i := range addrs {
		addrs[i] = fmt.Sprint(i)
	}
	m.Discovered(start, responses(start, addrs...), nil)
	changes := 0
	for _, addr := range addrs {
		if m.Parted(start.Add(time.Minute), addr) {
			changes++
		}
	}
	if changes == 0 || changes > 50 {
		t.Errorf("%d changes of the schedule, want a few", changes)
	}
}
