package nsq

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rdyhq/nsq/internal/publishing"
)

// poolTries is what has come of one publish so far.
type poolTries = publishing.Tries[*poolMember]

// tryMembers publishes to one nsqd after the other, until one has the message or no
// other may be tried.
func (pool *ProducerPool) tryMembers(ctx context.Context, t *poolTries, m *publication, publish func(*poolMember) error) error {
	start := pool.hooks.start()
	for {
		to, err := pool.choose(ctx, t)
		if err == nil && to == nil {
			if err = pool.waitForMember(ctx, t); err == nil {
				continue
			}
		}
		switch {
		case errors.Is(err, errAllTried):
			return triesError(t, nil)
		case err != nil && !m.tried:
			return pool.untried(m, start, err)
		case err != nil:
			return triesError(t, err)
		}
		if err = pool.tryMember(ctx, to, m, publish); err == nil {
			return nil
		}
		if retry := pool.noteFailure(ctx, t, to, err); !retry {
			return triesError(t, nil)
		}
	}
}

// untried ends a publish that found no nsqd to try, and returns its error.
func (pool *ProducerPool) untried(m *publication, start time.Time, err error) error {
	m.start = start
	pool.tally.ended(m.messages(), err)
	pool.hooks.publishEnded(m, "", err)
	return err
}

// tryMember publishes to an nsqd that choose returned, once there is a connection to it.
func (pool *ProducerPool) tryMember(ctx context.Context, to *poolMember, m *publication, publish func(*poolMember) error) error {
	defer to.owes.Add(-1)
	m.tried, m.start = true, pool.hooks.start()
	if err := pool.reach(ctx, to); err != nil {
		to.p.ended(m, err)
		return err
	}
	return publish(to)
}

// reach waits for a connection to an nsqd, for half of the time that ctx leaves: the
// other half is for another nsqd.
func (pool *ProducerPool) reach(ctx context.Context, m *poolMember) error {
	if m.p.nsqd.connected() {
		return nil
	}
	ctx, cancel := halfOf(ctx)
	defer cancel()
	_, err := m.p.nsqd.connect(ctx)
	return err
}

// halfOf returns a context that ends when half of the time until ctx's deadline is over.
func halfOf(ctx context.Context) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithTimeout(ctx, time.Until(deadline)/2)
	}
	return ctx, func() {}
}

// choose returns the nsqd to try next, and uses up its turn. It returns nil if there is
// none to try now.
func (pool *ProducerPool) choose(ctx context.Context, t *poolTries) (*poolMember, error) {
	if ctx.Err() != nil { // its end must not count against an nsqd
		return nil, fmt.Errorf("producer pool: %w: %w", ErrNotSent, context.Cause(ctx))
	}
	pool.mu.Lock()
	defer pool.mu.Unlock()
	if pool.stopping {
		return nil, ErrStopped
	}
	for _, loop := range pool.discovery.begin() { // the first publish of a discovered pool
		pool.wg.Go(func() { loop(pool.alive) })
	}
	i, ok := t.Next(pool.members, pool.turn, pool.news)
	if !ok {
		return nil, nil
	}
	pool.turn = i + 1
	pool.members[i].owes.Add(1) // until tryMember returns
	return pool.members[i], nil
}

var errAllTried = errors.New("all nsqds were tried")

// waitForMember waits until choose has an nsqd to try. If ctx has a deadline, it waits
// for a new nsqd or, once all were tried, for a healthy one. Otherwise it returns
// errAllTried once all were tried, and waits for a first nsqd only until nsqlookupds
// have responded or failed.
func (pool *ProducerPool) waitForMember(ctx context.Context, t *poolTries) error {
	_, patient := ctx.Deadline()
	for {
		pool.mu.Lock()
		changed, stopping, none := pool.changed, pool.stopping, len(pool.members) == 0
		// choose found none, but a member may have joined since.
		ready, allTried := t.Look(pool.members)
		err := pool.discovery.noNSQD()
		pool.mu.Unlock()
		switch {
		case stopping:
			return ErrStopped
		case allTried && !patient:
			return errAllTried
		case ready:
			return nil
		case none && !patient && err != nil:
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if !none || err == nil {
				err = fmt.Errorf("producer pool: %w", ErrNotSent)
			}
			return fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
	}
}

// noteFailure notes that a publish failed at an nsqd, and reports whether to try
// another.
func (pool *ProducerPool) noteFailure(ctx context.Context, t *poolTries, m *poolMember, err error) (retry bool) {
	if errors.Is(err, ErrStopped) && pool.alive.Err() == nil { // the pool let it go in the meantime
		t.LetGo(m)
		return true
	}
	verdict := verdictOf(err)
	retry = t.Failed(m, err, verdict, pool.duplicates.Load())
	if retry || verdict.MayBeStored() {
		pool.passOver(m, err)
	}
	retry = retry && ctx.Err() == nil
	if !retry && verdict.MayBeStored() {
		t.Forget() // if this nsqd has the message, the errors of others do not matter
	}
	return retry
}

// triesError returns the error of a publish for its caller. If an nsqd may have stored
// the message, the errors of others are not wrapped but only quoted: errors.Is must not
// find their ErrNotSent. last, if not nil, is why no more nsqds are tried.
func triesError(t *poolTries, last error) error {
	errs := t.Errors()
	if last != nil {
		errs = append(errs, last)
	}
	switch {
	case t.Unknown != nil && t.Refused != nil:
		return fmt.Errorf("%w; then: %v", t.Unknown, t.Refused) //nolint:errorlint // see above
	case t.Unknown != nil && len(errs) > 0:
		return fmt.Errorf("%w; other nsqds: %v", t.Unknown, errors.Join(errs...)) //nolint:errorlint // see above
	case t.Unknown != nil:
		return t.Unknown
	case t.Refused != nil:
		return t.Refused
	case len(errs) == 1:
		return errs[0]
	}
	return errors.Join(errs...)
}
