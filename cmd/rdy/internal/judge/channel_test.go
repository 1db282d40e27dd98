package judge

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/admin"
)

// A channel of which nothing is finished any more is stuck after five polls, and stays so for five
// polls after something is.
func TestStuck(t *testing.T) {
	s := newStory(t, 1)
	work := func() { s.on(0).flow(50, 50) }
	s.polls(20, work)
	s.want()
	stop := func() { s.on(0).flow(50, 0) }
	s.polls(4, stop)
	s.want()
	s.poll(stop)
	s.want("critical stuck orders/billing: nothing finished for 10 s, 250 wait")
	if c := s.channel(); c.State != Stuck || c.Level != Critical || !c.Since.Equal(s.at.Add(-10*time.Second)) || c.Drain.Kind != DrainsNever {
		t.Errorf("channel %+v", c)
	}
	if p := s.report.Problems[0]; strings.Join(p.Command, " ") != "channel describe orders billing" || !strings.Contains(p.Advice, "250 messages wait and 1 connection holds 0") {
		t.Errorf("problem %+v", p)
	}
	s.polls(165, stop)
	s.want("critical stuck orders/billing: nothing finished for 5 min 40 s, 8,500 wait")
	s.polls(4, func() { s.on(0).flow(50, 2050) })
	if c := s.channel(); c.State != Stuck {
		t.Errorf("ended after four polls: %+v", c)
	}
	s.poll(func() { s.on(0).flow(50, 2050) })
	s.want("critical stuck orders/billing: was stuck for 5 min 42 s")
	s.polls(29, work)
	s.want("critical stuck orders/billing: was stuck for 5 min 42 s")
	s.poll(work)
	s.want()
	s.wantEvents([]string{"stuck orders/billing"}, []string{"stuck orders/billing"})
}

// A consumer that finishes every 30 seconds is not stuck, neither at the beginning nor later. When
// it stops, it is after twice that time.
func TestBurstsAreNotStuck(t *testing.T) {
	s := newStory(t, 1)
	polls := 0
	bursts := func() {
		polls++
		s.on(0).flow(50, 0)
		if polls%15 == 0 {
			s.on(0).flow(0, 750)
		}
	}
	s.polls(15*20, bursts)
	s.polls(29, func() { s.on(0).flow(50, 0) })
	s.wantEvents(nil, nil)
	s.poll(func() { s.on(0).flow(50, 0) })
	s.wantEvents([]string{"stuck orders/billing"}, nil)
}

// A consumer that was never seen to finish is stuck after a minute.
func TestStuckFromTheBeginning(t *testing.T) {
	s := newStory(t, 1)
	s.polls(30, func() { s.on(0).flow(5, 0) })
	s.wantEvents(nil, nil)
	s.poll(func() { s.on(0).flow(5, 0) })
	s.want("critical stuck orders/billing: nothing finished for 1 min, 155 wait")
}

// Messages that come when nothing was there to be finished do not make a channel stuck, and neither
// do deferred ones, nor one that is paused or has no clients.
func TestNotStuck(t *testing.T) {
	s := newStory(t, 1)
	s.polls(10, func() { s.on(0).flow(5, 5) })
	s.polls(100, nil)
	s.on(0).Deferred, s.on(0).Messages = 10, s.on(0).Messages+10
	s.polls(100, nil)
	s.polls(2, func() { s.on(0).flow(5, 0) })
	s.on(0).Paused = true
	s.polls(100, nil)
	s.want("by choice paused orders/billing: paused, 10 wait")
	s.on(0).Paused = false
	s.polls(2, nil)
	s.wantEvents(nil, nil)
}

// A consumer that requeues all that it gets is not stuck.
func TestRequeuingIsNotStuck(t *testing.T) {
	s := newStory(t, 1)
	s.polls(20, func() { s.on(0).flow(50, 50) })
	s.polls(40, func() { s.on(0).flow(50, 0); s.on(0).Requeued += 30 })
	s.wantEvents([]string{"retrying orders/billing"}, nil)
	s.want("warning retrying orders/billing: 100 % requeued, never drains")
}

