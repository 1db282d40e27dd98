package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// library is a client under test.
type library interface {
	// consume starts a consumer with as many handlers as the case has. Each calls
	// handle for a message and then finishes it as c.Handler says. consume returns
	// once the consumer is connected, or is looking for nsqds. ready reports
	// whether all connections are there.
	consume(c Case, where addresses, handle func(id byte, body []byte)) (ready func() bool, err error)
	// publisher connects a producer.
	publisher(c Case, addr string) (publisher, error)
}

// publisher is a connected producer.
type publisher interface {
	one(body []byte) error
	many(bodies [][]byte) error
	// stream publishes without waiting for each reply, until stop is set. It calls
	// done for each reply and returns after the last one.
	stream(body []byte, done func(), stop *atomic.Bool) error
}

// libraries holds the clients by name, in the order of the report.
var libraries = []struct {
	name string
	lib  library
}{
	{goNSQ, goNSQLibrary{}},
	{rdy, rdyLibrary{}},
	{rdyRecycle, rdyLibrary{recycle: true}},
	{goNSQCounted, goNSQLibrary{counts: newCounts(prometheus.NewRegistry())}},
	{rdyHook, rdyLibrary{observe: emptyHook}},
	{rdyProm, rdyLibrary{observe: newProm}},
	{rdyOTel, rdyLibrary{observe: newOTel}},
	{rdyBatches, rdyLibrary{take: takeBatches}},
	{rdyMessages, rdyLibrary{take: takeByLoops}},
	{rdyFetch, rdyLibrary{take: takeByFetch}},
	{rdyBatcher, rdyLibrary{batch: true}},
	{floorHop, floorLibrary{hop: true}},
	{floorInline, floorLibrary{}},
}

const (
	goNSQ       = "go-nsq"
	rdy         = "rdy"
	rdyRecycle  = "rdy recycle" // with recycle_bodies
	floorHop    = "floor hop"
	floorInline = "floor inline"

	goNSQCounted = "go-nsq counted" // with a counter and a histogram written by hand
	rdyHook      = "rdy hook"       // with a hook that does nothing
	rdyProm      = "rdy prom"       // with plugin/prom
	rdyOTel      = "rdy otel"       // with plugin/otel, metrics and traces

	rdyBatches  = "rdy batches"  // by batch handlers, up to 100 messages at a time
	rdyMessages = "rdy messages" // by loops over Messages
	rdyFetch    = "rdy fetch"    // by Fetch, up to 100 messages at a time

	rdyBatcher = "rdy batcher" // publishes through a Batcher
)

// warmUp is how long a client works before the measurement begins.
const warmUp = 200 * time.Millisecond

