package simulation

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

const (
	audit        = "audit" // a channel of each topic that keeps what is stored
	tick         = 23700 * time.Microsecond
	longest      = 12 * time.Second // after the last fault all is handled within this time; see patience
	stopTimeout  = 3 * time.Second
	stopGrace    = time.Second     // for what a stop does when it waits for handlers no longer
	producerStop = 5 * time.Second // a Producer's stop waits that long for an nsqd without a sign of life
	longestReal  = time.Minute     // for a story, on a busy machine
)

// world is where a story is played.
type world struct {
	*testing.T
	story      story
	net        *network
	nsqds      []*nsqd
	looks      []*nsqlookupd
	ledger     *ledger
	deliveries *deliveries
	takers     []*taker
	sources    []*publisher
	calm       atomic.Bool // all that is broken is mended, and stays so
	begin      time.Time
	slow       bool // the network or nsqd may be slower than the Consumer takes them to be
	gentle     bool // and nothing is ever wrong with them
}

type nsqd struct {
	*nsqtest.Nsqd
	name    string
	addr    string // where clients find it
	link    *link
	timeout time.Duration // of messages
}

type nsqlookupd struct {
	*nsqtest.Lookupd
	name string
}

func sleep(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // in a synctest bubble
}

// play plays a story in a bubble of its own, of which nothing may be left.
func play(t *testing.T, s story) {
	told := func(p any) { panic(fmt.Sprintf("%v in the story\n%s", p, s)) }
	stuck := time.AfterFunc(longestReal, func() { told("virtual time stands still") })
	defer stuck.Stop()
	defer func() {
		if p := recover(); p != nil { // such as a goroutine that is left
			told(p)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, story: s, net: newNetwork(), ledger: newLedger(), deliveries: newDeliveries(), begin: time.Now()}
		defer func() {
			if p := recover(); p != nil { // the test cannot just fail while the goroutines of the story run
				told(p)
			}
		}()
		w.build()
		w.run()
		w.net.close()
		synctest.Wait()
		if dials, closes := w.net.ends.Dials(), w.net.ends.Closes(); dials != closes {
			w.Errorf("%d dials but %d closes", dials, closes)
		}
	})
}

