package nsq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// ProducerPool publishes to any of several nsqds, in turn. What one of them has
// certainly not stored, for reasons of its own, is tried at the next: when it
// cannot be reached, when it ends the connection before it took the message, and
// when it reports that it failed to store it (E_PUB_FAILED and its like).
//
// An nsqd at which that happens is passed over until it can be pinged, which is
// tried after about 100 ms for the first time; while it cannot be reached it is
// dialled about once a second. While all are in that state all are tried.
//
// All methods may be called from any goroutine.
type ProducerPool struct {
	members []*poolMember
	alive   context.Context
	stop    context.CancelFunc
	wg      sync.WaitGroup // probes under way

	mu       sync.Mutex // guards what follows, and the state of the members
	next     int        // whose turn it is
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
	pool := &ProducerPool{}
	for i, addr := range addrs {
		if slices.Contains(addrs[:i], addr) {
			return nil, fmt.Errorf("producer pool: %s is there twice", addr)
		}
		p, err := NewProducer(addr, config)
		if err != nil {
			return nil, err
		}
		pool.members = append(pool.members, &poolMember{p: p})
	}
	pool.alive, pool.stop = context.WithCancel(context.Background())
	return pool, nil
}

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
	return pool.do(ctx, func(p *Producer) error { return p.PublishContext(ctx, topic, body) })
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
	return pool.do(ctx, func(p *Producer) error { return p.MultiPublishContext(ctx, topic, body) })
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
	return pool.do(ctx, func(p *Producer) error { return p.DeferredPublishContext(ctx, topic, delay, body) })
}

// Stop ends the pool: it stops all its Producers at the same time, each as
// [Producer.Stop] does, and waits for them.
func (pool *ProducerPool) Stop() {
	pool.mu.Lock()
	pool.stopping = true
	pool.mu.Unlock()
	pool.stop()
	var stops sync.WaitGroup
	for _, m := range pool.members {
		stops.Go(m.p.Stop)
	}
	stops.Wait()
	pool.wg.Wait()
}

// PoolMember is the state of one nsqd of a [ProducerPool].
type PoolMember struct {
	Addr      string // as it was given to NewProducerPool
	Healthy   bool   // it is published to in its turn
	LastError error  // why it last was not, nil if it always was
}

// Snapshot returns the state of the nsqds, in the order of the addresses.
func (pool *ProducerPool) Snapshot() []PoolMember {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	var members []PoolMember
	for _, m := range pool.members {
		members = append(members, PoolMember{Addr: m.p.addr, Healthy: !m.unhealthy, LastError: m.lastError})
	}
	return members
}

// do publishes to one nsqd after the other until one has it, or may have.
func (pool *ProducerPool) do(ctx context.Context, publish func(*Producer) error) error {
	var errs []error
	for _, m := range pool.turn() {
		err := publish(m.p)
		if err == nil || !elsewhere(err) {
			return err // alone: what others say of it means nothing any more
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
		pool.failed(m, err)
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// turn is the order in which to try the nsqds.
func (pool *ProducerPool) turn() []*poolMember {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	var healthy, others []*poolMember
	for i := range pool.members {
		m := pool.members[(pool.next+i)%len(pool.members)]
		if m.unhealthy {
			others = append(others, m)
		} else {
			healthy = append(healthy, m)
		}
	}
	pool.next++
	return append(healthy, others...)
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
}

// probe pings an nsqd until there is a connection. How often that dials is its
// Producer's business.
func (pool *ProducerPool) probe(m *poolMember) {
	for {
		select {
		case <-time.After(jittered(minRedial)):
		case <-pool.alive.Done():
			return
		}
		err := m.p.Ping()
		pool.mu.Lock()
		m.unhealthy = err != nil
		if err != nil {
			m.lastError = err
		}
		pool.mu.Unlock()
		if err == nil {
			return
		}
	}
}
