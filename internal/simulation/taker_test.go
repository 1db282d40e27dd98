package simulation

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/delay"
	"github.com/rdyhq/nsq/internal/wire"
)

var errStory = errors.New("the story says so")

// taker is a consumer, a group or a relay. It may stop and start again, each time with new
// Consumers.
type taker struct {
	*world
	line
	name string

	running bool
	given   []string         // addresses of nsqds from which the story has disconnected it
	end     func(how string) // stops what runs, and waits for it
	others  sync.WaitGroup   // goroutines that handlers began, and those of loops
	calls   atomic.Int32     // of handlers and batch handlers that have not returned
	atWork  atomic.Int32     // the same without batch handlers

	mu      sync.Mutex
	made    func() []*nsq.Consumer // the newest
	limit   int                    // max_in_flight
	allowed int                    // the same, or an earlier one from which messages may still be in flight
	lowered time.Time              // when limit was last lowered
	longest time.Duration
}

func newTaker(w *world, l line) *taker {
	a := &taker{world: w, line: l, name: l.name(0), limit: l.number("mif"), allowed: l.number("mif")}
	if l.word == "group" && l.number("weights") == 0 {
		a.allowed *= len(l.names) - 1
		a.limit = a.allowed
	}
	for _, d := range w.nsqds {
		a.longest = max(a.longest, 4*d.timeout+time.Second)
	}
	return a
}

func (w *world) config(name string) *nsq.Config {
	cfg := nsq.NewConfig()
	cfg.DialContext = w.net.dialer(nil)
	cfg.Logger = slog.New(slog.DiscardHandler)
	cfg.ClientID = name
	cfg.HeartbeatInterval, cfg.ReadTimeout, cfg.WriteTimeout, cfg.DialTimeout = time.Second, 2*time.Second, 500*time.Millisecond, 500*time.Millisecond
	cfg.LookupdPollInterval, cfg.LookupdPollTimeout = 700*time.Millisecond, 300*time.Millisecond
	cfg.StopTimeout = stopTimeout
	return cfg
}

// config returns the Config of the line's settings.
func (a *taker) config() *nsq.Config {
	cfg := a.world.config(a.name)
	if a.word == "consumer" && a.number("snappy") == 0 {
		cfg.DialContext = a.net.dialer(func(from *link, m wire.Message) { a.deliveries.saw(a.line.name(1), from, m) })
	}
	cfg.MaxInFlight, cfg.MaxAttempts = a.number("mif"), 0
	cfg.DefaultRequeueDelay = max(a.ms("requeue"), time.Millisecond) // without, a relay whose target is down stops virtual time
	cfg.MaxBackoffDuration, cfg.BackoffMultiplier = a.ms("backoff"), a.ms("backoff")/8
	cfg.RecycleBodies, cfg.Snappy = a.number("recycle") > 0, a.number("snappy") > 0
	cfg.MaxBytesInFlight = int64(a.number("bytes"))
	if a.number("adaptive") > 0 {
		cfg.BackoffPolicy = nsq.BackoffAdaptive
	}
	if a.number("uniform") > 0 {
		cfg.RDYStrategy = nsq.RDYUniform
	}
	if a.number("autotouch") > 0 {
		cfg.AutoTouch = 2 * a.longest
	}
	return cfg
}

func (a *taker) use(made func() []*nsq.Consumer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.made = made
}

// consumers returns the newest Consumers, which may have stopped.
func (a *taker) consumers() []*nsq.Consumer {
	a.mu.Lock()
	made := a.made
	a.mu.Unlock()
	return made()
}

