package link

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// TestRandomWalk draws what a link's owner and nsqd do, several things at a time, and
// checks what must hold of every link that has ended. To repeat one walk, run its seed
// alone.
func TestRandomWalk(t *testing.T) {
	ends := map[string]int{}
	for seed := range uint64(400) {
		synctest.Test(t, func(t *testing.T) {
			w := newWalk(t, seed)
			if w == nil {
				ends["not connected"]++
				return
			}
			for range 40 {
				w.step()
			}
			ends[w.end()]++
			if t.Failed() {
				t.Fatalf("seed %d, %+v", seed, w.link.Stats())
			}
		})
	}
	t.Logf("%v", ends)
}

// A walk is one link's life, and the link's Receiver.
type walk struct {
	t       *testing.T
	rand    *rand.Rand
	network *nsqtest.Network
	nsqd    *nsqtest.Nsqd
	link    *Link
	down    chan struct{}
	replies []*walkReply   // one for each publish
	loan    atomic.Uint64  // the last one
	works   sync.WaitGroup // counts the calls of Work

	mu       sync.Mutex // guards what follows
	held     []wire.ID  // received, and neither finished nor requeued yet
	received int
	released int // finished or requeued
	err      error
	downs    int
}

// walkReply is a Replier that counts its calls.
type walkReply struct {
	w     *walk
	calls atomic.Int32
}

func (r *walkReply) Reply([]byte, error) {
	r.calls.Add(1)
	r.w.receive() // checks that Down was not called before
}

// newWalk returns nil if the connection broke in the handshake.
func newWalk(t *testing.T, seed uint64) *walk {
	w := &walk{
		t: t, network: nsqtest.NewNetwork(), down: make(chan struct{}),
		rand: rand.New(rand.NewPCG(seed, seed)), // #nosec G404 -- a test
	}
	w.network.Capacity = []int{50, 1000, 64 << 10}[w.rand.IntN(3)]
	w.nsqd = nsqtest.NewNsqd(t, nsqtest.Options{
		Network: w.network, HeartbeatInterval: time.Second, MsgTimeout: 5 * time.Second, Straggler: w.chance(2),
	})
	switch w.rand.IntN(10) {
	case 0:
		w.nsqd.CutAfterSent(w.rand.IntN(1000))
	case 1:
		w.nsqd.CutAfterReceived(w.rand.IntN(1000))
	}
	cfg := Config{
		Addr: w.nsqd.Addr(), Dial: w.network.DialContext, Topic: "t", Channel: "ch",
		HandshakeTimeout: time.Second, ReadTimeout: 2 * time.Second, WriteTimeout: time.Second, MaxBody: 100,
	}
	if w.chance(4) {
		cfg.Topic = ""
	}
	l, err := Dial(t.Context(), cfg)
	if err != nil {
		w.checkCloses()
		return nil
	}
	w.link = l
	if seed%2 == 0 {
		l.SetLimits(manyLimits) // so that publishes are packed
	}
	w.actions(3)                                                       // before the start
	b := &walkBorrower{walk: w, draws: rand.New(rand.NewPCG(seed, 1))} // #nosec G404 -- a test
	switch w.rand.IntN(4) {
	case 0:
		l.Start(b)
	case 1:
		l.startDirect(b, b.take)
	default:
		l.Start(w)
	}
	return w
}

func (w *walk) chance(in int) bool { return w.rand.IntN(in) == 0 }

// step does some actions concurrently, and then may let some time pass.
func (w *walk) step() {
	w.actions(1 + w.rand.IntN(4))
	if w.chance(2) {
		pass(time.Duration(w.rand.IntN(500)) * time.Millisecond)
	}
}

func (w *walk) actions(n int) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(w.action())
	}
	wg.Wait()
}

