package judge

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/admin"
)

// An nsqd that does not respond is missing. What it has counted is missing from the figures, and no
// channel problem begins or ends by that.
func TestMissing(t *testing.T) {
	s := newStory(t, 3)
	work := func() {
		for i := range 3 {
			s.on(i).flow(50, 45)
		}
	}
	s.polls(10, work)
	other := s.nsqds[0].channel(Name{"clicks", "rollup"})
	s.polls(10, work)
	s.nsqds[2].down = true
	s.poll(work)
	s.want()
	c := s.channel()
	if !c.Lower || c.Depth != 210 || c.Rates == nil || !near(c.Rates.In, 50) || !s.report.Cluster.Lower || s.report.Cluster.NSQDs != 2 || s.report.Cluster.KnownNSQDs != 3 {
		t.Errorf("channel %+v, rates %+v, cluster %+v", c, c.Rates, s.report.Cluster)
	}
	if row := s.report.Channels[0]; row.Topic != "clicks" || row.Lower {
		t.Errorf("channel %+v", row)
	}
	s.polls(20, func() { work(); other.flow(1, 1) })
	s.want("critical missing nsqd-3:4151: no response for 42 s (connection refused), 100 last seen there")
	if p := s.report.Problems[0]; p.Kind != OfNSQD || !strings.Contains(p.Advice, "nsqd-3:4151") || s.report.Cluster.DaemonsNeedYou != 1 {
		t.Errorf("problem %+v", p)
	}
	s.nsqds[2].down = false
	s.poll(work)
	if c := s.channel(); c.Lower || c.Rates != nil {
		t.Errorf("channel %+v", c)
	}
	s.polls(4, work)
	if c := s.channel(); !near(c.Rates.In, 75) {
		t.Errorf("rates %+v", c.Rates)
	}
	s.want("critical missing nsqd-3:4151: was missing for 44 s")
	s.wantEvents([]string{"missing nsqd-3:4151"}, []string{"missing nsqd-3:4151"})
}

// An nsqd that nsqlookupd does not list any more is still missing, for an hour.
func TestVanished(t *testing.T) {
	s := newStory(t, 2).withLookupds(1)
	s.polls(10, func() { s.on(0).flow(1, 1); s.on(1).flow(1, 1) })
	s.nsqds[1].gone = true
	s.on(1).Depth = 7
	s.polls(21, nil)
	s.want("critical missing nsqd-2:4151: gone from nsqlookupd for 42 s")
	if !s.channel().Lower || s.report.Cluster.KnownNSQDs != 2 {
		t.Errorf("cluster %+v", s.report.Cluster)
	}
	s.step = time.Minute
	s.polls(60, nil)
	if s.report.Cluster.KnownNSQDs != 1 || s.channel().Lower {
		t.Errorf("cluster %+v", s.report.Cluster)
	}
	s.wantEvents([]string{"missing nsqd-2:4151"}, []string{"missing nsqd-2:4151"})
}

// An nsqd that runs on at another address is not missing at the old one.
func TestReplaced(t *testing.T) {
	s := newStory(t, 2).withLookupds(1)
	s.polls(5, func() { s.on(0).flow(1, 1); s.on(1).flow(1, 1) })
	view := func() *Report {
		s.at = s.at.Add(s.step)
		v := s.view()
		n := &v.NSQDs[1]
		n.Addr, n.Started = "10.0.0.7:4151", begin.Add(time.Minute)
		for i := range v.Topics[0].NSQDs {
			v.Topics[0].NSQDs[i].NSQD = strings.Replace(v.Topics[0].NSQDs[i].NSQD, "nsqd-2", "10.0.0.7", 1)
		}
		on := v.Topics[0].Channels[0].NSQDs
		on[1].NSQD = "10.0.0.7:4151"
		return s.judge.Add(v)
	}
	if r := view(); r.Cluster.KnownNSQDs != 2 || r.Channels[0].Lower {
		t.Errorf("cluster %+v", r.Cluster)
	}
}

