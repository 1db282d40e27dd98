package nsq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

// Producer publishes messages to one nsqd. It connects when it is first used,
// and again when it is used after the connection was lost.
//
// All methods may be called from any goroutine. Publishes from many goroutines
// share the connection: each waits for its own answer only, and what is
// published while a write is under way leaves in the next one.
//
// The forms without a context wait as long as nsqd, which must keep sending
// heartbeats, takes to answer.
type Producer struct {
	addr string
	cfg  *Config
	logs *logs
	log  *slog.Logger

	// dialling ends a dial when the Producer stops.
	dialling     context.Context
	stopDialling context.CancelCauseFunc
	wg           sync.WaitGroup // dials under way and links that have not ended

	mu      sync.Mutex    // guards what follows
	conn    *producerConn // nil while not connected
	dial    *producerDial // nil while there is no attempt to
	stopped bool
}

// producerDial is an attempt to connect that everyone who publishes waits for.
// done is closed when conn or err is set.
type producerDial struct {
	done chan struct{}
	conn *producerConn
	err  error
}

// maxLen is the longest body of a command. nsqd reads its length as 32 bits with
// a sign.
const maxLen = math.MaxInt32

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
	p := &Producer{addr: addr, cfg: config.clone()}
	p.logs = newLogs(p.cfg.Logger)
	p.log = p.logs.logger.With("nsqd", addr)
	p.dialling, p.stopDialling = context.WithCancelCause(context.Background())
	return p, nil
}

// String returns the nsqd's address.
func (p *Producer) String() string { return p.addr }

// Ping connects, if that is to be done, and sends nsqd a NOP, which has no
// answer: a nil error says that there is a connection.
func (p *Producer) Ping() error {
	return p.send(context.Background(), func(c *producerConn) bool { return c.link.Nop() })
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
// an error before anything is sent. If there is no connection and none can be
// made, the error tells why. nsqd's refusal is an [ErrProtocol]. When the
// connection or ctx ends before the answer came, the error is [ErrNotSent] or
// [ErrUnknownOutcome], wrapped with the reason. After Stop it is [ErrStopped].
func (p *Producer) PublishContext(ctx context.Context, topic string, body []byte) error {
	if err := p.check(topic, body); err != nil {
		return err
	}
	return p.publish(ctx, topic, func(c *producerConn, to link.Replier) bool {
		return c.link.Pub(topic, body, to)
	})
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
	if len(body) == 0 {
		return fmt.Errorf("publish to %q: no messages", topic)
	}
	for _, b := range body {
		if err := p.check(topic, b); err != nil {
			return err
		}
	}
	if n := wire.MpubLen(body); n > maxLen {
		return fmt.Errorf("publish to %q: %d bytes exceed what one command can hold", topic, n)
	}
	return p.publish(ctx, topic, func(c *producerConn, to link.Replier) bool {
		return c.link.Mpub(topic, body, to)
	})
}

// check finds what nsqd would answer by closing the connection, which would
// fail everybody else's publishes, too.
func (p *Producer) check(topic string, body []byte) error {
	limit := int(cmp.Or(p.cfg.MaxMsgSize, maxLen))
	switch {
	case !IsValidTopicName(topic):
		return fmt.Errorf("publish: invalid topic name %q", topic)
	case len(body) == 0:
		return fmt.Errorf("publish to %q: empty message body", topic)
	case len(body) > limit:
		return fmt.Errorf("publish to %q: message body of %d bytes exceeds max_msg_size %d", topic, len(body), limit)
	}
	return nil
}

// publish sends a command and waits for its answer.
func (p *Producer) publish(ctx context.Context, topic string, command func(*producerConn, link.Replier) bool) error {
	done := make(chan error, 1) // the link never waits for us
	err := p.send(ctx, func(c *producerConn) bool { return command(c, &publishAnswer{c, done}) })
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return p.publishError(topic, err)
	case <-ctx.Done():
	}
	select {
	case err := <-done: // it came first, or at the same moment
		return p.publishError(topic, err)
	default:
		return fmt.Errorf("[%s] publish to %q: %w: %w", p.addr, topic, ErrUnknownOutcome, context.Cause(ctx))
	}
}

func (p *Producer) publishError(topic string, err error) error {
	if err == nil {
		return nil
	}
	open, unanswered := errors.AsType[*link.UnansweredError](err)
	if refused, ok := errors.AsType[*wire.Error](err); ok && !unanswered {
		return ErrProtocol{Reason: refused.Error()}
	}
	outcome := ErrUnknownOutcome
	if unanswered && !open.Sent {
		outcome = ErrNotSent
	}
	return fmt.Errorf("[%s] publish to %q: %w: %w", p.addr, topic, outcome, reason(err))
}

// send hands a command to the connection. One that has just ended takes
// nothing; then there is one more try, and not as many as it takes: an nsqd
// that closes every connection would keep us dialling.
func (p *Producer) send(ctx context.Context, command func(*producerConn) bool) error {
	for range 2 {
		c, err := p.connect(ctx)
		if err != nil {
			return err
		}
		if command(c) {
			return nil
		}
		p.forget(c)
	}
	return fmt.Errorf("[%s] %w: connections end at once", p.addr, ErrNotSent)
}

