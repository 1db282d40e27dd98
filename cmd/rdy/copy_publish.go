package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rdyhq/nsq"
)

// publishToAll publishes a load to all targets at the same time. It returns why messages are
// not copied, by their numbers.
func (t *topicCopier) publishToAll(ctx context.Context, l load) []error {
	begun := time.Now()
	has := make([]uint64, len(l.items)) // the targets that have the message
	for i := range l.items {
		has[i] = t.partial.of(keyOf(l.items[i].Message))
	}
	results := make([][]error, len(t.targets))
	var publishes sync.WaitGroup
	for i, pool := range t.targets {
		publishes.Go(func() {
			results[i] = make([]error, len(l.items))
			t.publish(ctx, pool, l.without(has, 1<<i), results[i])
		})
	}
	publishes.Wait()
	slow := t.delay > 0 || time.Since(begun) >= time.Second // which is the shortest lease
	errs := make([]error, len(l.items))
	for i := range l.items {
		for target := range t.targets {
			if err := results[target][i]; err == nil {
				has[i] |= 1 << target
			} else if errs[i] == nil || classify(errs[i]) == refused { // retried as long as others fail
				errs[i] = err
			}
		}
		t.remember(l.items[i].Message, has[i], errs[i] == nil, slow)
	}
	return errs
}

// remember notes which targets have a message, if it will come again: because others lack it, or
// because its lease has ended while a target was down. Unless the command was slow, that is no
// matter of leases, and looking at them would take time.
func (t *topicCopier) remember(m *nsq.Message, has uint64, complete, slow bool) {
	if complete && (!slow || m.Context().Err() == nil) {
		t.partial.forget(keyOf(m))
		return
	}
	t.partial.add(keyOf(m), has)
}

// without returns the messages that the target with this bit does not have.
func (l load) without(has []uint64, bit uint64) load {
	if !slices.ContainsFunc(has, func(targets uint64) bool { return targets&bit != 0 }) {
		return l
	}
	var rest load
	for _, item := range l.items {
		if has[item.number]&bit != 0 {
			continue
		}
		bodies := l.bodies[item.from:item.to]
		item.from = len(rest.bodies)
		rest.bodies = append(rest.bodies, bodies...)
		item.to = len(rest.bodies)
		rest.items = append(rest.items, item)
	}
	return rest
}

// publish publishes a load through a pool, in as few commands as copyChunk allows: copies may be
// larger than their messages. It sets the errors of messages that are not stored.
func (t *topicCopier) publish(ctx context.Context, pool *nsq.ProducerPool, l load, errs []error) {
	for len(l.items) > 0 {
		n, size := 0, 0
		for ; n < len(l.items); n++ {
			for _, b := range l.bodies[l.items[n].from:l.items[n].to] {
				size += len(b) + 4 // in an MPUB
			}
			if n > 0 && size > copyChunk {
				break
			}
		}
		t.publishChunk(ctx, pool, load{l.items[:n], l.bodies}, errs)
		l.items = l.items[n:]
	}
}

// publishChunk publishes a load with one command, unless a stop has begun. If nsqd refuses that
// because of a message, it has stored none. Then publishChunk publishes each half, and so finds
// the messages to blame.
func (t *topicCopier) publishChunk(ctx context.Context, pool *nsq.ProducerPool, l load, errs []error) {
	bodies := l.bodies[l.items[0].from:l.items[len(l.items)-1].to]
	var err error
	switch {
	case t.stopping.Err() != nil: // as in copyAll
		err = context.Cause(t.stopping)
	case len(bodies) == 1:
		err = pool.PublishContext(ctx, t.to, bodies[0])
	default:
		err = pool.MultiPublishContext(ctx, t.to, bodies)
	}
	if half := len(l.items) / 2; half > 0 && classify(err) == refused {
		t.publishChunk(ctx, pool, load{l.items[:half], l.bodies}, errs)
		t.publishChunk(ctx, pool, load{l.items[half:], l.bodies}, errs)
		return
	}
	for _, item := range l.items {
		errs[item.number] = err
	}
}
