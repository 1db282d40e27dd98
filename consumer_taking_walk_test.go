package nsq

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

var takingSeeds = flag.Uint64("taking-seeds", 12, "how many walks TestTakingWalk makes for each way to take messages")

// takingWalk is a program that takes messages by loops, Fetch or batches, and does all that
// a program can do with them, while connections break and the Consumer is changed.
type takingWalk struct {
	*scene
	way    string
	chance *rand.Rand
	nsqds  []*nsqtest.Nsqd
	calm   chan struct{} // closed when everything goes well from then on
	early  bool          // the Consumer is stopped before that, at some moment
	others sync.WaitGroup

	running atomic.Int32 // how many handlers run

	mu        sync.Mutex
	published int
	succeeded map[string]bool // bodies that were answered with success
}

// No message is lost or acked unless it was handled, nothing hangs, and nothing is left
// behind, whatever happens while messages are taken.
func TestTakingWalk(t *testing.T) {
	for _, way := range []string{"loops", "fetch", "batches", "handlers"} {
		for seed := range *takingSeeds {
			t.Run(fmt.Sprint(way, "/", seed), func(t *testing.T) {
				inScene(t, func(s *scene) {
					w := &takingWalk{
						scene: s, way: way, chance: rand.New(rand.NewPCG(seed, 7)),
						calm: make(chan struct{}), early: seed%3 == 0, succeeded: map[string]bool{},
					}
					w.walk()
				})
			})
		}
	}
}

func (w *takingWalk) rand() *rand.Rand { return rand.New(rand.NewPCG(w.chance.Uint64(), 1)) }

// one reports true once in n times.
func one(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }

func (w *takingWalk) configure() {
	cfg, r := w.cfg, w.chance
	cfg.Logger = slog.New(slog.DiscardHandler)
	cfg.MaxAttempts, cfg.StopTimeout = 0, 5*time.Second
	cfg.MaxInFlight = 1 + r.IntN(60)
	cfg.DefaultRequeueDelay = time.Duration(r.IntN(300)) * time.Millisecond
	cfg.RecycleBodies = one(r, 2)
	if one(r, 2) {
		cfg.MaxBackoffDuration = 0
	} else {
		cfg.MaxBackoffDuration, cfg.BackoffMultiplier = 500*time.Millisecond, 50*time.Millisecond
	}
	if one(r, 3) {
		cfg.BackoffPolicy = BackoffAdaptive
	}
	if one(r, 3) {
		cfg.MaxBytesInFlight = int64(200 + r.IntN(20_000))
	}
	if one(r, 3) {
		cfg.AutoTouch = 3 * time.Second
	}
	if one(r, 3) {
		cfg.MaxAttempts, cfg.DeadLetter = 3, &DeadLetterPolicy{To: &flakyPublisher{w: w}, Raw: true}
	}
	if one(r, 3) {
		cfg.Hooks = []Hooks{{Handled: func(HandledEvent) {
			if w.isCalm() {
				return
			}
			if rand.IntN(50) == 0 {
				panic("hook")
			}
		}}}
	}
}

// flakyPublisher takes the dead letters of a walk.
type flakyPublisher struct {
	Publisher
	w *takingWalk
}

