package nsqtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// handle executes a command, or the fault that replaces it. It reports whether the
// client may send another.
func (c *client) handle(cmd Command) bool {
	d := c.nsqd
	d.update(func() {
		d.agenda.cancel(&c.idle)
		d.commands = append(d.commands, receivedCommand{cmd.Conn, cmd.String()})
	})
	f := d.faultFor(cmd)
	c.pause(f.Delay)

	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.bump()
	c.write(f.Before)
	if f.Reply != nil {
		c.write(f.Reply)
	} else {
		c.muted = f.Mute
		if err := c.execute(&cmd); err != nil {
			c.reply(wire.AppendError(nil, err))
			if err.Code.Fatal() {
				c.end()
			}
		}
		c.muted = false
	}
	if f.Close {
		c.end()
	}
	return !c.ending
}

// pause waits for delay, or until the connection ends.
func (c *client) pause(delay time.Duration) {
	if delay <= 0 {
		return
	}
	until := time.Now().Add(delay)
	timer := time.AfterFunc(delay, func() { c.nsqd.update(c.wake.Broadcast) })
	defer timer.Stop()
	c.nsqd.mu.Lock()
	defer c.nsqd.mu.Unlock()
	for !c.ending && time.Now().Before(until) {
		c.wake.Wait()
	}
}

// Callers of everything below hold the mutex. The checks come in nsqd's order, and
// their errors have nsqd's codes and texts.

// A verb is what the fake knows about a command.
type verb struct {
	states state // in which the command is allowed
	params int   // how many it needs at least
	// check finds what is wrong with the line, before the body is read. It may be nil. The
	// lines of commands without a body may be checked by do.
	check func(*client, *Command) *wire.Error
	do    func(*client, *Command) *wire.Error
}

var verbs = map[string]verb{
	wire.CmdIdentify: {stateInit, 0, nil, (*client).doIdentify},
	wire.CmdAuth:     {stateInit, 0, (*client).checkAuthLine, (*client).doAuth},
	wire.CmdSub:      {stateInit, 2, nil, (*client).doSub},
	wire.CmdRdy:      {stateReceiving, 0, nil, (*client).doRdy},
	wire.CmdFin:      {stateReceiving, 1, nil, (*client).doFin},
	wire.CmdReq:      {stateReceiving, 2, nil, (*client).doReq},
	wire.CmdTouch:    {stateReceiving, 1, nil, (*client).doTouch},
	wire.CmdCls:      {stateSubscribed, 0, nil, (*client).doCls},
	wire.CmdPub:      {stateAny, 1, (*client).checkTopic, (*client).doPub},
	wire.CmdMpub:     {stateAny, 1, (*client).checkMpub, (*client).doMpub},
	wire.CmdDpub:     {stateAny, 2, (*client).checkDpub, (*client).doDpub},
	wire.CmdNop:      {stateAny, 0, nil, (*client).doNop},
}

func (c *client) execute(cmd *Command) *wire.Error {
	if err := c.checkLine(cmd); err != nil {
		return err
	}
	return verbs[cmd.Name].do(c, cmd)
}

// checkLine returns the error for which nsqd refuses a command without reading its body.
func (c *client) checkLine(cmd *Command) *wire.Error {
	v, ok := verbs[cmd.Name]
	switch {
	case c.nsqd.opts.TLSRequired && !c.secure && cmd.Name != wire.CmdIdentify:
		return failure(wire.Invalid, "cannot %s in current state (TLS required)", cmd.Name)
	case !ok:
		return failure(wire.Invalid, "invalid command %s", cmd.Name)
	case c.state&v.states == 0:
		return failure(wire.Invalid, "cannot %s in current state", cmd.Name)
	case cmd.Name == wire.CmdSub && c.interval == 0:
		return failure(wire.Invalid, "cannot SUB with heartbeats disabled")
	case len(cmd.Params) < v.params && v.states == stateReceiving:
		return failure(wire.Invalid, "%s insufficient number of params", cmd.Name) // nsqd's wording
	case len(cmd.Params) < v.params:
		return failure(wire.Invalid, "%s insufficient number of parameters", cmd.Name)
	case v.check == nil:
		return nil
	}
	return v.check(c, cmd)
}

