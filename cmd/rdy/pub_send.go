package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rdyhq/nsq"
	"golang.org/x/time/rate"
)

const (
	// messagesUnderWay is how many messages may wait for nsqd's answer: enough to
	// keep an nsqd busy that is some milliseconds away.
	messagesUnderWay = 8192
	minBatches       = 4   // under way, whatever their size
	maxBatches       = 256 // under way, however small

	// ratePart is the part of a second that a batch lasts at a given rate.
	ratePart = 10

	retryInterval = 100 * time.Millisecond // how soon after a failure is the next try; the library slows down dialling
)

// publisher is what publishes: a Producer or a ProducerPool.
type publisher interface {
	PublishContext(ctx context.Context, topic string, body []byte) error
	MultiPublishContext(ctx context.Context, topic string, bodies [][]byte) error
	DeferredPublishContext(ctx context.Context, topic string, delay time.Duration, body []byte) error
	Stop()
}

// sender publishes lines to each of some publishers. It is one goroutine's.
//
// Batches are handed over one after the other without waiting for answers. As
// soon as one fails, no more are until all answers are there; then what was not
// stored is published again, in order and one by one.
type sender struct {
	topic    string
	delay    time.Duration
	to       []publisher
	batch    int // messages of a batch, at most
	window   int // batches under way, at most
	limit    *rate.Limiter
	retryFor time.Duration
	patience time.Duration // with an nsqd that answers nothing
	tally    *tally

	silence  *time.Timer                   // ends run's context; it is on while answers are waited for
	answers  chan *nsq.ProducerTransaction // has room for all that are under way
	calls    sync.WaitGroup                // publishes of pools under way
	underWay int                           // answers that are missing
	failures []failure                     // not seen to, in the order of the answers

	badSince map[publisher]time.Time // when one failed first that has confirmed nothing since
	told     time.Time               // the one of these that was told of last

	begun int      // batches
	next  position // of the first line that was not handed over
}

// batch are lines that are published together.
type batch struct {
	number   int
	lines    []line
	open     int       // publishers that have not answered, or not for good
	outcomes []outcome // of the lines; nil as long as each is published
}

// failure is a batch that a publisher has not confirmed.
type failure struct {
	b   *batch
	to  publisher
	err error
}

// stopError says before which line publishing stopped.
type stopError struct {
	at  position
	err error
}

func (e *stopError) Error() string { return fmt.Sprintf("stopped before %v: %v", e.at, e.err) }
func (e *stopError) Unwrap() error { return e.err }

func newSender(p *pub, to []publisher) *sender {
	s := &sender{
		topic: p.topic, delay: p.deferFor, to: to, batch: p.batch, retryFor: p.retryFor, tally: p.tally,
		limit:    rate.NewLimiter(rate.Inf, 0),
		badSince: make(map[publisher]time.Time),
		next:     position{p.files[0], 1},
	}
	if p.deferFor > 0 {
		s.batch = 1 // NSQ's protocol has no deferred MPUB
	}
	if p.rate > 0 {
		s.batch = min(s.batch, max(int(p.rate/ratePart), 1))
		s.limit = rate.NewLimiter(rate.Limit(p.rate), s.batch)
	}
	s.patience = max(s.retryFor, publishTimeout)
	s.window = len(to) * min(max(messagesUnderWay/s.batch, minBatches), maxBatches)
	s.answers = make(chan *nsq.ProducerTransaction, s.window+len(to))
	return s
}

// run publishes what comes until lines is closed, ctx ends, or nothing can be
// published. All that was begun is completed when it returns, and the publishers
// are stopped. Unless all lines were handed over the error is a *stopError.
func (s *sender) run(ctx context.Context, lines <-chan []line) error {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	s.silence = time.AfterFunc(s.patience, func() { giveUp(fmt.Errorf("no answer for %v", s.patience)) })
	s.silence.Stop()
	// The end of ctx ends every wait here: publishers that stop answer all that
	// is under way within stopTimeout.
	defer context.AfterFunc(ctx, s.stop)()
	defer s.calls.Wait()
	defer s.stop()
	err := s.publishAll(ctx, lines)
	if settled := s.settle(ctx); err == nil || settled != nil {
		err = settled // of earlier lines
	}
	return err
}

func (s *sender) stop() {
	var stops sync.WaitGroup
	for _, to := range s.to {
		stops.Go(to.Stop)
	}
	stops.Wait()
}

