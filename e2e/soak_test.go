package e2e

import (
	"flag"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
)

var soakFor = flag.Duration("soak", 5*time.Second, "how long TestSoak runs, for example 1h")

// Everything changes while four publishers and up to eight consumers work: consumers come and
// go, their max_in_flight and concurrency change, topics and channels are made and deleted,
// nsqds and nsqlookupds restart, producers change, and some handlers fail.
//
// Each second the ledger is checked: what was published was handled or is in an nsqd, and the
// counts of each consumer add up. After each round of changes the publishers pause until all
// messages were handled. Memory, goroutines and descriptors stay flat.
func TestSoak(t *testing.T) {
	descriptors, goroutines := openFiles(), runtime.NumGoroutine()
	s := newSoak(t)
	for s.running() {
		s.round()
	}
	s.finish()
	if len(s.samples) >= 60 { // fewer show how it warms up
		for _, g := range compareThirds(s.samples) {
			t.Log(g)
			if g.grown {
				t.Errorf("%v: it grows", g)
			}
		}
	}
	eventually(t, patience, func() bool {
		return openFiles() <= descriptors+s.daemonFiles() && runtime.NumGoroutine() <= goroutines+s.daemonGoroutines()
	})
}

// soakTopics are the topics that are there all the time. Those that come and go are called
// soak.tmp and a number.
var soakTopics = []string{"soak.a", "soak.b"}

// soak is a cluster and what works on it.
type soak struct {
	t        *testing.T
	rng      *rand.Rand // of the test's goroutine
	begun    time.Time
	lookupds []*Lookupd
	nsqds    []*NSQD
	admin    *Admin
	ledger   *messageLedger

	group   *nsq.Group // consumes all topics, and is there all the time
	changes map[string]int
	made    int // topics and channels, which number their names

	ended    atomic.Bool
	fail     atomic.Int32 // of 1000 messages so many fail
	restarts atomic.Int32 // of nsqds, since the ledger was settled
	wg       sync.WaitGroup
	gate     sync.RWMutex // publishers hold it shared while they publish

	mu       sync.Mutex // guards what follows
	visitors []*soakConsumer

	samples []sample // one for each time that the ledger was settled

	// The goroutine that watches owns these.
	counts  map[*nsq.Consumer]nsq.Counts // what they were a second ago
	deficit map[string]int               // in how many checks in a row messages were missing, by channel
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	s := &soak{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), begun: time.Now(), ledger: newMessageLedger(t),
		changes: map[string]int{}, counts: map[*nsq.Consumer]nsq.Counts{}, deficit: map[string]int{},
	}
	s.lookupds = []*Lookupd{StartLookupd(t), StartLookupd(t)}
	for range 3 {
		s.nsqds = append(s.nsqds, startListedNSQD(t, s.lookupds...))
	}
	s.admin = StartAdmin(t, s.lookupds...)
	for _, topic := range soakTopics {
		s.createChannel(topic, "c")
	}
	s.startGroup()
	for i := range 4 {
		s.wg.Go(func() { s.publish(rand.New(rand.NewPCG(seed, uint64(i)+1))) })
	}
	s.wg.Go(s.watch)
	t.Cleanup(func() { // also if the test has failed
		if t.Failed() {
			for _, c := range s.consumers() {
				t.Logf("before the stop: %+v", c.Snapshot())
			}
		}
		s.ended.Store(true)
		s.wg.Wait()
		s.leaveAll()
	})
	return s
}

func (s *soak) running() bool { return time.Since(s.begun) < *soakFor && !s.t.Failed() }

// createChannel creates a channel at all nsqds. From now on it is to get each message.
func (s *soak) createChannel(topic, channel string) {
	s.t.Helper()
	for _, n := range s.nsqds {
		n.Post("/topic/create?topic=" + topic)
		n.Post("/channel/create?topic=" + topic + "&channel=" + channel)
	}
	s.ledger.expect(topic, channel)
}

