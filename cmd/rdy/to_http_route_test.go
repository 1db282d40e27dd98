package main

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
)

func newRouter(mode string, destinations int) *router {
	r := &router{mode: mode}
	for range destinations {
		r.destinations = append(r.destinations, new(destination))
	}
	return r
}

// failed is the failure of a request that should be tried again.
var failed = &httpFailure{why: "503"}

func TestRoundRobin(t *testing.T) {
	r := newRouter(modeRoundRobin, 3)
	var got []int
	for range 7 {
		i := r.pick(time.Time{}, false)
		r.done(i, failed, time.Time{})
		got = append(got, i)
	}
	if !slices.Equal(got, []int{0, 1, 2, 0, 1, 2, 0}) {
		t.Errorf("got %v", got)
	}
}

// Targets that work share the requests by how many each has under way.
func TestLeastFailingSpreads(t *testing.T) {
	r := newRouter(modeLeastFailing, 3)
	slow := r.pick(time.Time{}, false) // and it never comes back
	counts := make([]int, 3)
	for range 30 {
		i := r.pick(time.Time{}, false)
		counts[i]++
		r.done(i, nil, time.Time{})
	}
	if counts[slow] != 0 || counts[(slow+1)%3]+counts[(slow+2)%3] != 30 || counts[(slow+1)%3] < 10 || counts[(slow+2)%3] < 10 {
		t.Errorf("got %v, %d is slow", counts, slow)
	}
}

// A destination that fails gets one request at a time, after a pause, until it works again.
func TestLeastFailingProbes(t *testing.T) {
	r := newRouter(modeLeastFailing, 2)
	now := time.Unix(0, 0)
	down := true
	send := func(n int) (toFirst int) {
		for range n {
			i := r.pick(now, false)
			var f *httpFailure
			if i == 0 {
				toFirst++
				if down {
					f = failed
				}
			}
			r.done(i, f, now)
		}
		return toFirst
	}
	if got := send(100); got != 1 {
		t.Errorf("%d of 100 requests went to a destination that failed at once", got)
	}
	for range 100 {
		now = now.Add(failingPause)
		if got := send(100); got != 1 {
			t.Fatalf("%d of 100 requests went to a destination that fails, want one that probes it", got)
		}
	}
	now = now.Add(failingPause)
	if i := r.pick(now, true); i != 1 {
		t.Error("a retry is a probe")
	} else {
		r.done(i, nil, now)
	}
	if i, j := r.pick(now, false), r.pick(now, false); i != 0 || j != 1 {
		t.Errorf("got %d and %d, want one probe at a time", i, j)
	} else {
		r.done(i, failed, now)
		r.done(j, nil, now)
	}
	down = false
	for range 10 {
		now = now.Add(failingPause)
		send(1)
		send(1)
	}
	if got := send(100); got < 40 || got > 60 || r.destinations[0].suspect() {
		t.Errorf("%d of 100 requests went to the destination that works again", got)
	}
}

// If all fail, messages go to the one that fails least. Refusals say nothing about a server.
func TestLeastFailingWhenAllFail(t *testing.T) {
	r := newRouter(modeLeastFailing, 2)
	now := time.Unix(0, 0)
	r.done(r.pick(now, false), failed, now)
	r.done(r.pick(now, false), failed, now)
	r.destinations[0].failing = 0.9
	if i := r.pick(now, false); i != 1 {
		t.Errorf("got %d", i)
	}
	r = newRouter(modeLeastFailing, 2)
	for _, f := range []*httpFailure{{refused: true}, {cut: true}} {
		r.done(r.pick(now, false), f, now)
		if r.destinations[0].suspect() || r.destinations[1].suspect() {
			t.Errorf("a destination is a suspect after %+v", f)
		}
	}
}

