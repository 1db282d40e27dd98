package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rdyhq/nsq"
	"golang.org/x/time/rate"
)

const (
	// maxOutstanding is how many messages may await nsqd's reply: enough to keep
	// an nsqd busy that is a few milliseconds away.
	maxOutstanding = 8192
	minBatches     = 4   // outstanding batches allowed, however large
	maxBatches     = 256 // outstanding batches allowed, however small

	// batchesPerSecond limits batches under --rate: each carries at most this
	// fraction of a second's messages.
	batchesPerSecond = 10

	// retryInterval is the pause before every retry but the first. It can be
	// short because the library itself limits how often it dials.
	retryInterval = 100 * time.Millisecond
)

// publisher is a Producer or a ProducerPool.
type publisher interface {
	PublishContext(ctx context.Context, topic string, body []byte) error
	MultiPublishContext(ctx context.Context, topic string, bodies [][]byte) error
	DeferredPublishContext(ctx context.Context, topic string, delay time.Duration, body []byte) error
	Stop()
}

// sender publishes every line to each of its publishers. Only the goroutine that
// calls run changes its fields.
//
// It sends batches without waiting for their results. When one fails, it sends
// no further batch until all results are in. Then it retries what was not
// stored, in order and one batch at a time.
type sender struct {
	topic        string
	delay        time.Duration
	to           []publisher
	batch        int // maximum messages in a batch
	window       int // maximum outstanding batches, over all publishers
	limit        *rate.Limiter
	retryFor     time.Duration
	replyTimeout time.Duration // how long an nsqd may send no reply
	tally        *tally

	replyTimer  *time.Timer                   // runs during waits for results; cancels run's context
	results     chan *nsq.ProducerTransaction // has room for every outstanding batch
	calls       sync.WaitGroup                // publishes through pools; each sends its result
	outstanding int                           // results to arrive, one per batch and publisher
	failures    []failure                     // still to be resolved, in order of arrival

	failingSince map[publisher]time.Time // since when each failing publisher has confirmed nothing
	reported     time.Time               // the failingSince that the user was told about last

	batches int      // batches sent so far
	next    position // of the first line that has not been sent
}

// batch is a group of lines that are published as one command.
type batch struct {
	number            int
	lines             []line
	pendingPublishers int       // publishers whose outcome is not final
	outcomes          []outcome // by line; nil while every line is published
}

// failure is a batch that a publisher failed to publish.
type failure struct {
	b   *batch
	to  publisher
	err error
}

// stopError reports the line before which publishing stopped.
type stopError struct {
	at  position
	err error
}

func (e *stopError) Error() string { return fmt.Sprintf("stopped before %v: %v", e.at, e.err) }
func (e *stopError) Unwrap() error { return e.err }

func newSender(p *pub, to []publisher) *sender {
	s := &sender{
		topic: p.topic, delay: p.deferFor, to: to, batch: p.batch, retryFor: p.retryFor, tally: p.tally,
		limit:        rate.NewLimiter(rate.Inf, 0),
		failingSince: make(map[publisher]time.Time),
		next:         position{p.files[0], 1},
	}
	if p.deferFor > 0 {
		s.batch = 1 // NSQ's protocol has no deferred MPUB
	}
	if p.rate > 0 {
		s.batch = min(s.batch, max(int(p.rate/batchesPerSecond), 1))
		s.limit = rate.NewLimiter(rate.Limit(p.rate), s.batch)
	}
	s.replyTimeout = max(s.retryFor, publishTimeout+time.Second) // what publishAndWait returns tells more
	s.window = len(to) * min(max(maxOutstanding/s.batch, minBatches), maxBatches)
	s.results = make(chan *nsq.ProducerTransaction, s.window+len(to))
	return s
}

// run publishes lines until the channel is closed, ctx ends, or nothing can be
// published. When it returns, every batch has its outcome and the publishers are
// stopped. The error is a *stopError unless all lines were sent.
func (s *sender) run(ctx context.Context, lines <-chan []line) error {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	s.replyTimer = time.AfterFunc(s.replyTimeout, func() { giveUp(fmt.Errorf("no reply from nsqd for %v", s.replyTimeout)) })
	s.replyTimer.Stop()
	// The end of ctx ends every wait below: it stops the publishers, which then
	// return a result for every outstanding publish within stopTimeout.
	defer context.AfterFunc(ctx, s.stop)()
	defer s.calls.Wait()
	defer s.stop()
	err := s.publishAll(ctx, lines)
	if earlier := s.resolveFailures(ctx); err == nil || earlier != nil {
		err = earlier // it concerns earlier lines than err
	}
	return err
}

// stop stops all publishers at once.
func (s *sender) stop() {
	var stops sync.WaitGroup
	for _, to := range s.to {
		stops.Go(to.Stop)
	}
	stops.Wait()
}

