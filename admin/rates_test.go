package admin

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// then polls again, as if after two seconds.
func (s *scene) then(c *Cluster, earlier *View) *View {
	s.Helper()
	later := s.poll(c)
	later.tookPlace(earlier.At.Add(2 * time.Second))
	return later
}

// tookPlace makes v a View of a Poll that took no time.
func (v *View) tookPlace(at time.Time) {
	v.At = at
	for i := range v.NSQDs {
		v.NSQDs[i].At = at
	}
}

// channelStat is a channel that has received messages of which some are not finished.
func channelStat(messages, depth, inFlight, deferred int) topicStats {
	return topicStats{Name: "t", MessageCount: uint64(messages), MessageBytes: uint64(10 * messages), Channels: []channelStats{{
		Name: "c", MessageCount: uint64(messages), Depth: int64(depth), InFlightCount: int64(inFlight), DeferredCount: int64(deferred),
	}}}
}

func TestRates(t *testing.T) {
	for name, test := range map[string]struct {
		before, after topicStats
		want          ChannelRates
		drain         time.Duration // -1: never
	}{
		"idle":     {channelStat(10, 0, 0, 0), channelStat(10, 0, 0, 0), ChannelRates{}, 0},
		"keeps up": {channelStat(10, 1, 1, 0), channelStat(110, 1, 1, 0), ChannelRates{In: 50, Finished: 50}, -1},
		"grows":    {channelStat(10, 0, 0, 0), channelStat(110, 40, 6, 4), ChannelRates{In: 50, Finished: 25, Growth: 25}, -1},
		"drains":   {channelStat(100, 80, 10, 10), channelStat(110, 20, 10, 10), ChannelRates{In: 5, Finished: 35, Growth: -30}, 4 * time.Second / 3},
		"drained":  {channelStat(100, 80, 10, 10), channelStat(100, 0, 0, 0), ChannelRates{Finished: 50, Growth: -50, Vanished: 100}, 0},
		"requeues": {channelStat(100, 80, 10, 10), channelStat(100, 70, 10, 20), ChannelRates{}, -1},
		"torn":     {channelStat(100, 80, 10, 10), channelStat(100, 81, 10, 10), ChannelRates{Growth: .5}, -1},
		"recreated": {channelStat(100, 80, 0, 0), channelStat(10, 4, 0, 0),
			ChannelRates{In: 5, Finished: 3, Growth: 2}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			c := s.cluster(nil, []string{"a:4151"})
			s.nsqd("a:4151", 1, test.before)
			earlier := s.poll(c)
			earlier.tookPlace(earlier.At)
			s.nsqd("a:4151", 1, test.after)
			r := Between(earlier, s.then(c, earlier))
			if r.Interval != 2*time.Second || r.Compared != 1 || len(r.Topics) != 1 || len(r.Channels) != 1 {
				t.Fatalf("%+v", r)
			}
			got := r.Channels[0]
			drain, ok := got.Drain()
			if ok != (test.drain >= 0) || ok && math.Abs(float64(drain-test.drain)) > 1000 {
				t.Errorf("drains in %v, %v, want %v", drain, ok, test.drain)
			}
			got.backlog = 0
			test.want.Topic, test.want.Channel = "t", "c"
			if got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
			published := float64(test.after.MessageCount - min(test.before.MessageCount, test.after.MessageCount))
			if name == "recreated" {
				published = float64(test.after.MessageCount)
			}
			if topic := r.Topics[0]; topic.Published != published/2 || topic.Bytes != published*5 {
				t.Errorf("%+v", topic)
			}
		})
	}
}

// An nsqd that has restarted, that does not respond or that is new does not count: its share
// would look like a burst or a fall.
func TestRatesLeaveOutRestarts(t *testing.T) {
	s := newScene(t)
	c := s.cluster(nil, []string{"a:4151", "b:4151"})
	s.nsqd("a:4151", 1, channelStat(100, 10, 0, 0))
	s.nsqd("b:4151", 1, channelStat(100, 10, 0, 0))
	earlier := s.poll(c)
	earlier.tookPlace(earlier.At)
	s.nsqd("a:4151", 1, channelStat(120, 10, 0, 0))
	s.nsqd("b:4151", 9, channelStat(5000, 10, 0, 0))
	later := s.then(c, earlier)
	want := ChannelRates{Topic: "t", Channel: "c", In: 10, Finished: 10, Restarted: true, backlog: 20}
	if r := Between(earlier, later); r.Compared != 1 || r.Channels[0] != want || r.Topics[0].Published != 10 {
		t.Errorf("%+v", r)
	}
	s.remove("b:4151")
	gone, err := c.Poll(t.Context())
	if err == nil {
		t.Fatal("no error")
	}
	gone.tookPlace(later.At.Add(time.Second))
	want = ChannelRates{Topic: "t", Channel: "c", backlog: 10}
	if r := Between(later, gone); r.Compared != 1 || r.Channels[0] != want {
		t.Errorf("%+v", r)
	}
	s.nsqd("b:4151", 9, channelStat(9000, 10, 0, 0))
	want.backlog = 20
	if r := Between(gone, s.then(c, gone)); r.Compared != 1 || r.Channels[0] != want {
		t.Errorf("%+v", r)
	}
}

