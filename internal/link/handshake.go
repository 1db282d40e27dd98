package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// A handshake prepares a new connection for messages or publishes. It has the link to
// itself: no loop runs yet, and Dial has not returned the link yet.
type handshake struct {
	*Link

	// owesNop says that a heartbeat came after the last NOP. nsqd could discard a NOP
	// that comes before the last upgrade, so the NOP is sent with AUTH or SUB, or after
	// Start. However many heartbeats came, one is enough.
	owesNop bool
}

// run does the handshake. After IDENTIFY, nothing is sent until nsqd has replied: if
// nsqd grants an upgrade, it discards what it has already read.
func (h *handshake) run(ctx context.Context) error {
	if h.cfg.HandshakeTimeout > 0 {
		var cancel context.CancelFunc
		limit := h.cfg.HandshakeTimeout + max(0, time.Until(h.cfg.SubAfter))
		ctx, cancel = context.WithTimeoutCause(ctx, limit, ErrHandshakeTimeout)
		defer cancel()
	}
	// Closing the socket ends the read or write that is under way. If the context
	// ends just after the last step, stop returns false: every step succeeded, but the
	// socket is closed, so the error is the context's cause.
	stop := context.AfterFunc(ctx, func() { _ = h.conn.Close() })
	op, err := h.steps(ctx)
	// TLS watches the context itself. It may fail before the function above has
	// begun. Then stop returns true, and TLS's error does not name the cause.
	if !stop() || err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return &Error{Addr: h.cfg.Addr, Op: op, Err: err}
	}
	return nil
}

// steps takes the steps in order. It returns the last one that it began.
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
	if err := h.awaitSubAfter(ctx); err != nil {
		return OpSub, err
	}
	return OpSub, h.subscribe()
}

func (h *handshake) identify() error {
	out, err := wire.AppendIdentify([]byte(wire.MagicV2), &h.cfg.Identify)
	if err != nil {
		return err
	}
	start := time.Now()
	data, err := h.exchange(out)
	h.roundTrip = time.Since(start)
	if err != nil {
		return err
	}
	granted, negotiated, err := wire.ParseIdentifyResponse(data)
	h.granted, h.negotiated = inRange(granted), negotiated
	return err
}

func (h *handshake) authenticate() error {
	if h.cfg.AuthSecret == "" {
		return ErrAuthRequired
	}
	data, err := h.exchange(wire.AppendAuth(h.takeNop(), h.cfg.AuthSecret))
	if err != nil {
		return err
	}
	reply, err := wire.ParseAuthResponse(data)
	h.auth = &reply
	return err
}

func (h *handshake) subscribe() error {
	data, err := h.exchange(wire.AppendSub(h.takeNop(), h.cfg.Topic, h.cfg.Channel))
	if err == nil && string(data) != wire.OK {
		err = fmt.Errorf("%w to SUB: %.200q", ErrUnexpectedReply, data)
	}
	return err
}

// takeNop returns the NOP that is owed, if one is. Callers send it just before a command
// that follows the last upgrade.
func (h *handshake) takeNop() []byte {
	if !h.owesNop {
		return nil
	}
	h.owesNop = false
	return wire.AppendNop(nil)
}

// exchange sends a command and returns the reply.
func (h *handshake) exchange(command []byte) ([]byte, error) {
	if _, err := h.out.Write(command); err != nil {
		return nil, err
	}
	return h.readReply()
}

// readReply reads the reply to the last command. Any number of heartbeats may come
// before it.
func (h *handshake) readReply() ([]byte, error) {
	for {
		f, err := h.in.readFrame()
		switch {
		case errors.Is(err, ErrUnexpectedMessage):
			return nil, fmt.Errorf("%w: a message before RDY", wire.ErrFrame)
		case errors.Is(err, io.EOF) && h.in.w > h.in.r: // cut within a frame
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		case f.IsHeartbeat():
			h.owesNop = true
		case f.Type == wire.FrameError:
			return nil, wire.ParseError(f.Data)
		default:
			return f.Data, nil
		}
	}
}