// publishAll sends batches until the input ends, and resolves failures as they
// occur.
func (s *sender) publishAll(ctx context.Context, lines <-chan []line) error {
	var pending []line
	for {
		if len(s.failures) > 0 {
			if err := s.resolveFailures(ctx); err != nil {
				return err
			}
		}
		if s.outstanding >= s.window {
			s.awaitResult()
			continue
		}
		if len(pending) == 0 {
			group, more := s.awaitLines(ctx, lines)
			if !more {
				return s.endOfInput(ctx)
			}
			pending = group
			continue
		}
		pending = s.fill(pending, lines)
		n := s.batchLen(pending)
		s.next = pending[0].at
		if err := s.limit.WaitN(ctx, n); err != nil {
			return &stopError{s.next, context.Cause(ctx)}
		}
		s.sendBatch(pending[:n:n])
		pending = pending[n:]
	}
}

// awaitLines waits for lines or for a result, which it handles. more is false
// once lines is closed or ctx has ended.
func (s *sender) awaitLines(ctx context.Context, lines <-chan []line) (group []line, more bool) {
	if s.outstanding > 0 {
		s.replyTimer.Reset(s.replyTimeout)
		defer s.replyTimer.Stop()
	}
	select {
	case group, more = <-lines:
		return group, more
	case t := <-s.results:
		s.handleResult(t)
		return nil, true
	case <-ctx.Done():
		return nil, false
	}
}

// awaitResult waits for a result and handles it. If none arrives in time,
// replyTimer stops the publishers, which fail everything outstanding.
func (s *sender) awaitResult() {
	s.replyTimer.Reset(s.replyTimeout)
	defer s.replyTimer.Stop()
	s.handleResult(<-s.results)
}

// endOfInput returns nil if lines was closed because everything was read. The
// reader also closes it when ctx ends; that is a *stopError.
func (s *sender) endOfInput(ctx context.Context) error {
	if ctx.Err() != nil {
		return &stopError{s.next, context.Cause(ctx)}
	}
	return nil
}

// fill appends lines that are already waiting, until there are enough for a batch.
func (s *sender) fill(pending []line, lines <-chan []line) []line {
	for len(pending) < s.batch {
		select {
		case group := <-lines: // nil once lines is closed
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

// batchLen returns how many of the pending lines the next batch takes.
func (s *sender) batchLen(pending []line) int {
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

// sendBatch publishes lines through every publisher. It may wait for room in a
// Producer's queue, but not for a reply.
func (s *sender) sendBatch(lines []line) {
	b := &batch{number: s.batches, lines: lines, pendingPublishers: len(s.to)}
	s.batches++
	last := lines[len(lines)-1].at
	s.next = position{last.file, last.number + 1}
	s.tally.addBatch()
	bodies := bodiesOf(lines)
	for _, to := range s.to {
		s.outstanding++
		t := &nsq.ProducerTransaction{Args: []any{b, to}}
		if p, ok := to.(*nsq.Producer); ok {
			if err := s.publishAsync(p, bodies, t.Args); err != nil {
				t.Cause = notSent(err)
				s.handleResult(t)
			}
			continue
		}
		s.calls.Go(func() {
			t.Cause = s.publishAndWait(to, bodies)
			s.results <- t
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

// publishAsync publishes without waiting for the reply. Unless it returns an
// error, results receives a transaction.
func (s *sender) publishAsync(p *nsq.Producer, bodies [][]byte, args []any) error {
	switch {
	case s.delay > 0:
		return p.DeferredPublishAsync(s.topic, s.delay, bodies[0], s.results, args...)
	case len(bodies) == 1:
		return p.PublishAsync(s.topic, bodies[0], s.results, args...)
	}
	return p.MultiPublishAsync(s.topic, bodies, s.results, args...)
}

// notSent wraps ErrNotSent around the error of a call that has sent nothing, unless a retry
// would not help.
func notSent(err error) error {
	if _, refused := errors.AsType[nsq.ErrProtocol](err); refused || errors.Is(err, nsq.ErrStopped) || errors.Is(err, nsq.ErrNotSent) {
		return err
	}
	return fmt.Errorf("%w: %w", nsq.ErrNotSent, err)
}

// publishAndWait publishes and waits for the reply. Its context has no deadline: with one a pool
// would wait for as long for an nsqd to work, and return nothing that the sender could tell the
// user or count for retryFor.
func (s *sender) publishAndWait(to publisher, bodies [][]byte) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	late := time.AfterFunc(publishTimeout, func() { cancel(context.DeadlineExceeded) })
	defer late.Stop()
	switch {
	case s.delay > 0:
		return to.DeferredPublishContext(ctx, s.topic, s.delay, bodies[0])
	case len(bodies) == 1:
		return to.PublishContext(ctx, s.topic, bodies[0])
	}
	return to.MultiPublishContext(ctx, s.topic, bodies)
}

// handleResult records the result of publishing a batch through one publisher.
func (s *sender) handleResult(t *nsq.ProducerTransaction) {
	s.outstanding--
	b, to := t.Args[0].(*batch), t.Args[1].(publisher)
	if t.Cause != nil {
		s.failures = append(s.failures, failure{b, to, t.Cause})
		return
	}
	delete(s.failingSince, to)
	s.publisherDone(b)
}

// publisherDone records that one publisher's outcome for b is final. After the
// last one it counts the lines.
func (s *sender) publisherDone(b *batch) {
	if b.pendingPublishers--; b.pendingPublishers == 0 {
		s.tally.addOutcomes(b)
	}
}
