package nsqprom

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rdyhq/nsq"
)

const (
	received = `nsq_consumer_received_messages_total{channel="c",nsqd="n:1",topic="t"}`
	handled  = `nsq_consumer_handled_messages_total{channel="c",outcome="finished",topic="t"}`
)

// Consumers of a topic and channel are summed. So are their connections to an nsqd, of which
// one may still be closing.
func TestConsumersAreSummed(t *testing.T) {
	e := export(t)
	closing := conn("n:1", 2, 1)
	closing.State, closing.RDY = nsq.ConnectionClosing, 0
	a, b := e.fake("t", "c", conn("n:1", 10, 4), closing), e.fake("t", "c", conn("n:1", 5, 5), conn("n:2", 1, 0))
	a.MaxInFlight, a.Handlers, a.Busy, a.Queued, a.Oldest, a.BackoffLevel = 3, 10, 1, 100, 2*time.Second, 2
	b.MaxInFlight, b.Handlers, b.Busy, b.Queued, b.Oldest, b.BackoffLevel, b.Paused = 4, 20, 2, 200, time.Second, 1, true
	e.expect("nsq_consumer_", map[string]float64{
		received: 17,
		`nsq_consumer_received_messages_total{channel="c",nsqd="n:2",topic="t"}`: 1,
		`nsq_consumer_finished_messages_total{channel="c",nsqd="n:1",topic="t"}`: 10,
		`nsq_consumer_in_flight_messages{channel="c",nsqd="n:1",topic="t"}`:      7,
		`nsq_consumer_in_flight_messages{channel="c",nsqd="n:2",topic="t"}`:      1,
		`nsq_consumer_ready_messages{channel="c",nsqd="n:1",topic="t"}`:          10,
		`nsq_consumer_ready_messages{channel="c",nsqd="n:2",topic="t"}`:          5,
		`nsq_consumer_connections{channel="c",state="connected",topic="t"}`:      3,
		`nsq_consumer_connections{channel="c",state="closing",topic="t"}`:        1,
		`nsq_consumer_max_in_flight_messages{channel="c",topic="t"}`:             7,
		`nsq_consumer_handlers{channel="c",topic="t"}`:                           30,
		`nsq_consumer_busy_handlers{channel="c",topic="t"}`:                      3,
		`nsq_consumer_queued_messages{channel="c",topic="t"}`:                    300,
		`nsq_consumer_oldest_handling_seconds{channel="c",topic="t"}`:            2,
		`nsq_consumer_backoff_level{channel="c",topic="t"}`:                      2,
		`nsq_consumer_paused{channel="c",topic="t"}`:                             1,
	})
}

// The series of a stopped Consumer end. Its successor continues the counters.
func TestSuccessorContinues(t *testing.T) {
	e := export(t)
	first := e.fake("t", "c", conn("n:1", 10, 4))
	e.hooks.Handled(nsq.HandledEvent{Topic: "t", Channel: "c", Outcome: nsq.OutcomeFinished})
	if got := e.gather(); got[received] != 10 || got[handled] != 1 {
		t.Errorf("got %v", got)
	}
	first.stop()
	e.hooks.Stopped(nsq.StoppedEvent{Topic: "t", Channel: "c"})
	if got := e.gather(); len(got) > 0 {
		t.Errorf("after the stop: %v", got)
	}
	if len(e.consumers) > 0 {
		t.Error("the stopped Consumer is kept")
	}
	second := e.fake("t", "c")
	e.gather() // before the second has an nsqd
	second.Connections = []nsq.ConnectionSnapshot{conn("n:1", 1, 1)}
	e.hooks.Handled(nsq.HandledEvent{Topic: "t", Channel: "c", Outcome: nsq.OutcomeFinished})
	if got := e.gather(); got[received] != 11 || got[handled] != 2 {
		t.Errorf("got %v", got)
	}
	other := e.fake("t", "c", conn("n:1", 100, 100)) // beside the second
	e.gather()
	other.stop()
	if got := e.gather(); got[received] != 111 {
		t.Errorf("got %v, want 111", got[received])
	}
}

// The series of an nsqd that was let go end. If the nsqd comes back, its counts begin again
// from 0 in the Consumer, but not in the metrics.
func TestNSQDLetGo(t *testing.T) {
	e := export(t)
	c := e.fake("t", "c", conn("n:1", 10, 4), conn("n:2", 1, 1))
	e.hooks.Connected(nsq.ConnectEvent{Topic: "t", Channel: "c", Addr: "n:1"})
	e.hooks.Connected(nsq.ConnectEvent{Topic: "t", Channel: "c", Addr: "n:3"}) // gone before the scrape
	e.gather()
	c.Connections = []nsq.ConnectionSnapshot{conn("n:2", 1, 1)}
	for name := range e.gather() {
		if strings.Contains(name, "n:1") || strings.Contains(name, "n:3") {
			t.Errorf("%s is still there", name)
		}
	}
	c.Connections = []nsq.ConnectionSnapshot{conn("n:1", 2, 2)}
	if got := e.gather(); got[received] != 12 {
		t.Errorf("got %v", got)
	}
	c.Connections = []nsq.ConnectionSnapshot{conn("n:1", 1, 1)} // let go and back between scrapes
	if got := e.gather(); got[received] != 13 {
		t.Errorf("got %v", got)
	}
}

