package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/rdyhq/nsq/internal/wire"
)

// handshake makes the fresh connection one that messages or publishes can
// flow over. Nothing is sent behind IDENTIFY before it is answered: if nsqd
// grants an upgrade it throws away what it had already read.
func (l *Link) handshake(ctx context.Context) error {
	if l.cfg.HandshakeTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, l.cfg.HandshakeTimeout, ErrHandshakeTimeout)
		defer cancel()
	}
	// Closing the socket ends whatever read or write is under way. If the
	// context ends just after the last step, the link is dead on arrival, and
	// stop says so.
	stop := context.AfterFunc(ctx, func() { _ = l.conn.Close() })
	op, err := l.introduce(ctx)
	// TLS heeds the context by itself, and may be faster with its end than stop
	// is told of it; it does not know of causes.
	if !stop() || err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return &Error{Addr: l.cfg.Addr, Op: op, Err: err}
	}
	return nil
}

// introduce runs the steps in their order on the wire. It returns the one it
// was at.
func (l *Link) introduce(ctx context.Context) (op string, err error) {
	if err := l.identify(); err != nil {
		return OpIdentify, err
	}
	if op, err := l.upgrade(ctx); err != nil {
		return op, err
	}
	if l.granted.AuthRequired {
		if err := l.authenticate(); err != nil {
			return OpAuth, err
		}
	}
	if l.cfg.Topic == "" {
		return OpIdentify, nil
	}
	return OpSub, l.subscribe()
}

func (l *Link) identify() error {
	out, err := wire.AppendIdentify([]byte(wire.MagicV2), &l.cfg.Identify)
	if err != nil {
		return err
	}
	data, err := l.exchange(out)
	if err != nil {
		return err
	}
	l.granted, l.negotiated, err = wire.ParseIdentifyResponse(data)
	return err
}

func (l *Link) authenticate() error {
	if l.cfg.AuthSecret == "" {
		return ErrAuthRequired
	}
	data, err := l.exchange(wire.AppendAuth(l.takeNops(), l.cfg.AuthSecret))
	if err != nil {
		return err
	}
	answer, err := wire.ParseAuthResponse(data)
	l.auth = &answer
	return err
}

func (l *Link) subscribe() error {
	data, err := l.exchange(wire.AppendSub(l.takeNops(), l.cfg.Topic, l.cfg.Channel))
	if err == nil && string(data) != wire.OK {
		err = fmt.Errorf("%w to SUB: %q", ErrUnexpectedReply, data)
	}
	return err
}

// takeNops are the answers to heartbeats that came by now. They had to wait for
// the last upgrade.
func (l *Link) takeNops() []byte {
	nops := bytes.Repeat(wire.AppendNop(nil), l.owed)
	l.owed = 0
	return nops
}

// exchange sends a command and awaits the reply.
func (l *Link) exchange(command []byte) ([]byte, error) {
	if _, err := l.out.Write(command); err != nil {
		return nil, err
	}
	return l.await()
}

// await reads the reply to the last command. Heartbeats may come at any point
// before it: each is owed a NOP, which leaves with the next command.
func (l *Link) await() ([]byte, error) {
	for {
		f, err := l.in.readFrame()
		_, big := errors.AsType[*oversize](err)
		switch {
		case big || err == nil && f.Type == wire.FrameMessage:
			return nil, fmt.Errorf("%w: a message before RDY", wire.ErrFrame)
		case err != nil:
			return nil, err
		case f.IsHeartbeat():
			l.owed++
		case f.Type == wire.FrameError:
			return nil, wire.ParseError(f.Data)
		default:
			return f.Data, nil
		}
	}
}