// Counts waver by a few messages, because nsqd does not read them at one instant. That is no
// progress.
func TestStuckWithWaveringCounts(t *testing.T) {
	s := newStory(t, 1)
	s.polls(20, func() { s.on(0).flow(500, 500) })
	n := 0
	s.polls(30, func() {
		s.on(0).flow(500, 0)
		n++
		s.on(0).Depth += int64(n%3) - int64((n+2)%3)
	})
	s.wantEvents([]string{"stuck orders/billing"}, nil)
	if r := s.channel().Rates; r.Finished > 0.5 {
		t.Errorf("rates %+v", r)
	}
}

func TestOrphan(t *testing.T) {
	s := newStory(t, 2)
	s.polls(10, func() { s.on(0).flow(10, 10); s.on(1).flow(10, 10) })
	s.on(0).ClientCount, s.on(1).ClientCount = 0, 0
	grow := func() { s.on(0).flow(406*2, 0); s.on(1).flow(406*2, 0) }
	s.polls(4, grow)
	s.want()
	s.poll(grow)
	s.want("warning orphan orders/billing: no clients, grows 812/s")
	s.on(0).DiskDepth = 5
	s.poll(nil)
	s.polls(9, nil)
	s.want("critical orphan orders/billing: no clients, 8,120 wait, on disk")
	if c := s.channel(); c.Drain.Kind != NoClients || c.Level != Critical {
		t.Errorf("channel %+v", c)
	}
	s.on(0).ClientCount = 1
	s.polls(5, func() { s.on(0).flow(0, 1000); s.on(1).flow(0, 1000) })
	if s.channel().State == Orphan {
		t.Error("still an orphan")
	}
	s.want("critical orphan orders/billing: was an orphan for 30 s")
}

// Where rdy keeps dead letters, there are no clients until somebody looks: that is no problem.
func TestDeadLettersAreNoOrphan(t *testing.T) {
	s := newStory(t, 1)
	dead := s.nsqds[0].channel(Name{"orders.billing.dead", "rdy-dead"})
	dead.ClientCount = 0
	s.polls(50, func() { dead.flow(10, 0); dead.DiskDepth = dead.Depth / 2 })
	s.want()
	s.wantEvents(nil, nil)
	if topics := s.report.Topics; len(topics) != 1 || topics[0].Level != Fine || topics[0].Waiting != 500 {
		t.Errorf("topics %+v", topics)
	}
}

// A share that is too high begins a problem, also at a low rate. A single burst of requeues does
// not.
func TestRetrying(t *testing.T) {
	for _, tc := range []struct {
		name     string
		do       func(c *fakeChannel, poll int)
		polls    int
		problems []string
	}{
		{"requeued", func(c *fakeChannel, _ int) { c.flow(69, 69); c.Requeued += 31 }, 20, []string{"warning retrying orders/billing: 31 % requeued"}},
		{"few", func(c *fakeChannel, _ int) { c.flow(96, 96); c.Requeued += 4 }, 50, nil},
		{"timed out", func(c *fakeChannel, _ int) { c.flow(98, 98); c.TimedOut += 2 }, 20, []string{"warning retrying orders/billing: 2 % timed out"}},
		{"both", func(c *fakeChannel, _ int) { c.flow(80, 80); c.Requeued += 18; c.TimedOut += 2 }, 20, []string{"warning retrying orders/billing: 18 % requeued, 2 % timed out"}},
		{"once", func(c *fakeChannel, poll int) {
			c.flow(50, 50)
			if poll%12 == 11 {
				c.Requeued += 500
			}
		}, 60, nil},
		{"slow", func(c *fakeChannel, poll int) {
			if poll%2 == 0 {
				c.flow(2, 2)
				c.Requeued++
			}
		}, 60, []string{"warning retrying orders/billing: 33 % requeued"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStory(t, 1)
			poll := 0
			s.polls(tc.polls, func() { tc.do(s.on(0), poll); poll++ })
			s.want(tc.problems...)
			if len(tc.problems) > 0 {
				// "rdy peek" takes other flags than those of a cluster.
				if c := strings.Join(s.report.Problems[0].Command, " "); c != "channel describe orders billing" {
					t.Errorf("command %q", c)
				}
				s.polls(10, func() { s.on(0).flow(1000, 1000) })
				if len(s.ended) != 1 {
					t.Errorf("ended %q", s.ended)
				}
			}
		})
	}
}

