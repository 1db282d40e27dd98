package nsq

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Producer publishes messages to one nsqd. It connects on first use, and again on the
// first use after the connection was lost.
//
// All methods may be called from any goroutine. Concurrent publishes share the
// connection: each waits only for the reply to its own command, and commands that
// are queued during a write are sent by the next one. Single messages to the same topic
// among them are packed into one MPUB, unless [Config].PackPublishes is false.
//
// At most 16 MiB may wait to be sent or for nsqd's reply; further publishes block
// until there is room. Callers share one attempt to connect. If it fails, calls during
// the next 100 ms or so fail at once with the same error; each further failure doubles
// that time, up to a second.
//
// When the connection is lost, publishes that nsqd certainly has not executed are
// sent once more over the next connection. If it was lost because nsqd refused
// another publish, they are sent again up to ten times.
//
// The methods without a context wait for nsqd's reply as long as nsqd sends
// heartbeats.
type Producer struct {
	addr string
	cfg  *Config
	logs *logs
	log  *slog.Logger

	hooks   *hooks         // those of the pool, if it belongs to one
	tally   *producerTally // counts the results of its publishes
	nsqd    *connector
	queues  *transactionQueues
	replies sync.Pool     // of *publishReply, for reuse
	stopped chan struct{} // closed when Stop is done
}

// NewProducer returns a Producer for the nsqd at addr, host:port or unix:path. It
// does not connect yet. It fails if the config does not pass [Config.Validate].
// The config is copied; later changes to it have no effect.
//
// It panics if the config was not made by [NewConfig].
func NewProducer(addr string, config *Config) (*Producer, error) {
	config.mustBeInitialized()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	cfg := config.clone()
	logs := newLogs(cfg.Logger)
	return newProducer(addr, cfg, logs, newHooks(cfg.Hooks, logs.logger), &producerTally{}), nil
}

// newProducer returns a Producer that may share its config, logs and hooks with others.
func newProducer(addr string, cfg *Config, logs *logs, hooks *hooks, tally *producerTally) *Producer {
	p := &Producer{addr: addr, cfg: cfg, logs: logs, hooks: hooks, tally: tally, stopped: make(chan struct{})}
	p.log = p.logs.logger.With("nsqd", addr)
	p.nsqd = newConnector(addr, cfg, p.log, hooks, tally)
	p.queues = newTransactionQueues(p.nsqd.alive, p.log, "["+addr+"]", cfg.ReadTimeout)
	return p
}

// String returns the nsqd's address.
func (p *Producer) String() string { return p.addr }

// Ping connects if there is no connection, and sends nsqd a NOP. nsqd does not
// reply to a NOP, so a nil error says only that there is a connection. Otherwise the
// error is that of the dial, an [ErrIdentify], or [ErrStopped], unwrapped as with
// [Producer.Publish].
func (p *Producer) Ping() error { return asGoNSQ(p.nsqd.ping()) }

// Stop stops the Producer. New publishes fail with [ErrStopped]. Stop waits for
// nsqd's replies to those under way, then closes the connection and waits until
// the transactions of asynchronous publishes are received (see
// [Producer.PublishAsync]). All this is bounded by stop_timeout. An nsqd that takes
// nothing and says nothing for 5 seconds is not waited for any longer; its replies to
// the publishes under way are lost. Finally Stop waits until the hooks have returned, for
// stop_timeout at most. A second call waits for the first.
func (p *Producer) Stop() {
	if !p.nsqd.refuse() {
		<-p.stopped
		return
	}
	defer close(p.stopped)
	start := time.Now()
	now, cancel := context.WithCancel(context.Background())
	cancel()
	p.drain(now)
	p.hooks.stopEnded(StoppedEvent{Addr: p.addr, Took: time.Since(start)}, p.cfg.StopTimeout)
	p.logs.writeRest()
}

// leave is Stop for a Producer of a pool. It waits for an nsqd that shows no sign of life
// until urgent has ended, and leaves the hooks and logs alone, which others share.
func (p *Producer) leave(urgent context.Context) {
	if !p.nsqd.refuse() {
		<-p.stopped
		return
	}
	defer close(p.stopped)
	p.drain(urgent)
}

// drain waits for nsqd's replies, and until the transactions are received. It waits for an
// nsqd that shows no sign of life until urgent has ended.
func (p *Producer) drain(urgent context.Context) {
	p.log.Info("stopping")
	limit, cancel := context.WithTimeout(context.Background(), p.cfg.StopTimeout)
	defer cancel()
	p.nsqd.drain(limit, urgent)
	p.queues.deliverRest(limit)
}

// SetLogger sets where log lines go, and the lowest level that is logged. A nil
// logger discards all lines. It takes effect at once.
func (p *Producer) SetLogger(l Logger, lvl LogLevel) { p.logs.SetLogger(l, lvl) }

// SetLoggerForLevel sets where the log lines of one level go. A nil logger
// discards them.
func (p *Producer) SetLoggerForLevel(l Logger, lvl LogLevel) { p.logs.SetLoggerForLevel(l, lvl) }

// SetLoggerLevel sets the lowest level that is logged.
func (p *Producer) SetLoggerLevel(lvl LogLevel) { p.logs.SetLoggerLevel(lvl) }
