package judge

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/admin"
)

// walk plays a story of random events, and checks what holds of every report.
func walk(t *testing.T, next func(n int) int, polls int) {
	s := newStory(t, 3).withLookupds(2)
	open := make(map[string]bool)
	for n := range polls {
		s.step = []time.Duration{2 * time.Second, 100 * time.Millisecond, 7 * time.Second, time.Minute, 0, -time.Second}[min(next(12), 5)]
		r := s.poll(func() {
			for range next(4) {
				s.event(next)
			}
		})
		for _, p := range r.Began {
			if key := fmt.Sprint(p.State, p.Subject); open[key] {
				t.Errorf("%s began twice", key)
			} else {
				open[key] = true
			}
		}
		for _, p := range r.Ended {
			if key := fmt.Sprint(p.State, p.Subject); !open[key] {
				t.Errorf("%s ended and has not begun", key)
			} else {
				delete(open, key)
			}
		}
		if n%20 == 0 {
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			again := new(Report)
			if err := json.Unmarshal(text, again); err != nil {
				t.Fatal(err)
			}
			if same, _ := json.Marshal(again); string(same) != string(text) {
				t.Fatalf("%s\nbecomes\n%s", text, same)
			}
		}
	}
}

// event changes something.
func (s *story) event(next func(n int) int) {
	n := s.nsqds[next(len(s.nsqds))]
	name := Name{fmt.Sprintf("t%d", next(2)), []string{"a", "b", "c#ephemeral"}[next(3)]}
	c := n.channel(name)
	switch next(16) {
	case 0:
		n.down = !n.down
	case 1:
		n.gone = !n.gone
	case 2:
		l := s.lookupds[next(2)]
		l.down = !l.down
	case 3:
		n.started = s.at
		for _, c := range n.channels {
			c.Messages, c.Requeued, c.TimedOut = uint64(c.Depth), 0, 0
		}
	case 4:
		delete(n.channels, name)
	case 5:
		c.Paused = !c.Paused
	case 6:
		c.ClientCount = next(3)
	case 7:
		c.Depth, c.InFlight, c.Deferred = 0, 0, 0
	case 8:
		c.Requeued += uint64(next(1000))
	case 9:
		c.TimedOut += uint64(next(1000))
	case 10:
		c.subscribe(client("a", 1, int64(next(3)), int64(next(3))), client("b", 2, int64(next(3)), int64(next(3))))
		s.clients()
	case 11:
		n.tombstoned = []string{name.Topic}
	case 12:
		n.version = []string{"1.2.1", "1.3.0"}[next(2)]
	case 13:
		c.DiskDepth = int64(next(2))
		if next(10) == 0 {
			c.Depth, c.Messages, c.Requeued = math.MaxInt64, math.MaxUint64, math.MaxUint64
		}
	default:
		c.flow(int64(next(1000)), int64(next(1000)))
	}
}

func TestWalk(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		walk(t, random.IntN, 300)
	}
}

func FuzzJudge(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("a story of some events"))
	f.Add([]byte(strings.Repeat("\x00\x03\x01\x02\x0e", 200)))
	f.Add([]byte(strings.Repeat("\x05\x04\x00\x00\x01\x07\xff", 100)))
	f.Fuzz(func(t *testing.T, events []byte) {
		i := 0
		next := func(n int) int {
			if i >= len(events) {
				return 0
			}
			i++
			return int(events[i-1]) % n
		}
		walk(t, next, min(len(events)/4+1, 300))
	})
}

// largeView is a poll of 200 topics with 5 channels each, on 3 nsqds.
func largeView() *admin.View {
	v := new(admin.View)
	for n := range 3 {
		v.NSQDs = append(v.NSQDs, admin.NSQD{Addr: fmt.Sprintf("nsqd-%d:4151", n), Hostname: fmt.Sprint(n), Version: "1.3.0", Started: begin})
	}
	for i := range 200 {
		t := admin.Topic{Name: fmt.Sprintf("topic-%03d", i)}
		for n := range 3 {
			t.NSQDs = append(t.NSQDs, admin.TopicOn{NSQD: v.NSQDs[n].Addr})
		}
		for k := range 5 {
			c := admin.Channel{Name: fmt.Sprintf("channel-%d", k)}
			for n := range 3 {
				c.NSQDs = append(c.NSQDs, admin.ChannelOn{NSQD: v.NSQDs[n].Addr, ChannelCounts: admin.ChannelCounts{ClientCount: 3}})
			}
			t.Channels = append(t.Channels, c)
		}
		v.Topics = append(v.Topics, t)
	}
	return v
}

// advance makes v the poll after another one, n polls after begin.
func advance(v *admin.View, n int) {
	v.At = begin.Add(time.Duration(n) * 10 * time.Second)
	for i := range v.Topics {
		t := &v.Topics[i]
		for k := range t.Channels {
			c := &t.Channels[k]
			c.ChannelCounts = admin.ChannelCounts{}
			for m := range c.NSQDs {
				on := &c.NSQDs[m]
				on.Messages = uint64(n * 100)
				on.Depth = int64(i * n % 700)
				c.Depth += on.Depth
				c.Messages += on.Messages
				c.ClientCount += on.ClientCount
			}
		}
	}
}

// The Judge keeps a bounded part of what it sees: an hour of polls of 1,000 channels, in which as
// many others come and go.
func TestMemory(t *testing.T) {
	const bytesPerChannel = 6 << 10
	views := [2]*admin.View{largeView(), largeView()}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	j := New()
	for n := range 360 {
		v := views[n%2]
		advance(v, n)
		if n%2 == 0 { // a tail comes and goes
			v.Topics[0].Channels[0].Name = fmt.Sprintf("tail%d#ephemeral", n)
		}
		j.Add(v)
	}
	took := int64(heap()) - int64(before)
	t.Logf("%d bytes a channel", took/1000)
	if took > 1000*bytesPerChannel || took < 1000*100 {
		t.Errorf("the Judge takes %d bytes", took)
	}
	if n := len(j.channels); n > 1001 {
		t.Errorf("%d channels are known", n)
	}
	v := &admin.View{At: begin.Add(2 * time.Hour), NSQDs: views[0].NSQDs}
	j.Add(v)
	v = &admin.View{At: begin.Add(4 * time.Hour), NSQDs: views[0].NSQDs}
	if j.Add(v); len(j.channels)+len(j.topics) != 0 {
		t.Errorf("%d channels and %d topics are known", len(j.channels), len(j.topics))
	}
}

func BenchmarkAdd(b *testing.B) {
	views := [2]*admin.View{largeView(), largeView()}
	j := New()
	n := 0
	for b.Loop() {
		b.StopTimer()
		advance(views[n%2], n)
		b.StartTimer()
		j.Add(views[n%2])
		n++
	}
}
