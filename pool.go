package nsq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// ProducerPool publishes to any of several nsqds, in turn: those whose addresses
// it was given, or all that nsqlookupds list. What one of them has certainly not
// stored, for reasons of its own, is tried at the next: when it cannot be
// reached, when it ends the connection before it took the message, and when it
// reports that it failed to store it (E_PUB_FAILED and its like).
//
// An nsqd at which that happens is passed over until it can be pinged, which is
// tried after about 100 ms for the first time; while it cannot be reached it is
// dialled about once a second. While all are in that state all are tried.
//
// When all were tried in vain, a publish whose context has a deadline tries again
// as soon as one of them can be pinged, until the context ends. Others fail then.
//
// All methods may be called from any goroutine.
type ProducerPool struct {
	cfg        *Config
	logs       *logs
	log        *slog.Logger
	discovery  *poolDiscovery // nil if the nsqds were given
	async      *poolAsync
	duplicates atomic.Bool

	// alive ends when Stop is called, and with it probes, polls and waits.
	alive   context.Context
	stop    context.CancelCauseFunc
	wg      sync.WaitGroup // probes, polls and nsqds being let go
	stopped chan struct{}  // closed when Stop is done

	mu       sync.Mutex // guards what follows, and the state of the members
	members  []*poolMember
	next     int           // whose turn it is
	news     chan struct{} // closed, and replaced, when who waits for an nsqd should look
	stopping bool
}

// poolMember is an nsqd of a pool.
type poolMember struct {
	p *Producer

	unhealthy bool // a probe is under way
	lastError error
}

// NewProducerPool returns a pool of the nsqds at the addresses, host:port or
// unix:path, none of them twice. It does not connect yet. The config is that of
// each, and handled as by [NewProducer].
func NewProducerPool(addrs []string, config *Config) (*ProducerPool, error) {
	if len(addrs) == 0 {
		return nil, errors.New("producer pool: no addresses")
	}
	for i, addr := range addrs {
		if slices.Contains(addrs[:i], addr) {
			return nil, fmt.Errorf("producer pool: %s is there twice", addr)
		}
	}
	pool, err := newProducerPool(config)
	if err != nil {
		return nil, err
	}
	for _, addr := range addrs {
		pool.members = append(pool.members, pool.member(addr))
	}
	return pool, nil
}

func newProducerPool(config *Config) (*ProducerPool, error) {
	config.mustBeInitialized()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	pool := &ProducerPool{cfg: config.clone(), stopped: make(chan struct{}), news: make(chan struct{})}
	pool.logs = newLogs(pool.cfg.Logger)
	pool.log = pool.logs.logger
	pool.async = newPoolAsync(pool)
	pool.alive, pool.stop = context.WithCancelCause(context.Background())
	return pool, nil
}

func (pool *ProducerPool) member(addr string) *poolMember {
	return &poolMember{p: newProducer(addr, pool.cfg, pool.logs)}
}

// AllowDuplicates says whether a publish whose outcome is not known
// ([ErrUnknownOutcome], or E_MPUB_FAILED midway) is tried at the next nsqd, too.
// Then a message is stored at least once where it would be lost or be left to the
// caller, and twice now and then. It is off unless called, and for publishes that
// begin later.
func (pool *ProducerPool) AllowDuplicates(allow bool) { pool.duplicates.Store(allow) }

// Publish publishes a message to one of the nsqds and waits for its answer. See
// [ProducerPool.PublishContext].
func (pool *ProducerPool) Publish(topic string, body []byte) error {
	return pool.PublishContext(context.Background(), topic, body)
}

// PublishContext publishes a message to one of the nsqds and waits for its
// answer, at most as long as ctx allows, which bounds all tries together.
//
// The errors are those of [Producer.PublishContext]. If several nsqds were tried
// and none has stored the message, their errors are joined; if one may have, or
// refuses it for good, its error is alone.
func (pool *ProducerPool) PublishContext(ctx context.Context, topic string, body []byte) error {
	return pool.publish(ctx, &publication{command: wire.CmdPub, topic: topic, body: body})
}

