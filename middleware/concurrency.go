package middleware

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/internal/lease"
)

// ErrBusy is why [Concurrency] or [ByKey] did not call the handler: no other call returned in
// time. It comes wrapped in an [nsq.RetryAfter] without delay.
var ErrBusy = errors.New("too many handlers at work")

// Concurrency returns a middleware that lets at most n calls of handlers run at the same
// time, over all handlers and Consumers that share it. To bound the handlers of one Consumer
// use [nsq.Consumer.AddConcurrentHandlers] instead, which holds no messages back.
//
// Messages wait in turn, for no more than half of what is left of their leases. After that
// nsqd delivers them again at once. A handler counts until it returns, even if its message is
// acked later.
//
// Concurrency panics if n is below 1.
func Concurrency(n int) nsq.Middleware {
	slots := newSlots(n)
	return func(next nsq.Handler) nsq.Handler {
		return nsq.HandlerFunc(func(m *nsq.Message) error {
			if err := acquire(m, slots); err != nil {
				return err
			}
			defer slots.Release(1)
			return next.HandleMessage(m)
		})
	}
}

// ByKey returns a middleware that lets at most n calls of handlers run at the same time for
// messages with the same key, over all handlers and Consumers that share it. With n = 1 no two
// messages of a key are handled at once, in this process. Messages with the key "" are not held
// back. Two keys share their n calls if their 64-bit hashes are the same.
//
// Messages wait in turn, for no more than half of what is left of their leases. After that nsqd
// delivers them again at once. NSQ promises no order, and neither does ByKey. A message that
// waits holds a goroutine of its Consumer. So if many messages have one key, others wait as
// well: give the Consumer more handlers than there can be messages waiting for one key.
//
// key is called once for each message, by several goroutines at a time. ByKey panics if n is
// below 1 or key is nil.
func ByKey(n int, key func(*nsq.Message) string) nsq.Middleware {
	if key == nil {
		panic("nil key function")
	}
	keys := newKeyed(n)
	return func(next nsq.Handler) nsq.Handler {
		return nsq.HandlerFunc(func(m *nsq.Message) error {
			if k := key(m); k != "" {
				return keys.handle(next, m, k)
			}
			return next.HandleMessage(m)
		})
	}
}

// keyed has the slots of the keys of messages in hand. So it never has more keys than there
// are goroutines that call handlers. Hashes stand for keys, which may be long.
type keyed struct {
	n    int
	seed maphash.Seed

	mu    sync.Mutex // guards slots and the users in it
	slots map[uint64]*keySlots
}

type keySlots struct {
	*semaphore.Weighted
	users int // messages that have or await a slot
}

func newKeyed(n int) *keyed {
	newSlots(n) // checks n before the first message
	return &keyed{n: n, seed: maphash.MakeSeed(), slots: map[uint64]*keySlots{}}
}

// handle calls the handler when the key has a free slot.
func (k *keyed) handle(next nsq.Handler, m *nsq.Message, key string) error {
	hash := maphash.String(k.seed, key)
	slots := k.join(hash)
	defer k.leave(hash, slots)
	if err := acquire(m, slots.Weighted); err != nil {
		return err
	}
	defer slots.Release(1)
	return next.HandleMessage(m)
}

// join returns the slots of a key, which stay until every message that joined has left.
func (k *keyed) join(hash uint64) *keySlots {
	k.mu.Lock()
	defer k.mu.Unlock()
	slots := k.slots[hash]
	if slots == nil {
		slots = &keySlots{Weighted: newSlots(k.n)}
		k.slots[hash] = slots
	}
	slots.users++
	return slots
}

func (k *keyed) leave(hash uint64, slots *keySlots) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if slots.users--; slots.users == 0 {
		delete(k.slots, hash)
	}
}

// newSlots returns n free slots.
func newSlots(n int) *semaphore.Weighted {
	if n < 1 {
		panic(fmt.Sprintf("concurrency %d: want 1 or more", n))
	}
	return semaphore.NewWeighted(int64(n))
}

// acquire waits for a slot. If none is free in time, it returns the error for the Consumer.
func acquire(m *nsq.Message, slots *semaphore.Weighted) error {
	if slots.TryAcquire(1) {
		return nil
	}
	wait := lease.Half(m.Context())
	ctx, cancel := context.WithTimeoutCause(m.Context(), wait, fmt.Errorf("%w for %v", ErrBusy, wait))
	defer cancel()
	if slots.Acquire(ctx, 1) != nil {
		return nsq.RetryAfter(0, fmt.Errorf("handler not called: %w", context.Cause(ctx)))
	}
	return nil
}
