package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rdyhq/nsq"
)

const (
	// copyChunk and copyMessages bound what is published together: far below nsqd's
	// max-body-size, which is 5 MiB by default.
	copyChunk    = 1 << 20
	copyMessages = 1000

	// filterTime bounds the run of a jq expression for one message.
	filterTime = 5 * time.Second
)

// topicCopier copies the messages of a topic. HandleMessage is the topic's handler; everything
// else happens on the goroutine of run.
type topicCopier struct {
	*copier
	topic string
	to    string // the topic of the copies
	loops bool   // the command reads that topic, so it may be a loop
	hand  *hand

	// partial remembers messages that will come again. It is the topic's own: nsqd may give
	// messages of two topics the same ID.
	partial *partial

	delay time.Duration // before the next try; 0 while nothing fails
	told  bool          // the user knows that this topic is not copied
}

// HandleMessage takes a message in hand. run finishes it.
func (t *topicCopier) HandleMessage(m *nsq.Message) error {
	m.DisableAutoResponse()
	t.hand.add(m, time.Now())
	return nil
}

// run copies messages until stopping ends, and gives back what still comes until stopped is
// closed.
func (t *topicCopier) run() {
	for {
		full := t.hand.full
		var retry <-chan time.Time
		if t.delay > 0 {
			full, retry = nil, time.After(t.delay)
		}
		select {
		case <-full:
		case <-retry:
		case <-t.stopping.Done():
			t.giveBack()
			return
		}
		if waiting := t.waiting(); len(waiting) > 0 {
			t.note(t.copyAll(waiting))
		}
	}
}

// giveBack requeues what is in hand, and what comes until stopped is closed.
func (t *topicCopier) giveBack() {
	for {
		t.hand.drop()
		rest := t.hand.take()
		for _, m := range rest {
			m.RequeueWithoutBackoff(0)
		}
		t.hand.putBack(nil)
		t.count(func(n *copyCounts) { n.requeued += len(rest) })
		select {
		case <-t.hand.full:
		case <-t.stopped:
			return
		}
	}
}

// note notes the result of copying: after a failure the next try comes later. tellPool tells
// the user that an nsqd cannot be reached, but neither that it refuses to take messages at all
// nor that no nsqd is known.
func (t *topicCopier) note(err error) {
	switch {
	case err == nil:
		if t.told {
			t.notice("rdy: topic %s is copied again", t.topic)
		}
		t.delay, t.told = 0, false
	case t.stopping.Err() != nil:
	default:
		t.delay = min(max(2*t.delay, minRetryDelay), maxRetryDelay)
		if !t.told && (classify(err) == fatal || len(t.toLookupds) > 0) {
			t.told = true
			t.notice("rdy: topic %s is not copied, trying again: %v", t.topic, err)
		}
	}
}

// waiting returns the messages that wait in hand.
func (t *topicCopier) waiting() []held {
	if t.delay > 0 {
		t.hand.drop()
	}
	return t.hand.take()
}

// copyAll copies messages, and puts back in hand those that are not copied. Once a stop has begun
// it copies none:
//
//  1. A publish takes seconds. Messages gather in hand meanwhile, and a stop begins.
//  2. run finds both, and its select takes the messages.
//  3. Their publish would be cut off at the end of working, after nsqd has perhaps stored the
//     copies. giveBack then requeues the messages, and they would be copied twice.
func (t *topicCopier) copyAll(rest []held) error {
	if t.loops {
		if err := t.checkLoop(rest); err != nil {
			t.fail(err)
			t.hand.putBack(rest)
			return err
		}
	}
	for len(rest) > 0 && t.stopping.Err() == nil {
		n := t.next(rest)
		if t.limit != nil {
			if err := t.limit.WaitN(t.stopping, n); err != nil {
				break // the command stops
			}
		}
		failed, err := t.copy(rest[:n])
		if rest = rest[n:]; err != nil {
			t.hand.putBack(slices.Concat(failed, rest))
			return err
		}
	}
	t.hand.putBack(rest)
	return nil
}