// The series of publishes to an nsqd end with the last Producer or pool that has it.
func TestPublishesOfNSQDLetGo(t *testing.T) {
	e := export(t)
	e.hooks.Published(nsq.PublishedEvent{Topic: "t", Addr: "n:1", Messages: 1})
	e.pool(member("n:1", nsq.ProducerConnected, true))
	members := []nsq.PoolMember{member("n:1", nsq.ProducerDisconnected, false), member("n:2", nsq.ProducerConnected, true)}
	e.addProducer(new(nsq.ProducerPool), func() []nsq.PoolMember { return members })
	e.addProducer(new(nsq.Producer), func() []nsq.PoolMember { return []nsq.PoolMember{member("n:3", nsq.ProducerConnected, false)} })
	e.expect("nsq_producer_pending_publishes", map[string]float64{
		`nsq_producer_pending_publishes{nsqd="n:1"}`: 4, `nsq_producer_pending_publishes{nsqd="n:2"}`: 2, `nsq_producer_pending_publishes{nsqd="n:3"}`: 2,
	})
	healthy := map[string]float64{`nsq_producer_nsqd_healthy{nsqd="n:1"}`: 0, `nsq_producer_nsqd_healthy{nsqd="n:2"}`: 1}
	e.expect("nsq_producer_nsqd_healthy", healthy)
	e.expect("nsq_producer_published_messages", map[string]float64{`nsq_producer_published_messages_total{nsqd="n:1",result="ok",topic="t"}`: 1})
	members = members[1:]
	e.gather()
	for p := range e.producers {
		e.producers[p] = func() []nsq.PoolMember { return []nsq.PoolMember{member("n:1", nsq.ProducerStopped, true)} }
	}
	if got := e.gather(); len(got) > 0 || len(e.producers) > 0 {
		t.Errorf("after the stop: %v, of %d", got, len(e.producers))
	}
}

// Without PerNSQD no series has an nsqd, and what came from nsqds that were let go stays.
func TestWithoutNSQD(t *testing.T) {
	e := export(t, PerNSQD(false))
	feed(e)
	c := e.fake("t", "c", conn("n:1", 10, 4))
	c.Counts = nsq.Counts{Received: 30}
	const received = `nsq_consumer_received_messages_total{channel="c",topic="t"}`
	got := e.gather()
	for name := range got {
		if strings.Contains(name, "nsqd=") || strings.Contains(name, "nsqd_healthy") {
			t.Error(name)
		}
	}
	if got[received] != 30 || got[`nsq_producer_published_messages_total{result="ok",topic="t"}`] != 2 {
		t.Errorf("got %v", got)
	}
	c.Received = 35
	c.stop()
	if got := e.gather(); got[received] != 35 {
		t.Errorf("got %v after the stop", got[received])
	}
}

// Random names of ephemeral topics and channels share one label, and leave nothing behind.
func TestEphemeralNames(t *testing.T) {
	e := export(t)
	const n = 100
	for i := range n {
		channel := "tail" + strconv.Itoa(i) + "#ephemeral"
		e.hooks.Handled(nsq.HandledEvent{Topic: "t", Channel: channel, Outcome: nsq.OutcomeFinished})
		e.hooks.Abandoned(nsq.AbandonedEvent{Topic: "t", Channel: channel, Why: nsq.ErrConnectionLost})
		e.hooks.Published(nsq.PublishedEvent{Topic: "t", Addr: channel, Messages: 1})
		e.hooks.Stopped(nsq.StoppedEvent{Topic: "t", Channel: channel})
		e.hooks.Stopped(nsq.StoppedEvent{Addr: channel})
	}
	e.expect("nsq_consumer_handled", map[string]float64{`nsq_consumer_handled_messages_total{channel="#ephemeral",outcome="finished",topic="t"}`: n})
	e.expect("nsq_consumer_abandoned", map[string]float64{`nsq_consumer_abandoned_messages_total{channel="#ephemeral",reason="connection",topic="t"}`: n})
	if left := len(*e.outcomes.byNames.Load()) + len(*e.subscriptions.byNames.Load()) + len(*e.publications.byNames.Load()); left > 0 {
		t.Errorf("%d names are left", left)
	}
}