func (p *flakyPublisher) PublishContext(ctx context.Context, _ string, body []byte) error {
	if p.w.isCalm() {
		p.w.successOf(body)
		return nil
	}
	switch rand.IntN(10) {
	case 0:
		return errBoom
	case 1:
		panic("publisher")
	case 2:
		<-ctx.Done()
		return context.Cause(ctx)
	case 3:
		sleep(100 * time.Millisecond)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	p.w.successOf(body)
	return nil
}

func (w *takingWalk) isCalm() bool {
	select {
	case <-w.calm:
		return true
	default:
		return false
	}
}

func (w *takingWalk) walk() {
	w.configure()
	for i := range 1 + w.chance.IntN(3) {
		w.nsqds = append(w.nsqds, w.nsqd(fmt.Sprintf("n%d:1", i), leases(time.Second, 5*time.Second)))
	}
	c := w.consumer(0, nil)
	goroutines := 1 + w.chance.IntN(4)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	limits := BatchLimits{Messages: 1 + w.chance.IntN(30), Wait: time.Duration(w.chance.IntN(400)) * time.Millisecond}
	if one(w.chance, 3) {
		limits.Bytes = 100 + w.chance.IntN(5000)
	}
	if w.way == "batches" {
		r := w.rand()
		var mu sync.Mutex
		c.AddBatchHandler(BatchHandlerFunc(func(ctx context.Context, batch []*Message) error {
			mu.Lock()
			own := rand.New(rand.NewPCG(r.Uint64(), 2))
			mu.Unlock()
			return w.handleBatch(ctx, own, batch)
		}), limits, goroutines)
	}
	if w.way == "handlers" {
		r := w.rand()
		var mu sync.Mutex
		c.AddConcurrentHandlers(HandlerFunc(func(m *Message) error {
			mu.Lock()
			own := rand.New(rand.NewPCG(r.Uint64(), 2))
			mu.Unlock()
			return w.handleOne(own, m, 4)
		}), goroutines)
		watching := w.rand()
		w.others.Go(func() { w.watchWaiting(c, watching) })
	}
	for _, d := range w.nsqds {
		_ = c.Connect(context.Background(), d.Addr())
	}
	var takers sync.WaitGroup
	for range goroutines {
		r := w.rand()
		switch w.way {
		case "loops":
			takers.Go(func() { w.loop(ctx, c, r) })
		case "fetch":
			takers.Go(func() { w.fetchAll(ctx, c, r) })
		}
	}
	run, endRun := context.WithCancel(context.Background())
	defer endRun()
	ran := make(chan error, 1)
	if one(w.chance, 2) {
		go func() { ran <- c.Run(run) }()
	} else {
		ran <- nil
	}
	if w.early {
		disturbed := make(chan struct{})
		r := w.rand()
		go func() {
			defer close(disturbed)
			w.disturb(c, r)
		}()
		sleep(time.Duration(w.chance.IntN(5_000_000)) * time.Microsecond)
		w.stop(c, endRun, ran, 6*time.Second)
		<-disturbed
		close(w.calm)
	} else {
		w.disturb(c, w.rand())
		close(w.calm)
		w.drain(c, goroutines)
		if (w.way == "loops" || w.way == "fetch") && one(w.chance, 2) {
			cancel()
			takers.Wait()
			w.leasesNothing(w.rand())
		}
		w.stop(c, endRun, ran, 2*time.Second)
	}
	cancel()
	takers.Wait()
	w.others.Wait()
	w.checkAll(c)
}

// stop stops the Consumer, by its Run if that was called or by Stop.
func (w *takingWalk) stop(c *Consumer, endRun func(), ran chan error, most time.Duration) {
	begin := time.Now()
	if one(w.chance, 2) {
		endRun()
	}
	c.Stop()
	<-c.StopChan
	if err := <-ran; err != nil && !w.early {
		w.Error(err)
	}
	if took := time.Since(begin); took > most {
		w.Errorf("the stop took %v", took)
	}
}

// drain undoes what disturb did, and waits until nsqds have no messages.
func (w *takingWalk) drain(c *Consumer, goroutines int) {
	for _, d := range w.nsqds {
		d.Restart()
	}
	c.Resume()
	c.ChangeMaxInFlight(w.cfg.MaxInFlight)
	if w.way == "batches" || w.way == "handlers" {
		if err := c.SetConcurrency(goroutines); err != nil {
			w.Error(err)
		}
	}
	begin := time.Now()
	for !w.drained() && time.Since(begin) < 10*time.Minute {
		sleep(time.Second)
	}
	if !w.drained() {
		for _, d := range w.nsqds {
			w.Errorf("%s: %+v, clients %+v", d.Addr(), d.Stats("t", "c"), d.Clients())
		}
		w.Errorf("hangs: %+v", c.Snapshot())
	}
}

// leasesNothing checks that no messages come once nothing takes them.
func (w *takingWalk) leasesNothing(r *rand.Rand) {
	sleep(2 * time.Second)
	before := delivered(w.nsqds)
	for range 5 {
		w.publishSome(r)
	}
	sleep(3 * time.Second)
	if rdy, inFlight := granted(w.nsqds); rdy != 0 || inFlight != 0 || delivered(w.nsqds) != before {
		w.Errorf("nothing takes messages: RDY %d, %d in flight, %d came", rdy, inFlight, delivered(w.nsqds)-before)
	}
}

// checkAll checks that each message was answered with success or is in its nsqd's queue.
func (w *takingWalk) checkAll(c *Consumer) {
	for _, d := range w.nsqds {
		d.Restart()
	}
	sleep(20 * time.Minute) // until no message is in flight or deferred
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.nsqds {
		for _, body := range d.Queued("t", "c") {
			var n int
			_, _ = fmt.Sscan(body, &n)
			w.succeeded[fmt.Sprint(n)] = true
		}
	}
	if len(w.succeeded) != w.published {
		w.Errorf("%d of %d messages were answered with success", len(w.succeeded), w.published)
	}
	w.balanced()
	if held := c.memory.held.Load(); held != 0 {
		w.Errorf("%d bytes are still held", held)
	}
	if n := len(c.queue.detached); n != 0 {
		w.Errorf("%d messages are detached still", n)
	}
}

func (w *takingWalk) drained() bool {
	for _, d := range w.nsqds {
		if st := d.Stats("t", "c"); st.Depth+st.InFlight+st.Deferred > 0 {
			return false
		}
	}
	return true
}

func (w *takingWalk) publishSome(r *rand.Rand) {
	d := w.nsqds[r.IntN(len(w.nsqds))]
	w.mu.Lock()
	defer w.mu.Unlock()
	for range r.IntN(80) {
		w.published++
		d.Publish("t", fmt.Sprintf("%d %*d", w.published, 1+r.IntN(200), 0))
	}
}

// disturb publishes, breaks connections and changes the Consumer for a while.
func (w *takingWalk) disturb(c *Consumer, r *rand.Rand) {
	for range 60 {
		d := w.nsqds[r.IntN(len(w.nsqds))]
		switch r.IntN(14) {
		case 0:
			d.Kill()
			sleep(time.Duration(r.IntN(500)) * time.Millisecond)
			d.Restart()
		case 1:
			for _, client := range d.Clients() {
				d.Disconnect(client.Conn)
			}
		case 2:
			d.CutAfterSent(r.IntN(6000))
		case 3:
			d.CutAfterReceived(100 + r.IntN(1000))
		case 4:
			c.ChangeMaxInFlight(0)
		case 5, 6:
			c.ChangeMaxInFlight(1 + r.IntN(60))
		case 7:
			c.Pause()
			sleep(time.Duration(r.IntN(300)) * time.Millisecond)
			c.Resume()
		case 8:
			if w.way == "batches" || w.way == "handlers" {
				_ = c.SetConcurrency(r.IntN(5))
			}
		case 9:
			_ = c.DisconnectFromNSQD(d.Addr())
			sleep(time.Duration(r.IntN(100)) * time.Millisecond)
			for errors.Is(c.Connect(context.Background(), d.Addr()), ErrAlreadyConnected) {
				if !one(r, 3) {
					break
				}
				sleep(time.Second)
			}
		default:
			w.publishSome(r)
		}
		sleep(time.Duration(r.IntN(200)) * time.Millisecond)
	}
	for _, d := range w.nsqds {
		d.CutAfterSent(-1)
		d.CutAfterReceived(-1)
		for i := 0; c.Connect(context.Background(), d.Addr()) != nil && i < 20; i++ {
			sleep(500 * time.Millisecond)
			d.Restart()
		}
	}
}

// success notes that a message is about to be answered with success.
func (w *takingWalk) success(m *Message) { w.successOf(m.Body) }

// successOf notes that a message with this body is about to be acked rightly.
func (w *takingWalk) successOf(body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var n, zero int
	if k, _ := fmt.Sscan(string(body), &n, &zero); k != 2 || zero != 0 || n < 1 || n > w.published {
		w.Errorf("body %q", body)
	}
	w.succeeded[fmt.Sprint(n)] = true
}

// answer does with a message what a program may do.
func (w *takingWalk) answer(r *rand.Rand, m *Message) {
	if w.isCalm() {
		w.success(m)
		m.Answer(nil)
		return
	}
	switch r.IntN(20) {
	case 0:
		m.Answer(errBoom)
	case 1:
		m.Answer(RetryAfter(time.Duration(r.IntN(1000))*time.Millisecond, errBoom))
	case 2:
		m.Answer(NoBackoff(errBoom))
	case 3:
		w.success(m)
		m.Answer(Discard(errBoom))
	case 4: // never
	case 5:
		d := time.Duration(r.IntN(1500)) * time.Millisecond
		w.others.Go(func() {
			sleep(d)
			if m.leaseEnds() < m.conn.c.elapsed() { // the body may be gone
				m.Answer(nil)
				return
			}
			m.Requeue(0)
		})
	case 6:
		w.success(m)
		for range 2 {
			w.others.Go(func() { m.Answer(nil) })
		}
	case 7:
		m.Touch()
		sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
		m.Answer(errBoom)
	case 8:
		m.RequeueWithoutBackoff(0)
	case 9:
		panic("program")
	default:
		w.success(m)
		m.Answer(nil)
	}
}

// recovering calls f and recovers from its panic.
func recovering(f func()) {
	defer func() { _ = recover() }()
	f()
}

func (w *takingWalk) loop(ctx context.Context, c *Consumer, r *rand.Rand) {
	for ctx.Err() == nil && !c.queue.isSealed() {
		recovering(func() {
			ctx, cancel := context.WithCancel(ctx)
			if !w.isCalm() && one(r, 2) {
				ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(1000))*time.Millisecond)
			}
			defer cancel()
			for m := range c.Messages(ctx) {
				if one(r, 5) {
					sleep(time.Duration(r.IntN(30)) * time.Millisecond)
				}
				w.answer(r, m)
				if !w.isCalm() && one(r, 50) {
					break
				}
			}
		})
		if !w.isCalm() {
			sleep(time.Duration(r.IntN(300)) * time.Millisecond)
		}
	}
}