// connect returns the connection, or waits for one to be made. There is one
// attempt at a time, however many wait.
func (p *Producer) connect(ctx context.Context) (*producerConn, error) {
	if ctx.Err() != nil {
		return nil, p.notSent(ctx)
	}
	p.mu.Lock()
	if p.stopped {
		p.mu.Unlock()
		return nil, ErrStopped
	}
	if c := p.conn; c != nil {
		p.mu.Unlock()
		return c, nil
	}
	d := p.dial
	if d == nil {
		d = &producerDial{done: make(chan struct{})}
		p.dial = d
		p.wg.Go(func() { p.dialNSQD(d) })
	}
	p.mu.Unlock()
	select {
	case <-d.done:
		return d.conn, d.err
	case <-p.dialling.Done():
		return nil, ErrStopped
	case <-ctx.Done():
		return nil, p.notSent(ctx)
	}
}

func (p *Producer) notSent(ctx context.Context) error {
	return fmt.Errorf("[%s] %w: %w", p.addr, ErrNotSent, context.Cause(ctx))
}

func (p *Producer) dialNSQD(d *producerDial) {
	p.log.Info("connecting to nsqd")
	l, err := link.Dial(p.dialling, p.cfg.linkConfig(p.addr))
	if err == nil {
		d.conn = &producerConn{p: p, link: l}
		p.wg.Add(1)     // until Down
		l.Start(d.conn) // before anyone can use it
	}
	p.mu.Lock()
	p.dial = nil
	stopped := p.stopped
	if !stopped {
		p.conn = d.conn
	}
	p.mu.Unlock()
	switch {
	case stopped:
		if err == nil {
			l.Close(nil)
		}
		d.conn, d.err = nil, ErrStopped
	case err != nil:
		d.err = connectError(p.addr, "", "", err)
		p.log.Error("not connected to nsqd", "err", d.err)
	}
	close(d.done)
}

// forget makes the next publish connect anew.
func (p *Producer) forget(c *producerConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == c {
		p.conn = nil
	}
}

// Stop ends the Producer: no publish is accepted any more, those under way get
// their answers, then the connection is closed. It waits for that, at most
// stop_timeout. A second call only waits.
func (p *Producer) Stop() {
	p.mu.Lock()
	first := !p.stopped
	p.stopped = true
	c, d := p.conn, p.dial
	p.mu.Unlock()
	if first {
		p.log.Info("stopping")
	}
	p.stopDialling(ErrStopped)
	switch {
	case c != nil:
		c.link.Drain()
		limit := time.AfterFunc(p.cfg.StopTimeout, func() { c.link.Close(errStopTimeout) })
		defer limit.Stop()
	case d != nil:
		select {
		case <-d.done:
		case <-time.After(p.cfg.StopTimeout):
			return // a DialContext that ignores its context; what it returns will be closed
		}
	}
	p.wg.Wait()
}

// SetLogger replaces where log lines go, and the lowest level that does. A nil
// logger discards them. It takes effect at once.
func (p *Producer) SetLogger(l logger, lvl LogLevel) { p.logs.SetLogger(l, lvl) }

// SetLoggerForLevel replaces where log lines of one level go. A nil logger
// discards them.
func (p *Producer) SetLoggerForLevel(l logger, lvl LogLevel) { p.logs.SetLoggerForLevel(l, lvl) }

// SetLoggerLevel sets the lowest level that is logged.
func (p *Producer) SetLoggerLevel(lvl LogLevel) { p.logs.SetLoggerLevel(lvl) }

// producerConn is a connection of a Producer's, and receives what it reads.
type producerConn struct {
	p      *Producer
	link   *link.Link
	broken error // why answers mean nothing any more; the link's goroutines' own
}

// fail ends the connection.
func (c *producerConn) fail(err error) {
	c.broken = err
	c.link.Close(err)
}

// Messages never comes: nsqd sends messages to those who subscribe.
func (c *producerConn) Messages([]wire.Message) { c.fail(link.ErrUnexpectedReply) }

// TooBig never comes, for the same reason.
func (c *producerConn) TooBig(wire.Message, int) { c.fail(link.ErrUnexpectedReply) }

// Failed never comes: a Producer sends no FIN, REQ or TOUCH.
func (c *producerConn) Failed(*wire.Error) { c.fail(link.ErrUnexpectedReply) }

// Down makes the next publish connect anew.
func (c *producerConn) Down(err error) {
	c.p.forget(c)
	if err != nil {
		c.p.log.Warn("connection to nsqd lost", "err", reason(err))
	}
	c.p.wg.Done()
}

// publishAnswer receives the answer to one publish.
type publishAnswer struct {
	conn *producerConn
	done chan error
}

// Reply takes the answer. nsqd closes after a refusal, and after an answer that
// is none the next ones cannot be told apart: in both cases the connection ends
// before anyone hears of it, so that whoever then publishes finds a new one.
func (a *publishAnswer) Reply(data []byte, err error) {
	if err == nil && string(data) != wire.OK {
		err = fmt.Errorf("%w: %q", link.ErrUnexpectedReply, data)
	}
	if err == nil {
		err = a.conn.broken // it came in one read with what broke the connection
	}
	if err != nil {
		a.conn.fail(err)
	}
	a.done <- err
}
