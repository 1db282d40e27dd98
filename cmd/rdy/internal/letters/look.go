package letters

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/rdyhq/nsq"
)

const (
	// MaxBatch is how many letters a Look takes at a time at most.
	MaxBatch = 100

	// maxHeld is how many letters are held at a time, and maxHeldBytes how large their bodies
	// may be in all. The oldest ones are put back to make room. Letters that are put back can
	// come again. nsqd is allowed twice as many bytes, or none would come beside those held.
	maxHeld      = 2500 // nsqd's max-rdy-count unless it is configured
	maxHeldBytes = 32 << 20

	// awayFor is the delay with which letters are put back to make room. Without it nsqd
	// would deliver them again before those that it has on disk: it sends what is ready, and
	// memory is faster. nsqd looks for delays that are over every 100 ms, but for those of a
	// new channel only when it has refreshed its list of channels, every 5 s: settle and
	// refresh are a little more.
	awayFor = time.Second
	settle  = 300 * time.Millisecond
	refresh = 5*time.Second + settle

	// quiet is how long a Look waits for a letter. Those that have not come by then are
	// missing.
	quiet = 5 * time.Second

	touchesPerLease = 3
)

var errQuiet = errors.New("no letter came")

// Queue is where an nsqd keeps letters.
type Queue struct {
	Topic, Channel string
	Addr           string // TCP address of the nsqd
	Waiting        int64  // how many letters wait there
}

// Look reads the letters of a Queue. Make one with Open, and close it. Its methods and those
// of its letters must be called from one goroutine.
type Look struct {
	queue    Queue
	consumer *nsq.Consumer
	batch    int
	maxHeld  int // or fewer, if nsqd allows fewer in flight

	seen    map[nsq.MessageID]bool // letters that Next has returned
	repeats int                    // letters in a row that were read before
	opened  time.Time
	back    time.Time // when the letters that made room are in the queue again; zero if none did
	fetched []*item   // not returned by Next yet; they are in held as well
	missing int64

	stopTouching chan struct{}
	touching     sync.WaitGroup

	mu       sync.Mutex // guards the fields below, and kept of the items
	held     []*item    // the oldest first
	bytes    int64      // of the bodies of held
	finished map[nsq.MessageID]bool
	doubtful map[nsq.MessageID]bool // finished, but nsqd has not got the ack
}

// item is a message that is held.
type item struct {
	message *nsq.Message
	size    int64
	kept    bool // not to be put back to make room
}

// lost reports whether the lease is over.
func (i *item) lost() bool { return i.message.Context().Err() != nil }

// Open connects to the nsqd of a queue and subscribes, which creates the channel if the topic
// has none of this name. The Look takes batch letters at a time, from 1 to MaxBatch: few if
// much time passes between two calls of Next, since each is leased from then on. Of the Config it replaces what bounds the messages in flight and their
// attempts. ctx bounds the connecting. No letter is taken before Next is called.
func Open(ctx context.Context, q Queue, batch int, config *nsq.Config) (*Look, error) {
	info, err := nsq.CheckNSQD(ctx, q.Addr, config)
	if err != nil {
		return nil, err
	}
	l := &Look{
		queue: q, seen: make(map[nsq.MessageID]bool), finished: make(map[nsq.MessageID]bool),
		doubtful: make(map[nsq.MessageID]bool), maxHeld: min(maxHeld, info.MaxRDY), stopTouching: make(chan struct{}),
	}
	if info.MaxRDY == 0 { // nsqd does not tell
		l.maxHeld = maxHeld
	}
	l.batch = max(min(batch, MaxBatch, l.maxHeld/2), 1)
	cfg := *config
	cfg.MaxInFlight, cfg.MaxBytesInFlight = l.maxHeld, 2*maxHeldBytes
	cfg.MaxAttempts = 0 // looks cost attempts; none may end in giving a letter up
	cfg.Hooks = append(slices.Clip(cfg.Hooks), nsq.Hooks{Abandoned: l.abandoned})
	l.consumer, err = nsq.NewConsumer(q.Topic, q.Channel, &cfg)
	if err != nil {
		return nil, err
	}
	if err := l.consumer.Connect(ctx, q.Addr); err != nil {
		l.consumer.Stop()
		<-l.consumer.StopChan
		return nil, err
	}
	lease := info.MsgTimeout
	if lease <= 0 {
		lease = time.Minute // nsqd's default
	}
	l.opened = time.Now()
	l.touching.Go(func() { l.touch(lease / touchesPerLease) })
	return l, nil
}

