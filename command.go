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

// Command is a command of NSQ's protocol, for a [Conn] or any other connection
// to nsqd, or to nsqlookupd. Consumers and Producers need none.
//
// Nothing is checked: nsqd closes the connection of who sends it an invalid
// name, an empty body, a negative delay or a command out of turn.
type Command struct {
	Name   []byte   // such as PUB
	Params [][]byte // neither may contain a blank or a newline
	Body   []byte   // sent behind its length; nil is no body, not even a length
}

// String returns the name and the parameters, as they are sent.
func (c *Command) String() string {
	line := c.appendLine(nil)
	return string(line[:len(line)-1])
}

// WriteTo writes the command in one Write, and returns how many bytes that
// wrote.
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

// Identify is IDENTIFY, with what the client says of itself as a JSON object.
// The error is that of encoding/json. A [Conn] sends it by itself.
func Identify(js map[string]any) (*Command, error) {
	body, err := json.Marshal(js)
	if err != nil {
		return nil, fmt.Errorf("IDENTIFY: %w", err)
	}
	c := newCommand(wire.CmdIdentify)
	c.Body = body
	return c, nil
}

// Auth is AUTH with a secret. The error is nil. A [Conn] sends it by itself.
func Auth(secret string) (*Command, error) {
	c := newCommand(wire.CmdAuth)
	c.Body = []byte(secret)
	return c, nil
}

// Register is REGISTER, by which an nsqd tells nsqlookupd that it has a topic
// or, unless channel is empty, a channel of it.
func Register(topic, channel string) *Command {
	return registration(wire.CmdRegister, topic, channel)
}

// UnRegister is UNREGISTER, which takes back [Register].
func UnRegister(topic, channel string) *Command {
	return registration(wire.CmdUnregister, topic, channel)
}

func registration(name, topic, channel string) *Command {
	if channel == "" {
		return newCommand(name, topic)
	}
	return newCommand(name, topic, channel)
}

// Ping is PING, by which an nsqd tells nsqlookupd that it is there.
func Ping() *Command { return newCommand(wire.CmdPing) }

// Publish is PUB. The body is not copied. A nil one sends a PUB without a
// length, for which nsqd takes whatever follows: do not.
func Publish(topic string, body []byte) *Command {
	c := newCommand(wire.CmdPub, topic)
	c.Body = body
	return c
}

// DeferredPublish is DPUB: a message that nsqd keeps back for a delay, sent in
// whole milliseconds. The body is that of [Publish].
func DeferredPublish(topic string, delay time.Duration, body []byte) *Command {
	c := newCommand(wire.CmdDpub, topic, wholeMilliseconds(delay))
	c.Body = body
	return c
}

// MultiPublish is MPUB, with a copy of all bodies. More than 2 GiB in all are an
// error, since the protocol has no length for them.
func MultiPublish(topic string, bodies [][]byte) (*Command, error) {
	size := wire.MpubLen(bodies)
	if size > math.MaxInt32 {
		return nil, fmt.Errorf("MPUB: %d bytes in all, at most %d can be sent", size, math.MaxInt32)
	}
	c := newCommand(wire.CmdMpub, topic)
	c.Body = wire.AppendMpubBody(make([]byte, 0, size), bodies)
	return c, nil
}

// Subscribe is SUB: from then on the connection consumes a channel of a topic.
func Subscribe(topic, channel string) *Command { return newCommand(wire.CmdSub, topic, channel) }

// Ready is RDY: up to count messages may be in flight on the connection.
func Ready(count int) *Command { return newCommand(wire.CmdRdy, strconv.Itoa(count)) }

// Finish is FIN, which says that a message is done. A message that a [Conn]
// delivered is to be answered by its own methods, of which the Conn knows.
func Finish(id MessageID) *Command { return newCommand(wire.CmdFin, string(id[:])) }

// Requeue is REQ, which asks for a message to be delivered again after a delay,
// sent in whole milliseconds; 0 is at once. See [Finish].
func Requeue(id MessageID, delay time.Duration) *Command {
	return newCommand(wire.CmdReq, string(id[:]), wholeMilliseconds(delay))
}

// Touch is TOUCH, which asks for more time for a message.
func Touch(id MessageID) *Command { return newCommand(wire.CmdTouch, string(id[:])) }

// StartClose is CLS: nsqd is to send no more messages. It answers CLOSE_WAIT.
func StartClose() *Command { return newCommand(wire.CmdCls) }

// Nop is NOP, which does nothing. It is the answer to a heartbeat.
func Nop() *Command { return newCommand(wire.CmdNop) }

func wholeMilliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
