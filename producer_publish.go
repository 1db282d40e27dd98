package nsq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

const (
	// maxLen is the longest body of a command. nsqd reads its length as 32 bits
	// with a sign.
	maxLen = math.MaxInt32
	// maxDelay is the longest delay of a message that can be meant: nsqd keeps
	// deferred messages in memory, and by default takes an hour.
	maxDelay = 365 * 24 * time.Hour
	// maxUnanswered is how many bytes may wait to be sent or answered.
	maxUnanswered = 16 << 20
)

// publication is what one command publishes.
type publication struct {
	command string // wire.CmdPub, CmdMpub or CmdDpub
	topic   string
	body    []byte        // of the one message
	bodies  [][]byte      // of MPUB
	delay   time.Duration // of DPUB

	patience time.Duration // how long to wait for room; 0 is as long as the context allows
}

// commandSize is, roughly, what a command without a body takes.
const commandSize = 64

// size is the room that the command takes until it is answered.
func (m *publication) size() int {
	if m.command == wire.CmdMpub {
		return commandSize + wire.MpubLen(m.bodies)
	}
	return commandSize + len(m.body)
}

// check finds what nsqd would answer by closing the connection, which would
// fail everybody else's publishes, too. limit is the longest body.
func (m *publication) check(limit int) error {
	bodies := m.bodies
	switch {
	case !IsValidTopicName(m.topic):
		return fmt.Errorf("publish: invalid topic name %q", m.topic)
	case m.delay < 0 || m.delay > maxDelay:
		return fmt.Errorf("publish to %q: delay %v out of range 0-%v", m.topic, m.delay, maxDelay)
	case m.command != wire.CmdMpub:
		return m.checkBody(m.body, limit)
	case len(bodies) == 0:
		return fmt.Errorf("publish to %q: no messages", m.topic)
	}
	for _, b := range bodies {
		if err := m.checkBody(b, limit); err != nil {
			return err
		}
	}
	if n := wire.MpubLen(bodies); n > maxLen {
		return fmt.Errorf("publish to %q: %d bytes exceed what one command can hold", m.topic, n)
	}
	return nil
}

func (m *publication) checkBody(body []byte, limit int) error {
	if len(body) == 0 {
		return fmt.Errorf("publish to %q: empty message body", m.topic)
	}
	if len(body) > limit {
		return fmt.Errorf("publish to %q: message body of %d bytes exceeds max_msg_size %d", m.topic, len(body), limit)
	}
	return nil
}

// maxBody is the longest body that may be published.
func (c *Config) maxBody() int { return int(cmp.Or(c.MaxMsgSize, maxLen)) }

// handTo gives the command to a link, which copies it. False says that the link
// has ended.
func (m *publication) handTo(l *link.Link, to link.Replier) bool {
	switch m.command {
	case wire.CmdMpub:
		return l.Mpub(m.topic, m.bodies, to)
	case wire.CmdDpub:
		return l.Dpub(m.topic, m.delay, m.body, to)
	}
	return l.Pub(m.topic, m.body, to)
}

func (p *Producer) check(m *publication) error {
	return m.check(p.cfg.maxBody())
}

// publish sends a command and waits for its answer.
func (p *Producer) publish(ctx context.Context, m *publication) error {
	if err := p.check(m); err != nil {
		return err
	}
	return twice(func() error {
		a, _ := p.answers.Get().(*publishAnswer)
		if a == nil {
			a = &publishAnswer{done: make(chan error, 1)}
		}
		err := p.handOver(ctx, m, func(c *producerConn) link.Replier {
			a.conn, a.size = c, m.size()
			return a
		})
		if err != nil {
			p.answers.Put(a)
			return err
		}
		return p.await(ctx, m.topic, a)
	})
}

// await waits for the answer to a publish. One that comes after ctx has ended is
// left to whoever collects garbage.
func (p *Producer) await(ctx context.Context, topic string, a *publishAnswer) error {
	var err error
	select {
	case err = <-a.done:
	case <-ctx.Done():
		select {
		case err = <-a.done: // it came first, or at the same moment
		default:
			return fmt.Errorf("[%s] publish to %q: %w: %w", p.addr, topic, ErrUnknownOutcome, context.Cause(ctx))
		}
	}
	a.conn = nil
	p.answers.Put(a)
	return p.publishError(topic, err)
}

