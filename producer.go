package nsq

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// Producer publishes messages to one nsqd. It connects when it is first used,
// and again when it is used after the connection was lost.
//
// All methods may be called from any goroutine. Publishes from many goroutines
// share the connection: each waits for its own answer only, and what is
// published while a write is under way leaves in the next one.
//
// Up to 16 MiB may wait to be sent and answered; whoever publishes more waits for
// room. When nsqd cannot be reached, everyone waits for the same attempt, and who
// comes within a moment after it failed, 100 ms at first and a second later on,
// gets its error at once. When a connection is lost, what nsqd has certainly not
// taken is sent once more, over the next connection; if it is lost because nsqd
// refused somebody else's publish, up to ten times.
//
// The forms without a context wait as long as nsqd, which must keep sending
// heartbeats, takes to answer.
type Producer struct {
	addr string
	cfg  *Config
	logs *logs
	log  *slog.Logger

	// alive ends when Stop is called, and with it dials and waits for room.
	alive   context.Context
	stop    context.CancelCauseFunc
	wg      sync.WaitGroup // dials under way and links that have not ended
	stopped chan struct{}  // closed when Stop is done

	unanswered window // bytes
	outboxes   *outboxes
	answers    sync.Pool // of *publishAnswer, to be used again

	mu       sync.Mutex    // guards what follows
	conn     *producerConn // nil while not connected
	dial     *producerDial // nil while there is no attempt to
	failed   error         // why the last attempt failed
	redial   time.Duration // how long after that there is none; 0 after a success
	redialAt time.Time     // the end of that
	stopping bool
}

// NewProducer returns a Producer for the nsqd at addr, host:port or unix:path. It does not
// connect yet. It fails on a config that does not pass [Config.Validate]. The
// config is copied: changing it later changes nothing.
//
// It panics if the config was not made by [NewConfig].
func NewProducer(addr string, config *Config) (*Producer, error) {
	config.mustBeInitialized()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	cfg := config.clone()
	return newProducer(addr, cfg, newLogs(cfg.Logger)), nil
}

// newProducer returns a Producer that shares its config and its log with others.
func newProducer(addr string, cfg *Config, logs *logs) *Producer {
	p := &Producer{addr: addr, cfg: cfg, logs: logs}
	p.log = p.logs.logger.With("nsqd", addr)
	p.alive, p.stop = context.WithCancelCause(context.Background())
	p.stopped = make(chan struct{})
	p.unanswered.limit = maxUnanswered
	p.outboxes = newOutboxes(p.log)
	return p
}

// String returns the nsqd's address.
func (p *Producer) String() string { return p.addr }

// Ping connects, if that is to be done, and sends nsqd a NOP, which has no
// answer: a nil error says that there is a connection. Otherwise the error is
// [ErrNotSent], wrapped with the reason, or [ErrStopped].
func (p *Producer) Ping() error {
	return twice(func() error {
		c, err := p.connect(context.Background())
		if err == nil && !c.link.Nop() {
			err = p.gone(c)
		}
		return err
	})
}

// Publish publishes a message and waits for nsqd's answer. See
// [Producer.PublishContext] for the errors.
func (p *Producer) Publish(topic string, body []byte) error {
	return p.PublishContext(context.Background(), topic, body)
}

// PublishContext publishes a message and waits for nsqd's answer, at most as
// long as ctx allows. A nil error says that nsqd has the message. The body may
// be changed as soon as the call returns.
//
// A name that is not valid or a body that is empty or exceeds max_msg_size is
// an error before anything is sent. nsqd's refusal is an [ErrProtocol]. If there
// is no connection and none can be made the error is [ErrNotSent], when the
// connection or ctx ends before the answer came that or [ErrUnknownOutcome], both
// wrapped with the reason. After Stop it is [ErrStopped].
func (p *Producer) PublishContext(ctx context.Context, topic string, body []byte) error {
	return p.publish(ctx, &publication{command: wire.CmdPub, topic: topic, body: body})
}

// MultiPublish publishes messages as one command and waits for nsqd's answer.
// See [Producer.MultiPublishContext] for the errors.
func (p *Producer) MultiPublish(topic string, body [][]byte) error {
	return p.MultiPublishContext(context.Background(), topic, body)
}

// MultiPublishContext publishes messages as one command and waits for nsqd's
// answer, at most as long as ctx allows. The errors are those of
// [Producer.PublishContext]; an empty list is one, too. If nsqd fails midway
// the messages before are stored.
func (p *Producer) MultiPublishContext(ctx context.Context, topic string, body [][]byte) error {
	return p.publish(ctx, &publication{command: wire.CmdMpub, topic: topic, bodies: body})
}

// DeferredPublish publishes a message that nsqd keeps back for a delay, and
// waits for nsqd's answer. See [Producer.DeferredPublishContext].
func (p *Producer) DeferredPublish(topic string, delay time.Duration, body []byte) error {
	return p.DeferredPublishContext(context.Background(), topic, delay, body)
}

// DeferredPublishContext publishes a message that nsqd keeps back for a delay,
// and waits for nsqd's answer, at most as long as ctx allows. The delay is sent
// in whole milliseconds, the rest is cut off.
//
// The errors are those of [Producer.PublishContext]. A delay below 0, or of
// more than a year, is one, too, before anything is sent; one of more than
// nsqd's max-req-timeout, an hour unless configured, is refused by nsqd with
// E_INVALID. nsqd forgets the rest of a delay when it is restarted.
func (p *Producer) DeferredPublishContext(ctx context.Context, topic string, delay time.Duration, body []byte) error {
	return p.publish(ctx, &publication{command: wire.CmdDpub, topic: topic, body: body, delay: delay})
}

// Stop ends the Producer: no publish is accepted any more, those under way get
// their answers, then the connection is closed, and transactions of asynchronous
// publishes are delivered (see [Producer.PublishAsync]). It waits for all that,
// at most stop_timeout. A second call only waits.
func (p *Producer) Stop() {
	p.mu.Lock()
	first := !p.stopping
	p.stopping = true
	c, d := p.conn, p.dial
	p.mu.Unlock()
	if !first {
		<-p.stopped
		return
	}
	defer close(p.stopped)
	p.log.Info("stopping")
	p.stop(ErrStopped)
	limit, cancel := context.WithTimeout(context.Background(), p.cfg.StopTimeout)
	defer cancel()
	if c != nil {
		c.link.Drain()
		defer context.AfterFunc(limit, func() { c.link.Close(errStopTimeout) })()
	}
	if d != nil {
		select {
		case <-d.done:
		case <-limit.Done(): // a DialContext that ignores its context; what it returns will be closed
			p.outboxes.settle(limit)
			return
		}
	}
	p.wg.Wait()
	p.outboxes.settle(limit)
}

// SetLogger replaces where log lines go, and the lowest level that does. A nil
// logger discards them. It takes effect at once.
func (p *Producer) SetLogger(l logger, lvl LogLevel) { p.logs.SetLogger(l, lvl) }

// SetLoggerForLevel replaces where log lines of one level go. A nil logger
// discards them.
func (p *Producer) SetLoggerForLevel(l logger, lvl LogLevel) { p.logs.SetLoggerForLevel(l, lvl) }

// SetLoggerLevel sets the lowest level that is logged.
func (p *Producer) SetLoggerLevel(lvl LogLevel) { p.logs.SetLoggerLevel(lvl) }
