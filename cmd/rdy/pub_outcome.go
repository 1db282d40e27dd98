package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rdyhq/nsq"
)

// outcome is what became of a line, as far as a publish error tells. If several
// publishers get a line, its outcome is the greatest of theirs.
type outcome int

const (
	published outcome = iota
	unknown           // the line may be stored
	retryable         // not stored; the line is not to blame, a retry may succeed
	refused           // not stored; the line, or another one of its batch, is to blame
	fatal             // not stored; no other line will be either
)

// classify returns the outcome that a publish error stands for. For an error of
// nsqd's that depends on when nsqd sends it: nsqd reads a whole MPUB before it
// stores the first message, but it may fail midway through storing.
func classify(err error) outcome {
	switch {
	case err == nil:
		return published
	case errors.Is(err, nsq.ErrUnknownOutcome):
		return unknown
	case errors.Is(err, nsq.ErrNotSent):
		return retryable
	}
	reply, ok := errors.AsType[*nsq.ProtocolError](err)
	if !ok {
		return fatal
	}
	switch reply.Code {
	case "E_BAD_MESSAGE", "E_BAD_BODY":
		return refused
	case "E_PUB_FAILED", "E_DPUB_FAILED":
		return retryable
	case "E_MPUB_FAILED": // nsqd stores one message after the other
		return unknown
	}
	return fatal
}

// outcome returns the outcome of the i-th line.
func (b *batch) outcome(i int) outcome {
	if b.outcomes == nil {
		return published
	}
	return b.outcomes[i]
}

// mark gives the lines [from, to) an outcome, unless they have a greater one.
func (b *batch) mark(from, to int, o outcome) {
	if b.outcomes == nil {
		b.outcomes = make([]outcome, len(b.lines))
	}
	for i := from; i < to; i++ {
		b.outcomes[i] = max(b.outcomes[i], o)
	}
}

// resolveFailures waits for all outstanding results and retries what failed. It
// returns a *stopError if nothing can be published any more. The remaining
// batches are then marked as failed or unknown without another try.
func (s *sender) resolveFailures(ctx context.Context) error {
	for s.outstanding > 0 {
		s.awaitResult()
	}
	failures := s.failures
	s.failures = nil
	var stopped *stopError
	first := 0 // number of the batch that stopped names
	for _, f := range failures {
		if stopped == nil {
			if stopped = s.resolve(ctx, f, 0, len(f.b.lines), f.err); stopped != nil {
				first = f.b.number
			}
		} else if s.giveUp(f) && f.b.number < first { // a pool's results arrive in any order
			first, stopped.at = f.b.number, f.b.lines[0].at
		}
		s.publisherDone(f.b)
	}
	if stopped == nil {
		return nil // not a nil *stopError
	}
	return stopped
}

// giveUp marks a batch that will not be retried. It reports whether the batch is
// certainly not stored.
func (s *sender) giveUp(f failure) (notStored bool) {
	if classify(f.err) == unknown {
		s.markUnknown(f.b, 0, len(f.b.lines), f.err)
		return false
	}
	f.b.mark(0, len(f.b.lines), fatal)
	return true
}

// markUnknown marks lines that may be stored, and reports them to the user.
func (s *sender) markUnknown(b *batch, from, to int, err error) {
	b.mark(from, to, unknown)
	s.tally.reportFailure("%s: %s", span(b.lines[from:to]), oneLine(err))
}

// resolve retries the lines [from, to) of a failed batch, whose last error is err,
// until the outcome of each is final.
func (s *sender) resolve(ctx context.Context, f failure, from, to int, err error) *stopError {
	lines := f.b.lines[from:to]
	for try := 0; ; try++ {
		verdict := classify(err)
		if verdict == published || verdict == refused { // nsqd replied, so it is up
			delete(s.failingSince, f.to)
		}
		switch {
		case verdict == published:
			return nil
		case verdict == refused:
			return s.publishSingly(ctx, f, from, to, err)
		case verdict == unknown:
			s.markUnknown(f.b, from, to, err)
			if !s.retriesExhausted(f.to) {
				return nil
			}
		case verdict == retryable && ctx.Err() == nil && (!s.retriesExhausted(f.to) || try == 0):
			err = s.retry(ctx, f.to, lines, try, err)
			continue
		}
		if _, pool := f.to.(*nsq.ProducerPool); pool && errors.Is(err, nsq.ErrNotSent) {
			err = fmt.Errorf("no nsqd could be reached: %w", err)
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		f.b.mark(from, to, verdict)
		return &stopError{lines[0].at, err}
	}
}

// retriesExhausted reports whether a publisher has confirmed nothing for retryFor
// since it first failed. Call it only after a failure: it starts that clock.
func (s *sender) retriesExhausted(to publisher) bool {
	since, bad := s.failingSince[to]
	if !bad {
		since = time.Now()
		s.failingSince[to] = since
	}
	return time.Since(since) >= s.retryFor
}

// retry publishes lines again and returns the error. The first retry happens at
// once, because most lines failed only along with others sent before them. Later
// retries happen after a pause; if ctx ends during it, retry returns err.
func (s *sender) retry(ctx context.Context, to publisher, lines []line, try int, err error) error {
	if try == 0 {
		return s.publishAndWait(to, bodiesOf(lines))
	}
	if s.reported != s.failingSince[to] {
		s.reported = s.failingSince[to]
		s.tally.report("retrying for up to %v: %s", s.retryFor, oneLine(err))
	}
	pause := time.NewTimer(retryInterval)
	defer pause.Stop()
	select {
	case <-pause.C:
		return s.publishAndWait(to, bodiesOf(lines))
	case <-ctx.Done():
		return err
	}
}

// publishSingly publishes lines one by one, after nsqd refused them all because
// of at least one of them. A single line has been refused for good.
func (s *sender) publishSingly(ctx context.Context, f failure, from, to int, err error) *stopError {
	if to-from == 1 {
		f.b.mark(from, to, refused)
		s.tally.reportFailure("%s: %v", f.b.lines[from].at, err)
		return nil
	}
	for i := from; i < to; i++ {
		if stopped := s.resolve(ctx, f, i, i+1, s.publishAndWait(f.to, bodiesOf(f.b.lines[i:i+1]))); stopped != nil {
			f.b.mark(i+1, to, fatal)
			return stopped
		}
	}
	return nil
}

// span names the first and the last of lines.
func span(lines []line) string {
	first, last := lines[0].at, lines[len(lines)-1].at
	if first == last {
		return first.String()
	}
	return fmt.Sprintf("%v to %v", first, last)
}
