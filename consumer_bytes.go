package nsq

import (
	"math"
	"sync"
	"sync/atomic"
)

// A body counts from when a reader queues its message until the message is acked or
// requeued. If its lease or its connection ends before that, the body counts
//
//   - until the handler returns, if it is running: it may still use the body;
//   - until the end of the lease or the connection, if no handler has begun the message, or
//     if the handler has returned and left the ack for later.
//
// Readers add a slab at a time, and workers subtract the FINs of a batch at a time, so
// small messages cost nothing.

// memory is what the bodies in hand of a Consumer weigh, over all connections, including
// those that have ended.
type memory struct {
	held  atomic.Int64
	limit int64 // readers stop when so much is held; 0: they never stop

	waiting atomic.Bool // freed is not nil
	mu      sync.Mutex  // guards freed
	freed   chan struct{}
}

// release subtracts what is no longer held, and lets readers go on if there is room.
//
// No reader waits forever:
//
//  1. room sets waiting, and then finds that held has reached the limit.
//  2. release lowers held below the limit, and then finds waiting set.
//  3. If release had come too early to find waiting set, room would have found held below
//     the limit.
func (m *memory) release(bytes int64) {
	if m.held.Add(-bytes) < m.limit && m.waiting.Load() {
		m.wake()
	}
}

// wake lets readers go on that wait for room.
func (m *memory) wake() {
	m.mu.Lock()
	freed := m.freed
	m.freed = nil
	m.waiting.Store(false)
	m.mu.Unlock()
	if freed != nil {
		close(freed)
	}
}

// full reports whether readers must wait.
func (m *memory) full() bool { return m.limit > 0 && m.held.Load() >= m.limit }

// room returns nil if readers may read on, and otherwise a channel that is closed when
// they may ask again.
func (m *memory) room() <-chan struct{} {
	if !m.full() {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.freed == nil {
		m.freed = make(chan struct{})
	}
	m.waiting.Store(true)
	if !m.full() {
		return nil
	}
	return m.freed
}

// holdBodies counts the bodies of a slab that a reader is about to queue. If that reaches
// what flow waits for, it has the run loop weigh what is in hand.
func (cc *consumerConn) holdBodies(bytes int64) {
	cc.bytes.Add(bytes)
	total := cc.c.memory.held.Add(bytes)
	if cc.c.flags.claimWeighing(total) {
		cc.c.post(cc.c.loop.machine.Weigh)
	}
}

// releaseBodies counts bodies as no longer held.
func (cc *consumerConn) releaseBodies(bytes int64) {
	if bytes > 0 {
		cc.bytes.Add(-bytes)
		cc.c.memory.release(bytes)
	}
}

// readersStopAt returns how much memory the readers of a Consumer stop at: 0 if never.
func readersStopAt(cfg *Config) int64 { return 2 * min(max(cfg.MaxBytesInFlight, 0), math.MaxInt64/2) }

// longestBody returns the length of the longest body that a Consumer reads: 0 if any.
func longestBody(cfg *Config) int {
	if cfg.MaxMsgSize > 0 {
		return int(cfg.MaxMsgSize)
	}
	return int(min(readersStopAt(cfg), math.MaxInt)) // #nosec G115 -- not negative
}