// publishAnswer receives the answer to one publish.
type publishAnswer struct {
	conn *producerConn
	size int
	done chan error // the link never waits for us
}

// Reply takes the answer.
func (a *publishAnswer) Reply(data []byte, err error) { a.done <- a.conn.answered(a.size, data, err) }

// handOver gives a command to the connection, once there are one and room for
// it. The replier is for that connection.
func (p *Producer) handOver(ctx context.Context, m *publication, to func(*producerConn) link.Replier) error {
	c, err := p.connect(ctx)
	if err != nil {
		return err
	}
	if err := p.acquire(ctx, &p.unanswered, m.size(), m.patience); err != nil {
		return err
	}
	if !m.handTo(c.link, to(c)) {
		p.unanswered.release(m.size())
		return p.gone(c)
	}
	return nil
}

// acquire takes room in a window. A patience of 0 is that of the context.
func (p *Producer) acquire(ctx context.Context, w *window, size int, patience time.Duration) error {
	err := w.acquire(ctx, p.alive, size, patience)
	if err == nil || errors.Is(err, ErrStopped) {
		return err
	}
	return fmt.Errorf("[%s] %w: %w", p.addr, ErrNotSent, err)
}

// lostError says that a connection ended before nsqd took a command. Over
// another it may be sent again.
type lostError struct {
	error
	fault bool // somebody else's: nsqd refused what he published
}

func (e lostError) Unwrap() error { return e.error }

// maxFaults is how many faults of others a publish outlives. Each costs a
// connection, and one of those who published what nsqd refuses has his answer
// then; if all do, that shall not go on until the last one has.
const maxFaults = 10

// twice tries once more if a connection was lost at the first try, and not as
// often as it takes: an nsqd that closes every connection would keep us
// dialling. Where others are at fault it has patience. If nothing came of the
// last try either, the error tells of the one before, too.
func twice(try func() error) error {
	var before error
	for lost, faults := 0, 0; ; {
		err := try()
		e, again := errors.AsType[lostError](err)
		switch {
		case again && e.fault:
			faults++
		case again:
			lost++
		}
		if again && lost < 2 && faults <= maxFaults {
			before = err
			continue
		}
		if before != nil && (errors.Is(err, ErrNotSent) || errors.Is(err, ErrStopped)) {
			return fmt.Errorf("%w; then: %w", before, err)
		}
		return err
	}
}

// publishError is what the answer to a publish means for its caller.
func (p *Producer) publishError(topic string, err error) error {
	if err == nil {
		return nil
	}
	open, unanswered := errors.AsType[*link.UnansweredError](err)
	refused, said := errors.AsType[*wire.Error](err)
	if said && !unanswered {
		return ErrProtocol{Reason: refused.Error()}
	}
	if unanswered && !mayBeTaken(open) {
		notSent := fmt.Errorf("[%s] publish to %q: %w: %w", p.addr, topic, ErrNotSent, reason(err))
		return lostError{error: notSent, fault: said && !failedToStore(refused.Code)}
	}
	return fmt.Errorf("[%s] publish to %q: %w: %w", p.addr, topic, ErrUnknownOutcome, reason(err))
}

// failedToStore tells whether nsqd refused a publish for a reason of its own.
func failedToStore(code wire.Code) bool {
	return code == wire.PubFailed || code == wire.MpubFailed || code == wire.DpubFailed
}

// mayBeTaken tells whether nsqd may have taken a publish that it did not answer.
// It has not taken what was not sent, nor what came behind a publish that it
// refused: it executes one command after the other and stops for good at the
// first that it refuses with one of these codes. Of others nothing is known.
func mayBeTaken(open *link.UnansweredError) bool {
	refused, ok := errors.AsType[*wire.Error](open.Err)
	if !ok {
		return open.Sent
	}
	switch refused.Code {
	case wire.Invalid, wire.BadTopic, wire.BadBody, wire.BadMessage, wire.PubFailed, wire.MpubFailed, wire.DpubFailed,
		wire.AuthFirst, wire.AuthFailed, wire.Unauthorized:
		return false
	}
	return open.Sent
}