// refusesLine reports whether nsqd refuses a command before it reads what follows the
// line. Executing the command finds the same fault, and replies with the reason.
func (c *client) refusesLine(cmd wire.Command) bool {
	c.nsqd.mu.Lock()
	defer c.nsqd.mu.Unlock()
	return c.checkLine(&Command{Name: cmd.Name, Params: cmd.Params}) != nil
}

func failure(code wire.Code, format string, args ...any) *wire.Error {
	return &wire.Error{Code: code, Desc: fmt.Sprintf(format, args...)}
}

func (c *client) doIdentify(cmd *Command) *wire.Error {
	if cmd.refused != nil {
		return cmd.refused
	}
	req, err := wire.ParseIdentify(cmd.Body)
	if err != nil {
		return failure(wire.BadBody, "IDENTIFY failed to decode JSON body")
	}
	opts := &c.nsqd.opts
	for _, field := range []struct {
		name                 string
		value, off, min, max int64
	}{
		{"heartbeat interval", req.HeartbeatInterval, -1, 1000, opts.MaxHeartbeatInterval.Milliseconds()},
		{
			"output buffer timeout", req.OutputBufferTimeout, -1,
			opts.MinOutputBufferTimeout.Milliseconds(), opts.MaxOutputBufferTimeout.Milliseconds(),
		},
		{"output buffer size", req.OutputBufferSize, -1, 64, int64(opts.MaxOutputBufferSize)},
		{"sample rate", int64(req.SampleRate), 0, 0, 99},
		{"msg timeout", req.MsgTimeout, 0, 1000, opts.MaxMsgTimeout.Milliseconds()},
	} {
		v := field.value
		if v != 0 && v != field.off && (v < field.min || v > field.max) {
			return failure(wire.BadBody, "IDENTIFY %s (%d) is invalid", field.name, v)
		}
	}
	c.identify = json.RawMessage(cmd.Body)
	if req.MsgTimeout > 0 {
		c.msgTimeout = time.Duration(req.MsgTimeout) * time.Millisecond
	}
	interval := c.interval
	if req.HeartbeatInterval != 0 {
		interval = time.Duration(max(req.HeartbeatInterval, 0)) * time.Millisecond
	}
	c.setInterval(interval) // this restarts the interval even if it is the same
	if !req.FeatureNegotiation {
		c.replyOK()
		return nil
	}
	granted := c.negotiate(&req)
	if granted.Snappy && granted.Deflate {
		return failure(wire.IdentifyFailed, "cannot enable both deflate and snappy compression")
	}
	c.granted = granted
	c.reply(must(wire.AppendIdentifyResponse(nil, granted)))
	return nil
}

// maxDeflateLevel is the default of nsqd's max-deflate-level.
const maxDeflateLevel = 6

// negotiate grants what the client asks for and the Options offer.
func (c *client) negotiate(req *wire.Identify) *wire.IdentifyResponse {
	opts := &c.nsqd.opts
	resp := &wire.IdentifyResponse{
		MaxRdyCount:         int64(opts.MaxRdyCount),
		Version:             opts.Version,
		MaxMsgTimeout:       opts.MaxMsgTimeout.Milliseconds(),
		MsgTimeout:          c.msgTimeout.Milliseconds(),
		TLSv1:               opts.TLSConfig != nil && req.TLSv1,
		Snappy:              opts.Snappy && req.Snappy,
		Deflate:             opts.Deflate && req.Deflate,
		DeflateLevel:        maxDeflateLevel,
		MaxDeflateLevel:     maxDeflateLevel,
		SampleRate:          req.SampleRate,
		AuthRequired:        opts.AuthSecret != "",
		OutputBufferSize:    16384,
		OutputBufferTimeout: 250,
	}
	if resp.Deflate && req.DeflateLevel > 0 {
		resp.DeflateLevel = min(req.DeflateLevel, maxDeflateLevel)
	}
	if req.OutputBufferTimeout != 0 {
		resp.OutputBufferTimeout = max(req.OutputBufferTimeout, 0)
	}
	if req.OutputBufferSize != 0 {
		resp.OutputBufferSize = req.OutputBufferSize
	}
	if req.OutputBufferSize == -1 {
		resp.OutputBufferSize, resp.OutputBufferTimeout = 1, 0
	}
	return resp
}