// action draws what happens next. It draws all random numbers before it returns: the
// function that it returns runs concurrently with others.
func (w *walk) action() func() {
	l, d, n := w.link, w.nsqd, w.rand.IntN(5)
	switch w.rand.IntN(44) {
	default:
		bodies := strings.Split(strings.Repeat("x", n+1), "")
		return func() { d.Publish("t", bodies...) }
	case 0:
		return func() { d.Publish("t", strings.Repeat("x", 100+n)) } // up to 4 over the limit
	case 1, 2, 3, 4:
		return func() { l.Rdy(n * 3) }
	case 5, 6, 7, 8, 9, 10:
		return func() { w.release(n, func(id *wire.ID) { l.Fin(id) }) }
	case 11, 12, 13:
		return func() { w.release(n, func(id *wire.ID) { l.Req(id, time.Duration(n)*time.Second) }) }
	case 14:
		return func() { l.Touch(&wire.ID{}) } // refused: there is no such message
	case 15, 16, 17, 18:
		r := &walkReply{w: w}
		body := []byte(strings.Repeat("x", 1+40*n))
		w.replies = append(w.replies, r)
		return func() {
			if !l.Pub("other", body, r) {
				r.calls.Add(1) // there must be no call
			}
		}
	case 19, 20:
		return d.StopReading
	case 21, 22:
		return d.StartReading
	case 23:
		return d.StopHeartbeats
	case 24, 25:
		return d.StartHeartbeats
	case 26:
		f := w.fault()
		return func() { d.Inject(f) }
	case 27:
		return func() { l.Drain() }
	case 28:
		if !w.chance(4) {
			return d.ClearFaults
		}
		return func() { l.Close(errEnough) }
	case 30, 31, 32, 33:
		return func() { l.Recall(Loan(w.loan.Load() - uint64(n)/3)) } // #nosec G115 -- not negative
	case 29:
		if !w.chance(4) {
			return func() { l.Nop() }
		}
		return d.Kill
	}
}

var errEnough = errors.New("enough")

func (w *walk) fault() nsqtest.Fault {
	f := nsqtest.Fault{
		Command: []string{"RDY", "FIN", "REQ", "NOP", "PUB", "CLS"}[w.rand.IntN(6)],
		Times:   1,
		Delay:   time.Duration(w.rand.IntN(1500)) * time.Millisecond,
		Close:   w.chance(4),
	}
	switch w.rand.IntN(6) {
	case 0:
		f.Mute = true
	case 1:
		f.Before = heartbeat
	case 2:
		f.Before = nsqtest.ErrorFrame("E_REQ_FAILED", "why")
	case 3:
		f.Reply = nsqtest.ErrorFrame("E_INVALID", "why")
	case 4:
		f.Reply = okFrame
	case 5:
		f.Reply = []byte("garbage, a line of it")
	}
	return f
}

// release takes up to n of the messages held, and sends the FIN or REQ of each.
func (w *walk) release(n int, send func(*wire.ID)) {
	w.mu.Lock()
	n = min(n, len(w.held))
	ids := w.held[:n:n]
	w.held = w.held[n:]
	w.released += n
	w.mu.Unlock()
	for i := range ids {
		send(&ids[i])
	}
}

// receive records messages, and checks that Down was not called before.
func (w *walk) receive(ids ...wire.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = append(w.held, ids...)
	w.received += len(ids)
	if w.downs > 0 {
		w.t.Error("something came after Down")
	}
}

func (w *walk) Messages(batch []wire.Message) {
	for _, m := range batch {
		if len(m.Body) == 0 || len(m.Body) > 100 || strings.Trim(string(m.Body), "x") != "" {
			w.t.Errorf("message with body %q", m.Body)
		}
		w.receive(m.ID)
	}
}

func (w *walk) TooBig(m wire.Message, size int) {
	if size <= 100 || len(m.Body) > 0 {
		w.t.Errorf("too big: %d bytes, body %q", size, m.Body)
	}
	w.receive(m.ID)
}

func (w *walk) Failed(*wire.Error) { w.receive() }