// topics returns the topics that publishers publish to, or consumers and groups take from.
func (w *world) topics() (topics []string) {
	for _, p := range w.story.all("publisher") {
		topics = append(topics, p.name(1))
	}
	for _, tc := range w.channels() {
		topic, _, _ := strings.Cut(tc, "/")
		topics = append(topics, topic)
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

// channels returns the channels, as topic/channel, that consumers and groups take from.
func (w *world) channels() (channels []string) {
	for _, l := range append(w.story.all("consumer"), w.story.all("group")...) {
		channels = append(channels, l.names[1:]...)
	}
	slices.Sort(channels)
	return slices.Compact(channels)
}

func deadTopic(topic, channel string) string { return topic + "." + channel + ".dead" }

// buried returns the messages that are dead letters of a channel.
func (w *world) buried(topic, channel string) map[string]bool {
	buried := make(map[string]bool)
	for _, d := range w.nsqds {
		for _, body := range d.Queued(deadTopic(topic, channel), audit) {
			buried[idOf([]byte(body))] = true
		}
	}
	return buried
}

// slow reports whether in a story the network or an nsqd is slower than the 10 ms that a Consumer
// allows a lower RDY, or sends a message too many now and then.
func (s story) slow() bool {
	return slices.ContainsFunc(s, func(l line) bool {
		_, e := l.event()
		slow := e.word == "freeze" || e.word == "stall" || e.word == "swallow" || e.word == "link" || e.name(2) == "slow"
		// The fake keeps what it does not let be acked in flight, but the Consumer does not count
		// it any more: nsqd refuses acks only of messages that are not in flight.
		slow = slow || e.word == "fault" && e.name(2) == "refuse" && (e.name(1) == "FIN" || e.name(1) == "REQ")
		return slow || l.word == "link" || l.number("straggler") > 0
	})
}

// gentle reports whether in a story nothing is ever wrong with networks and nsqds.
func (s story) gentle() bool {
	return !s.slow() && !slices.ContainsFunc(s, func(l line) bool {
		_, e := l.event()
		isNSQD := slices.ContainsFunc(s.all("nsqd"), func(n line) bool { return n.name(0) == e.name(0) })
		return isNSQD && e.word != "pause" && e.word != "unpause"
	})
}

func (w *world) build() {
	w.slow, w.gentle = w.story.slow(), w.story.gentle()
	for _, l := range w.story.all("network") {
		w.net.ends.Capacity, w.net.daemons.Capacity = l.number("capacity"), l.number("capacity")
	}
	for _, l := range w.story.all("nsqd") {
		addr := l.name(0) + ":4150"
		d := nsqtest.NewNsqd(w, nsqtest.Options{
			Network: w.net.daemons, Addr: addr, MsgTimeout: l.ms("timeout"), MaxMsgTimeout: 4 * l.ms("timeout"), Straggler: l.number("straggler") > 0, Snappy: true,
		})
		n := &nsqd{Nsqd: d, name: l.name(0), addr: addr, link: w.net.add(addr), timeout: l.ms("timeout")}
		w.nsqds = append(w.nsqds, n)
		w.prepare(n)
		w.guard(n)
	}
	for _, l := range w.story.all("nsqlookupd") {
		n := &nsqlookupd{nsqtest.NewLookupd(w, nsqtest.LookupdOptions{Network: w.net.daemons, Addr: l.name(0) + ":4161"}), l.name(0)}
		w.looks = append(w.looks, n)
		for _, d := range w.nsqds {
			w.list(n, d)
		}
	}
	for _, l := range w.story {
		switch l.word {
		case "link":
			w.happen(l)
		case "consumer", "group", "relay":
			w.takers = append(w.takers, newTaker(w, l))
		case "publisher":
			w.sources = append(w.sources, newPublisher(w, l))
		}
	}
}

// prepare creates all channels of an nsqd, so that each gets a copy of every message.
func (w *world) prepare(n *nsqd) {
	for _, topic := range w.topics() {
		n.CreateChannel(topic, audit)
		n.CreateChannel(topic+".delayed", "relay")
	}
	for _, tc := range w.channels() {
		topic, channel, _ := strings.Cut(tc, "/")
		n.CreateChannel(topic, channel)
		n.CreateChannel(topic, audit)
		n.CreateChannel(deadTopic(topic, channel), audit)
	}
}

func (w *world) run() {
	var publishing sync.WaitGroup
	for _, a := range w.takers {
		a.start()
	}
	for _, p := range w.sources {
		publishing.Go(p.run)
	}
	over := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { w.watch(over) })

	type timed struct {
		at   time.Duration
		what line
	}
	var events []timed
	for _, l := range w.story.all("at") {
		at, what := l.event()
		events = append(events, timed{at, what})
	}
	slices.SortStableFunc(events, func(a, b timed) int { return cmp.Compare(a.at, b.at) })
	for _, e := range events {
		sleep(e.at - time.Since(w.begin))
		w.happen(e.what)
	}
	sleep(50 * time.Millisecond)
	w.mendAll()
	w.wait("publishers", publishing.Wait)
	w.probe()
	w.drain()
	for _, a := range w.takers {
		a.checkSlots()
	}
	close(over)
	watching.Wait()
	for _, a := range w.takers {
		a.stop("stop")
	}
	for _, p := range w.sources {
		p.stop()
		p.checkStopped()
	}
	if !w.Failed() {
		w.ledger.check(w)
	}
	if w.Failed() {
		w.Logf("the story:\n%s", w.story)
	}
}

// patience returns how long it may take until all is handled. With a small max_bytes_in_flight few
// messages come at a time, and each Fetch and batch waits for more.
func (w *world) patience() time.Duration {
	if slices.ContainsFunc(w.story, func(l line) bool { return l.number("bytes") > 0 }) {
		return 2 * longest
	}
	return longest
}

// wait waits for something, and gives up the test if that takes too long.
func (w *world) wait(what string, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(longest):
		panic(fmt.Sprintf("%s: not done %v after the last fault", what, longest))
	}
}