// A topic or channel that is new has received all that it counts since the earlier View.
func TestRatesOfNewChannel(t *testing.T) {
	s := newScene(t)
	c := s.cluster(nil, []string{"a:4151"})
	s.nsqd("a:4151", 1)
	earlier := s.poll(c)
	earlier.tookPlace(earlier.At)
	s.nsqd("a:4151", 1, channelStat(20, 10, 0, 0))
	later := s.then(c, earlier)
	want := ChannelRates{Topic: "t", Channel: "c", In: 10, Finished: 5, Growth: 5, backlog: 10}
	if r := Between(earlier, later); r.Channels[0] != want || r.Topics[0].Published != 10 {
		t.Errorf("%+v", r)
	}
	want.In, want.Finished, want.Growth = 0, 0, 0
	if r := Between(later, later); r.Channels[0] != want {
		t.Errorf("no time has passed: %+v", r)
	}
}

// A daemon that hangs delays requests to others. That is no time in which they counted nothing.
func TestRatesAreOfTimeBetweenResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		l := s.lookupd("b")
		s.nsqd("a:4151", 1, channelStat(0, 0, 0, 0))
		s.nsqd("b:4151", 1)
		c := s.cluster([]string{"l:1"}, []string{"a:4151"})
		c.Parallel = 1
		earlier := s.poll(c)
		time.Sleep(2 * time.Second) //nolint:forbidigo // in a synctest bubble
		l.delay = 8 * time.Second
		s.nsqd("a:4151", 1, channelStat(100, 50, 0, 0))
		want := ChannelRates{Topic: "t", Channel: "c", In: 10, Finished: 5, Growth: 5, backlog: 50}
		if r := Between(earlier, s.poll(c)); r.Channels[0] != want || r.Topics[0].Published != 10 || r.Topics[0].Bytes != 100 {
			t.Errorf("%+v, want %+v", r, want)
		}
	})
}

// What the earlier View was not polled for is not new in the later one.
func TestRatesOfScope(t *testing.T) {
	s := newScene(t)
	old, other := channelStat(1000, 10, 0, 0), topicStats{Name: "u", MessageCount: 1000, Channels: []channelStats{{Name: "c", MessageCount: 1000}}}
	c := s.cluster(nil, []string{"a:4151", "b:4151"})
	for channel, want := range map[string][]string{"": {"c", "d"}, "c": {"c"}} {
		s.nsqd("a:4151", 1, old)
		if s.nsqd("b:4151", 1, old); channel != "" {
			s.nsqd("b:4151", 1) // it has the topic, and gets the channel later
		}
		earlier, err := c.PollClients(t.Context(), "t", channel)
		if err != nil {
			t.Fatal(err)
		}
		earlier.tookPlace(earlier.At)
		more := channelStat(1020, 10, 0, 0)
		more.Channels = append(more.Channels, channelStats{Name: "d", MessageCount: 20})
		s.nsqd("a:4151", 1, more, other)
		s.nsqd("b:4151", 1, old, other)
		r := Between(earlier, s.then(c, earlier))
		if len(r.Topics) != 1 || r.Topics[0] != (TopicRates{Topic: "t", Published: 10, Bytes: 100}) {
			t.Errorf("channel %q: %+v", channel, r.Topics)
		}
		var channels []string
		for _, ch := range r.Channels {
			channels = append(channels, ch.Channel)
		}
		if !slices.Equal(channels, want) {
			t.Errorf("channel %q: rates of %q, want %q", channel, channels, want)
		}
	}
}

// Counts that nsqd never sends do no harm.
func TestRatesOfHostileCounts(t *testing.T) {
	s := newScene(t)
	c := s.cluster(nil, []string{"a:4151"})
	s.nsqd("a:4151", 1, channelStat(100, 100, 0, 0))
	earlier := s.poll(c)
	earlier.tookPlace(earlier.At)
	s.nsqd("a:4151", 1, channelStat(100, -100, 0, 0))
	if d, ok := Between(earlier, s.then(c, earlier)).Channels[0].Drain(); d != 0 || !ok {
		t.Errorf("drains in %v, %v", d, ok)
	}
}

// A View made by hand needs no times of nsqds.
func TestRatesOfViewsMadeByHand(t *testing.T) {
	view := func(seconds int64, messages uint64) *View {
		on := TopicCounts{Messages: messages}
		return &View{
			At: time.Unix(seconds, 0), NSQDs: []NSQD{{Addr: "a:4151"}},
			Topics: []Topic{{Name: "t", TopicCounts: on, NSQDs: []TopicOn{{"a:4151", on}}}},
		}
	}
	if r := Between(view(100, 10), view(102, 30)); r.Topics[0].Published != 10 {
		t.Errorf("%+v", r)
	}
}
