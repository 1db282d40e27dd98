package nsq

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/rdyhq/nsq/internal/fleet"
)

// passOver makes an nsqd unhealthy until probe finds that it works.
func (pool *ProducerPool) passOver(m *poolMember, err error) {
	m.p.nsqd.noteError(err)
	pool.mu.Lock()
	defer pool.mu.Unlock()
	if m.unhealthy || pool.stopping {
		return
	}
	m.unhealthy = true
	tell(pool.hooks, pool.hooks.poolChanged, PoolEvent{Addr: m.p.addr, Err: err})
	pool.wg.Go(func() { pool.probe(m) })
}

// probe makes an nsqd healthy once it works again, or returns when its Producer is
// stopped. If the nsqd owes replies to publishes, its next reply shows that it works. (A
// ping would show nothing: nsqd does not reply to a NOP.) Otherwise a ping that connects
// shows it, once nsqlookupds let the nsqd be dialled. A ping dials only as often as the
// Producer allows.
func (pool *ProducerPool) probe(m *poolMember) {
	redial := fleet.NewRedial(rand.Uint64()) // #nosec G404 -- jitter
	for {
		if pool.awaitReply(m) {
			pool.recovered(m)
			return
		}
		select {
		case <-time.After(redial.ProbeDelay()):
		case <-pool.alive.Done():
			return
		}
		if m.gate != nil && !m.p.nsqd.connected() && !m.gate.awaitOpen(pool.alive) {
			return
		}
		err := m.p.nsqd.ping()
		if err == nil {
			pool.recovered(m)
			return
		}
		if errors.Is(err, ErrStopped) {
			return
		}
		m.p.nsqd.noteError(err)
	}
}

// awaitReply waits for the next reply to a publish that an nsqd owes, and reports
// whether it came. It reports false at once if the nsqd owes none, and when the
// connection ends instead.
func (pool *ProducerPool) awaitReply(m *poolMember) bool {
	settled := m.p.nsqd.outstanding.nextRelease()
	if settled == nil {
		return false
	}
	select {
	case <-settled:
		return m.p.nsqd.connected()
	case <-pool.alive.Done():
		return false
	}
}

// recovered makes an nsqd healthy, and wakes the publishes that wait for one.
func (pool *ProducerPool) recovered(m *poolMember) {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	m.unhealthy = false
	tell(pool.hooks, pool.hooks.poolChanged, PoolEvent{Addr: m.p.addr, Healthy: true})
	pool.broadcast()
}