func (s *soak) config() *nsq.Config {
	cfg := nsq.NewConfig()
	cfg.LookupdPollInterval = time.Second
	cfg.MaxInFlight = 50
	cfg.MaxAttempts = 0
	cfg.DefaultRequeueDelay = 20 * time.Millisecond
	cfg.BackoffMultiplier, cfg.MaxBackoffDuration = 5*time.Millisecond, 100*time.Millisecond
	cfg.Logger = slog.New(slog.DiscardHandler) // what it holds would be memory that grows
	return cfg
}

func (s *soak) startGroup() {
	s.t.Helper()
	g, err := nsq.NewGroup(s.config())
	if err != nil {
		s.t.Fatal(err)
	}
	s.group = g
	for i, topic := range soakTopics {
		opts := nsq.HandleOptions{Concurrency: 4, Weight: 1 + i}
		if err := g.Handle(topic, "c", s.handler(topic, "c"), opts); err != nil {
			s.t.Fatal(err)
		}
	}
	match := func(topic string) nsq.Handler { return s.handler(topic, "c") }
	if err := g.HandleMatching(regexp.MustCompile(`^soak\.tmp`), "c", match, nsq.HandleOptions{MaxInFlight: 10}); err != nil {
		s.t.Fatal(err)
	}
	if err := g.Discover(s.t.Context(), s.lookupds[0].HTTPAddr(), s.lookupds[1].HTTPAddr()); err != nil {
		s.t.Fatal(err)
	}
	runGroup(s.t, g)
}

// watch checks the ledger each second, and says every ten how the test goes on.
func (s *soak) watch() {
	for second := 1; !s.ended.Load(); second++ {
		time.Sleep(time.Second)
		s.check()
		if second%10 == 0 {
			s.mu.Lock()
			visitors := len(s.visitors)
			s.mu.Unlock()
			s.t.Logf("%v: %v; %d consumers come and go; %v", time.Since(s.begun).Round(time.Second), s.ledger, visitors, takeSample())
		}
	}
}

// round makes one change of each kind, in any order, and settles the ledger.
func (s *soak) round() {
	s.t.Helper()
	changes := s.kinds()
	s.rng.Shuffle(len(changes), func(i, j int) { changes[i], changes[j] = changes[j], changes[i] })
	for _, c := range changes {
		if !s.running() {
			break
		}
		if c.do() {
			s.changes[c.name]++
		}
		time.Sleep(time.Duration(s.rng.IntN(500)) * time.Millisecond)
	}
	s.settle()
}

// settle has the publishers pause until no nsqd has a message. All that was published was
// handled then.
func (s *soak) settle() {
	s.t.Helper()
	s.fail.Store(0)
	s.gate.Lock()
	defer s.gate.Unlock()
	began := time.Now()
	eventually(s.t, patience, func() bool { return len(s.ledger.missing()) == 0 || s.empty() })
	eventually(s.t, patience, s.empty)
	// nsqd can lose a message when it stops: it has taken the message from its queue, and saves
	// what it has before the message counts as in flight.
	missing, most := s.ledger.missing(), int(s.restarts.Swap(0))
	if len(missing) > most {
		s.t.Errorf("%d messages are neither handled nor in an nsqd, at most %d can be lost by restarts: %.40q", len(missing), most, missing)
	}
	s.ledger.settled(len(missing), time.Since(began))
	s.samples = append(s.samples, takeSample()) // while the ledger takes no memory
}

func (s *soak) empty() bool {
	s.t.Helper()
	return emptied(s.t, s.nsqds)
}

// finish stops everything but the group and the daemons, and checks that nothing is left.
func (s *soak) finish() {
	s.t.Helper()
	s.ended.Store(true)
	s.wg.Wait()
	s.settle()
	s.leaveAll()
	s.check()
	s.t.Logf("%v: %v; changes %v", time.Since(s.begun).Round(time.Second), s.ledger, s.changes)
}

// daemonFiles returns how many descriptors the daemons and the group may have.
func (s *soak) daemonFiles() int {
	const each, connections = 4, 40 // the pipes of a daemon; of the group, HTTP included
	return each*(len(s.nsqds)+len(s.lookupds)+1) + connections
}

// daemonGoroutines returns how many goroutines the daemons' harness and the group may have.
func (s *soak) daemonGoroutines() int {
	const each, ofGroup = 3, 100
	return each*(len(s.nsqds)+len(s.lookupds)+1) + ofGroup
}
