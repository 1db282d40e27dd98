package dedupe

import (
	"context"
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"
)

// State is what a [Store] says about a key that is to be claimed for a message.
type State int

// The states of a key.
const (
	Claimed State = iota + 1 // it is now claimed for this message
	Busy                     // it is claimed for another message
	Done                     // a message with it was handled
)

// Store remembers keys. Its methods are called by several goroutines at the same time. Each
// must be atomic, also towards other processes that share the Store.
//
// With Redis, Claim is a SET with NX, GET and PX. It returns the value that was there: none, the
// owner of a claim, whose time left PTTL returns, or a mark that no owner has. Commit is a SET of
// that mark with PX. Release is a script that deletes the key if the owner is still its value.
// With a database the Store is a table with the key, the owner or NULL, and the time until which
// the row holds.
type Store interface {
	// Claim claims a key for an owner, for the given length, and returns Claimed. It also does
	// so if the owner has claimed the key before, and if an earlier claim of another owner, or
	// what Commit recorded, is no longer valid. Otherwise it changes nothing and returns Done,
	// or Busy and how long the claim still holds. ctx ends with the message's lease.
	Claim(ctx context.Context, key, owner string, length time.Duration) (state State, left time.Duration, err error)

	// Commit records that a message with this key was handled, even if another owner has
	// claimed the key by now. The Store decides for how long it remembers that.
	Commit(ctx context.Context, key, owner string) error

	// Release ends the claim of this owner, if there is one.
	Release(ctx context.Context, key, owner string) error
}

// Memory is a [Store] in the memory of this process. It does not know which messages other
// processes handle, and forgets everything when the process ends.
type Memory struct {
	window time.Duration
	keys   *otter.Cache[string, record]
}

// record is what is known of a key.
type record struct {
	done  bool
	owner string // of the claim, if not done
	until time.Time
}

// NewMemory returns a Memory that remembers for the length of window that a message was handled.
// It has room for size keys of handled messages; beyond that it forgets some earlier. So size
// should be at least the number of messages within a window. Claims take no room.
//
// NewMemory panics if window or size is not above 0.
func NewMemory(window time.Duration, size int) *Memory {
	if window <= 0 || size <= 0 {
		panic(fmt.Sprintf("window %v, size %d: want both above 0", window, size))
	}
	keys := otter.Must(&otter.Options[string, record]{
		MaximumWeight: uint64(size),
		Weigher: func(_ string, r record) uint32 {
			if r.done {
				return 1
			}
			return 0 // never removed for want of room: its message is being handled
		},
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[string, record]) time.Duration {
			return time.Until(e.Value.until)
		}),
	})
	return &Memory{window: window, keys: keys}
}

// Claim implements [Store].
func (s *Memory) Claim(_ context.Context, key, owner string, length time.Duration) (state State, left time.Duration, err error) {
	now := time.Now()
	s.keys.Compute(key, func(old record, found bool) (record, otter.ComputeOp) {
		switch {
		case !found, !old.done && old.owner == owner:
			state, left = Claimed, 0
			return record{owner: owner, until: now.Add(length)}, otter.WriteOp
		case old.done:
			state, left = Done, 0
		default:
			state, left = Busy, old.until.Sub(now)
		}
		return old, otter.CancelOp
	})
	return state, left, nil
}

// Commit implements [Store].
func (s *Memory) Commit(_ context.Context, key, _ string) error {
	s.keys.Set(key, record{done: true, until: time.Now().Add(s.window)})
	return nil
}

// Release implements [Store].
func (s *Memory) Release(_ context.Context, key, owner string) error {
	s.keys.ComputeIfPresent(key, func(old record) (record, otter.ComputeOp) {
		if !old.done && old.owner == owner {
			return record{}, otter.InvalidateOp
		}
		return old, otter.CancelOp
	})
	return nil
}

// Close ends the goroutine that removes keys whose time is over. Call it when no handler uses
// the Memory any more. Without Close the goroutine ends some time after the program has dropped
// the Memory.
func (s *Memory) Close() { s.keys.StopAllGoroutines() }