// start starts the actor, if it does not run.
func (a *taker) start() {
	if a.running {
		return
	}
	a.running = true
	cfg := a.config()
	var letters *nsq.Producer
	if a.number("bury") > 0 {
		letters = a.producer("", a.world.config(a.name+"-letters"))
		cfg.DeadLetter = &nsq.DeadLetterPolicy{To: letters, After: uint16(a.number("bury")), Raw: true}
	}
	a.note(a.number("mif"))
	switch a.word {
	case "group":
		a.startGroup(cfg)
	case "relay":
		a.startRelay(cfg)
	default:
		a.startConsumer(cfg)
	}
	stop := a.end
	a.end = func(how string) {
		begin := time.Now()
		stop(how)
		patience := a.stopPatience(how) + stopGrace
		if a.word == "relay" {
			patience += producerStop
		}
		if took := time.Since(begin); took > patience {
			a.Errorf("%v: %s: the %s took %v", time.Since(a.world.begin), a.name, how, took)
		}
		for a.calls.Load() > 0 { // a handler may outlast the stop
			sleep(10 * time.Millisecond)
		}
		a.others.Wait()
		if letters != nil {
			letters.Stop()
		}
		a.checkStopped()
	}
}

func (a *taker) startConsumer(cfg *nsq.Config) {
	topic, channel, _ := strings.Cut(a.line.name(1), "/")
	c, err := nsq.NewConsumer(topic, channel, cfg)
	if err != nil {
		panic(err)
	}
	n := a.number("handlers")
	leave, cancel := context.WithCancel(background)
	switch a.text("take") {
	case "batches":
		c.AddBatchHandler(nsq.BatchHandlerFunc(a.handleBatch), nsq.BatchLimits{Messages: 1 + n, Wait: 20 * time.Millisecond}, n)
	case "loop":
		for range n {
			a.others.Go(func() {
				for m := range c.Messages(leave) {
					a.answer(m)
				}
			})
		}
	case "fetch":
		for range n {
			a.others.Go(func() { a.fetch(leave, c) })
		}
	default:
		c.AddConcurrentHandlers(nsq.HandlerFunc(a.handle), n)
	}
	a.connect(c)
	a.use(func() []*nsq.Consumer { return []*nsq.Consumer{c} })
	a.end = func(how string) {
		a.stopConsumer(c, how)
		cancel()
	}
}

// connect lets a Consumer find nsqds, as the story says.
func (a *taker) connect(c *nsq.Consumer) {
	c.SetLookupdHttpClient(a.net.daemons.HTTPClient())
	by := a.text("by")
	if by != "nsqlookupds" {
		_ = c.Connect(background, a.addrs()...)
	}
	if by != "nsqds" && len(a.looks) > 0 {
		_ = c.Discover(background, a.lookupAddrs()...)
	}
}

// stopConsumer stops a Consumer: by Stop, by Shutdown, or by Shutdown when Stop takes long.
func (a *taker) stopConsumer(c *nsq.Consumer, how string) {
	if how != "shutdown" {
		c.Stop()
	}
	if how != "stop" {
		ctx, cancel := context.WithTimeout(background, a.stopPatience(how))
		defer cancel()
		_ = c.Shutdown(ctx)
	}
	<-c.StopChan
}

// stopPatience returns how long a stop waits for handlers.
func (a *taker) stopPatience(how string) time.Duration {
	switch {
	case a.word == "group", how == "stop":
		return stopTimeout
	case how == "shutdown":
		return stopTimeout / 2
	}
	return stopTimeout / 10
}

func (a *taker) startRelay(cfg *nsq.Config) {
	cfg.MaxInFlight = max(cfg.MaxInFlight, len(a.nsqds))
	a.note(cfg.MaxInFlight)
	to := a.producer(a.text("to"), a.world.config(a.name+"-to"))
	cfg.DeadLetter = nil
	c, err := delay.NewRelay(a.line.name(1), to, cfg)
	if err != nil {
		panic(err)
	}
	a.connect(c)
	a.use(func() []*nsq.Consumer { return []*nsq.Consumer{c} })
	a.end = func(how string) {
		a.stopConsumer(c, how)
		to.Stop()
	}
}

func (a *taker) startGroup(cfg *nsq.Config) {
	g, err := nsq.NewGroup(cfg)
	if err != nil {
		panic(err)
	}
	g.SetLookupdHttpClient(a.net.daemons.HTTPClient())
	for i, tc := range a.names[1:] {
		topic, channel, _ := strings.Cut(tc, "/")
		if err := g.Handle(topic, channel, nsq.HandlerFunc(a.handle), nsq.HandleOptions{Concurrency: a.number("handlers"), Weight: a.number("weights") * (1 + i)}); err != nil {
			panic(err)
		}
	}
	if a.text("by") != "nsqlookupds" {
		_ = g.Connect(background, a.addrs()...)
	}
	if a.text("by") != "nsqds" && len(a.looks) > 0 {
		_ = g.Discover(background, a.lookupAddrs()...)
	}
	ctx, cancel := context.WithCancel(background)
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		_ = g.Run(ctx)
	}()
	a.use(g.Consumers)
	a.end = func(string) {
		cancel()
		<-ran
	}
}

