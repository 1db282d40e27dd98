package nsq

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/publishing"
	"github.com/rdyhq/nsq/internal/wire"
)

const (
	// maxLen is the longest body of a command: nsqd reads the length as a signed
	// 32-bit number.
	maxLen = math.MaxInt32
	// maxDelay is the longest delay that a publish accepts: a longer one is surely a
	// mistake. nsqd keeps deferred messages in memory and accepts an hour by default.
	maxDelay = 365 * 24 * time.Hour
	// commandSize is roughly the memory that a command takes besides its body.
	commandSize = 64
)

// publication is what one command publishes. Make one with pub, mpub or dpub.
type publication struct {
	command string // wire.CmdPub, CmdMpub or CmdDpub
	topic   string
	body    []byte        // of the one message
	bodies  [][]byte      // of MPUB
	delay   time.Duration // of DPUB
	size    int64         // bytes that the command counts as outstanding until nsqd's reply

	patience time.Duration // how long to wait for room; 0 is as long as the context allows
	start    time.Time     // when the publish to an nsqd began; zero without a Published hook
	tried    bool          // a pool has chosen an nsqd for it
}

func pub(topic string, body []byte) *publication {
	return &publication{command: wire.CmdPub, topic: topic, body: body, size: commandSize + int64(len(body))}
}

func mpub(topic string, bodies [][]byte) *publication {
	return &publication{command: wire.CmdMpub, topic: topic, bodies: bodies, size: commandSize + wire.MpubLen(bodies)}
}

func dpub(topic string, delay time.Duration, body []byte) *publication {
	return &publication{command: wire.CmdDpub, topic: topic, delay: delay, body: body, size: commandSize + int64(len(body))}
}

// figures returns what nsqd compares with its limits before it has read all of the
// publication.
func (m *publication) figures() publishing.Figures {
	f := publishing.Figures{Message: int64(len(m.body)), Delay: m.delay}
	if m.command == wire.CmdMpub {
		f.Body = m.size - commandSize
		for _, b := range m.bodies {
			f.Message = max(f.Message, int64(len(b)))
		}
	}
	return f
}

// clone returns a copy with bodies of its own.
func (m *publication) clone() publication {
	c := *m
	c.body = bytes.Clone(m.body)
	c.bodies = nil
	for _, b := range m.bodies {
		c.bodies = append(c.bodies, bytes.Clone(b))
	}
	return c
}

// invalidError is the error of a publish that nsqd would refuse, so that nothing is sent.
type invalidError struct {
	text    string
	reply   string // nsqd's reply, which go-nsq returns as an ErrProtocol
	content bool   // other bodies of the same publication may be published by themselves
}

func (e *invalidError) Error() string { return e.text }

// invalid returns an invalidError. The reply names the command after the code.
func (m *publication) invalid(text string, code wire.Code, desc string, args ...any) *invalidError {
	return &invalidError{
		text:  fmt.Sprintf("publish to %q: %s", m.topic, text),
		reply: fmt.Sprintf("%s %s %s", code, m.command, fmt.Sprintf(desc, args...)),
	}
}

// check returns an error if nsqd would refuse the publication. After a refusal nsqd
// closes the connection, which other publishes share. limit is the longest body.
func (m *publication) check(limit int) error {
	switch {
	case !wire.ValidName(m.topic):
		e := m.invalid("", wire.BadTopic, "topic name %q is not valid", m.topic)
		e.text = fmt.Sprintf("publish: invalid topic name %q", m.topic)
		return e
	case m.delay <= -time.Millisecond || m.delay > maxDelay: // nsqd gets whole milliseconds
		return m.invalid(fmt.Sprintf("delay %v out of range 0-%v", m.delay, maxDelay),
			wire.Invalid, "timeout %d out of range 0-%d", m.delay.Milliseconds(), maxDelay.Milliseconds())
	case m.command != wire.CmdMpub:
		return m.checkBody(m.body, limit, -1)
	case len(m.bodies) == 0:
		return m.invalid("no messages", wire.BadBody, "invalid message count 0")
	}
	for i, b := range m.bodies {
		if err := m.checkBody(b, limit, i); err != nil {
			return err
		}
	}
	if n := m.size - commandSize; n > maxLen {
		e := m.invalid(fmt.Sprintf("%d bytes exceed what one command can hold", n), wire.BadBody, "body too big %d > %d", n, maxLen)
		e.content = true
		return e
	}
	return nil
}

// checkBody checks one body. index is its place in an MPUB, which nsqd's reply names, and
// -1 in other commands.
func (m *publication) checkBody(body []byte, limit, index int) error {
	var e *invalidError
	switch {
	case len(body) == 0 && index >= 0:
		e = m.invalid("empty message body", wire.BadMessage, "invalid message(%d) body size 0", index)
	case len(body) == 0:
		e = m.invalid("empty message body", wire.BadMessage, "invalid message body size 0")
	case len(body) > limit:
		e = m.invalid(fmt.Sprintf("message body of %d bytes exceeds max_msg_size %d", len(body), limit),
			wire.BadMessage, "message too big %d > %d", len(body), limit)
	default:
		return nil
	}
	e.content = true
	return e
}

// maxBody returns the longest body that may be published.
func (c *Config) maxBody() int { return int(cmp.Or(c.MaxMsgSize, maxLen)) }

// sendOn queues the command on a link, which copies it, and reports whether the
// link takes it: one that is draining or has ended does not.
func (m *publication) sendOn(l *link.Link, to link.Replier) bool {
	switch m.command {
	case wire.CmdMpub:
		return l.Mpub(m.topic, m.bodies, to)
	case wire.CmdDpub:
		return l.Dpub(m.topic, m.delay, m.body, to)
	}
	return l.Pub(m.topic, m.body, to)
}
