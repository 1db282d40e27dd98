package nsq

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

const (
	// minRedial and maxRedial are, but for a quarter at random, how long after a
	// failed attempt to connect there is no other: at first, and when it doubled
	// a few times.
	minRedial = 100 * time.Millisecond
	maxRedial = time.Second
)

// producerDial is an attempt to connect that everyone who publishes waits for.
// done is closed when conn or err is set.
type producerDial struct {
	again bool // the one before failed
	done  chan struct{}
	conn  *producerConn
	err   error
}

// connect returns the connection, or waits for one to be made. There is one
// attempt at a time, however many wait, and for a while after one that failed
// none: whoever comes then learns at once why.
func (p *Producer) connect(ctx context.Context) (*producerConn, error) {
	if ctx.Err() != nil {
		return nil, p.notSent(ctx)
	}
	p.mu.Lock()
	c, d, err := p.connection()
	p.mu.Unlock()
	if d == nil {
		return c, err
	}
	select {
	case <-d.done:
		return d.conn, d.err
	case <-p.alive.Done():
		return nil, ErrStopped
	case <-ctx.Done():
		return nil, p.notSent(ctx)
	}
}

// connection is what there is: a connection, an attempt, which it starts if
// there ought to be one, or the reason why there is neither. Callers hold the
// mutex.
func (p *Producer) connection() (*producerConn, *producerDial, error) {
	switch {
	case p.stopping:
		return nil, nil, ErrStopped
	case p.conn != nil:
		return p.conn, nil, nil
	case p.dial == nil && time.Now().Before(p.redialAt):
		return nil, nil, p.failed
	case p.dial == nil:
		d := &producerDial{again: p.failed != nil, done: make(chan struct{})}
		p.dial = d
		p.wg.Go(func() { p.dialNSQD(d) })
	}
	return nil, p.dial, nil
}

func (p *Producer) notSent(ctx context.Context) error {
	return fmt.Errorf("[%s] %w: %w", p.addr, ErrNotSent, context.Cause(ctx))
}

func (p *Producer) dialNSQD(d *producerDial) {
	p.log.Info("connecting to nsqd")
	l, err := link.Dial(p.alive, p.cfg.linkConfig(p.addr))
	if err == nil {
		d.conn = &producerConn{p: p, link: l}
		p.wg.Add(1)     // until Down
		l.Start(d.conn) // before anyone can use it
	} else {
		err = connectError(p.addr, "", "", err)
		d.err = fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	if !p.dialled(d) {
		if l != nil {
			l.Close(nil)
		}
		d.conn, d.err = nil, ErrStopped
	} else if err != nil {
		level := slog.LevelError
		if d.again { // the first failure is worth an error, the others until it succeeds are not
			level = slog.LevelInfo
		}
		p.log.Log(context.Background(), level, "not connected to nsqd", "err", err)
	}
	close(d.done)
}

// dialled takes the result of an attempt to connect, unless the Producer was
// stopped.
func (p *Producer) dialled(d *producerDial) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dial = nil
	if p.stopping {
		return false
	}
	p.conn, p.failed = d.conn, d.err
	if d.err == nil {
		p.redial = 0
		return true
	}
	p.redial = min(max(minRedial, 2*p.redial), maxRedial)
	p.redialAt = time.Now().Add(jittered(p.redial))
	return true
}

// jittered is a duration that is up to a quarter longer or shorter.
func jittered(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2) // #nosec G404 -- jitter
}

// forget makes the next publish connect anew.
func (p *Producer) forget(c *producerConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == c {
		p.conn = nil
	}
}

// gone forgets a connection that took a command no more.
func (p *Producer) gone(c *producerConn) error {
	p.forget(c)
	if p.alive.Err() != nil { // it is draining
		return ErrStopped
	}
	return lostError{error: fmt.Errorf("[%s] %w: the connection ended", p.addr, ErrNotSent)}
}

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
	c.p.forget(c)
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

// answered is what the answer to a publish means. nsqd closes after a refusal,
// and after an answer that is none the next ones cannot be told apart: in both
// cases the connection ends before anyone hears of it, so that whoever then
// publishes finds a new one.
func (c *producerConn) answered(size int, data []byte, err error) error {
	if err == nil && string(data) != wire.OK {
		err = fmt.Errorf("%w: %q", link.ErrUnexpectedReply, data)
	}
	if err == nil {
		err = c.broken // it came in one read with what broke the connection
	}
	if err != nil {
		c.fail(err)
	}
	c.p.unanswered.release(size)
	return err
}