// next returns how many messages are copied together.
func (t *topicCopier) next(waiting []held) int {
	n, size := 0, 0
	for n < min(len(waiting), t.batch) {
		size += len(waiting[n].Body)
		if n > 0 && size > copyChunk {
			break
		}
		n++
	}
	return n
}

// load is messages to copy, with their copies.
type load struct {
	items  []loadItem
	bodies [][]byte
}

// loadItem is a message to copy.
type loadItem struct {
	held
	number   int  // in the load of the whole batch
	from, to int  // its copies are the load's bodies from:to
	invalid  bool // it is copied as it is, because --jq failed
}

// copy copies messages. It returns those that are not copied because nothing can be.
func (t *topicCopier) copy(batch []held) ([]held, error) {
	var refusals sync.WaitGroup // dead letters, which are stored together
	defer refusals.Wait()
	refuse := func(m *nsq.Message, kind string, err error) {
		refusals.Go(func() { t.refuse(m, kind, err) })
	}
	l := t.load(batch, refuse)
	ctx, cancel := context.WithTimeout(t.working, t.patience)
	defer cancel()
	return t.conclude(l, t.publishToAll(ctx, l), refuse)
}

// load returns the messages of a batch that are to be copied, and finishes the others.
func (t *topicCopier) load(batch []held, refuse func(*nsq.Message, string, error)) load {
	l := load{make([]loadItem, 0, len(batch)), make([][]byte, 0, len(batch))}
	var filtered, notSampled int
	for _, m := range batch {
		if !inSample(m.Message, t.sample) {
			m.Finish()
			notSampled++
			continue
		}
		item := loadItem{held: m, number: len(l.items), from: len(l.bodies)}
		var err error
		switch l.bodies, item.invalid, err = t.filtered(l.bodies, m.Body); {
		case err != nil:
			refuse(m.Message, "cannot be filtered", err)
			continue
		case len(l.bodies) == item.from:
			m.Finish()
			filtered++
			continue
		}
		if err := t.checkBodies(l.bodies[item.from:]); err != nil {
			l.bodies = l.bodies[:item.from]
			refuse(m.Message, "refused", err)
			continue
		}
		item.to = len(l.bodies)
		l.items = append(l.items, item)
	}
	if filtered+notSampled > 0 {
		t.count(func(n *copyCounts) {
			n.filtered += filtered
			n.notSampled += notSampled
		})
	}
	return l
}

// filtered appends the copies of a body to bodies. invalid is true if that is the body as it
// is, because --jq failed.
func (t *topicCopier) filtered(bodies [][]byte, body []byte) (more [][]byte, invalid bool, err error) {
	if t.filter.code == nil {
		return append(bodies, body), false, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), filterTime)
	defer cancel()
	more, err = t.filter.apply(ctx, bodies, body)
	if err != nil && t.copyInvalid {
		return append(bodies, body), true, nil
	}
	return more, false, err
}

// checkBodies returns an error if a copy is larger than the config of the destination allows.
func (t *topicCopier) checkBodies(bodies [][]byte) error {
	for _, b := range bodies {
		if t.maxBody > 0 && len(b) > t.maxBody {
			return fmt.Errorf("%d bytes, --to-set max_msg_size allows %d", len(b), t.maxBody)
		}
	}
	return nil
}

// conclude ends the messages of a load that are copied or refused. It returns the others, and
// why nothing could be published.
func (t *topicCopier) conclude(l load, errs []error, refuse func(*nsq.Message, string, error)) (rest []held, err error) {
	var done, copies, invalid int
	for i, item := range l.items {
		switch classify(errs[i]) {
		case published:
			item.Finish()
			done++
			copies += item.to - item.from
			if item.invalid {
				invalid++
			}
		case refused:
			refuse(item.Message, "refused", errs[i])
		default:
			rest, err = append(rest, item.held), errs[i]
		}
	}
	if done > 0 {
		t.inARow.Store(0)
		t.count(func(n *copyCounts) {
			n.copied += done
			n.published += copies * len(t.targets)
			n.invalid += invalid
		})
	}
	return rest, err
}