func (a *taker) stop(how string) {
	if a.running {
		a.running = false
		a.end(how)
	}
}

// recover undoes what events have changed.
func (a *taker) recover() {
	a.start()
	for _, c := range a.consumers() {
		c.Resume()
		_ = c.Connect(background, a.given...) // they stay away otherwise
		if a.text("by") != "nsqds" && len(a.looks) > 0 {
			_ = c.Discover(background, a.lookupAddrs()...)
		}
		if a.word == "group" {
			continue
		}
		mif := a.number("mif")
		if a.word == "relay" {
			mif = max(mif, len(a.nsqds))
		}
		c.ChangeMaxInFlight(mif)
		a.note(mif)
		_ = c.SetConcurrency(a.number("handlers")) // it fails if nothing handles
	}
}

// moved lets the actor find an nsqd at its new address, unless nsqlookupds say where it is.
func (a *taker) moved(from, to string) {
	if i := slices.Index(a.given, from); i >= 0 {
		a.given[i] = to
		return
	}
	if !a.running || a.text("by") == "nsqlookupds" {
		return
	}
	for _, c := range a.consumers() {
		_ = c.DisconnectFromNSQD(from)
		_ = c.Connect(background, to)
	}
}

// note notes a new max_in_flight.
func (a *taker) note(limit int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.word == "group" {
		return
	}
	if limit < a.allowed {
		a.lowered = time.Now()
	}
	a.limit, a.allowed = limit, max(limit, a.allowed)
}

// happen lets an event happen to the actor.
func (a *taker) happen(w *world, e line) {
	n, _ := strconv.Atoi(e.name(1))
	switch e.word {
	case "stop", "shutdown", "hurry":
		a.stop(e.word)
		return
	case "start":
		a.start()
		return
	}
	if !a.running {
		return
	}
	for _, c := range a.consumers() {
		switch e.word {
		case "mif":
			if a.word != "group" {
				c.ChangeMaxInFlight(n)
				a.note(n)
			}
		case "handlers":
			if a.word != "group" {
				_ = c.SetConcurrency(n) // it fails if nothing handles
			}
		case "pause":
			c.Pause()
		case "resume":
			c.Resume()
		case "disconnect":
			if d := w.nsqd(e.name(1)); d != nil && c.DisconnectFromNSQD(d.addr) == nil {
				a.given = append(a.given, d.addr)
			}
		case "connect":
			if d := w.nsqd(e.name(1)); d != nil {
				_ = c.Connect(background, d.addr)
				a.given = slices.DeleteFunc(a.given, func(addr string) bool { return addr == d.addr })
			}
		case "forget":
			_ = c.DisconnectFromNSQLookupd(e.name(1) + ":4161") // it may know none
		case "discover":
			if slices.Contains(a.lookupAddrs(), e.name(1)+":4161") {
				_ = c.Discover(background, e.name(1)+":4161")
			}
		}
	}
}