func (s *sender) publishAll(ctx context.Context, lines <-chan []line) error {
	var pending []line
	for {
		if len(s.failures) > 0 {
			if err := s.settle(ctx); err != nil {
				return err
			}
		}
		if s.underWay >= s.window {
			s.takeNext()
			continue
		}
		if len(pending) == 0 {
			group, more := s.await(ctx, lines)
			if !more {
				return s.atEnd(ctx)
			}
			pending = group
			continue
		}
		pending = s.fill(pending, lines)
		n := s.cut(pending)
		s.next = pending[0].at
		if err := s.limit.WaitN(ctx, n); err != nil {
			return &stopError{s.next, context.Cause(ctx)}
		}
		s.begin(pending[:n:n])
		pending = pending[n:]
	}
}

// await waits for lines or an answer, which it takes. It returns no more when lines
// is closed or ctx ends.
func (s *sender) await(ctx context.Context, lines <-chan []line) (group []line, more bool) {
	if s.underWay > 0 {
		s.silence.Reset(s.patience)
		defer s.silence.Stop()
	}
	select {
	case group, more = <-lines:
		return group, more
	case t := <-s.answers:
		s.take(t)
		return nil, true
	case <-ctx.Done():
		return nil, false
	}
}

// takeNext waits for an answer. One that does not come is given up: then the
// publishers stop, which answers everything.
func (s *sender) takeNext() {
	s.silence.Reset(s.patience)
	defer s.silence.Stop()
	s.take(<-s.answers)
}

// atEnd tells whether lines was closed because all are read: whoever reads ends
// with ctx, too, wherever he is.
func (s *sender) atEnd(ctx context.Context) error {
	if ctx.Err() != nil {
		return &stopError{s.next, context.Cause(ctx)}
	}
	return nil
}

// fill adds to the lines what else is there, if they do not make a batch.
func (s *sender) fill(pending []line, lines <-chan []line) []line {
	for len(pending) < s.batch {
		select {
		case group := <-lines: // nil when it is closed
			if group == nil {
				return pending
			}
			pending = append(pending, group...)
		default:
			return pending
		}
	}
	return pending
}

// cut returns how many of the lines make a batch.
func (s *sender) cut(pending []line) int {
	n, size := 0, 0
	for n < min(len(pending), s.batch) {
		size += len(pending[n].body)
		if n > 0 && size > batchBytes {
			break
		}
		n++
	}
	return n
}

// begin hands lines over to every publisher.
func (s *sender) begin(lines []line) {
	b := &batch{number: s.begun, lines: lines, open: len(s.to)}
	s.begun++
	last := lines[len(lines)-1].at
	s.next = position{last.file, last.number + 1}
	s.tally.sent()
	bodies := bodiesOf(lines)
	for _, to := range s.to {
		s.underWay++
		t := &nsq.ProducerTransaction{Args: []any{b, to}}
		if p, ok := to.(*nsq.Producer); ok {
			if t.Error = s.handOver(p, bodies, t.Args); t.Error != nil {
				s.take(t)
			}
			continue
		}
		s.calls.Go(func() {
			t.Error = s.publish(to, bodies)
			s.answers <- t
		})
	}
}

func bodiesOf(lines []line) [][]byte {
	bodies := make([][]byte, len(lines))
	for i, l := range lines {
		bodies[i] = l.body
	}
	return bodies
}

// handOver publishes without waiting: the answer comes unless there is an error.
func (s *sender) handOver(p *nsq.Producer, bodies [][]byte, args []any) error {
	switch {
	case s.delay > 0:
		return p.DeferredPublishAsync(s.topic, s.delay, bodies[0], s.answers, args...)
	case len(bodies) == 1:
		return p.PublishAsync(s.topic, bodies[0], s.answers, args...)
	}
	return p.MultiPublishAsync(s.topic, bodies, s.answers, args...)
}

// publish publishes and waits.
func (s *sender) publish(to publisher, bodies [][]byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), publishTimeout)
	defer cancel()
	switch {
	case s.delay > 0:
		return to.DeferredPublishContext(ctx, s.topic, s.delay, bodies[0])
	case len(bodies) == 1:
		return to.PublishContext(ctx, s.topic, bodies[0])
	}
	return to.MultiPublishContext(ctx, s.topic, bodies)
}

// take notes an answer.
func (s *sender) take(t *nsq.ProducerTransaction) {
	s.underWay--
	b, to := t.Args[0].(*batch), t.Args[1].(publisher)
	if t.Error != nil {
		s.failures = append(s.failures, failure{b, to, t.Error})
		return
	}
	delete(s.badSince, to)
	s.close(b)
}

// close notes that one more publisher has nothing more to do with a batch.
func (s *sender) close(b *batch) {
	if b.open--; b.open == 0 {
		s.tally.settled(b)
	}
}
