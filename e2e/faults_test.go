//go:build unix

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nsqio/nsq/nsqd"

	"github.com/rdyhq/nsq"
)

var faultsFor = flag.Duration("faults", 20*time.Second, "how long TestFaults makes faults, for example 10m")

const faultTopic = "faults"

// faultChannels are consumed by handlers, by batches and by a group.
var faultChannels = []string{"handlers", "batches", "group"}

// The times of the clients under test. What follows a fault depends on them: a dead
// connection is noticed after readTimeout at most, and what was in flight on it is delivered
// again after msgTimeout.
const (
	heartbeat   = time.Second
	readTimeout = 2 * time.Second
	msgTimeout  = 2 * time.Second
	maxInFlight = 30 // of each consumer
)

// flowWithin bounds the time until messages flow again. It is about ten times the longest time
// that follows from the timeouts: readTimeout, then 3 s until a consumer may subscribe
// again where nsqd closed the connection, and a second until the next poll or dial.
const flowWithin = time.Minute

// othersWithin bounds the median of the longest time without a message from nsqds that a fault
// does not stop: it is about ten times what is seen, and shorter than faults that hang.
const othersWithin = 2 * time.Second

// One fault after another hits a cluster of three nsqds and two nsqlookupds at which
// publishers and consumers of three kinds work. The test measures how long it takes until
// messages flow again. No message is lost whose publish succeeded, except by faults that
// destroy messages, and then only those that were published before.
func TestFaults(t *testing.T) {
	c := newFaultCluster(t)
	faults := c.faults()
	for begin := time.Now(); time.Since(begin) < *faultsFor; {
		c.rng.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
		for _, f := range faults {
			if time.Since(begin) > *faultsFor {
				break
			}
			c.round(f)
		}
	}
	t.Logf("%v\n%s", c.ledger, table(faults))
	for _, f := range faults {
		if len(f.others) >= 5 && median(f.others) > othersWithin {
			t.Errorf("%s: the other nsqds paused, the median is %v, want at most %v", f.name, median(f.others), othersWithin)
		}
	}
}

// fault is something that goes wrong, and what the rounds with it have shown.
type fault struct {
	name     string
	at       []int // the nsqds that it stops
	begin    func()
	holds    time.Duration
	end      func()
	after    func()        // if not nil, is called once messages flow again
	hidden   time.Duration // within this time after its end it shows
	destroys destruction

	consumed, published []time.Duration // from the end until messages of these nsqds flow again
	others              []time.Duration // the longest time without a message from one of the other nsqds
	slowest             time.Duration   // publish
	failed, lost        int
	repeated            int
}

// destruction says which messages a fault may destroy.
type destruction int

const (
	destroysNone      destruction = iota
	destroysInFlight              // when it begins: at most mostInFlight
	destroysUntilFlow             // those that were published before messages flow again
)

// mostInFlight is how many messages of an nsqd may be in flight, or on their way to it or to a
// channel.
const mostInFlight = 3 * (maxInFlight + 10)

// faultCluster is what the faults hit.
type faultCluster struct {
	t        *testing.T
	rng      *rand.Rand
	lookupds []*Lookupd
	nsqds    []*NSQD
	admin    *Admin
	proxy    *proxy // between clients and the last nsqd
	disk     *smallDisk
	ledger   *messageLedger
	gate     sync.RWMutex // publishers hold it shared while they publish
	ended    atomic.Bool

	mu      sync.Mutex           // guards what follows
	stored  map[string]time.Time // when a publish succeeded at an nsqd for the first time since watchFrom
	last    map[source]time.Time
	gaps    map[source]time.Duration // the longest time between two messages
	slowest time.Duration            // publish
	refused int                      // publishes that an nsqd refused
}

// source is what a consumer gets messages from.
type source struct{ channel, nsqd string }