// check checks what holds at any time.
func (a *taker) check() {
	for _, c := range a.consumers() {
		s := c.Snapshot()
		if s.Received+s.Unsent != s.Finished+s.Requeued+s.Expired+s.Lost+uint64(s.InFlight) {
			a.Errorf("%s: the counts do not add up: %+v", a.name, s)
		}
		// Where the network holds few bytes, a message may wait in it for long: nsqd's lease
		// began before the one that the Consumer counts, and an ack near its end is late.
		if a.gentle && a.net.ends.Capacity == 0 && s.Refused > 0 {
			a.Errorf("%v: %s: nsqd has refused %d acks", time.Since(a.world.begin), a.name, s.Refused)
		}
		for _, conn := range s.Connections {
			if a.gentle && conn.LastError != nil {
				a.Errorf("%v: %s has lost a connection: %v", time.Since(a.world.begin), a.name, conn.LastError)
			}
		}
		a.checkBytes(s)
		a.checkRDYs(s)
	}
	a.mu.Lock()
	if time.Since(a.lowered) > a.longest {
		a.allowed = a.limit
	}
	allowed := a.allowed
	a.mu.Unlock()
	if n := int(a.atWork.Load()); n > allowed {
		a.Errorf("%v: %s: %d messages are with handlers, max_in_flight is %d", time.Since(a.world.begin), a.name, n, allowed)
	}
	if a.slow || a.text("take") == "fetch" { // Fetch gets what it asks for, whatever is in flight
		return
	}
	inFlight := 0
	for _, d := range a.nsqds {
		for _, client := range d.Clients() {
			if strings.Contains(string(client.Identify), `"client_id":"`+a.name+`"`) {
				inFlight += client.InFlight
			}
		}
	}
	if inFlight > allowed {
		a.Errorf("%v: %s: %d messages are in flight, max_in_flight is %d", time.Since(a.world.begin), a.name, inFlight, allowed)
	}
}

// checkBytes checks max_bytes_in_flight. Messages may be heavier than those before them, and each
// connection has room for one.
func (a *taker) checkBytes(s nsq.Snapshot) {
	if a.number("bytes") == 0 {
		return
	}
	lightest, heaviest := a.sizes()
	most := s.MaxBytesInFlight*heaviest/lightest + int64(len(s.Connections))*heaviest
	if s.BytesInFlight > most {
		a.Errorf("%v: %s: %d bytes are in flight, max_bytes_in_flight is %d", time.Since(a.world.begin), a.name, s.BytesInFlight, s.MaxBytesInFlight)
	}
}

// checkRDYs checks that a Consumer asks for no more messages than it may, and for none in a pause.
func (a *taker) checkRDYs(s nsq.Snapshot) {
	sum := 0
	for _, c := range s.Connections {
		sum += c.RDY
	}
	if sum > s.MaxInFlight && a.text("take") != "fetch" || sum > 0 && s.Paused { // Fetch gets what it asks for
		a.Errorf("%v: %s: the RDYs are %d together, max_in_flight is %d, paused: %v", time.Since(a.world.begin), a.name, sum, s.MaxInFlight, s.Paused)
	}
}

// checkSlots checks that all slots are given out again, each nsqd's one included, soon after the
// last message.
func (a *taker) checkSlots() {
	mif := a.number("mif")
	if a.word != "consumer" || a.text("take") == "fetch" || a.number("bytes")+a.number("adaptive") > 0 || mif < len(a.nsqds) || len(a.looks) == 0 && a.text("by") == "nsqlookupds" {
		return
	}
	var seen []int
	for range 100 {
		sum, least := 0, mif
		seen = seen[:0]
		all := a.consumers()[0].Snapshot()
		if all.BackoffLevel > 0 || all.Expired > 0 { // until the next messages show that it is over
			return
		}
		for _, s := range all.Connections {
			if s.State != nsq.ConnectionUp { // such as an address that an nsqd has left
				continue
			}
			sum, least = sum+s.RDY, min(least, s.RDY)
			seen = append(seen, s.RDY)
		}
		shared := least > 0 || len(seen) > mif // an nsqd that has moved may have two connections for a while
		if shared && len(seen) >= len(a.nsqds) && (sum == mif || a.number("uniform") > 0) {
			return
		}
		sleep(100 * time.Millisecond)
	}
	a.Errorf("%v: %s: RDYs are %d, max_in_flight is %d", time.Since(a.world.begin), a.name, seen, mif)
}

// checkStopped checks that a stop has left nothing, and has closed everything.
func (a *taker) checkStopped() {
	for _, c := range a.consumers() {
		s := c.Snapshot()
		if s.State != nsq.ConsumerStopped || cmp.Or(s.InFlight, s.Busy, s.Queued, int(s.BytesInFlight), len(s.Connections)) != 0 {
			a.Errorf("%v: %s has stopped, and is not done: %+v", time.Since(a.world.begin), a.name, s)
		}
	}
}