// A channel whose only nsqd is missing stays in the report, with what is known of it.
func TestChannelOfMissingNSQD(t *testing.T) {
	s := newStory(t, 2)
	s.on(1).ClientCount = 0
	s.polls(10, func() { s.on(1).flow(5, 0) })
	s.want("warning orphan orders/billing: no clients, grows 2.5/s")
	s.nsqds[1].down = true
	s.polls(400, nil)
	if c := s.channel(); c.State != Orphan || !c.Lower || c.Depth != 0 || c.Drain.String() != "–" {
		t.Errorf("channel %+v", c)
	}
	s.nsqds[1].down = false
	s.on(1).ClientCount = 1
	s.poll(nil)
	s.polls(5, func() { s.on(1).flow(5, 100) })
	s.wantEvents([]string{"orphan orders/billing", "missing nsqd-2:4151"}, []string{"missing nsqd-2:4151", "orphan orders/billing"})
}

// A partial view begins what is true of the nsqds that respond, and ends nothing.
func TestPartialView(t *testing.T) {
	s := newStory(t, 2)
	work := func(in, out int64) func() {
		return func() { s.on(0).flow(in, out); s.on(1).flow(in, out) }
	}
	s.polls(20, work(50, 50))
	s.polls(10, work(50, 0))
	s.nsqds[1].down = true
	s.on(1).Depth = 0
	s.on(0).Depth = 0
	s.polls(20, work(0, 0))
	if s.channel().State != Stuck {
		t.Errorf("%q", s.problems())
	}
	s.polls(5, work(50, 50)) // something finishes: it is not stuck whatever the other nsqd says
	if s.channel().State == Stuck {
		t.Errorf("%q", s.problems())
	}
	s.on(0).ClientCount = 0
	s.polls(5, work(5, 0))
	if s.channel().State != Orphan {
		t.Errorf("%q", s.problems())
	}
}

// A cluster that does not respond at all changes nothing but the daemons' states.
func TestNothingResponds(t *testing.T) {
	s := newStory(t, 2).withLookupds(1)
	s.polls(20, func() { s.on(0).flow(5, 5); s.on(1).flow(5, 5) })
	s.polls(10, func() { s.on(0).flow(5, 0); s.on(1).flow(5, 0) })
	s.lookupds[0].down = true
	s.polls(10, nil)
	s.want(
		"critical missing lookup-1:4161: no response for 20 s (connection refused)",
		"critical stuck orders/billing: nothing finished for 20 s, 100 wait",
	)
	if c := s.report.Cluster; c.NSQDs != 0 || c.KnownNSQDs != 2 || c.Lookupds != 0 || c.KnownLookupds != 1 || !c.Lower {
		t.Errorf("cluster %+v", c)
	}
}

// An nsqd that restarts counts from 0. No rate is negative, and nothing is stuck or emptied.
func TestRestarted(t *testing.T) {
	s := newStory(t, 2)
	work := func() { s.on(0).flow(50, 48); s.on(1).flow(50, 48) }
	s.polls(20, work)
	s.restart(1)
	s.poll(nil)
	if s.channel().Rates != nil {
		t.Errorf("rates %+v", s.channel().Rates)
	}
	if s.report.Cluster.RatesKnown {
		t.Error("the rates of the cluster are known without those of its channel")
	}
	s.want("notice restarted nsqd-2:4151: restarted 0 s ago")
	s.poll(work)
	if !s.report.Cluster.RatesKnown {
		t.Error("the rates of the cluster are not known")
	}
	if r := s.channel().Rates; !near(r.In, 50) || !near(r.Finished, 48) {
		t.Errorf("rates %+v", r)
	}
	s.polls(148, func() { s.on(0).flow(50, 60); s.on(1).flow(50, 60) })
	s.want("notice restarted nsqd-2:4151: restarted 4 min 58 s ago")
	s.poll(nil)
	s.want()
	s.wantEvents(nil, nil)
}