func newFaultCluster(t *testing.T) *faultCluster {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := &faultCluster{t: t, rng: rand.New(rand.NewPCG(seed, 0)), ledger: newMessageLedger(t), disk: newSmallDisk(t)}
	for range 2 {
		l := StartLookupd(t)
		l.Stop()
		l.order.Lookupd.TombstoneLifetime = 2 * time.Second
		l.Start()
		c.lookupds = append(c.lookupds, l)
	}
	for i := range 3 {
		c.nsqds = append(c.nsqds, c.startNSQD(i))
	}
	last := c.nsqds[2]
	c.proxy = startProxy(t, last.TCPAddr())
	last.Stop()
	last.order.NSQD.BroadcastTCPPort = c.proxy.port()
	last.Start()
	c.admin = StartAdmin(t, c.lookupds...)
	for _, n := range c.nsqds {
		n.Post("/topic/create?topic=" + faultTopic)
		for _, channel := range faultChannels {
			n.Post("/channel/create?topic=" + faultTopic + "&channel=" + channel)
		}
	}
	for _, channel := range faultChannels {
		c.ledger.expect(faultTopic, channel)
	}
	c.watchFrom()
	c.ready()
	c.consume()
	c.publish(seed)
	return c
}

// startNSQD starts an nsqd that keeps all messages on disk, so that a kill destroys only those
// that are in flight or on their way from the topic to a channel.
func (c *faultCluster) startNSQD(i int) *NSQD {
	return StartNSQD(c.t, func(o *nsqd.Options) {
		onDisk(o)
		for _, l := range c.lookupds {
			o.NSQLookupdTCPAddresses = append(o.NSQLookupdTCPAddresses, l.TCPAddr())
		}
		if i == diskNSQD && c.disk != nil {
			o.DataPath, o.MaxBytesPerFile = c.disk.dir, 128<<10
		}
	})
}

// addr returns the address at which clients find an nsqd.
func (c *faultCluster) addr(i int) string {
	if i == proxiedNSQD {
		return c.proxy.addr()
	}
	return c.nsqds[i].TCPAddr()
}

func (c *faultCluster) lookupdAddrs() (addrs []string) {
	for _, l := range c.lookupds {
		addrs = append(addrs, l.HTTPAddr())
	}
	return addrs
}

func (c *faultCluster) config() *nsq.Config {
	cfg := testConfig(c.t)
	cfg.LookupdPollInterval = time.Second
	cfg.HeartbeatInterval, cfg.ReadTimeout, cfg.MsgTimeout = heartbeat, readTimeout, msgTimeout
	cfg.MaxInFlight = maxInFlight
	cfg.OutputBufferTimeout = 25 * time.Millisecond
	cfg.Logger = slog.New(slog.DiscardHandler) // a fault fills pages
	return cfg
}

// handler returns a handler of a channel.
func (c *faultCluster) handler(channel string) nsq.HandlerFunc {
	name := channelOf(faultTopic, channel)
	return func(m *nsq.Message) error {
		now := time.Now()
		c.ledger.done(name, m)
		c.mu.Lock()
		defer c.mu.Unlock()
		from := source{channel, m.NSQDAddress}
		if last, ok := c.last[from]; ok {
			c.gaps[from] = max(c.gaps[from], now.Sub(last))
		}
		c.last[from] = now
		return nil
	}
}

// consume starts a consumer with handlers, one with batches, and a group.
func (c *faultCluster) consume() {
	c.t.Helper()
	for i, channel := range faultChannels[:2] {
		consumer, err := nsq.NewConsumer(faultTopic, channel, c.config())
		if err != nil {
			c.t.Fatal(err)
		}
		h := c.handler(channel)
		if i == 0 {
			consumer.AddConcurrentHandlers(h, 8)
		} else {
			consumer.AddBatchHandler(nsq.BatchHandlerFunc(func(_ context.Context, batch []*nsq.Message) error {
				for _, m := range batch {
					_ = h(m)
				}
				return nil
			}), nsq.BatchLimits{Messages: 10, Wait: 10 * time.Millisecond}, 2)
		}
		c.t.Cleanup(func() { stop(c.t, consumer) })
		if err := consumer.Discover(c.t.Context(), c.lookupdAddrs()...); err != nil {
			c.t.Fatal(err)
		}
	}
	g, err := nsq.NewGroup(c.config())
	if err != nil {
		c.t.Fatal(err)
	}
	if err := g.Handle(faultTopic, faultChannels[2], c.handler(faultChannels[2]), nsq.HandleOptions{Concurrency: 4}); err != nil {
		c.t.Fatal(err)
	}
	if err := g.Discover(c.t.Context(), c.lookupdAddrs()...); err != nil {
		c.t.Fatal(err)
	}
	runGroup(c.t, g)
}