func (c *client) replyOK() { c.reply(ResponseFrame(wire.OK)) }

// must returns frame. Its callers encode numbers and strings, which cannot fail.
func must(frame []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return frame
}

func (c *client) checkAuthLine(cmd *Command) *wire.Error {
	if len(cmd.Params) > 0 {
		return failure(wire.Invalid, "AUTH invalid number of parameters")
	}
	return nil
}

func (c *client) doAuth(cmd *Command) *wire.Error {
	secret := c.nsqd.opts.AuthSecret
	switch {
	case cmd.refused != nil:
		return cmd.refused
	case c.authorized:
		return failure(wire.Invalid, "AUTH already set")
	case secret == "":
		return failure(wire.AuthDisabled, "AUTH disabled")
	case string(cmd.Body) != secret:
		return failure(wire.Unauthorized, "AUTH no authorizations found")
	}
	c.authorized = true
	c.reply(must(wire.AppendAuthResponse(nil, &wire.AuthResponse{Identity: "nsqtest", PermissionCount: 1})))
	return nil
}

func (c *client) checkAuth(cmd *Command) *wire.Error {
	if c.nsqd.opts.AuthSecret != "" && !c.authorized {
		return failure(wire.AuthFirst, "AUTH required before %s", cmd.Name)
	}
	return nil
}

func (c *client) checkTopic(cmd *Command) *wire.Error {
	if topic := cmd.Params[0]; !wire.ValidName(topic) {
		return failure(wire.BadTopic, "%s topic name %q is not valid", cmd.Name, topic)
	}
	return nil
}

func (c *client) doSub(cmd *Command) *wire.Error {
	if err := c.checkTopic(cmd); err != nil {
		return err
	}
	topic, channel := cmd.Params[0], cmd.Params[1]
	if !wire.ValidName(channel) {
		return failure(wire.BadChannel, "SUB channel name %q is not valid", channel)
	}
	if err := c.checkAuth(cmd); err != nil {
		return err
	}
	c.state = stateSubscribed
	c.channel = c.nsqd.ensureChannel(topic, channel)
	c.channel.clients = append(c.channel.clients, c)
	c.replyOK()
	return nil
}

func (c *client) doRdy(cmd *Command) *wire.Error {
	if c.state == stateClosing {
		return nil
	}
	count := int64(1)
	if len(cmd.Params) > 0 {
		n, err := wire.ParseNumber(cmd.Params[0])
		if err != nil {
			return failure(wire.Invalid, "RDY could not parse count %s", cmd.Params[0])
		}
		count = int64(n)
	}
	if limit := c.nsqd.opts.MaxRdyCount; count < 0 || count > int64(limit) {
		return failure(wire.Invalid, "RDY count %d out of range 0-%d", count, limit)
	}
	c.setRdy(int(count))
	return nil
}

// setRdy sets RDY. When it falls to 0 and Options.Straggler is set, the client is
// owed one more message.
func (c *client) setRdy(n int) {
	switch {
	case n > 0:
		c.stragglerRDY = 0
	case c.nsqd.opts.Straggler && c.rdy > 0:
		c.stragglerRDY = c.rdy
	}
	c.rdy = n
	c.channel.dispatch()
}

func (c *client) doFin(cmd *Command) *wire.Error {
	m, err := c.findInFlight(cmd, wire.FinFailed)
	if err == nil {
		c.channel.finish(m)
	}
	return err
}

