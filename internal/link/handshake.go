package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/rdyhq/nsq/internal/wire"
)

// A handshake prepares a fresh connection for messages or publishes. It has the
// link to itself: no loop runs yet, and the owner does not have it.
type handshake struct {
	*Link

	// owedNops is how many heartbeats have no NOP yet. nsqd could throw away a NOP
	// that comes before the last upgrade, so NOPs leave with AUTH or SUB, or after
	// Start.
	owedNops int
}

// run does the handshake. Nothing is sent behind IDENTIFY until nsqd has replied:
// if it grants an upgrade, it throws away what it has already read.
func (h *handshake) run(ctx context.Context) error {
	if h.cfg.HandshakeTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, h.cfg.HandshakeTimeout, ErrHandshakeTimeout)
		defer cancel()
	}
	// Closing the socket ends the read or write that is under way. If the context
	// ends just after the last step, stop returns false: the socket is closed
	// although every step succeeded, and the context's cause is the error.
	stop := context.AfterFunc(ctx, func() { _ = h.conn.Close() })
	op, err := h.steps(ctx)
	// TLS watches the context itself. It may fail before the function above has
	// begun, so that stop returns true, and its error does not name the cause.
	if !stop() || err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return &Error{Addr: h.cfg.Addr, Op: op, Err: err}
	}
	return nil
}

// steps takes the steps in the order of the wire. It returns the last one it began.
func (h *handshake) steps(ctx context.Context) (op string, err error) {
	if err := h.identify(); err != nil {
		return OpIdentify, err
	}
	if op, err := h.upgrade(ctx); err != nil {
		return op, err
	}
	if h.granted.AuthRequired {
		if err := h.authenticate(); err != nil {
			return OpAuth, err
		}
	}
	if h.cfg.Topic == "" {
		return OpIdentify, nil
	}
	return OpSub, h.subscribe()
}

func (h *handshake) identify() error {
	out, err := wire.AppendIdentify([]byte(wire.MagicV2), &h.cfg.Identify)
	if err != nil {
		return err
	}
	data, err := h.exchange(out)
	if err != nil {
		return err
	}
	h.granted, h.negotiated, err = wire.ParseIdentifyResponse(data)
	return err
}

func (h *handshake) authenticate() error {
	if h.cfg.AuthSecret == "" {
		return ErrAuthRequired
	}
	data, err := h.exchange(wire.AppendAuth(h.takeNops(), h.cfg.AuthSecret))
	if err != nil {
		return err
	}
	reply, err := wire.ParseAuthResponse(data)
	h.auth = &reply
	return err
}

func (h *handshake) subscribe() error {
	data, err := h.exchange(wire.AppendSub(h.takeNops(), h.cfg.Topic, h.cfg.Channel))
	if err == nil && string(data) != wire.OK {
		err = fmt.Errorf("%w to SUB: %q", ErrUnexpectedReply, data)
	}
	return err
}

// takeNops returns the NOPs that are owed. Its callers send them ahead of a command
// that comes after the last upgrade.
func (h *handshake) takeNops() []byte {
	nops := bytes.Repeat(wire.AppendNop(nil), h.owedNops)
	h.owedNops = 0
	return nops
}

// exchange sends a command and returns the reply.
func (h *handshake) exchange(command []byte) ([]byte, error) {
	if _, err := h.out.Write(command); err != nil {
		return nil, err
	}
	return h.readReply()
}

// readReply reads the reply to the last command. Heartbeats may come at any point
// before it.
func (h *handshake) readReply() ([]byte, error) {
	for {
		f, err := h.in.readFrame()
		_, tooBig := errors.AsType[*oversizeMessage](err)
		switch {
		case tooBig || err == nil && f.Type == wire.FrameMessage:
			return nil, fmt.Errorf("%w: a message before RDY", wire.ErrFrame)
		case err != nil:
			return nil, err
		case f.IsHeartbeat():
			h.owedNops++
		case f.Type == wire.FrameError:
			return nil, wire.ParseError(f.Data)
		default:
			return f.Data, nil
		}
	}
}