// No name and no TopicLabel breaks a scrape.
func TestInvalidLabels(t *testing.T) {
	e := export(t, TopicLabel(func(name string) string {
		if name == "panics" {
			panic(name)
		}
		return "\xff" + name[:1]
	}))
	for _, topic := range []string{"panics", "bad", "bat"} {
		e.hooks.Handled(nsq.HandledEvent{Topic: topic, Channel: "c", Outcome: "\xff\xfe"})
		e.hooks.Published(nsq.PublishedEvent{Topic: topic, Addr: "n\xff:1", Messages: 1})
	}
	e.hooks.LookedUp(nsq.LookupEvent{Addr: "http://\xff"})
	e.fake("bad", "c", conn("n\xff:1", 1, 1), conn("n\xfe:1", 2, 2))
	got := e.gather()
	for name, want := range map[string]float64{
		`nsq_consumer_handled_messages_total{channel="�c",outcome="�",topic="#invalid"}`: 1,
		`nsq_consumer_handled_messages_total{channel="�c",outcome="�",topic="�b"}`:       2,
		`nsq_consumer_received_messages_total{channel="�c",nsqd="n�:1",topic="�b"}`:      3,
		`nsq_producer_published_messages_total{nsqd="n�:1",result="ok",topic="�b"}`:      2,
		`nsq_lookup_requests_total{lookupd="http://�",result="ok"}`:                      1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v, in %v", name, got[name], want, got)
		}
	}
}

// Concurrent hooks, scrapes, starts and stops neither race nor lose a count.
func TestConcurrency(t *testing.T) {
	e := export(t)
	const workers, each = 8, 500
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for range each {
				channel := "c" + strconv.Itoa(rand.IntN(4))
				e.hooks.Handled(nsq.HandledEvent{Topic: "t", Channel: channel, Outcome: nsq.OutcomeFinished})
				e.hooks.Connected(nsq.ConnectEvent{Topic: "t", Channel: channel, Addr: "n:1"})
				e.hooks.Published(nsq.PublishedEvent{Topic: "t", Addr: channel, Messages: 1})
				e.hooks.Stopped(nsq.StoppedEvent{Topic: "t", Channel: channel})
			}
		})
	}
	for range 2 {
		all.Go(func() {
			for range 20 {
				_ = e.fake("t", "c0", conn("n:1", 1, 1))
				e.gather()
			}
		})
	}
	all.Wait()
	handled, connects, published := 0., 0., 0.
	for name, value := range e.gather() {
		switch {
		case strings.HasPrefix(name, "nsq_consumer_handled_messages_total"):
			handled += value
		case strings.HasPrefix(name, "nsq_consumer_connects_total"):
			connects += value
		case strings.HasPrefix(name, "nsq_producer_published_messages_total"):
			published += value
		}
	}
	if handled != workers*each || connects != handled || published != handled {
		t.Errorf("%v handled, %v connects, %v published, want %d of each", handled, connects, published, workers*each)
	}
}

var message = nsq.HandledEvent{
	Topic: "orders", Channel: "billing", Outcome: nsq.OutcomeFinished, Age: time.Second, Waited: time.Millisecond, Took: time.Millisecond,
}

// Once the series exist, a message and a publish allocate nothing.
func TestHooksAllocateNothing(t *testing.T) {
	e := export(t)
	publish := nsq.PublishedEvent{Topic: "orders", Addr: "n:1", Messages: 1, Bytes: 100}
	if n := testing.AllocsPerRun(100, func() {
		e.hooks.Handled(message)
		e.hooks.Published(publish)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHandled(b *testing.B) {
	m, err := New(prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	handled := m.Hooks().Handled
	b.ReportAllocs()
	for b.Loop() {
		handled(message)
	}
}

// BenchmarkThreeHistograms measures the histograms of Handled by themselves.
func BenchmarkThreeHistograms(b *testing.B) {
	handling := prometheus.NewHistogram(prometheus.HistogramOpts{Buckets: defaultBuckets})
	wait := prometheus.NewHistogram(prometheus.HistogramOpts{Buckets: defaultBuckets})
	age := prometheus.NewHistogram(prometheus.HistogramOpts{Buckets: ageBuckets})
	b.ReportAllocs()
	for b.Loop() {
		handling.Observe(message.Took.Seconds())
		wait.Observe(message.Waited.Seconds())
		age.Observe(message.Age.Seconds())
	}
}

// A scrape after the stop leaves no names behind either, nor does a handler that returns
// after it.
func TestScrapeAfterTheStopForgets(t *testing.T) {
	e := export(t)
	for i := range 10 {
		channel := "tail" + strconv.Itoa(i) + "#ephemeral"
		c := e.fake("t", channel, conn("n:1", 1, 1))
		e.hooks.Handled(nsq.HandledEvent{Topic: "t", Channel: channel, Outcome: nsq.OutcomeFinished})
		e.gather()
		e.hooks.Stopped(nsq.StoppedEvent{Topic: "t", Channel: channel})
		e.hooks.Handled(nsq.HandledEvent{Topic: "t", Channel: channel, Outcome: nsq.OutcomeFinished})
		c.stop()
		e.gather()
	}
	if left := len(*e.outcomes.byNames.Load()) + len(*e.subscriptions.byNames.Load()); left > 0 {
		t.Errorf("%d names are left", left)
	}
}
