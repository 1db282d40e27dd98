package nsq

import (
	"context"
	"time"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

// NSQDInfo is what [CheckNSQD] learned about an nsqd. If nsqd does not negotiate features,
// all fields but Addr and RoundTrip are zero. nsqd does not report its max-msg-size.
type NSQDInfo struct { //nolint:revive // NSQD is a name, and a prefix only by chance
	Addr    string // as given to CheckNSQD
	Version string

	TLS         string // the version in use, such as "TLS 1.3"; empty without TLS
	Compression string // the compression in use: "snappy", "deflate" or empty

	MaxRDY        int           // the largest RDY count that nsqd accepts: its max-rdy-count
	MsgTimeout    time.Duration // the lease of a message under this Config
	MaxMsgTimeout time.Duration // the longest that TOUCH can extend a lease to, from the delivery on
	AuthRequired  bool          // nsqd asks for auth_secret, and has accepted it

	RoundTrip time.Duration // from IDENTIFY to nsqd's reply
}

// CheckNSQD connects to an nsqd as a Consumer or Producer with this Config would, and
// disconnects. It dials, sends IDENTIFY, switches to TLS and compression, and sends AUTH,
// as far as the Config asks for it and nsqd grants it. It neither subscribes nor publishes,
// so it creates no topic or channel. Call it when a program starts, to find a wrong address
// or option before anything depends on it.
//
// The address is host:port, or unix: and a path. ctx bounds the check, and so do
// dial_timeout and read_timeout. A mistake in the Config is reported before the dial, with
// the error of [Config.Validate]. All other errors name the address and wrap one of:
//
//   - the dial's error, such as a *net.OpError, or the cause of ctx's end;
//   - an [ErrIdentify] if the handshake fails, which may wrap [ErrTLSRefused], an error of
//     package crypto/tls or crypto/x509, or a [*ProtocolError];
//   - a [*ProtocolError] if nsqd refuses AUTH.
//
// CheckNSQD logs to Config.Logger if that is set. It may be called from any goroutine. It
// panics if the Config was not made by [NewConfig].
func CheckNSQD(ctx context.Context, addr string, config *Config) (NSQDInfo, error) {
	if err := config.Validate(); err != nil {
		return NSQDInfo{}, err
	}
	log := newConnLogs(config.Logger).logger
	l, err := link.Dial(ctx, config.linkConfig(addr, log))
	config.warnOfClearAuth(log, addr, l, err)
	if err != nil {
		return NSQDInfo{}, connectError(addr, "", "", err)
	}
	leave(ctx, l)
	granted, _ := l.Granted()
	how := l.Transport()
	return NSQDInfo{
		Addr: addr, Version: how.Version, TLS: how.TLS, Compression: how.Compression,
		MaxRDY: int(granted.MaxRdyCount), MsgTimeout: fromMilliseconds(granted.MsgTimeout),
		MaxMsgTimeout: fromMilliseconds(granted.MaxMsgTimeout), AuthRequired: granted.AuthRequired,
		RoundTrip: l.RoundTrip(),
	}, nil
}

// leave closes a link gracefully, because nsqd logs an error for a connection that breaks
// off. It waits until nsqd has closed the link as well, for at most a second and no longer
// than ctx.
func leave(ctx context.Context, l *link.Link) {
	left := make(leaving)
	l.Start(left)
	l.Drain()
	select {
	case <-left:
	case <-ctx.Done():
		l.Close(nil)
		<-left
	}
}

// leaving is the receiver of a link that is being left. It is closed when the link has
// ended.
type leaving chan struct{}

func (leaving) Messages([]wire.Message)  {}
func (leaving) TooBig(wire.Message, int) {}
func (leaving) Failed(*wire.Error)       {}
func (l leaving) Down(error)             { close(l) }
