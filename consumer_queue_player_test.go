package nsq

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// queuePlayer drives a delivery queue as readers, workers and the run loop do, and
// notes what comes of it. Its connections are links to nsqds that take whatever is
// sent; a FIN is noted when the link writes it.
type queuePlayer struct {
	*testing.T
	event    string    // the line that is played
	c        *Consumer // has what the queue's messages need, and no run loop
	network  *nsqtest.Network
	conns    map[string]*storyConn
	workers  []*storyWorker
	messages map[int]*Message

	mu    sync.Mutex // guards what follows
	facts []queueFact
}

// queueFact is something that came of an event.
type queueFact struct {
	at   time.Duration
	rank int
	who  string // the connection or worker
	text string // of a FIN, the message's number
}

// The order in which a line says what came of an event at one time.
const (
	finRank    = iota // FINs that were written
	workerRank        // what workers began
	resultRank        // what the call returned
)

// storyConn is a connection of a story. It is the receiver of its link, which
// receives nothing: the story puts the messages.
type storyConn struct {
	*consumerConn
	listener net.Listener  // the nsqd's
	down     chan struct{} // closed when the link has ended
}

func (c *storyConn) Messages([]wire.Message)  {}
func (c *storyConn) TooBig(wire.Message, int) {}
func (c *storyConn) Failed(*wire.Error)       {}
func (c *storyConn) Down(error)               { close(c.down) }

// finWatch is a link's socket. It tells the player of each FIN that is written.
type finWatch struct {
	net.Conn
	p    *queuePlayer
	addr string
}

func (w finWatch) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		if id, isFin := bytes.CutPrefix(line, []byte("FIN ")); isFin {
			n, _ := strconv.Atoi(string(bytes.TrimSpace(id)))
			w.p.note(finRank, w.addr, strconv.Itoa(n))
		}
	}
	return w.Conn.Write(b)
}

// storyWorker is a worker whose handler is the story.
type storyWorker struct {
	*worker
	name string

	// The goroutine of a take writes m, taking and ended. The player reads them when
	// that goroutine has ended or waits.
	m      *Message // the message that it has begun
	taking bool     // a take is under way
	ended  bool     // a take has told it to end
	told   bool     // the story says that it waits
}

func newQueuePlayer(t *testing.T, words []string) *queuePlayer {
	p := &queuePlayer{T: t, network: nsqtest.NewNetwork(), conns: map[string]*storyConn{}, messages: map[int]*Message{}}
	p.c = &Consumer{
		cfg: NewConfig(), start: time.Now(), contexts: newContexts(),
		log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	p.c.queue = newQueue(p.number(cmp.Or(p.option(words, "limit"), "10")), 0, p.c.elapsed)
	t.Cleanup(p.end)
	return p
}

// tell plays some lines and returns what came of the last one.
func (p *queuePlayer) tell(lines ...string) (told []string) {
	for _, line := range lines {
		p.event = line
		words := strings.Fields(line)
		p.play(words[0], words[1:])
		told = p.told()
	}
	return told
}

// end ends the takes, timers and connections that the story has left.
func (p *queuePlayer) end() {
	p.c.queue.close()
	p.c.queue.stopTimers()
	for _, conn := range p.conns {
		conn.link.Close(nil)
		<-conn.down
		_ = conn.listener.Close()
	}
	synctest.Wait()
}

// option returns the value of a word such as limit=10, "" without one.
func (p *queuePlayer) option(words []string, key string) string {
	for _, w := range words {
		if k, v, ok := strings.Cut(w, "="); ok && k == key {
			return v
		}
	}
	return ""
}

func (p *queuePlayer) number(s string) int {
	p.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		p.Fatalf("%s: %v", p.event, err)
	}
	return n
}

func (p *queuePlayer) duration(s string) time.Duration {
	p.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		p.Fatalf("%s: %v", p.event, err)
	}
	return d
}

