package nsq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// poolTries is what came of a publish so far.
type poolTries struct {
	tried   []poolTry // the latest at each nsqd
	again   bool      // all were, and now those are tried that are healthy
	final   error     // of an nsqd that refuses it for good
	unknown error     // of one that may have stored it
}

type poolTry struct {
	at  *poolMember
	err error // nil if it was let go
}

func (t *poolTries) at(m *poolMember) int {
	return slices.IndexFunc(t.tried, func(try poolTry) bool { return try.at == m })
}

func (t *poolTries) note(m *poolMember, err error) {
	if i := t.at(m); i >= 0 {
		t.tried[i].err = err
	} else {
		t.tried = append(t.tried, poolTry{m, err})
	}
}

// verdict is what to tell the caller. If an nsqd may have stored the message,
// what others say is mere information.
func (t *poolTries) verdict(last error) error {
	var errs []error
	for _, try := range t.tried {
		if try.err != nil {
			errs = append(errs, try.err)
		}
	}
	if last != nil {
		errs = append(errs, last)
	}
	switch {
	case t.unknown != nil && t.final != nil:
		return fmt.Errorf("%w; then: %v", t.unknown, t.final) //nolint:errorlint // it says that nothing is stored
	case t.unknown != nil && len(errs) > 0:
		return fmt.Errorf("%w; besides: %v", t.unknown, errors.Join(errs...)) //nolint:errorlint // so do these
	case t.unknown != nil:
		return t.unknown
	case t.final != nil:
		return t.final
	case len(errs) == 1:
		return errs[0]
	}
	return errors.Join(errs...)
}

// try publishes to one nsqd after the other until one has it, or may have.
func (pool *ProducerPool) try(ctx context.Context, t *poolTries, publish func(*poolMember) error) error {
	for {
		m, err := pool.choose(t)
		if err == nil && m == nil {
			if err = pool.wait(ctx, t); err == nil {
				continue
			}
		}
		if errors.Is(err, errAllTried) {
			return t.verdict(nil)
		} else if err != nil {
			return t.verdict(err)
		}
		if err = publish(m); err == nil {
			return nil
		}
		if again := pool.missed(ctx, t, m, err); !again {
			return t.verdict(nil)
		}
	}
}

// missed takes note of a publish that failed at an nsqd, and tells whether to try
// another.
func (pool *ProducerPool) missed(ctx context.Context, t *poolTries, m *poolMember, err error) (again bool) {
	if errors.Is(err, ErrStopped) && pool.alive.Err() == nil { // it was let go meanwhile
		t.note(m, nil)
		return true
	}
	stored := errors.Is(err, ErrUnknownOutcome) || storedInPart(err)
	again = ctx.Err() == nil && (elsewhere(err) || stored && pool.duplicates.Load())
	switch {
	case stored:
		t.unknown = err
		t.note(m, nil)
	case elsewhere(err):
		t.note(m, err)
	default:
		t.final = err
	}
	if again {
		pool.failed(m, err)
	} else if stored { // alone: what others say of it means nothing any more
		t.tried = nil
	}
	return again
}

// choose returns the nsqd whose turn it is; one that is healthy, if there is one.
// It is nil if there is none to try.
func (pool *ProducerPool) choose(t *poolTries) (*poolMember, error) {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	if pool.stopping {
		return nil, ErrStopped
	}
	pool.discover()
	best := -1
	for i := range pool.members {
		i = (pool.next + i) % len(pool.members)
		m := pool.members[i]
		if !m.unhealthy && (t.again || t.at(m) < 0) {
			best = i
			break
		}
		if best < 0 && !t.again && t.at(m) < 0 {
			best = i
		}
	}
	if best < 0 {
		return nil, nil
	}
	pool.next = best + 1
	return pool.members[best], nil
}

var errAllTried = errors.New("all nsqds were tried")

// wait returns when there is an nsqd to try, or after all were tried a healthy
// one. That takes a deadline: without one it waits only for nsqlookupds that have
// not told yet what nsqds there are.
func (pool *ProducerPool) wait(ctx context.Context, t *poolTries) error {
	_, patient := ctx.Deadline()
	for {
		pool.mu.Lock()
		news, stopping, none := pool.news, pool.stopping, len(pool.members) == 0
		// One may have been listed since choose found none.
		untried := slices.ContainsFunc(pool.members, func(m *poolMember) bool { return t.at(m) < 0 })
		t.again = len(t.tried) > 0 && !untried
		ready := slices.ContainsFunc(pool.members, func(m *poolMember) bool { return !t.again || !m.unhealthy })
		err := pool.unlisted()
		pool.mu.Unlock()
		switch {
		case stopping:
			return ErrStopped
		case !patient && !none && t.again:
			return errAllTried
		case ready:
			return nil
		case !patient && none && err != nil:
			return err
		}
		select {
		case <-news:
		case <-ctx.Done():
			if !none || err == nil {
				err = fmt.Errorf("producer pool: %w", ErrNotSent)
			}
			return fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
	}
}

// tell has those who wait for an nsqd look again. Callers hold the mutex.
func (pool *ProducerPool) tell() {
	close(pool.news)
	pool.news = make(chan struct{})
}

// elsewhere tells whether what failed may be published to another nsqd: this one
// has not stored it, and that is not the message's fault.
func elsewhere(err error) bool {
	if errors.Is(err, ErrNotSent) {
		return true
	}
	switch refusedWith(err) {
	case wire.PubFailed, wire.DpubFailed:
		return true
	case wire.MpubFailed:
		return !storedInPart(err)
	}
	return false
}

// refusedWith is the code by which nsqd refused a publish. It is empty for other
// errors, those that tell how somebody else's refusal ended the connection
// included.
func refusedWith(err error) wire.Code {
	refused, ok := errors.AsType[*ProtocolError](err)
	if !ok || errors.Is(err, ErrNotConnected) {
		return ""
	}
	return wire.Code(refused.Code)
}

// storedInPart tells whether nsqd failed midway in an MPUB, which leaves the
// messages before that stored. It has stored none if it, or the topic, is
// exiting.
func storedInPart(err error) bool {
	refused, ok := errors.AsType[ErrProtocol](err)
	return ok && refusedWith(err) == wire.MpubFailed && !strings.HasSuffix(refused.Reason, "exiting")
}

// failed has an nsqd passed over until it answers a probe.
func (pool *ProducerPool) failed(m *poolMember, err error) {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	m.lastError = err
	if m.unhealthy || pool.stopping {
		return
	}
	m.unhealthy = true
	pool.wg.Go(func() { pool.probe(m) })
	if pool.discovery != nil {
		pool.discovery.poller.Poke()
	}
}

// probe pings an nsqd until there is a connection, or it was let go. How often
// that dials is its Producer's business.
func (pool *ProducerPool) probe(m *poolMember) {
	for {
		select {
		case <-time.After(jittered(minRedial)):
		case <-pool.alive.Done():
			return
		}
		err := m.p.Ping()
		if errors.Is(err, ErrStopped) {
			return
		}
		pool.mu.Lock()
		m.unhealthy = err != nil
		if err != nil {
			m.lastError = err
		} else {
			pool.tell()
		}
		pool.mu.Unlock()
		if err == nil {
			return
		}
	}
}
