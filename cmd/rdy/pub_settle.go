package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rdyhq/nsq"
)

// outcome is what became of a line, or what an error says of it. Of several
// publishers' the greatest counts.
type outcome int

const (
	published outcome = iota
	unknown           // it may be stored
	again             // it is not stored, and not at fault: the next try may succeed
	refused           // it is not stored, and it or one that was with it is at fault
	hopeless          // it is not stored, and none will be
)

// judge tells what an error of a publish says. The codes are those of NSQ's
// protocol, with what nsqd has done when it sends them: it reads a whole MPUB
// before it stores any message of it, but may fail midway in storing.
func judge(err error) outcome {
	switch {
	case err == nil:
		return published
	case errors.Is(err, nsq.ErrUnknownOutcome):
		return unknown
	case errors.Is(err, nsq.ErrNotSent):
		return again
	}
	said, ok := errors.AsType[*nsq.ProtocolError](err)
	if !ok {
		return hopeless
	}
	switch said.Code {
	case "E_BAD_MESSAGE", "E_BAD_BODY":
		return refused
	case "E_PUB_FAILED", "E_DPUB_FAILED":
		return again
	case "E_MPUB_FAILED":
		if strings.HasSuffix(said.Desc, "exiting") { // before the first message
			return again
		}
		return unknown
	}
	return hopeless
}

// outcome is what became of the i-th line.
func (b *batch) outcome(i int) outcome {
	if b.outcomes == nil {
		return published
	}
	return b.outcomes[i]
}

// note notes what became of lines from one index up to another.
func (b *batch) note(from, to int, o outcome) {
	if b.outcomes == nil {
		b.outcomes = make([]outcome, len(b.lines))
	}
	for i := from; i < to; i++ {
		b.outcomes[i] = max(b.outcomes[i], o)
	}
}

// settle waits for all answers and sees to what has failed. An error, a
// *stopError, says that nothing can be published; what is then left has failed, or
// its outcome is unknown.
func (s *sender) settle(ctx context.Context) error {
	for s.underWay > 0 {
		s.takeNext()
	}
	failures := s.failures
	s.failures = nil
	var stopped *stopError
	first := 0 // number of the batch at which it stopped
	for _, f := range failures {
		if stopped == nil {
			if stopped = s.redo(ctx, f, 0, len(f.b.lines), f.err); stopped != nil {
				first = f.b.number
			}
		} else if s.leave(f) && f.b.number < first { // the answers of a pool come in any order
			first, stopped.at = f.b.number, f.b.lines[0].at
		}
		s.close(f.b)
	}
	if stopped == nil {
		return nil // not a nil *stopError
	}
	return stopped
}

// leave notes what became of a batch that is not tried again, and tells whether it
// is certainly not stored.
func (s *sender) leave(f failure) (notStored bool) {
	if judge(f.err) == unknown {
		s.notKnown(f.b, 0, len(f.b.lines), f.err)
		return false
	}
	f.b.note(0, len(f.b.lines), hopeless)
	return true
}

// notKnown notes, and tells, that lines of a batch may be stored.
func (s *sender) notKnown(b *batch, from, to int, err error) {
	b.note(from, to, unknown)
	s.tally.complain("%s: %v", span(b.lines[from:to]), err)
}

// redo does about an error of some lines of a batch what there is to do, until
// it is known what became of each.
func (s *sender) redo(ctx context.Context, f failure, from, to int, err error) *stopError {
	lines := f.b.lines[from:to]
	for try := 0; ; try++ {
		verdict := judge(err)
		if verdict == published || verdict == refused { // it answers
			delete(s.badSince, f.to)
		}
		switch {
		case verdict == published:
			return nil
		case verdict == refused:
			return s.refused(ctx, f, from, to, err)
		case verdict == unknown:
			s.notKnown(f.b, from, to, err)
			if !s.expired(f.to) {
				return nil
			}
		case verdict == again && ctx.Err() == nil && (!s.expired(f.to) || try == 0):
			err = s.retry(ctx, f.to, lines, try, err)
			continue
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		f.b.note(from, to, verdict)
		return &stopError{lines[0].at, err}
	}
}

// expired tells whether a publisher has confirmed nothing for so long since it
// first failed that there is no point in going on. It is for failures only.
func (s *sender) expired(to publisher) bool {
	since, bad := s.badSince[to]
	if !bad {
		since = time.Now()
		s.badSince[to] = since
	}
	return time.Since(since) >= s.retryFor
}

// retry publishes lines again: the first time at once, for many are there only
// because they were behind others that failed, later after a pause. It returns
// the error of the try before if ctx ends.
func (s *sender) retry(ctx context.Context, to publisher, lines []line, try int, err error) error {
	if try == 0 {
		return s.publish(to, bodiesOf(lines))
	}
	if s.told != s.badSince[to] {
		s.told = s.badSince[to]
		s.tally.say("trying for %v: %v", s.retryFor, err)
	}
	pause := time.NewTimer(retryInterval)
	defer pause.Stop()
	select {
	case <-pause.C:
		return s.publish(to, bodiesOf(lines))
	case <-ctx.Done():
		return err
	}
}

// refused sees to lines of which nsqd has stored none since it found fault with
// one of them.
func (s *sender) refused(ctx context.Context, f failure, from, to int, err error) *stopError {
	if to-from == 1 {
		f.b.note(from, to, refused)
		s.tally.complain("%s: %v", f.b.lines[from].at, err)
		return nil
	}
	for i := from; i < to; i++ {
		if stopped := s.redo(ctx, f, i, i+1, s.publish(f.to, bodiesOf(f.b.lines[i:i+1]))); stopped != nil {
			f.b.note(i+1, to, hopeless)
			return stopped
		}
	}
	return nil
}

// span names lines.
func span(lines []line) string {
	first, last := lines[0].at, lines[len(lines)-1].at
	if first == last {
		return first.String()
	}
	return fmt.Sprintf("%v to %v", first, last)
}
