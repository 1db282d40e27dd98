package nsq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// ProducerPool publishes to several nsqds in turn: to those whose addresses it was
// given, or to all that nsqlookupds list. It tries the next nsqd if one certainly has
// not stored a message, for a reason that lies with the nsqd and not with the message:
// the nsqd cannot be reached, ends the connection before it takes the message, or
// replies that it failed to store it (E_PUB_FAILED and the like).
//
// After such a failure, or an E_MPUB_FAILED, the nsqd is passed over until a ping
// succeeds. The first ping is sent after about 100 ms; an nsqd that cannot be reached is
// dialled about once a second. An nsqd at which the context of a publish ends is passed
// over until it next replies to a publish. While all nsqds are passed over, all are tried.
//
// Of two nsqds that take their turns, publishes that come at the same time prefer the
// one that owes fewer replies: an nsqd that hangs keeps few of them.
//
// A publish whose context has a deadline waits for a connection to one nsqd for half of
// the time that is left, and then tries another.
//
// When all nsqds have failed, a publish whose context has a deadline tries again as
// soon as one of them can be pinged, until the context ends. A publish without a
// deadline fails.
//
// All methods may be called from any goroutine.
type ProducerPool struct {
	cfg        *Config
	logs       *logs
	log        *slog.Logger
	hooks      *hooks         // shared with the Producers
	tally      *producerTally // counts for all members, including those that were let go
	discovery  *poolDiscovery // nil if the nsqds were given
	async      *poolAsync
	duplicates atomic.Bool // see AllowDuplicates

	// alive ends when Stop is called. Probes, polls and waits for room end with it.
	alive   context.Context
	stop    context.CancelCauseFunc
	wg      sync.WaitGroup // probes, the poller, poolGate.run, and Producers of nsqds that are let go
	stopped chan struct{}  // closed when Stop is done

	mu       sync.Mutex // guards what follows, and the state of the members
	members  []*poolMember
	turn     int           // index of the member whose turn it is, up to len(members)
	changed  chan struct{} // closed and replaced by broadcast
	news     uint64        // number of broadcasts
	stopping bool          // members no longer changes
}

// poolMember is an nsqd of a pool.
type poolMember struct {
	p    *Producer
	gate *memberGate // nil if the nsqds were given

	owes atomic.Int32 // publishes that wait at the nsqd

	unhealthy bool // a publish failed, and a goroutine probes the nsqd
}

func (m *poolMember) addr() string { return m.p.addr }

// Healthy reports whether the nsqd takes its turns. Callers hold the pool's mutex.
func (m *poolMember) Healthy() bool { return !m.unhealthy }

// Owes returns how many publishes wait at the nsqd.
func (m *poolMember) Owes() int { return int(m.owes.Load()) }

// NewProducerPool returns a pool of the nsqds at the addresses, host:port or
// unix:path, which must be distinct. It does not connect yet. The config applies to
// each nsqd; it is validated and copied as by [NewProducer].
func NewProducerPool(addrs []string, config *Config) (*ProducerPool, error) {
	if len(addrs) == 0 {
		return nil, errors.New("producer pool: no addresses")
	}
	seen := make(map[string]bool, len(addrs))
	for _, addr := range addrs {
		if seen[addr] {
			return nil, fmt.Errorf("producer pool: duplicate address %s", addr)
		}
		seen[addr] = true
	}
	pool, err := newProducerPool(config)
	if err != nil {
		return nil, err
	}
	for _, addr := range addrs {
		pool.members = append(pool.members, pool.newMember(addr))
	}
	return pool, nil
}

// newProducerPool returns a pool without members.
func newProducerPool(config *Config) (*ProducerPool, error) {
	config.mustBeInitialized()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	pool := &ProducerPool{cfg: config.clone(), tally: &producerTally{}, stopped: make(chan struct{}), changed: make(chan struct{})}
	pool.logs = newLogs(pool.cfg.Logger)
	pool.log = pool.logs.logger
	pool.hooks = newHooks(pool.cfg.Hooks, pool.log)
	pool.alive, pool.stop = context.WithCancelCause(context.Background())
	pool.async = newPoolAsync(pool.alive, pool.log, pool.cfg.ReadTimeout)
	return pool, nil
}

func (pool *ProducerPool) newMember(addr string) *poolMember {
	m := &poolMember{p: newProducer(addr, pool.cfg, pool.logs, pool.hooks, &producerTally{pool: pool.tally})}
	if pool.discovery != nil {
		m.gate = pool.discovery.gate.member(addr, func(err error) { pool.passOver(m, err) })
		m.p.nsqd.gate = m.gate
	}
	return m
}

// AllowDuplicates sets whether a publish whose outcome is unknown
// ([ErrUnknownOutcome], or E_MPUB_FAILED midway) is tried at the next nsqd. If so, a
// message that may be lost is published again and may be stored twice. By default it
// is not tried again. Publishes under way may use either setting.
func (pool *ProducerPool) AllowDuplicates(allow bool) { pool.duplicates.Store(allow) }

// letGo stops the Producer of a member that was removed. Publishes under way there
// get their replies. One that chose the member before but queues its command only
// now gets ErrStopped, and goes to another nsqd.
func (pool *ProducerPool) letGo(m *poolMember) {
	pool.log.InfoContext(repeating, "nsqd is not listed any more, disconnecting", "nsqd", m.p.addr)
	pool.wg.Go(func() { m.p.leave(pool.alive) })
}

// broadcast wakes the publishes that wait for a member. Callers hold the mutex.
func (pool *ProducerPool) broadcast() {
	pool.news++
	close(pool.changed)
	pool.changed = make(chan struct{})
}

// Stop stops the pool. It stops the Producers of all nsqds at the same time, as
// [Producer.Stop] does, and waits for them. Then it waits, as a Producer does, until the
// transactions of asynchronous publishes are received and the hooks have returned. A second
// call waits for the first.
func (pool *ProducerPool) Stop() {
	pool.mu.Lock()
	first := !pool.stopping
	pool.stopping = true
	members := pool.members
	pool.broadcast()
	pool.mu.Unlock()
	if !first {
		<-pool.stopped
		return
	}
	defer close(pool.stopped)
	start := time.Now()
	limit, cancel := context.WithTimeout(context.Background(), pool.cfg.StopTimeout)
	defer cancel()
	pool.stop(ErrStopped)
	var stops sync.WaitGroup
	for _, m := range members {
		stops.Go(func() { m.p.leave(pool.alive) }) // which has ended
	}
	stops.Wait()
	pool.wg.Wait()
	pool.async.finish(limit)
	pool.hooks.stopEnded(StoppedEvent{Took: time.Since(start)}, pool.cfg.StopTimeout)
	pool.logs.writeRest()
}

// SetLogger sets where log lines of the pool and its nsqds go, and the lowest level
// that is logged, as [Producer.SetLogger] does.
func (pool *ProducerPool) SetLogger(l Logger, lvl LogLevel) { pool.logs.SetLogger(l, lvl) }

// SetLoggerForLevel sets where the log lines of one level go. A nil logger
// discards them.
func (pool *ProducerPool) SetLoggerForLevel(l Logger, lvl LogLevel) {
	pool.logs.SetLoggerForLevel(l, lvl)
}

// SetLoggerLevel sets the lowest level that is logged.
func (pool *ProducerPool) SetLoggerLevel(lvl LogLevel) { pool.logs.SetLoggerLevel(lvl) }
