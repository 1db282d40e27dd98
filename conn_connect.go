package nsq

import (
	"context"

	"github.com/rdyhq/nsq/internal/link"
)

// IdentifyResponse is nsqd's reply to IDENTIFY: what nsqd grants of what the
// client asked for.
type IdentifyResponse struct {
	MaxRdyCount  int64 `json:"max_rdy_count"` // the largest RDY count that nsqd accepts
	TLSv1        bool  `json:"tls_v1"`
	Deflate      bool  `json:"deflate"`
	Snappy       bool  `json:"snappy"`
	AuthRequired bool  `json:"auth_required"` // nsqd expects AUTH
}

// AuthResponse is nsqd's reply to AUTH: what nsqd knows about the secret. It is JSON, in the
// data of a response frame. [Conn.Connect] reads it by itself.
type AuthResponse struct {
	Identity        string `json:"identity"`
	IdentityUrl     string `json:"identity_url"`
	PermissionCount int64  `json:"permission_count"`
}

// Connect dials nsqd, sends IDENTIFY, switches to TLS and compression, and sends
// AUTH, as the config asks and nsqd grants. After that the delegate is called. The
// response is nil if nsqd replied to IDENTIFY with OK alone.
//
// Connect validates the options first. Errors are not wrapped, as in go-nsq: if the dial
// fails, the error is the dial's; if the handshake fails, it is an [ErrIdentify] or, if
// nsqd refuses AUTH, wraps the cause. The delegate is not called then.
// After a failure Connect may be called again; after a success it returns
// ErrAlreadyConnected. If Close was called, before Connect or meanwhile, it
// returns ErrClosing.
func (c *Conn) Connect() (*IdentifyResponse, error) {
	if err := c.cfg.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if err := c.beginConnect(cancel); err != nil {
		return nil, err
	}
	l, err := link.Dial(ctx, c.cfg.linkConfig(c.addr, c.log))
	c.cfg.warnOfClearAuth(c.log, c.addr, l, err)
	if !c.finishConnect(l) {
		if l != nil {
			l.Close(nil)
		}
		return nil, ErrClosing
	}
	if err != nil {
		return nil, bareConnectError(connectError(c.addr, "", "", err))
	}
	if auth, ok := l.Auth(); ok {
		c.log.Info("auth accepted", "identity", auth.Identity, "permissions", auth.PermissionCount)
	}
	granted, ok := l.Granted()
	if !ok {
		return nil, nil
	}
	return &IdentifyResponse{
		MaxRdyCount: granted.MaxRdyCount, TLSv1: granted.TLSv1, Deflate: granted.Deflate,
		Snappy: granted.Snappy, AuthRequired: granted.AuthRequired,
	}, nil
}

func (c *Conn) beginConnect(cancel context.CancelCauseFunc) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closing.Load():
		return ErrClosing
	case c.link != nil || c.cancel != nil:
		return ErrAlreadyConnected
	}
	c.cancel = cancel
	return nil
}

// finishConnect takes the link that a dial returned, nil if the dial failed, and
// starts it. It reports false if Close was called meanwhile; the link is not
// started then.
func (c *Conn) finishConnect(l *link.Link) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel = nil
	if c.closing.Load() {
		return false
	}
	if l == nil {
		return true
	}
	c.link = l
	if granted, ok := l.Granted(); ok {
		c.maxRDY.Store(granted.MaxRdyCount)
	}
	newConnEvents(c, l).start()
	return true
}