// Next returns a letter that it has not returned before. The error is io.EOF if all letters
// were read or no further ones come, the cause of ctx if that ends, or says what is wrong with
// the connection.
func (l *Look) Next(ctx context.Context) (*Letter, error) {
	for {
		for len(l.fetched) > 0 {
			it := l.fetched[0]
			l.fetched = l.fetched[1:]
			switch id := it.message.ID; {
			case it.lost():
			case l.seen[id]:
				l.repeats++
			default:
				l.repeats, l.seen[id] = 0, true
				return newLetter(l, it), nil
			}
		}
		left := l.queue.Waiting - int64(len(l.seen))
		if left <= 0 {
			return nil, io.EOF
		}
		// More repeats than letters: one has come twice. It was away in between, and nsqd
		// could have sent a letter that was not read.
		if l.repeats > len(l.seen) {
			l.missing = left
			return nil, io.EOF
		}
		if err := l.fetch(ctx, int(min(left, int64(l.batch)))); err != nil { // #nosec G115 -- at most batch
			return nil, err
		}
	}
}

// Missing returns how many of the letters that the queue had have not come, when Next has
// returned io.EOF: other consumers have taken them.
func (l *Look) Missing() int64 { return l.missing }

// fetch takes up to n letters.
func (l *Look) fetch(ctx context.Context, n int) error {
	room := l.makeRoom(n)
	if room < 1 {
		return fmt.Errorf("nsqd %s: %d letters are held, and no more can be at a time", l.queue.Addr, l.maxHeld)
	}
	bounded, cancel := context.WithTimeoutCause(ctx, quiet, errQuiet)
	defer cancel()
	messages, err := l.consumer.Fetch(bounded, nsq.BatchLimits{Messages: min(n, room)})
	if errors.Is(err, errQuiet) {
		return l.silent()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range messages {
		it := &item{message: m, size: int64(len(m.Body))}
		l.fetched, l.held = append(l.fetched, it), append(l.held, it)
		l.bytes += it.size
	}
	return err
}

// silent returns why no letter came.
func (l *Look) silent() error {
	for _, conn := range l.consumer.Snapshot().Connections {
		if conn.State != nsq.ConnectionUp && conn.LastError != nil {
			return conn.LastError
		}
	}
	l.missing = l.queue.Waiting - int64(len(l.seen))
	return io.EOF
}

// makeRoom puts letters back until there is room for n more, and returns for how many there
// is. Letters that are kept stay.
func (l *Look) makeRoom(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, it := range slices.Clone(l.held) {
		if len(l.held)+n <= l.maxHeld && l.bytes <= maxHeldBytes {
			break
		}
		if !it.kept {
			l.drop(it)
			it.message.RequeueWithoutBackoff(awayFor)
			l.back = time.Now().Add(awayFor + settle)
			if known := l.opened.Add(refresh); l.back.Before(known) {
				l.back = known
			}
		}
	}
	return l.maxHeld - len(l.held)
}

// finish notes that a letter is about to be finished.
func (l *Look) finish(it *item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finished[it.message.ID] = true
	if it.lost() {
		l.doubtful[it.message.ID] = true
	}
	l.drop(it)
}

// drop removes an item from those held. The caller holds mu.
func (l *Look) drop(it *item) {
	if i := slices.Index(l.held, it); i >= 0 {
		l.held = slices.Delete(l.held, i, i+1)
		l.bytes -= it.size
	}
}

// touch keeps the leases alive until the Look is closed, for as long as nsqd allows.
func (l *Look) touch(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-l.stopTouching:
			return
		case <-tick.C:
		}
		l.mu.Lock()
		for _, it := range slices.Clone(l.held) {
			if it.lost() {
				l.drop(it)
			} else {
				it.message.Touch()
			}
		}
		l.mu.Unlock()
	}
}

// abandoned is a hook: nsqd has not got the ack of a message.
func (l *Look) abandoned(e nsq.AbandonedEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.finished[e.ID] {
		l.doubtful[e.ID] = true
	}
}

// Close puts the letters back that are held, in the order in which they came, and disconnects.
// It waits for that, bounded by the Config's StopTimeout, and until letters that were put back
// earlier can be read again, up to six seconds. It returns how many of the letters
// that were finished are still in the channel, as far as that is known: a connection was lost
// or a lease had ended before nsqd got the ack.
func (l *Look) Close() (doubtful int) {
	close(l.stopTouching)
	l.touching.Wait()
	// Once this returns, nsqd sends no more messages: what is put back does not come again.
	_ = l.consumer.DisconnectFromNSQD(l.queue.Addr)
	l.mu.Lock()
	held := l.held
	l.held = nil
	l.mu.Unlock()
	for _, it := range held {
		it.message.RequeueWithoutBackoff(0)
	}
	l.consumer.Stop()
	<-l.consumer.StopChan
	<-time.After(time.Until(l.back))
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.doubtful)
}
