package fleet

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestStorm is N1: 1,000 consumers of ten nsqds lose one of them at the same time. It
// counts the polls that they make ahead of schedule, until the nsqd has registered again
// and all have dialled it. They do so within 0.7 s of the registration if it was away for
// 30 s at most, which leaves time for the dial and for nsqd's output buffer. After a
// longer absence it takes a tenth of the time beyond 30 s longer and, after three regular
// polls without the nsqd, a regular poll.
func TestStorm(t *testing.T) {
	const peak = 2000 // requests in a second, by 1,000 consumers
	for _, tt := range []struct {
		away, back time.Duration
		total      int
	}{
		{0, 700 * ms, 2_000},
		{2 * s, 700 * ms, 5_000},
		{10 * s, 700 * ms, 19_000},
		{30 * s, 700 * ms, 55_000},
		{2 * time.Minute, 10 * s, 90_000},
		{time.Hour, time.Minute, 95_000},
	} {
		var asked []time.Duration
		var back time.Duration
		for i := range 1000 {
			c := newStormy(i)
			back = max(back, c.live(tt.away)-tt.away)
			asked = append(asked, c.asked...)
		}
		most := busiestSecond(asked)
		t.Logf("away for %v: %d requests, at most %d in a second; all back within %v",
			tt.away, len(asked), most, back.Round(ms))
		if most > peak || len(asked) > tt.total {
			t.Errorf("away for %v: %d requests in a second and %d in all, want at most %d and %d",
				tt.away, most, len(asked), peak, tt.total)
		}
		if back > tt.back {
			t.Errorf("away for %v: the last consumer dialled %v after the registration", tt.away, back)
		}
	}
}

// busiestSecond returns the most times within any second.
func busiestSecond(at []time.Duration) (most int) {
	slices.Sort(at)
	first := 0
	for i := range at {
		for at[i]-at[first] >= s {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// stormy is one consumer, whose nsqlookupd responds at once.
type stormy struct {
	m       *Machine
	lost    time.Time       // when it loses the last of ten nsqds
	regular time.Time       // its next regular poll, at a time of its own
	asked   []time.Duration // when it polled ahead of schedule, since lost
}

func newStormy(i int) *stormy {
	c := &stormy{m: New(ConsumerConfig(time.Minute, uint64(i)))} // #nosec G115 -- small
	c.discover(start, 10)
	for _, addr := range c.m.Take(start, nil) {
		c.m.Up(start, addr)
	}
	c.lost = start.Add(time.Hour)
	c.regular = c.lost.Add(time.Duration(i) * time.Minute / 1000)
	return c
}

// discover reports a response that lists n nsqds.
func (c *stormy) discover(now time.Time, n int) {
	w := Responses{Responded: now, Complete: true}
	for i := range n {
		w.Listed = append(w.Listed, Listing{fmt.Sprint(i), now})
	}
	c.m.Discovered(now, w, nil)
}

// live loses the nsqd, which registers again when it was away for that long. It returns
// when the consumer then dials it, since the loss.
func (c *stormy) live(away time.Duration) time.Duration {
	c.m.Lost(c.lost, "9", Broken)
	for {
		now := c.regular
		for _, next := range []func() (time.Time, bool){c.m.Next, c.m.NextPoll} {
			if due, ok := next(); ok && due.Before(now) {
				now = due
			}
		}
		since := now.Sub(c.lost)
		if len(c.m.Take(now, nil)) > 0 {
			return since
		}
		ahead := c.m.Poll(now)
		if ahead {
			c.asked = append(c.asked, since)
		}
		if now.Equal(c.regular) {
			c.regular = now.Add(time.Minute)
		}
		if since >= away {
			c.discover(now, 10)
		} else {
			c.discover(now, 9)
		}
	}
}