// Consumers need a minute or two to find an nsqd that is new or has restarted.
func TestYoungNSQD(t *testing.T) {
	s := newStory(t, 2)
	s.nsqds[1].down = true
	s.polls(10, func() { s.on(0).flow(50, 50) })
	s.nsqds[1].down = false
	s.on(1).ClientCount = 0
	s.polls(60, func() { s.on(0).flow(50, 50); s.on(1).flow(5, 0) })
	s.wantEvents([]string{"missing nsqd-2:4151"}, []string{"missing nsqd-2:4151"})
	s.on(1).ClientCount = 1
	s.polls(10, func() { s.on(0).flow(50, 50); s.on(1).flow(5, 500) })
	s.restart(1)
	s.on(1).ClientCount = 0
	s.polls(60, func() { s.on(0).flow(50, 50); s.on(1).flow(5, 0) })
	s.wantEvents([]string{"missing nsqd-2:4151"}, []string{"missing nsqd-2:4151"})
	s.polls(6, func() { s.on(0).flow(50, 50); s.on(1).flow(5, 0) })
	s.wantEvents([]string{"missing nsqd-2:4151", "starved orders/billing"}, []string{"missing nsqd-2:4151"})
}

// A state that comes and goes begins no problem, and ends none.
func TestFlapping(t *testing.T) {
	s := newStory(t, 2)
	n := 0
	s.polls(40, func() { n++; s.nsqds[1].down = n%5 != 0 })
	s.wantEvents(nil, nil)
	s.nsqds[1].down = true
	s.polls(5, nil)
	s.polls(40, func() { n++; s.nsqds[1].down = n%5 == 0 })
	s.wantEvents([]string{"missing nsqd-2:4151"}, nil)
}

// States stand at the end of sentences.
func TestPredicate(t *testing.T) {
	for state, want := range map[State]string{Stuck: "stuck", Orphan: "an orphan", Disagree: "in disagreement", Mixed: "of mixed versions"} {
		if got := state.Predicate(); got != want {
			t.Errorf("%s: got %q, want %q", state, got, want)
		}
	}
}

// A problem that has ended is told as it was, also if the same may be about to begin again.
func TestResolvedAndBadAgain(t *testing.T) {
	s := newStory(t, 2)
	s.polls(5, nil)
	s.nsqds[1].down = true
	s.polls(6, nil)
	s.nsqds[1].down = false
	s.polls(5, nil)
	s.want("critical missing nsqd-2:4151: was missing for 14 s")
	s.nsqds[1].down = true
	s.polls(4, nil)
	s.want("critical missing nsqd-2:4151: was missing for 14 s")
	if p := s.report.Problems[0]; p.Ended.Sub(p.Since) != 22*time.Second {
		t.Errorf("from %v to %v", p.Since, p.Ended)
	}
	s.poll(nil)
	s.want("critical missing nsqd-2:4151: no response for 10 s (connection refused)")
}

// An address that never was one of an nsqd is soon forgotten when no nsqlookupd lists it any more,
// and then problems can end again.
func TestNeverHeard(t *testing.T) {
	s := newStory(t, 2).withLookupds(2)
	s.nsqds[1].down = true
	s.on(0).ClientCount = 0
	s.on(0).flow(100, 0)
	s.polls(10, nil)
	wrong := "critical missing nsqd-2:4151: no response (connection refused)"
	orphan := "warning orphan orders/billing: no clients, 100 wait"
	s.want(wrong, orphan)
	s.nsqds[1].gone = true
	s.on(0).ClientCount = 1
	s.lookupds[1].down = true
	s.polls(60, func() { s.on(0).flow(0, 100) })
	s.want(wrong, "warning missing lookup-2:4161: no response for 2 min (connection refused)")
	s.lookupds[1].down = false
	s.polls(6, nil)
	if n := s.report.Cluster.KnownNSQDs; n != 1 {
		t.Errorf("%d nsqds are known", n)
	}
	if s.report.Cluster.Lower {
		t.Error("figures are lower bounds")
	}
}