func (w *walk) Down(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.downs++; w.downs == 1 {
		w.err = err
		close(w.down)
	}
	w.checkCloses()
}

func (w *walk) checkCloses() {
	if dials, closes := w.network.Dials(), w.network.Closes(); dials != 1 || closes != 1 {
		w.t.Errorf("%d dials, %d closes", dials, closes)
	}
}

// end ends the link, if it has not ended, and checks what must hold. It returns how the
// link ended.
func (w *walk) end() string {
	select {
	case <-w.down:
	default:
		w.link.Drain()
		w.nsqd.StartReading()
		w.nsqd.StartHeartbeats()
		w.release(1<<20, func(id *wire.ID) { w.link.Fin(id) })
		select {
		case <-w.down:
		case <-time.After(10 * time.Second):
			w.link.Close(errEnough)
			<-w.down
		}
	}
	w.works.Wait()
	synctest.Wait()
	w.checkCloses()
	s := w.link.Stats()
	received, lost := int(s.Received), int(s.Lost)  // #nosec G115 -- few
	sent := int(s.Finished + s.Requeued - s.Unsent) // #nosec G115 -- few
	if w.downs != 1 || received != w.received || sent > w.released || sent+lost != received || s.InFlight != 0 {
		w.t.Errorf("%d downs, received %d, released %d: %+v", w.downs, w.received, w.released, s)
	}
	for i, r := range w.replies {
		if n := r.calls.Load(); n != 1 {
			w.t.Errorf("publish %d: %d replies", i, n)
		}
	}
	if w.link.Nop() {
		w.t.Error("a command was accepted after Down")
	}
	if e, ok := errors.AsType[*wire.Error](w.err); ok && e.Desc != "why" && !strings.HasPrefix(e.Desc, "cannot ") {
		w.t.Errorf("nsqd refused a command: %v", e)
	}
	switch e, ok := errors.AsType[*Error](w.err); {
	case w.err == nil:
		return "drained"
	case !ok:
		w.t.Errorf("down with %v", w.err)
		return ""
	default:
		return e.Op
	}
}

// walkBorrower is the walk as a Borrower.
type walkBorrower struct {
	*walk
	drawing sync.Mutex // guards draws, which works draw from at the same time
	draws   *rand.Rand
}

func (b *walkBorrower) draw(n int) int {
	b.drawing.Lock()
	defer b.drawing.Unlock()
	return b.draws.IntN(n)
}

func (b *walkBorrower) Borrows() bool { return b.draw(4) > 0 }

// Work finishes and requeues messages, takes its time, and may end its goroutine.
func (b *walkBorrower) Work(loan Loan) {
	b.works.Add(1)
	defer b.works.Done()
	if last := b.loan.Swap(uint64(loan)); last >= uint64(loan) {
		b.t.Errorf("loan %d after %d", loan, last)
	}
	for range b.draw(4) {
		b.release(b.draw(4), func(id *wire.ID) { b.link.Fin(id) })
		if b.draw(3) == 0 {
			pass(time.Duration(b.draw(300)) * time.Millisecond)
		}
		b.release(b.draw(2), func(id *wire.ID) { b.link.Req(id, 0) })
	}
	switch b.draw(10) {
	case 0:
		b.link.Recall(loan)
	case 1, 2:
		runtime.Goexit()
	case 3:
		b.link.Recall(loan)
		runtime.Goexit()
	}
}

// take passes on what the connection takes at once, and often less.
func (b *walkBorrower) take(l *Link, data []byte) int {
	most := len(data)
	if b.draw(2) == 0 {
		most = b.draw(most + 1)
	}
	if b.draw(4) == 0 { // others append meanwhile
		pass(time.Millisecond)
	}
	_ = l.conn.SetWriteDeadline(time.Now().Add(time.Nanosecond))
	n, _ := l.conn.Conn.Write(data[:most])
	_ = l.conn.SetWriteDeadline(time.Time{})
	return n
}
