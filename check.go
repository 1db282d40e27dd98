package nsq

import (
	"context"
	"time"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

// NSQDInfo is what [CheckNSQD] has learnt from an nsqd. For an nsqd that negotiates
// nothing, all but Addr and RoundTrip is zero. nsqd does not tell its max-msg-size.
type NSQDInfo struct { //nolint:revive // NSQD is a name, and a prefix only by chance
	Addr    string // as given to CheckNSQD
	Version string

	TLS         string // the version in use, such as "TLS 1.3"; empty without
	Compression string // what is in use: "snappy", "deflate" or empty

	MaxRDY        int           // the largest RDY count that nsqd accepts: its max-rdy-count
	MsgTimeout    time.Duration // the lease of a message under this Config
	MaxMsgTimeout time.Duration // the longest lease that TOUCH can ask for
	AuthRequired  bool          // nsqd asks for auth_secret, and has accepted it

	RoundTrip time.Duration // from IDENTIFY to nsqd's reply
}

// CheckNSQD connects to an nsqd as a Consumer or Producer with this Config would, and
// disconnects: it dials, sends IDENTIFY, switches to TLS and compression, and sends AUTH,
// as the Config asks and nsqd grants. It neither subscribes nor publishes, so it creates
// no topic or channel. Programs call it when they start, to find a wrong address or option
// before anything depends on it.
//
// The address is host:port, or unix: and a path. ctx bounds the check, besides
// dial_timeout and read_timeout. A mistake in the Config is returned as [Config.Validate]
// returns it, before anything is dialled. All other errors name the address, and errors.Is
// and errors.As find in them:
//
//   - the dial's error, such as a *net.OpError, or ctx's cause;
//   - an [ErrIdentify] if the handshake fails, within it [ErrTLSRefused], an error of
//     package crypto/tls or crypto/x509, or a [*ProtocolError];
//   - a [*ProtocolError] if nsqd refuses AUTH.
//
// CheckNSQD logs to Config.Logger, if there is one. It may be called from any goroutine. It
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

// leave ends a link in good order: nsqd logs an error for a connection that just breaks
// off. It waits until nsqd has closed it too, for a second at most, and no longer than
// ctx.
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
