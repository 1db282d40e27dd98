package nsq

import (
	"math"
	"sync"
	"sync/atomic"
)

// What bodies weigh is counted from when a reader queues their message until they are
// acked or requeued. If that is too late, a handler may still hold the body although nsqd
// has given the message up, so it counts
//
//   - until the handler returns, if it was running when the lease or the connection ended;
//   - until the lease or the connection ended, if no handler had begun the message, or the
//     handler had returned and left the ack for later.
//
// Readers add a slab at a time, and workers subtract the FINs of a batch at a time, so
// small messages cost nothing.

// memory is what the bodies in hand of a Consumer weigh, over all connections, including
// those that have ended.
type memory struct {
	held atomic.Int64
	// most is what readers stop at. 0: they never stop.
	most int64

	waiting atomic.Bool // freed is not nil
	mu      sync.Mutex  // guards freed
	freed   chan struct{}
}

// release subtracts what is no longer held, and lets readers go on if there is room.
//
// No reader waits for ever:
//
//  1. room sets waiting, and then finds held at most or above.
//  2. release lowers held below most, and then finds waiting set.
//
// If release had not found waiting set, room would have found held below most.
func (m *memory) release(bytes int64) {
	if m.held.Add(-bytes) < m.most && m.waiting.Load() {
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
func (m *memory) full() bool { return m.most > 0 && m.held.Load() >= m.most }

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

// add counts the bodies of a slab that a reader is about to queue. It has the run loop
// weigh what is in hand if that has come to where flow wants to know.
func (cc *consumerConn) add(bytes int64) {
	cc.bytes.Add(bytes)
	total := cc.c.memory.held.Add(bytes)
	if cc.c.flags.claimWeighing(total) {
		cc.c.post(cc.c.loop.machine.Weigh)
	}
}

// release counts bodies as no longer held.
func (cc *consumerConn) release(bytes int64) {
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
