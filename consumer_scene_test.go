package nsq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

const (
	// firstRedial is the longest delay before a lost nsqd is dialled again.
	firstRedial = 100 * time.Millisecond
	// rdyMoves is longer than RDY takes to move from one nsqd to another that has
	// nothing in flight.
	rdyMoves = 50 * time.Millisecond
	// offBeat is how long a handler takes in tests that count messages in flight. flow
	// samples the connections at round times. If a handler returned just then, it
	// would be chance whether the sample counts its message.
	offBeat = 9700 * time.Microsecond
)

var errBoom = errors.New("boom")

func noError(*Message) error { return nil }

// backoffFunc is a user's BackoffStrategy.
type backoffFunc func(attempt int) time.Duration

func (f backoffFunc) Calculate(attempt int) time.Duration { return f(attempt) }

// consumer makes the scene's Consumer, of channel c of topic t. It asks
// nsqlookupds over the scene's network.
func (s *scene) consumer(handlers int, h HandlerFunc) *Consumer {
	s.Helper()
	c, err := NewConsumer("t", "c", s.cfg)
	if err != nil {
		s.Fatal(err)
	}
	c.SetLookupdHttpClient(s.net.HTTPClient())
	s.c = c
	if handlers > 0 {
		c.AddConcurrentHandlers(h, handlers)
	}
	return c
}

// producer makes a Producer for the nsqd at an address. The test stops it.
func (s *scene) producer(addr string) *Producer {
	s.Helper()
	p, err := NewProducer(addr, s.cfg)
	if err != nil {
		s.Fatal(err)
	}
	return p
}

// logged returns the lines that the Consumer will log at a level or above it.
func (s *scene) logged(level LogLevel) *logLines {
	out := &logLines{}
	s.c.SetLogger(out, level)
	return out
}

// connect connects the Consumer to nsqds by their addresses.
func (s *scene) connect(nsqds ...*nsqtest.Nsqd) {
	s.Helper()
	for _, d := range nsqds {
		if err := s.c.ConnectToNSQD(d.Addr()); err != nil {
			s.Fatal(err)
		}
	}
}

// discover connects the Consumer to the nsqds that nsqlookupds list.
func (s *scene) discover(lookupds ...string) {
	s.Helper()
	if err := s.c.ConnectToNSQLookupds(lookupds); err != nil {
		s.Fatal(err)
	}
}

// held makes a Consumer with one handler, which has handled done messages without delay, 100 or
// a few more, and hangs on the next one until release is closed. The FINs of some are not sent
// yet: its worker took them in one batch with the one on which it hangs.
func (s *scene) held() (d *nsqtest.Nsqd, done int, release chan struct{}) {
	s.Helper()
	const least = 100
	s.cfg.MaxInFlight = 2 * least
	d = s.nsqd("a:1")
	var bodies []string
	for i := range 2 * least {
		bodies = append(bodies, fmt.Sprint(i))
	}
	d.Publish("t", bodies...)
	release = make(chan struct{})
	hangs := false
	s.consumer(1, func(*Message) error {
		if hangs = done >= least && s.c.queue.finsWait(); hangs {
			<-release
		}
		done++
		return nil
	})
	s.c.queue.allowLoans(false) // a reader that hangs in the handler would not have read the rest
	s.connect(d)
	synctest.Wait()
	if st := d.Stats("t", "c"); !hangs || st.Finished >= done {
		s.Fatalf("%d handled, %+v", done, st)
	}
	return d, done, release
}

// finsWait reports whether FINs wait for the rest of a worker's batch.
func (d *deliveryQueue) finsWait() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.busy, func(w *worker) bool { return !w.fins.empty() })
}

// stopped stops the Consumer, calling Stop twice, and returns how long that took.
func (s *scene) stopped() time.Duration {
	s.Helper()
	start := time.Now()
	s.c.Stop()
	s.c.Stop()
	<-s.c.StopChan
	return time.Since(start)
}

// shutdown calls Shutdown with a timeout and returns how long it took.
func (s *scene) shutdown(timeout time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	start := time.Now()
	err := s.c.Shutdown(ctx)
	return time.Since(start), err
}

// balanced checks that the counts account for every message and returns them.
func (s *scene) balanced() Counts {
	s.Helper()
	shown := s.c.Snapshot()
	c := shown.Counts
	if int(c.Received) != int(c.Finished+c.Requeued+c.Expired+c.Lost-c.Unsent)+shown.InFlight { // #nosec G115 -- few
		s.Errorf("out of balance: %+v, %d in flight", c, shown.InFlight)
	}
	return c
}

// nsqds starts n fake nsqds.
func (s *scene) nsqds(n int) []*nsqtest.Nsqd {
	var all []*nsqtest.Nsqd
	for i := range n {
		all = append(all, s.nsqd(fmt.Sprintf("n%03d:1", i)))
	}
	return all
}

// leases sets nsqd's msg-timeout and max-msg-timeout.
func leases(timeout, most time.Duration) func(*nsqtest.Options) {
	return func(o *nsqtest.Options) { o.MsgTimeout, o.MaxMsgTimeout = timeout, most }
}

// flood publishes n messages.
func flood(d *nsqtest.Nsqd, n int) { d.Publish("t", slices.Repeat([]string{"m"}, n)...) }

// clients returns how many connections each nsqd has.
func clients(nsqds ...*nsqtest.Nsqd) []int {
	var n []int
	for _, d := range nsqds {
		n = append(n, len(d.Clients()))
	}
	return n
}

// granted returns the sums of RDY and of messages in flight over all connections
// to these nsqds.
func granted(nsqds []*nsqtest.Nsqd) (rdy, inFlight int) {
	for _, d := range nsqds {
		for _, c := range d.Clients() {
			rdy += c.RDY
			inFlight += c.InFlight
		}
	}
	return rdy, inFlight
}

// rdyOf returns the RDY that an nsqd was sent last.
func rdyOf(d *nsqtest.Nsqd) int {
	rdy, _ := granted([]*nsqtest.Nsqd{d})
	return rdy
}