// An nsqlookupd that has not noticed that it lost an nsqd lists it twice. That counts once.
func TestListedTwice(t *testing.T) {
	nsqd := func(topics ...string) admin.Registration {
		return admin.Registration{Broadcast: "a", HTTPPort: 4151, Topics: topics}
	}
	for _, tc := range []struct {
		name     string
		lookupds []admin.Lookupd
		want     string
	}{
		{"one nsqlookupd", []admin.Lookupd{{Registered: []admin.Registration{nsqd("t"), nsqd("t", "u")}}}, ""},
		{"same", []admin.Lookupd{{Registered: []admin.Registration{nsqd("u"), nsqd("t", "u")}}, {Registered: []admin.Registration{nsqd("t", "u")}}}, ""},
		{"not listed", []admin.Lookupd{{Registered: []admin.Registration{nsqd("t"), nsqd("t")}}, {}}, "nsqlookupds disagree: a:4151 known to only some of them"},
		{"topic", []admin.Lookupd{{Registered: []admin.Registration{nsqd("t"), nsqd("t")}}, {Registered: []admin.Registration{nsqd("t", "u")}}}, "nsqlookupds disagree on the topics of a:4151"},
	} {
		if f := disagree(&admin.View{Lookupds: tc.lookupds}); f.text != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, f.text, tc.want)
		}
	}
}

func TestTimeout(t *testing.T) {
	text := "10.0.0.1:4151: GET /stats: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
	if got := shortReason(text); got != "timeout" {
		t.Errorf("got %q", got)
	}
}

func TestLookupds(t *testing.T) {
	s := newStory(t, 2).withLookupds(2)
	s.polls(10, func() { s.on(0).flow(1, 1); s.on(1).flow(1, 1) })
	s.want()
	s.nsqds[1].hidden = []int{1}
	s.polls(5, nil)
	s.want("warning disagree cluster: nsqlookupds disagree: nsqd-2:4151 known to only some of them")
	s.lookupds[1].down = true
	s.polls(5, nil)
	s.want(
		"warning missing lookup-2:4161: no response for 10 s (connection refused)",
		"warning disagree cluster: nsqlookupds disagree: nsqd-2:4151 known to only some of them",
	)
	s.lookupds[1].down, s.nsqds[1].hidden = false, nil
	s.polls(5, nil)
	s.wantEvents([]string{"disagree cluster", "missing lookup-2:4161"}, []string{"missing lookup-2:4161", "disagree cluster"})
}

func TestVersionsAndTombstones(t *testing.T) {
	s := newStory(t, 3).withLookupds(1)
	s.nsqds[1].version = "1.2.1"
	s.polls(5, func() { s.on(0).flow(1, 1) })
	s.want("notice mixed cluster: nsqds have different versions: 1.3.0 on 2, 1.2.1 on 1")
	s.nsqds[1].version = "1.3.0"
	s.nsqds[0].tombstoned, s.nsqds[1].tombstoned = []string{"orders"}, []string{"orders"} // the second does not have it
	s.polls(5, nil)
	s.want("notice tombstoned nsqd-1:4151: tombstoned for orders, which it has")
}

// Missing daemons come first, then the oldest of a level.
func TestOrderOfProblems(t *testing.T) {
	at := func(n int) time.Time { return begin.Add(time.Duration(n) * time.Second) }
	want := []Problem{
		{Level: Critical, State: Missing, Since: at(9)}, {Level: Critical, State: Stuck, Since: at(1)}, {Level: Critical, State: Orphan, Since: at(2)},
		{Level: Warning, State: Starved, Since: at(0)}, {Level: Notice, State: Draining, Since: at(0)}, {Level: ByChoice, State: Paused},
		{Level: Critical, State: Stuck, Ended: at(1)},
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareProblems)
	for i := range want {
		if got[i].State != want[i].State || got[i].Level != want[i].Level {
			t.Errorf("%d: got %+v, want %+v", i, got[i], want[i])
		}
	}
}
