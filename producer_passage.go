package nsq

import (
	"errors"
	"fmt"
	"time"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/publishing"
	"github.com/rdyhq/nsq/internal/wire"
)

// nsqd refuses a publish over its limits before it has read all of it, and closes the
// connection. The replies to other publishes may be lost then. So a publish that nsqd may
// refuse goes alone: it is sent when nothing else is outstanding, and nothing follows it
// until nsqd's reply. These publishes do not go alone:
//
//   - those within nsqd's default limits, or within lower ones that it has named;
//   - those within what it has accepted on this connection. It cannot change its limits
//     while the connection lasts, as that takes a restart.

// passage is the way of one publish over a connection.
type passage struct {
	conn *producerConn
	size int64 // of the room that it takes
	// alone has the figures of a publish that goes alone: if nsqd accepts the publish, it
	// accepts these figures. It is nil for others.
	alone *publishing.Figures
}

// newConn returns a connection that has just been made.
func (n *connector) newConn(l *link.Link) *producerConn {
	c := &producerConn{from: n, link: l, since: time.Now()}
	n.mu.Lock()
	sure := n.limits.Sure()
	c.unpacked = n.limits.PacksRefused(c.since)
	n.mu.Unlock()
	c.setSure(sure)
	return c
}

func (c *producerConn) setSure(f publishing.Figures) {
	limits := link.Limits{Message: f.Message, Body: f.Body, Delay: f.Delay}
	if c.from.cfg.PackPublishes && !c.unpacked {
		limits.Pack = f.Body
	}
	c.link.SetLimits(limits)
	c.sure.Store(&f)
}

// packAgain packs publishes again if nsqd has not refused a pack lately.
func (c *producerConn) packAgain() {
	c.from.mu.Lock()
	c.unpacked = c.from.limits.PacksRefused(time.Now())
	c.from.mu.Unlock()
	if !c.unpacked {
		c.setSure(*c.sure.Load())
	}
}

// passage returns the way of a publish, or nsqd's refusal if that is known.
func (c *producerConn) passage(m *publication) (passage, error) {
	if m.figures().Within(*c.sure.Load()) {
		return passage{conn: c, size: m.size}, nil
	}
	f := m.figures() // not above: there each publish would allocate it
	// The window grants this much while nothing else is outstanding, and then nothing else.
	return passage{conn: c, size: max(m.size, maxOutstanding), alone: &f}, c.from.refusal(m)
}

// refusal returns nsqd's refusal of a publish if nsqd has lately named a limit that the
// publish exceeds.
func (n *connector) refusal(m *publication) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if refused := n.limits.Refusal(time.Now(), m.command, m.figures()); refused != nil {
		return ErrProtocol{Reason: refused.Error()}
	}
	return nil
}

// doubtLimits makes refusal return nil until nsqd names a limit again.
func (n *connector) doubtLimits() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.limits.Doubt()
}

// replied returns the error that a reply to a publish stands for, nil if nsqd has the
// messages. An error ends the connection: after an error of its own nsqd closes it,
// and after an unexpected reply the later ones cannot be matched to their commands. The
// connection is dropped before the publish's caller learns of the error, so that a
// caller that publishes again gets a new one.
func (way *passage) replied(data []byte, err error) error {
	c := way.conn
	if err == nil && string(data) != wire.OK {
		err = fmt.Errorf("%w: %.200q", link.ErrUnexpectedReply, data)
	}
	if err == nil {
		err = c.broken // this reply was read along with what broke the connection
	}
	if err != nil {
		c.from.learn(err)
		c.fail(err)
	} else if way.alone != nil {
		c.setSure(c.sure.Load().Max(*way.alone)) // no other reply comes meanwhile
	}
	if err == nil && c.unpacked {
		c.packAgain()
	}
	c.from.outstanding.release(way.size)
	return err
}

// learn notes the limit that nsqd's reply to a publish names, if it names one, and that nsqd
// has refused a pack, if it has.
func (n *connector) learn(err error) {
	if _, unanswered := errors.AsType[*link.UnansweredError](err); unanswered {
		return
	}
	if refused, ok := errors.AsType[*wire.Error](err); ok {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.limits.Learn(time.Now(), refused)
		if isPacked(err) {
			n.limits.RefusePacks(time.Now())
		}
	}
}