// numbers returns the numbers that words such as 7 and 1-63 stand for. It skips
// options.
func (p *queuePlayer) numbers(words []string) (all []int) {
	for _, w := range words {
		if strings.Contains(w, "=") {
			continue
		}
		from, to, _ := strings.Cut(w, "-")
		for n := p.number(from); n <= p.number(cmp.Or(to, from)); n++ {
			all = append(all, n)
		}
	}
	return all
}

// formatNumbers writes numbers as a story does: 1-3 7.
func formatNumbers(numbers []int) string {
	var words []string
	for i := 0; i < len(numbers); {
		j := i + 1
		for j < len(numbers) && numbers[j] == numbers[j-1]+1 {
			j++
		}
		word := strconv.Itoa(numbers[i])
		if j-i > 1 {
			word += "-" + strconv.Itoa(numbers[j-1])
		}
		words, i = append(words, word), j
	}
	return strings.Join(words, " ")
}

// storyNumber returns a message's number.
func storyNumber(m *Message) int {
	n, _ := strconv.Atoi(string(m.ID[:]))
	return n
}

// formatMessages writes the numbers of messages.
func formatMessages(messages []*Message) string {
	var all []int
	for _, m := range messages {
		all = append(all, storyNumber(m))
	}
	return cmp.Or(formatNumbers(all), "none")
}

// play carries out one line.
func (p *queuePlayer) play(verb string, words []string) {
	d := p.c.queue
	first := ""
	if len(words) > 0 {
		first = words[0]
	}
	switch verb {
	case "put":
		p.put(p.conn(first), words[1:])
	case "lease":
		last := len(words) - 1
		for _, n := range p.numbers(words[:last]) {
			p.messages[n].lease = milliseconds32(p.duration(words[last]))
		}
	case "workers":
		p.setWorkers(p.number(first), p.number(cmp.Or(p.option(words, "batch"), "0")))
	case "limit":
		d.setLimit(p.number(first))
	case "remove":
		p.result("removed %s", formatMessages(d.remove(p.conn(first).consumerConn)))
	case "lost":
		unbegun, begun := d.orphan(p.conn(first).consumerConn)
		p.result("cut off %s", formatMessages(append(unbegun, begun...)))
	case "sweep":
		found := d.sweep(p.c.elapsed(), time.Minute)
		p.result("expired %s, overdue %s", formatMessages(found.expired), formatMessages(found.overdue))
	case "flush":
		d.flushAll()
	case "close":
		p.result("left %s", formatMessages(d.close()))
	case "unfinished":
		p.unfinished()
	case "prefetching":
		p.prefetching()
	case "over":
		d.stopTimers()
	case "pass":
		sleep(p.duration(first))
	default:
		if w := p.worker(first); w != nil {
			p.drive(w, verb, words[1:])
		} else {
			p.playMessage(p.messages[p.number(first)], verb)
		}
	}
	synctest.Wait()
	d.expectInvariants(p.T)
	d.expectSettled(p.T)
}

// playMessage carries out a line about a message.
func (p *queuePlayer) playMessage(m *Message, verb string) {
	switch {
	case m == nil:
		p.Fatalf("%s: no such message", p.event)
	case verb == "ack":
		m.Finish()
	case verb == "detach":
		p.c.queue.detach(m)
	default:
		p.Fatalf("%s: no such event", p.event)
	}
}

// expectSettled reports a worker that waits though there is a message for it. Call
// it when all goroutines are blocked: before that a woken worker still counts as one
// that waits.
func (d *deliveryQueue) expectSettled(t *testing.T) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waking || d.idle > 0 && len(d.busy) < d.limit && d.hasUnbegun() {
		t.Errorf("a worker missed a message: %d wait, %d of at most %d are busy, waking=%v",
			d.idle, len(d.busy), d.limit, d.waking)
	}
}