func (c *client) doReq(cmd *Command) *wire.Error {
	if _, err := parseID(cmd); err != nil { // nsqd checks it first
		return err
	}
	ms, parseErr := wire.ParseNumber(cmd.Params[1])
	if parseErr != nil {
		return failure(wire.Invalid, "REQ could not parse timeout %s", cmd.Params[1])
	}
	m, err := c.findInFlight(cmd, wire.ReqFailed)
	if err == nil {
		c.channel.requeue(m, min(max(milliseconds(ms), 0), c.nsqd.opts.MaxReqTimeout))
	}
	return err
}

func (c *client) doTouch(cmd *Command) *wire.Error {
	m, err := c.findInFlight(cmd, wire.TouchFailed)
	if err == nil {
		c.channel.touch(m)
	}
	return err
}

func parseID(cmd *Command) (wire.ID, *wire.Error) {
	id, err := wire.ParseID(cmd.Params[0])
	if err != nil {
		return id, failure(wire.Invalid, "invalid message ID")
	}
	return id, nil
}

// findInFlight returns the message that a command names, or an error if it is not
// in flight on this connection.
func (c *client) findInFlight(cmd *Command, code wire.Code) (*message, *wire.Error) {
	id, err := parseID(cmd)
	if err != nil {
		return nil, err
	}
	m := c.channel.inFlight[id]
	switch {
	case m == nil:
		return nil, failure(code, "%s %s failed ID not in flight", cmd.Name, id[:])
	case m.owner != c:
		return nil, failure(code, "%s %s failed client does not own message", cmd.Name, id[:])
	}
	return m, nil
}

// milliseconds returns ms as a Duration. As in nsqd, the product may overflow.
func milliseconds(ms uint64) time.Duration { return time.Duration(ms) * time.Millisecond }

func (c *client) doCls(*Command) *wire.Error {
	c.state = stateClosing
	c.reply(ResponseFrame(wire.CloseWait))
	c.setRdy(0)
	return nil
}

func (c *client) doNop(*Command) *wire.Error { return nil }

func (c *client) doPub(cmd *Command) *wire.Error { return c.publish(cmd, 0) }

func (c *client) checkDpub(cmd *Command) *wire.Error {
	if err := c.checkTopic(cmd); err != nil {
		return err
	}
	_, err := c.parseDelay(cmd)
	return err
}

// parseDelay returns the delay of a DPUB.
func (c *client) parseDelay(cmd *Command) (time.Duration, *wire.Error) {
	ms, err := wire.ParseNumber(cmd.Params[1])
	if err != nil {
		return 0, failure(wire.Invalid, "DPUB could not parse timeout %s", cmd.Params[1])
	}
	delay, limit := milliseconds(ms), c.nsqd.opts.MaxReqTimeout
	if delay < 0 || delay > limit {
		return 0, failure(wire.Invalid, "DPUB timeout %d out of range 0-%d", ms, limit.Milliseconds())
	}
	return delay, nil
}

func (c *client) doDpub(cmd *Command) *wire.Error {
	delay, err := c.parseDelay(cmd)
	if err != nil {
		return err
	}
	return c.publish(cmd, delay)
}

func (c *client) publish(cmd *Command, delay time.Duration) *wire.Error {
	if cmd.refused != nil {
		return cmd.refused
	}
	if err := c.checkAuth(cmd); err != nil {
		return err
	}
	c.nsqd.publish(cmd.Params[0], cmd.Body, delay)
	c.replyOK()
	return nil
}

func (c *client) checkMpub(cmd *Command) *wire.Error {
	if err := c.checkTopic(cmd); err != nil {
		err.Desc = string(err.Code) + " " + err.Desc // nsqd repeats the code here
		return err
	}
	return c.checkAuth(cmd)
}

func (c *client) doMpub(cmd *Command) *wire.Error {
	if cmd.refused != nil {
		return cmd.refused
	}
	bodies, err := wire.ParseMpub(cmd.Body, c.nsqd.limits())
	if refused, ok := errors.AsType[*wire.Error](err); ok {
		return refused
	}
	for _, body := range bodies {
		c.nsqd.publish(cmd.Params[0], body, 0)
	}
	c.replyOK()
	return nil
}
