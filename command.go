package nsq

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// Command is a command of NSQ's protocol, for a [Conn] or any other connection to an
// nsqd or nsqlookupd. Users of Consumer and Producer need none.
//
// Commands are not validated. nsqd closes a connection on which it gets an invalid
// name, an empty body, a negative delay or a command out of turn.
type Command struct {
	Name   []byte   // such as PUB
	Params [][]byte // must not contain spaces or newlines
	Body   []byte   // sent after its length; if nil, neither body nor length is sent
}

// String returns the name and the parameters as they are sent.
func (c *Command) String() string {
	line := c.appendLine(nil)
	return string(line[:len(line)-1])
}

// WriteTo writes the command to w in a single Write and returns its result.
func (c *Command) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(c.appendTo(nil))
	return int64(n), err
}

func (c *Command) appendTo(dst []byte) []byte {
	dst = c.appendLine(dst)
	if c.Body != nil {
		dst = append(wire.AppendBodyHead(dst, len(c.Body)), c.Body...)
	}
	return dst
}

func (c *Command) appendLine(dst []byte) []byte {
	dst = append(dst, c.Name...)
	for _, p := range c.Params {
		dst = append(dst, ' ')
		dst = append(dst, p...)
	}
	return append(dst, '\n')
}

func newCommand(name string, params ...string) *Command {
	c := &Command{Name: []byte(name)}
	for _, p := range params {
		c.Params = append(c.Params, []byte(p))
	}
	return c
}

// Identify returns IDENTIFY, whose body is js, the description of the client, as JSON.
// It fails if encoding/json cannot encode js. [Conn.Connect] sends its own IDENTIFY.
func Identify(js map[string]any) (*Command, error) {
	body, err := json.Marshal(js)
	if err != nil {
		return nil, fmt.Errorf("IDENTIFY: %w", err)
	}
	c := newCommand(wire.CmdIdentify)
	c.Body = body
	return c, nil
}

// Auth returns AUTH with a secret. The error is always nil. [Conn.Connect] sends its
// own AUTH.
func Auth(secret string) (*Command, error) {
	c := newCommand(wire.CmdAuth)
	c.Body = []byte(secret)
	return c, nil
}

// Register returns REGISTER, with which an nsqd tells nsqlookupd that it has a topic
// or, unless channel is empty, a channel of the topic.
func Register(topic, channel string) *Command {
	return registration(wire.CmdRegister, topic, channel)
}

// UnRegister returns UNREGISTER, which undoes [Register].
func UnRegister(topic, channel string) *Command {
	return registration(wire.CmdUnregister, topic, channel)
}

func registration(name, topic, channel string) *Command {
	if channel == "" {
		return newCommand(name, topic)
	}
	return newCommand(name, topic, channel)
}

// Ping returns PING, with which an nsqd tells nsqlookupd that it is alive.
func Ping() *Command { return newCommand(wire.CmdPing) }

// Publish returns PUB. It does not copy the body, which must not be nil: a nil body
// has no length on the wire, and nsqd would take the next bytes for one.
func Publish(topic string, body []byte) *Command {
	c := newCommand(wire.CmdPub, topic)
	c.Body = body
	return c
}

// DeferredPublish returns DPUB: nsqd delivers the message after a delay, which is sent
// in whole milliseconds. The body is as for [Publish].
func DeferredPublish(topic string, delay time.Duration, body []byte) *Command {
	c := newCommand(wire.CmdDpub, topic, wholeMilliseconds(delay))
	c.Body = body
	return c
}

// MultiPublish returns MPUB, with a copy of all bodies. It fails if the bodies and
// their lengths take 2 GiB or more, which the protocol's length field cannot express.
func MultiPublish(topic string, bodies [][]byte) (*Command, error) {
	size := wire.MpubLen(bodies)
	if size > math.MaxInt32 {
		return nil, fmt.Errorf("MPUB: %d bytes exceed the protocol's maximum of %d", size, math.MaxInt32)
	}
	c := newCommand(wire.CmdMpub, topic)
	c.Body = wire.AppendMpubBody(make([]byte, 0, size), bodies)
	return c, nil
}

// Subscribe returns SUB, which makes the connection a consumer of a channel.
func Subscribe(topic, channel string) *Command { return newCommand(wire.CmdSub, topic, channel) }

// Ready returns RDY: nsqd may have up to count messages in flight on the connection.
func Ready(count int) *Command { return newCommand(wire.CmdRdy, strconv.Itoa(count)) }

// Finish returns FIN, which acks a message. For a message that a [Conn] delivered use
// [Message.Finish] instead: the Conn counts which messages are still open.
func Finish(id MessageID) *Command { return newCommand(wire.CmdFin, string(id[:])) }

// Requeue returns REQ: nsqd delivers the message again after a delay, which is sent in
// whole milliseconds; 0 means at once. For a message that a [Conn] delivered use
// [Message.Requeue] instead.
func Requeue(id MessageID, delay time.Duration) *Command {
	return newCommand(wire.CmdReq, string(id[:]), wholeMilliseconds(delay))
}

// Touch returns TOUCH, which asks nsqd for more time for a message.
func Touch(id MessageID) *Command { return newCommand(wire.CmdTouch, string(id[:])) }

// StartClose returns CLS: nsqd sends no more messages, and replies CLOSE_WAIT.
func StartClose() *Command { return newCommand(wire.CmdCls) }

// Nop returns NOP, the reply to a heartbeat. It has no other effect.
func Nop() *Command { return newCommand(wire.CmdNop) }

func wholeMilliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