// publish starts four publishers, which share a discovered pool. Each publish has 5 s.
func (c *faultCluster) publish(seed uint64) {
	c.t.Helper()
	cfg := c.config()
	cfg.Hooks = []nsq.Hooks{{Published: c.published}}
	pool, err := nsq.NewDiscoveredProducerPool(c.lookupdAddrs(), cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		rng := rand.New(rand.NewPCG(seed, uint64(i)+1))
		wg.Go(func() {
			for !c.ended.Load() {
				c.gate.RLock()
				c.publishOne(pool)
				c.gate.RUnlock()
				time.Sleep(time.Duration(5+rng.IntN(20)) * time.Millisecond)
			}
		})
	}
	c.t.Cleanup(func() {
		c.ended.Store(true)
		wg.Wait()
		pool.Stop()
	})
}

func (c *faultCluster) publishOne(pool *nsq.ProducerPool) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	body, begun := c.ledger.begin(faultTopic), time.Now()
	err := pool.PublishContext(ctx, faultTopic, []byte(body))
	c.ledger.end(body, err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slowest = max(c.slowest, time.Since(begun))
}

// published is a hook of the pool.
func (c *faultCluster) published(e nsq.PublishedEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.stored[e.Addr]; e.Err == nil && !ok {
		c.stored[e.Addr] = time.Now()
	}
	if _, ok := errors.AsType[nsq.ErrProtocol](e.Err); ok {
		c.refused++
	}
}

// watchFrom begins to measure.
func (c *faultCluster) watchFrom() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stored, c.last, c.gaps = map[string]time.Time{}, map[source]time.Time{}, map[source]time.Duration{}
	c.slowest, c.refused = 0, 0
	for i := range c.nsqds {
		for _, channel := range faultChannels {
			c.last[source{channel, c.addr(i)}] = time.Now()
		}
	}
}

// storedSince begins to wait for publishes.
func (c *faultCluster) storedSince() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stored = map[string]time.Time{}
}

// round makes a fault, measures the time until messages flow again, and checks that none is
// lost.
func (c *faultCluster) round(f *fault) {
	c.t.Helper()
	c.ready()
	before := c.ledger.totals()
	c.watchFrom()
	f.begin()
	begun := time.Now()
	time.Sleep(f.holds)
	f.end()
	end := time.Now()
	c.storedSince()
	at := f.at
	if len(at) == 0 {
		at = []int{0, 1, 2}
	}
	consumed, published := c.consumedAgain(at, end, f.hidden), c.publishedAgain(at, end)
	flows := time.Now()
	others := c.longestGap(f.at)
	if f.after != nil {
		f.after()
	}
	lost := c.settle(f, begun, flows)
	after := c.ledger.totals()
	failed, repeated := after.failed-before.failed, after.repeats-before.repeats

	f.consumed, f.published = append(f.consumed, consumed), append(f.published, published)
	if len(f.at) < len(c.nsqds) {
		f.others = append(f.others, others)
	}
	c.mu.Lock()
	f.slowest = max(f.slowest, c.slowest)
	c.mu.Unlock()
	f.failed, f.lost, f.repeated = f.failed+failed, f.lost+lost, f.repeated+repeated
	c.t.Logf("%s: consumed again after %v, published again after %v, others paused for %v; %d publishes failed, %d lost, %d repeated",
		f.name, rounded(consumed), rounded(published), rounded(others), failed, lost, repeated)
}

// ready waits until both nsqlookupds list all nsqds, and no tombstone is left.
func (c *faultCluster) ready() {
	c.t.Helper()
	eventually(c.t, patience, func() bool {
		for _, l := range c.lookupds {
			for i := range c.nsqds {
				if !l.Lists(faultTopic, c.addr(i)) {
					c.nudge()
					return false
				}
			}
		}
		return true
	})
}

// nudge has all nsqds tell the nsqlookupds something. That registers them with one that has
// restarted, instead of their next ping, which may be 15 s off.
func (c *faultCluster) nudge() {
	for _, n := range c.nsqds {
		n.Post("/topic/create?topic=nudge")
		n.Post("/topic/delete?topic=nudge")
	}
	time.Sleep(50 * time.Millisecond)
}