// drive carries out a line about a worker.
func (p *queuePlayer) drive(w *storyWorker, verb string, words []string) {
	switch {
	case w.taking:
		p.Fatalf("%s: it waits for a message", p.event)
	case w.ended && verb != "gone":
		p.Fatalf("%s: it has ended", p.event)
	case !w.ended && verb == "gone":
		p.Fatalf("%s: it has not ended", p.event)
	case w.m == nil && slices.Contains([]string{"done", "ack", "later"}, verb):
		p.Fatalf("%s: it has no message", p.event)
	}
	switch verb {
	case "take":
		if w.m != nil && !w.m.is(responded|timedOut) {
			p.Fatalf("%s: message %d is not acked; say later", p.event, storyNumber(w.m))
		}
		p.take(w)
	case "done":
		p.c.ack(w.worker, w.m, outcome{fate: finished})
		p.take(w)
	case "ack":
		p.c.ack(w.worker, w.m, outcome{fate: finished})
	case "later":
		w.m.DisableAutoResponse()
		p.take(w)
	case "run":
		p.run(w, p.number(words[0]), p.duration(cmp.Or(p.option(words, "each"), "0s")))
	case "gone":
		p.c.queue.removeWorker(w.worker)
	default:
		p.Fatalf("%s: no such event", p.event)
	}
}

// conn returns the connection of a name, which is made when it is first named.
func (p *queuePlayer) conn(name string) *storyConn {
	if conn := p.conns[name]; conn != nil {
		return conn
	}
	addr := name + ":1"
	listener, err := p.network.Listen(addr)
	if err != nil {
		p.Fatal(err)
	}
	go swallow(listener)
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := p.network.DialContext(ctx, network, addr)
		return finWatch{conn, p, name}, err
	}
	l, err := link.Dial(context.Background(), link.Config{Addr: addr, Dial: dial, Topic: "t", Channel: "c"})
	if err != nil {
		p.Fatal(err)
	}
	conn := &storyConn{
		consumerConn: &consumerConn{c: p.c, addr: name, link: l, log: p.c.log},
		listener:     listener, down: make(chan struct{}),
	}
	l.Start(conn)
	p.conns[name] = conn
	return conn
}

func (p *queuePlayer) worker(name string) *storyWorker {
	for _, w := range p.workers {
		if w.name == name {
			return w
		}
	}
	return nil
}

// put puts messages in slabs, as the reader of their connection does.
func (p *queuePlayer) put(from *storyConn, words []string) {
	lease := p.duration(cmp.Or(p.option(words, "lease"), "1m"))
	each := p.number(cmp.Or(p.option(words, "slab"), strconv.Itoa(messageSlab)))
	for numbers := range slices.Chunk(p.numbers(words), each) {
		slab := make([]Message, len(numbers))
		for i, n := range numbers {
			m := &slab[i]
			copy(m.ID[:], fmt.Sprintf("%016d", n))
			m.original, m.conn, m.Delegate = m, from.consumerConn, from.consumerConn
			m.received, m.lease = p.c.elapsed(), milliseconds32(lease)
			p.messages[n] = m
		}
		if !p.c.queue.put(slab, false) {
			p.result("refused %s", formatNumbers(numbers))
		}
	}
}

// setWorkers sets how many workers there are, and unless batch is 0 how long the
// first batch of new ones may be.
func (p *queuePlayer) setWorkers(n, batch int) {
	var names []string
	for _, w := range p.c.queue.setWorkers(0, n, 1) {
		w.batchSize = cmp.Or(batch, w.batchSize)
		name := fmt.Sprintf("w%d", len(p.workers)+1)
		p.workers = append(p.workers, &storyWorker{worker: w, name: name})
		names = append(names, name)
	}
	if names != nil {
		p.result("new %s", strings.Join(names, " "))
	}
}

// take begins a worker's take. It may have to wait.
func (p *queuePlayer) take(w *storyWorker) {
	w.m, w.taking, w.told = nil, true, false
	go func() {
		m, ok := p.c.queue.take(w.worker)
		w.taking = false
		if !ok {
			w.ended = true
			p.note(workerRank, w.name, "ends")
			return
		}
		w.m = m
		text := fmt.Sprintf("begins %d", storyNumber(m))
		if keeps := w.kept(); keeps != "" {
			text += ", keeps " + keeps
		}
		p.note(workerRank, w.name, text)
	}()
}

// kept writes what a worker has taken and not begun.
func (w *storyWorker) kept() string {
	claimed, all := unpack(w.claims.Load())
	var numbers []int
	for i := claimed; i < all; i++ {
		numbers = append(numbers, storyNumber(&w.batch[i]))
	}
	return formatNumbers(numbers)
}