// At two messages a second, ten seconds tell little of a share: 4 % of requeues never look like
// more than 5 %, and 15 % are found within minutes and do not come and go.
func TestRetryingAtALowRate(t *testing.T) {
	for share, began := range map[float64][]string{0.04: nil, 0.15: {"retrying orders/billing"}} {
		s := newStory(t, 1)
		random := rand.New(rand.NewPCG(1, 2))
		trickle := func() {
			for range 4 {
				if random.Float64() < share {
					s.on(0).Requeued++
				} else {
					s.on(0).flow(1, 1)
				}
			}
		}
		s.polls(150, trickle)
		s.wantEvents(began, nil)
		s.polls(20_000, trickle)
		s.wantEvents(began, nil)
		s.polls(29, nil)
		s.wantEvents(began, nil)
		s.polls(6, nil) // a minute without messages ends it
		s.wantEvents(began, began)
	}
}

// Deliveries that all time out are counted, although nothing is finished.
func TestAllTimesOut(t *testing.T) {
	s := newStory(t, 1)
	s.on(0).flow(10, 0)
	s.polls(20, func() { s.on(0).TimedOut += 10 })
	s.wantEvents([]string{"retrying orders/billing"}, nil)
	s.want("warning retrying orders/billing: 100 % timed out")
}

// A backlog that grows for five minutes is a problem. One that is drained in between is none.
func TestGrowing(t *testing.T) {
	s := newStory(t, 1)
	grow := func() { s.on(0).flow(118*2, 84*2) }
	s.polls(150, grow)
	s.wantEvents(nil, nil)
	s.polls(50, grow)
	s.wantEvents([]string{"growing orders/billing"}, nil)
	if !strings.Contains(s.problems()[0], "grows 34/s, never drains, 13,600 wait") || !s.channel().Growing() {
		t.Errorf("%q", s.problems())
	}
	s.polls(10, func() { s.on(0).flow(100, 3000) })
	s.wantEvents([]string{"growing orders/billing"}, []string{"growing orders/billing"})

	s = newStory(t, 1)
	n := 0
	s.polls(900, func() { // jobs that come every ten minutes
		if n++; n%300 == 0 {
			s.on(0).flow(50_000, 0)
		}
		s.on(0).flow(10, 400)
	})
	s.wantEvents(nil, nil)
}

// What has gathered while there were no clients says nothing of those that have come.
func TestNotGrowing(t *testing.T) {
	s := newStory(t, 1)
	work := func() { s.on(0).flow(100, 100) }
	s.polls(10, work)
	s.on(0).ClientCount = 0
	s.polls(180, func() { s.on(0).flow(100, 0) })
	s.on(0).ClientCount = 1
	s.polls(140, func() { s.on(0).flow(100, 99) })
	s.wantEvents([]string{"orphan orders/billing"}, []string{"orphan orders/billing"})
	s.polls(20, func() { s.on(0).flow(100, 99) })
	s.wantEvents([]string{"orphan orders/billing", "growing orders/billing"}, []string{"orphan orders/billing"})
}

func TestDraining(t *testing.T) {
	s := newStory(t, 1)
	s.on(0).flow(20_000, 0)
	s.polls(10, func() { s.on(0).flow(192, 662) })
	s.want("notice draining orders/billing: 15,300 wait, drains in 1 min 6 s")
	if len(s.began) != 0 {
		t.Errorf("a notice began as a problem: %q", s.began)
	}
}

func TestPaused(t *testing.T) {
	s := newStory(t, 2)
	s.polls(3, func() { s.on(0).flow(2, 2); s.on(1).flow(2, 2) })
	s.on(1).Paused = true
	s.poll(func() { s.on(1).flow(940, 0) })
	s.want("by choice paused orders/billing: paused, 940 wait")
	if c := s.channel(); c.Drain.String() != "paused" || s.report.Cluster.ChannelsNeedYou != 0 {
		t.Errorf("channel %+v", c)
	}
	s.on(1).Paused = false
	s.poll(func() { s.on(1).flow(0, 940) })
	s.want()
}