func (w *takingWalk) fetchAll(ctx context.Context, c *Consumer, r *rand.Rand) {
	for ctx.Err() == nil && !c.queue.isSealed() {
		recovering(func() {
			ctx, cancel := context.WithCancel(ctx)
			if !w.isCalm() && one(r, 2) {
				ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(1000))*time.Millisecond)
			}
			defer cancel()
			limits := BatchLimits{Messages: 1 + r.IntN(30), Wait: time.Duration(r.IntN(400)) * time.Millisecond}
			if one(r, 3) {
				limits.Bytes = 1 + r.IntN(3000)
			}
			messages, err := c.Fetch(ctx, limits)
			if (len(messages) == 0) == (err == nil) || len(messages) > limits.Messages {
				w.Errorf("%d messages, error %v", len(messages), err)
			}
			for _, m := range messages {
				if one(r, 10) {
					sleep(time.Duration(r.IntN(30)) * time.Millisecond)
				}
				w.answer(r, m)
			}
		})
	}
}

func (w *takingWalk) handleBatch(ctx context.Context, r *rand.Rand, batch []*Message) error {
	if !w.isCalm() && one(r, 3) {
		sleep(time.Duration(r.IntN(1300)) * time.Millisecond)
	}
	if !w.isCalm() && one(r, 10) {
		runtime.Goexit()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var rest []*Message
	for _, m := range batch {
		if m.Context().Err() != nil {
			continue
		}
		if one(r, 2) {
			w.answer(r, m)
		} else {
			rest = append(rest, m)
		}
	}
	if !w.isCalm() {
		switch r.IntN(8) {
		case 0:
			return errBoom
		case 1:
			return RetryAfter(time.Millisecond, errBoom)
		case 2:
			for _, m := range rest {
				m.DisableAutoResponse()
			}
		}
	}
	for _, m := range batch {
		if !m.HasResponded() && !m.IsAutoResponseDisabled() && m.Context().Err() == nil {
			w.success(m)
		}
	}
	return nil
}