// run has a worker take n messages, spend some time on each and ack it. It notes the
// messages batch by batch instead of one by one.
func (p *queuePlayer) run(w *storyWorker, n int, each time.Duration) {
	var batches []string
	var numbers []int
	var batch *Message // the first message of the worker's batch
	for range n {
		p.take(w)
		synctest.Wait()
		if w.m == nil {
			p.Fatalf("%s: %s has no message after %s", p.event, w.name, strings.Join(batches, ", "))
		}
		if batch != &w.batch[0] {
			batch = &w.batch[0]
			batches, numbers = append(batches, ""), nil
		}
		numbers = append(numbers, storyNumber(w.m))
		batches[len(batches)-1] = formatNumbers(numbers)
		sleep(each)
		p.c.ack(w.worker, w.m, outcome{fate: finished})
	}
	p.mu.Lock()
	p.facts = slices.DeleteFunc(p.facts, func(f queueFact) bool { return f.who == w.name })
	p.mu.Unlock()
	p.note(workerRank, w.name, "handles "+strings.Join(batches, ", "))
}

func (p *queuePlayer) unfinished() {
	running, unacked := p.c.queue.unfinished()
	ids := func(all []Unfinished) string {
		var numbers []int
		for _, u := range all {
			numbers = append(numbers, storyNumber(&Message{ID: u.ID}))
		}
		slices.Sort(numbers)
		return cmp.Or(formatNumbers(numbers), "none")
	}
	p.result("running %s, left for later %s, %d of %d workers idle",
		ids(running), ids(unacked), p.c.queue.idleWorkers(), p.c.queue.workerCount())
}

func (p *queuePlayer) prefetching() {
	p.c.queue.mu.Lock()
	defer p.c.queue.mu.Unlock()
	var names []string
	for _, w := range p.workers {
		if slices.Contains(p.c.queue.prefetching, w.worker) {
			names = append(names, w.name)
		}
	}
	timer := map[bool]string{true: "on", false: "off"}[p.c.queue.flushScheduled.Load()]
	p.result("prefetching %s, timer %s", cmp.Or(strings.Join(names, " "), "none"), timer)
}

func (p *queuePlayer) result(format string, args ...any) {
	p.note(resultRank, "", fmt.Sprintf(format, args...))
}

func (p *queuePlayer) note(rank int, who, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.facts = append(p.facts, queueFact{p.c.elapsed(), rank, who, text})
}

// told returns what came of an event, one line for each time at which something did.
// All goroutines are blocked.
func (p *queuePlayer) told() (lines []string) {
	for _, w := range p.workers {
		if w.taking && !w.told {
			w.told = true
			p.note(workerRank, w.name, "waits")
		}
	}
	p.mu.Lock()
	facts := p.facts
	p.facts = nil
	p.mu.Unlock()
	slices.SortStableFunc(facts, func(a, b queueFact) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.rank, b.rank), strings.Compare(a.who, b.who))
	})
	together := func(a, b queueFact) bool { // FINs of a connection
		return a.at == b.at && a.who == b.who && a.rank == finRank && b.rank == finRank
	}
	for len(facts) > 0 {
		at := facts[0].at
		var parts []string
		for len(facts) > 0 && facts[0].at == at {
			n := 1
			for n < len(facts) && together(facts[0], facts[n]) {
				n++
			}
			parts = append(parts, p.describe(facts[:n]))
			facts = facts[n:]
		}
		lines = append(lines, fmt.Sprintf("%v  %s", at, strings.Join(parts, "; ")))
	}
	return lines
}

// describe says what a fact is, or several FINs of a connection.
func (p *queuePlayer) describe(facts []queueFact) string {
	f := facts[0]
	if f.rank != finRank {
		return strings.TrimSpace(f.who + " " + f.text)
	}
	var numbers []int
	for _, f := range facts {
		numbers = append(numbers, p.number(f.text))
	}
	return f.who + " FIN " + formatNumbers(numbers)
}