// What is deleted from a channel is told from what is finished.
func TestEmptied(t *testing.T) {
	for _, tc := range []struct {
		name    string
		do      func(c *fakeChannel)
		emptied bool
	}{
		{"clients at work", func(c *fakeChannel) { c.Depth = 3 }, true},
		{"a little", func(c *fakeChannel) { c.Depth -= 400 }, false},
		{"new clients", func(c *fakeChannel) { c.Depth, c.ClientCount = 3, 9 }, false},
		{"no clients", func(c *fakeChannel) { c.ClientCount = 0; c.Depth += 10 }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStory(t, 1)
			s.on(0).flow(50_000, 0)
			s.polls(20, func() { s.on(0).flow(100, 100) })
			s.poll(func() { tc.do(s.on(0)) })
			if got := s.channel().State == Emptied; got != tc.emptied {
				t.Errorf("%q", s.problems())
			}
			if !tc.emptied {
				return
			}
			s.want("notice emptied orders/billing: emptied of about 49,997")
			if s.channel().Rates != nil {
				t.Errorf("rates %+v", s.channel().Rates)
			}
			s.polls(149, func() { s.on(0).flow(100, 100) })
			s.want("notice emptied orders/billing: emptied of about 49,997")
			if r := s.channel().Rates; r.Finished != 50 {
				t.Errorf("rates %+v", r)
			}
			s.poll(nil)
			s.want()
		})
	}
	t.Run("stuck", func(t *testing.T) {
		s := newStory(t, 1)
		s.polls(60, func() { s.on(0).flow(100, 0) })
		s.poll(func() { s.on(0).Depth = 0 })
		if !s.judge.channels[billing].emptied.Equal(s.at) {
			t.Errorf("%q", s.problems())
		}
		s.polls(5, nil)
		s.wantEvents([]string{"stuck orders/billing"}, []string{"stuck orders/billing"})
	})
	t.Run("paused on one nsqd", func(t *testing.T) {
		s := newStory(t, 2)
		s.on(0).Paused = true
		s.on(1).flow(1000, 0)
		s.polls(10, func() { s.on(1).flow(10, 60) })
		if !s.judge.channels[billing].emptied.IsZero() {
			t.Error("emptied")
		}
	})
	t.Run("paused", func(t *testing.T) {
		s := newStory(t, 1)
		*s.on(0) = fakeChannel{ChannelCounts: admin.ChannelCounts{Depth: 40, InFlight: 5, Messages: 45, ClientCount: 1, Paused: true}}
		s.polls(3, nil)
		s.poll(func() { s.on(0).InFlight = 0 }) // what was in flight is finished
		if !s.judge.channels[billing].emptied.IsZero() {
			t.Error("emptied")
		}
		s.poll(func() { s.on(0).Depth = 0 })
		s.want("notice emptied orders/billing: emptied of about 40")
	})
}

func TestSkewed(t *testing.T) {
	s := newStory(t, 3)
	s.on(0).flow(9000, 0)
	s.on(1).flow(100, 0)
	s.on(2).flow(100, 0)
	s.polls(10, func() {
		for i := range 3 {
			s.on(i).flow(50, 50)
		}
	})
	s.want("warning skewed orders/billing: 9,000 of 9,200 wait on nsqd-1:4151")
	if c := s.channel(); c.Skew != 90 {
		t.Errorf("skew %v", c.Skew)
	}
	s.on(1).Depth, s.on(2).Depth = 0, 0
	if s.poll(nil); s.channel().Skew != 9000 || s.channel().State != Skewed {
		t.Errorf("skew %v", s.channel().Skew)
	}
	s.on(1).Depth, s.on(2).Depth = 100, 100
	s.polls(5, func() { s.on(0).Depth = 250 })
	if s.channel().State == Skewed {
		t.Error("still skewed")
	}
}