// consumedAgain publishes probes to each of the nsqds, past the client, from end on until all
// channels have handled one. It returns how long that takes. If the fault shows only later, it
// publishes as long as that, and returns how long it takes until the last probe is handled that
// was late.
func (c *faultCluster) consumedAgain(at []int, end time.Time, hidden time.Duration) (took time.Duration) {
	c.t.Helper()
	probes := map[int][]string{}
	eventually(c.t, flowWithin, func() bool {
		flows := true
		for _, i := range at {
			body := c.ledger.beginProbe(faultTopic)
			c.nsqds[i].Publish(faultTopic, body)
			probes[i] = append(probes[i], body)
			flows = flows && slices.ContainsFunc(probes[i], c.handledByAll)
		}
		return flows && time.Since(end) >= hidden
	})
	for _, i := range at {
		if hidden > 0 {
			eventually(c.t, flowWithin, func() bool { return !slices.ContainsFunc(probes[i], c.notHandledByAll) })
		}
		first := slices.IndexFunc(probes[i], c.handledByAll)
		_, handled := c.ledger.probed(probes[i][first])
		took = max(took, handled.Sub(end))
		for _, probe := range probes[i] {
			if begun, handled := c.ledger.probed(probe); hidden > 0 && handled.Sub(begun) > late {
				took = max(took, handled.Sub(end))
			}
		}
	}
	return took
}

// late is how long it takes to handle a message that a fault has held up.
const late = 500 * time.Millisecond

func (c *faultCluster) handledByAll(probe string) bool {
	_, handled := c.ledger.probed(probe)
	return !handled.IsZero()
}

func (c *faultCluster) notHandledByAll(probe string) bool { return !c.handledByAll(probe) }

// publishedAgain returns how long it takes from end until the pool has published to each of
// the nsqds.
func (c *faultCluster) publishedAgain(at []int, end time.Time) (took time.Duration) {
	c.t.Helper()
	eventually(c.t, flowWithin, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		took = 0
		for _, i := range at {
			stored, ok := c.stored[c.addr(i)]
			if !ok {
				return false
			}
			took = max(took, stored.Sub(end))
		}
		return true
	})
	return took
}

// longestGap returns the longest time in which no message of an nsqd was handled that the
// fault does not stop.
func (c *faultCluster) longestGap(except []int) (longest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.nsqds {
		for _, channel := range faultChannels {
			if from := (source{channel, c.addr(i)}); !slices.Contains(except, i) {
				longest = max(longest, c.gaps[from], time.Since(c.last[from]))
			}
		}
	}
	return longest
}

// settle has the publishers pause until no nsqd has a message, and returns how many messages
// were not handled.
func (c *faultCluster) settle(f *fault, begun, flows time.Time) int {
	c.t.Helper()
	c.gate.Lock()
	defer c.gate.Unlock()
	began := time.Now()
	eventually(c.t, patience, func() bool { return emptied(c.t, c.nsqds) })
	lost := len(c.ledger.missing())
	late, most := c.ledger.missing(), 0
	switch f.destroys {
	case destroysInFlight:
		late, most = c.ledger.missingSince(begun), max(1, len(f.at))*mostInFlight
	case destroysUntilFlow:
		late, most = c.ledger.missingSince(flows), lost
	}
	if len(late) > 0 || lost > most {
		c.t.Errorf("%s: %d messages are lost, at most %d can be; of these it cannot have destroyed %d: %.40q", f.name, lost, most, len(late), late)
	}
	c.ledger.settled(lost, time.Since(began))
	return lost
}

func rounded(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

// table returns what the rounds have shown.
func table(faults []*fault) string {
	var b strings.Builder
	fmt.Fprintln(&b, "| fault | rounds | consumed again: median, max | published again: median, max | others paused: median, max | slowest publish | publishes failed | lost | repeated |")
	fmt.Fprintln(&b, "|---|---|---|---|---|---|---|---|---|")
	slices.SortFunc(faults, func(a, b *fault) int { return strings.Compare(a.name, b.name) })
	for _, f := range faults {
		if len(f.consumed) > 0 {
			fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %v | %d | %d | %d |\n", f.name, len(f.consumed), spread(f.consumed),
				spread(f.published), spread(f.others), rounded(f.slowest), f.failed, f.lost, f.repeated)
		}
	}
	return b.String()
}

// spread returns the median and the maximum.
func spread(times []time.Duration) string {
	if len(times) == 0 {
		return "–"
	}
	return fmt.Sprintf("%v, %v", rounded(median(times)), rounded(slices.Max(times)))
}

func median(times []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(times))[(len(times)-1)/2]
}