func TestPartial(t *testing.T) {
	p := newPartial()
	key := func(i int) deliveryKey { return deliveryKey{nsqd: fmt.Sprint(i)} }
	p.add(key(0), 0)
	if len(p.has) != 0 {
		t.Error("a message that no destination has is remembered")
	}
	p.add(key(0), 1)
	p.add(key(0), 4)
	if got := p.of(key(0)); got != 5 {
		t.Errorf("got %b", got)
	}
	p.forget(key(0))
	if got := p.of(key(0)); got != 0 {
		t.Errorf("got %b", got)
	}
	for i := range 3 * maxPartial {
		p.add(key(i), 2)
	}
	if len(p.has) > maxPartial || len(p.ring) > maxPartial {
		t.Errorf("%d messages are remembered, in a ring of %d", len(p.has), len(p.ring))
	}
	if p.of(key(3*maxPartial-1)) != 2 || p.of(key(2*maxPartial)) != 2 {
		t.Error("one of the latest messages is forgotten")
	}
}

// The sample has the share that was asked for, and a message is in it or not, whatever its
// attempt.
func TestInSample(t *testing.T) {
	const n = 10_000
	for _, share := range []float64{0, 0.1, 0.5, 0.99, 1} {
		chosen := 0
		for i := range n {
			m := nsq.NewMessage(nsq.MessageID(fmt.Appendf(nil, "%016x", i)), nil)
			first := inSample(m, share)
			m.Attempts++
			if inSample(m, share) != first {
				t.Fatal("the sample depends on the attempt")
			}
			if first {
				chosen++
			}
		}
		if got := float64(chosen) / n; math.Abs(got-share) > 0.02 || (share == 0 || share == 1) && got != share {
			t.Errorf("got a share of %v, want %v", got, share)
		}
	}
}

// A key that was forgotten and added again, because the FIN of its message was lost, is as
// young as when it was added last.
func TestPartialAddsAgain(t *testing.T) {
	p := newPartial()
	key := func(i int) deliveryKey { return deliveryKey{nsqd: fmt.Sprint(i)} }
	p.add(key(0), 1)
	p.forget(key(0))
	for i := range maxPartial - 2 {
		p.add(key(i+1), 1)
	}
	p.add(key(0), 2)
	p.add(key(maxPartial), 1) // in the place of the oldest
	if got := p.of(key(0)); got != 2 {
		t.Errorf("got %b, want 10", got)
	}
	if n := len(p.has); n != maxPartial {
		t.Errorf("%d messages remembered, want %d", n, maxPartial)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 30, 1, 2, 3, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"":                              0,
		"soon":                          0,
		"-5":                            0,
		"1.5":                           0,
		"0":                             minRetryAfter,
		"30":                            30 * time.Second,
		"86400":                         maxRetryAfter,
		"18446744073709551615":          maxRetryAfter,
		"99999999999999999999":          0,
		"Mon, 30 Nov 2026 01:03:03 GMT": time.Minute,
		"Mon, 30 Nov 2026 01:02:00 GMT": minRetryAfter,
		"Tue, 30 Nov 2027 01:02:00 GMT": maxRetryAfter,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("%q: got %v, want %v", header, got, want)
		}
	}
}

func TestLatencies(t *testing.T) {
	var l latencies
	if l.mean() != 0 || l.quantile(0.95) != 0 {
		t.Error("durations without a request")
	}
	for i := range 1000 {
		l.add(time.Duration(i+1) * time.Millisecond)
	}
	l.add(0) // counts as 8 ns
	for _, q := range []float64{0.5, 0.95, 0.99, 1} {
		exact := time.Duration(q*1000) * time.Millisecond
		if got := l.quantile(q); got < exact-time.Millisecond || got > exact*9/8 {
			t.Errorf("quantile %v: got %v, want %v or up to an eighth more", q, got, exact)
		}
	}
	if got := l.mean(); got < 499*time.Millisecond || got > 501*time.Millisecond {
		t.Errorf("got a mean of %v", got)
	}
}