// runClient is the client process. It prints its result as one line of JSON.
func runClient(name string, c Case, where addresses) error {
	i := slices.IndexFunc(libraries, func(l struct {
		name string
		lib  library
	}) bool {
		return l.name == name
	})
	if i < 0 {
		return fmt.Errorf("no client is called %q", name)
	}
	run := map[string]func(library, Case, addresses) (Result, error){
		consume: runConsume, latency: runLatency, publish: runPublish,
		idle: runIdle, silence: runSilence, memory: runMemory, connect: runConnect, observe: runObserve, taking: runConsume,
	}[c.Kind]
	if c.Procs > 0 {
		runtime.GOMAXPROCS(c.Procs)
	}
	program := hold(c.Heap)
	r, err := run(libraries[i].lib, c, where)
	runtime.KeepAlive(program)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// hold returns objects of 1 KiB with a pointer in each: what a program keeps on its heap
// beside the client. The larger the heap, the more seldom it is collected, and the more
// there is to mark.
func hold(mebibytes int) []*ballast {
	objects := make([]*ballast, mebibytes<<10)
	for i := range objects {
		objects[i] = &ballast{next: objects[max(i-1, 0)]}
	}
	return objects
}

type ballast struct {
	next *ballast
	_    [1<<10 - 8]byte
}

// counters is a counter that goroutines increment without contending for one cache
// line.
type counters [64]struct {
	n atomic.Int64
	_ [56]byte
}

func (c *counters) add(at byte) { c[at%64].n.Add(1) }

func (c *counters) sum() (n int) {
	for i := range c {
		n += int(c[i].n.Load())
	}
	return n
}

func runConsume(lib library, c Case, where addresses) (Result, error) {
	var handled counters
	before := readMeter()
	_, err := lib.consume(c, where, func(id byte, _ []byte) { handled.add(id) })
	if err != nil {
		return Result{}, err
	}
	if c.Messages > 0 {
		// The last messages do not fill nsqd's output buffer and stay in it for
		// up to 250 ms. So the measurement ends one percent earlier.
		enough := c.Messages - c.Messages/100
		if err := waitUntil(func() bool { return handled.sum() >= enough }); err != nil {
			return Result{}, fmt.Errorf("received %d of %d messages: %w", handled.sum(), c.Messages, err)
		}
		r := readMeter().since(before, handled.sum())
		return r, waitUntil(func() bool { return handled.sum() >= c.Messages })
	}
	time.Sleep(warmUp)
	before = readMeter()
	from := handled.sum()
	time.Sleep(c.Window)
	to := handled.sum()
	return readMeter().since(before, to-from), nil
}

func runPublish(lib library, c Case, where addresses) (Result, error) {
	p, err := lib.publisher(c, where.NSQDs[0])
	if err != nil {
		return Result{}, err
	}
	var published counters
	var stop atomic.Bool
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for i := range c.Handlers {
		wg.Go(func() {
			if err := publishUntil(p, c, &published[i%64].n, &stop); err != nil {
				failed.Store(&err)
			}
		})
	}
	time.Sleep(warmUp)
	before := readMeter()
	from := published.sum()
	time.Sleep(c.Window)
	to := published.sum()
	r := readMeter().since(before, to-from)
	stop.Store(true)
	wg.Wait()
	if err := failed.Load(); err != nil {
		return r, *err
	}
	return r, nil
}

// multi is the number of messages in a "multi" publish.
const multi = 100

func publishUntil(p publisher, c Case, count *atomic.Int64, stop *atomic.Bool) error {
	body := text(c.Body)
	if c.Mode == "async" {
		return p.stream(body, func() { count.Add(1) }, stop)
	}
	call, n := func() error { return p.one(body) }, int64(1)
	if c.Mode == "multi" {
		batch := slices.Repeat([][]byte{body}, multi)
		call, n = func() error { return p.many(batch) }, multi
	}
	for !stop.Load() {
		if err := call(); err != nil {
			return err
		}
		count.Add(n)
	}
	return nil
}

// idleBeats is how many heartbeats the measurement of an idle client lasts.
const idleBeats = 4

func runIdle(lib library, c Case, where addresses) (Result, error) {
	debug.FreeOSMemory()
	goroutines, rss := runtime.NumGoroutine(), resident()
	ready, err := lib.consume(c, where, func(byte, []byte) {})
	if err != nil {
		return Result{}, err
	}
	if err := waitUntil(ready); err != nil {
		return Result{}, fmt.Errorf("not all connections are ready: %w", err)
	}
	time.Sleep(3 * heartbeat) // until the client has released the handshake's buffers
	before := readMeter()
	time.Sleep(idleBeats * heartbeat)
	r := readMeter().since(before, c.Conns*idleBeats)
	r.Goroutines = (runtime.NumGoroutine() - goroutines) / c.Conns
	debug.FreeOSMemory() // so that RSS excludes garbage of the connecting phase
	r.RSS = (resident() - rss) / int64(c.Conns)
	return r, nil
}

func runMemory(lib library, c Case, where addresses) (Result, error) {
	var handled counters
	before := readMeter()
	if _, err := lib.consume(c, where, func(id byte, _ []byte) { handled.add(id) }); err != nil {
		return Result{}, err
	}
	if err := waitUntil(func() bool { return handled.sum() >= c.Messages }); err != nil {
		return Result{}, fmt.Errorf("received %d of %d messages: %w", handled.sum(), c.Messages, err)
	}
	r := readMeter().since(before, handled.sum())
	r.RSS = mostResident()
	return r, nil
}

func runConnect(lib library, c Case, where addresses) (Result, error) {
	before := readMeter()
	ready, err := lib.consume(c, where, func(byte, []byte) {})
	if err != nil {
		return Result{}, err
	}
	if err := waitUntil(ready); err != nil {
		return Result{}, fmt.Errorf("not all connections are ready: %w", err)
	}
	r := readMeter().since(before, c.Conns)
	r.Took = time.Duration(r.Seconds * 1e9)
	return r, nil
}

func runObserve(lib library, c Case, where addresses) (Result, error) {
	if c.Mode != "" {
		return runPublish(lib, c, where)
	}
	return runConsume(lib, c, where)
}

// waitUntil polls until done reports true. It fails after a minute.
func waitUntil(done func() bool) error {
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("timed out after a minute")
		}
	}
	return nil
}