// Rates are the mean of five polls, whatever the time between them.
func TestRates(t *testing.T) {
	s := newStory(t, 2)
	s.poll(func() { s.on(0).flow(5, 5); s.on(1).flow(5, 5) })
	if c := s.channel(); c.Rates != nil || c.Drain.String() != "empty" || s.report.Cluster.RatesKnown {
		t.Errorf("channel %+v", c)
	}
	for _, step := range []time.Duration{time.Second, 5 * time.Second, 100 * time.Millisecond, 3 * time.Second, 900 * time.Millisecond} {
		s.step = step
		s.poll(func() {
			n := int64(step / (10 * time.Millisecond))
			s.on(0).flow(n, n)
			s.on(1).flow(n, n/2)
		})
		if r := s.channel().Rates; !near(r.In, 200) || !near(r.Finished, 150) || !near(r.Growth, 50) {
			t.Errorf("after %v: rates %+v", step, r)
		}
	}
	s.step = 0
	s.poll(nil)
	if r := s.channel().Rates; !near(r.In, 200) {
		t.Errorf("rates %+v after no time", r)
	}
	s.step = -time.Minute
	s.poll(nil)
	s.step = time.Second
	s.polls(5, func() { s.on(0).flow(10, 10) })
	if r := s.channel().Rates; !near(r.In, 10) {
		t.Errorf("rates %+v after the clock was set back", r)
	}
	c := s.report.Cluster
	if !near(c.In, 10) || !near(c.Finished, 10) || !near(c.Published, 10) || c.Clients != 2 || c.Waiting != s.channel().Depth || c.NSQDs != 2 {
		t.Errorf("cluster %+v", c)
	}
}

func near(a, b float64) bool { return a > b-0.01 && a < b+0.01 }

// The history has a point for each minute.
func TestHistory(t *testing.T) {
	s := newStory(t, 1)
	s.on(0).flow(1000, 0)
	s.polls(60, func() { s.on(0).flow(20, 10) })
	h := s.channel().History
	if h.Depth[Points-4] != -1 || h.Depth[Points-3] != 1290 || h.Depth[Points-2] != 1590 || h.Depth[Points-1] != 1600 {
		t.Errorf("depth %v", h.Depth)
	}
	if !near(h.In[Points-2], 10) || !near(h.Finished[Points-2], 5) {
		t.Errorf("in %v, finished %v", h.In, h.Finished)
	}
	s.step = 10 * time.Minute
	s.poll(nil)
	if h = s.channel().History; h.Depth[Points-1] != 1600 || h.Depth[Points-2] != -1 || h.Depth[Points-11] != 1600 || h.Depth[Points-12] != 1590 {
		t.Errorf("depth %v", h.Depth)
	}
	s.step = 2 * time.Hour
	s.poll(nil)
	if h = s.channel().History; h.Depth[Points-1] != 1600 || h.Depth[0] != -1 || h.Depth[Points-11] != -1 {
		t.Errorf("depth %v", h.Depth)
	}
}

func TestDrain(t *testing.T) {
	for _, tc := range []struct {
		counts       admin.ChannelCounts
		in, finished float64
		want         string
	}{
		{admin.ChannelCounts{}, 0, 0, "empty"},
		{admin.ChannelCounts{InFlight: 1, ClientCount: 1}, 0, 0, "keeps up"},
		{admin.ChannelCounts{Depth: 10, ClientCount: 1}, 5, 0, "keeps up"},
		{admin.ChannelCounts{Depth: 11, ClientCount: 1}, 5, 5, "never"},
		{admin.ChannelCounts{Depth: 200, ClientCount: 1}, 100, 5, "keeps up"},
		{admin.ChannelCounts{Depth: 7_800, ClientCount: 1}, 100, 200, "1 min 18 s"},
		{admin.ChannelCounts{Depth: 10_000_000, ClientCount: 1}, 0, 1, "> 30 d"},
		{admin.ChannelCounts{Depth: 1, ClientCount: 1, Paused: true}, 0, 0, "paused"},
		{admin.ChannelCounts{Depth: 1}, 0, 0, "no clients"},
	} {
		if got := DrainOf(tc.counts, tc.in, tc.finished).String(); got != tc.want {
			t.Errorf("%+v: got %q, want %q", tc, got, tc.want)
		}
	}
}

// A Drain read from JSON is the one that was written, to the nanosecond.
func TestDrainJSON(t *testing.T) {
	for _, d := range []time.Duration{0, 1, 539933333333, longestDrain - 1, longestDrain} {
		want := Drain{Kind: DrainsIn, Time: d}
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Drain
		if err := json.Unmarshal(text, &got); err != nil || got != want {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
}