// probe publishes a message at each nsqd, and one from each publisher that the story has not
// stopped: all must find their way again.
func (w *world) probe() {
	for _, d := range w.nsqds {
		for _, topic := range w.topics() {
			id := "probe-" + d.name + "-" + topic
			w.ledger.begin(topic, id, false, time.Time{})
			d.Publish(topic, id)
			w.ledger.tell(id, stored)
		}
	}
	var probing sync.WaitGroup
	for _, p := range w.sources {
		probing.Go(p.probe)
	}
	w.wait("publishers of probes", probing.Wait)
}

// drain waits until no channel has messages.
func (w *world) drain() {
	begin := time.Now()
	for !w.drained() {
		if patience := w.patience(); time.Since(begin) > patience {
			for _, d := range w.nsqds {
				for _, tc := range w.channels() {
					topic, channel, _ := strings.Cut(tc, "/")
					w.Errorf("%s has in %s, %v after the last fault: %+v", d.name, tc, patience, d.Stats(topic, channel))
				}
			}
			return
		}
		sleep(100 * time.Millisecond)
	}
}

func (w *world) drained() bool {
	for _, d := range w.nsqds {
		for _, tc := range w.channels() {
			topic, channel, _ := strings.Cut(tc, "/")
			if s := d.Stats(topic, channel); s.Depth+s.InFlight+s.Deferred > 0 {
				return false
			}
		}
		for _, l := range w.story.all("relay") {
			if s := d.Stats(l.name(1)+".delayed", "relay"); s.Depth+s.InFlight+s.Deferred > 0 {
				return false
			}
		}
	}
	return true
}

// watch checks again and again what holds at any time.
func (w *world) watch(over chan struct{}) {
	for {
		select {
		case <-over:
			return
		case <-time.After(tick):
		}
		synctest.Wait()
		for _, a := range w.takers {
			if !w.Failed() { // once is enough
				a.check()
			}
		}
	}
}

func (w *world) nsqd(name string) *nsqd {
	for _, d := range w.nsqds {
		if d.name == name {
			return d
		}
	}
	return nil
}

// addrs returns the addresses of all nsqds.
func (w *world) addrs() (addrs []string) {
	for _, d := range w.nsqds {
		addrs = append(addrs, d.addr)
	}
	return addrs
}

// nsqdAt returns the nsqd that clients find, or have found, at an address.
func (w *world) nsqdAt(addr string) *nsqd {
	host, _, _ := strings.Cut(addr, ":")
	name, _, _ := strings.Cut(host, "-")
	return w.nsqd(name)
}

// sizes returns how light and how heavy bodies are.
func (w *world) sizes() (lightest, heaviest int64) {
	for _, p := range w.story.all("publisher") {
		size := int64(p.number("size"))
		lightest, heaviest = min(size, cmp.Or(lightest, size)), max(size, heaviest)
	}
	return lightest + 7, heaviest + 12 // with their names
}

func (w *world) lookupAddrs() (addrs []string) {
	for _, l := range w.looks {
		addrs = append(addrs, l.Addr())
	}
	return addrs
}

// producer returns a Producer that the world stops.
func (w *world) producer(name string, cfg *nsq.Config) *nsq.Producer {
	d := w.nsqd(name)
	if d == nil {
		d = w.nsqds[0]
	}
	p, err := nsq.NewProducer(d.Addr(), cfg)
	if err != nil {
		panic(err)
	}
	return p
}

var background = context.Background()