// MultiPublish publishes messages as one command to one of the nsqds, and waits
// for its answer. See [ProducerPool.MultiPublishContext].
func (pool *ProducerPool) MultiPublish(topic string, body [][]byte) error {
	return pool.MultiPublishContext(context.Background(), topic, body)
}

// MultiPublishContext publishes messages as one command to one of the nsqds. It
// is to [Producer.MultiPublishContext] what [ProducerPool.PublishContext] is to
// that of a Producer. When an nsqd fails midway the messages before are stored,
// and no other nsqd is tried.
func (pool *ProducerPool) MultiPublishContext(ctx context.Context, topic string, body [][]byte) error {
	return pool.publish(ctx, &publication{command: wire.CmdMpub, topic: topic, bodies: body})
}

// DeferredPublish publishes a message that the nsqd keeps back for a delay. See
// [ProducerPool.DeferredPublishContext].
func (pool *ProducerPool) DeferredPublish(topic string, delay time.Duration, body []byte) error {
	return pool.DeferredPublishContext(context.Background(), topic, delay, body)
}

// DeferredPublishContext publishes a message that the nsqd keeps back for a
// delay. It is to [Producer.DeferredPublishContext] what
// [ProducerPool.PublishContext] is to that of a Producer.
func (pool *ProducerPool) DeferredPublishContext(ctx context.Context, topic string, delay time.Duration, body []byte) error {
	return pool.publish(ctx, &publication{command: wire.CmdDpub, topic: topic, body: body, delay: delay})
}

func (pool *ProducerPool) check(m *publication) error {
	return m.check(pool.cfg.maxBody())
}

func (pool *ProducerPool) publish(ctx context.Context, m *publication) error {
	if err := pool.check(m); err != nil {
		return err
	}
	return pool.try(ctx, &poolTries{}, func(to *poolMember) error { return to.p.publish(ctx, m) })
}

// Stop ends the pool: it stops all its Producers at the same time, each as
// [Producer.Stop] does, and waits for them, and for transactions of asynchronous
// publishes as a Producer does. A second call only waits.
func (pool *ProducerPool) Stop() {
	pool.mu.Lock()
	first := !pool.stopping
	pool.stopping = true
	members := pool.members
	pool.tell()
	pool.mu.Unlock()
	if !first {
		<-pool.stopped
		return
	}
	defer close(pool.stopped)
	limit, cancel := context.WithTimeout(context.Background(), pool.cfg.StopTimeout)
	defer cancel()
	pool.stop(ErrStopped)
	var stops sync.WaitGroup
	for _, m := range members {
		stops.Go(m.p.Stop)
	}
	stops.Wait()
	pool.wg.Wait()
	pool.async.settle(limit)
}

// PoolMember is the state of one nsqd of a [ProducerPool].
type PoolMember struct {
	Addr      string // as it was given, or is listed
	Healthy   bool   // it is published to in its turn
	LastError error  // why it last was not, nil if it always was
}

// Snapshot returns the state of the nsqds, in the order in which they were given,
// and those that nsqlookupds list in that of their addresses.
func (pool *ProducerPool) Snapshot() []PoolMember {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	var members []PoolMember
	for _, m := range pool.members {
		members = append(members, PoolMember{Addr: m.p.addr, Healthy: !m.unhealthy, LastError: m.lastError})
	}
	return members
}

// SetLogger replaces where log lines go, and the lowest level that does, as
// [Producer.SetLogger] does, for all nsqds of the pool.
func (pool *ProducerPool) SetLogger(l logger, lvl LogLevel) { pool.logs.SetLogger(l, lvl) }

// SetLoggerForLevel replaces where log lines of one level go. A nil logger
// discards them.
func (pool *ProducerPool) SetLoggerForLevel(l logger, lvl LogLevel) {
	pool.logs.SetLoggerForLevel(l, lvl)
}

// SetLoggerLevel sets the lowest level that is logged.
func (pool *ProducerPool) SetLoggerLevel(lvl LogLevel) { pool.logs.SetLoggerLevel(lvl) }
