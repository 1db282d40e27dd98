package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/rdyhq/nsq/internal/wire"
)

// upgrade puts TLS and compression between the link and its socket, as far as
// nsqd granted them. At each step nsqd throws away what it had read ahead, so
// nothing may be sent before it has said OK on the new stream.
func (l *Link) upgrade(ctx context.Context) (op string, err error) {
	wanted, granted := &l.cfg.Identify, &l.granted
	if wanted.TLSv1 {
		if !granted.TLSv1 {
			return OpTLS, ErrTLSRefused
		}
		if err := l.startTLS(ctx); err != nil {
			return OpTLS, err
		}
	}
	switch {
	case wanted.Snappy && granted.Snappy:
		l.compression = OpSnappy
	case wanted.Deflate && granted.Deflate:
		l.compression = OpDeflate
	default:
		return OpIdentify, nil
	}
	return l.compression, l.startCompression()
}

func (l *Link) startTLS(ctx context.Context) error {
	secure := tls.Client(l.cross(), l.tlsConfig())
	if err := secure.HandshakeContext(ctx); err != nil {
		return err
	}
	l.in.src, l.out, l.tls = secure, secure, secure
	return l.expectOK()
}

// tlsConfig is the owner's, made fit for this connection.
func (l *Link) tlsConfig() *tls.Config {
	cfg := &tls.Config{} // #nosec G402 -- Go's default of the oldest version
	if l.cfg.TLS != nil {
		cfg = l.cfg.TLS.Clone()
	}
	if cfg.ServerName == "" && !strings.HasPrefix(l.cfg.Addr, "unix:") {
		// Also where nothing is verified by TLS itself: the owner's own
		// VerifyConnection may go by it. A unix: address has no host; TLS then
		// says that it needs a name.
		cfg.ServerName, _, _ = net.SplitHostPort(l.cfg.Addr)
	}
	// Small records at first help those who can show the beginning of a page.
	// Here each record is a system call.
	cfg.DynamicRecordSizingDisabled = true
	return cfg
}

func (l *Link) startCompression() error {
	out, err := newEncoder(l.out, l.compression, l.cfg.Identify.DeflateLevel)
	if err != nil {
		return err
	}
	l.in.src, l.out = newDecoder(l.cross(), l.compression), out
	return l.expectOK()
}

// expectOK reads nsqd's first words on a new stream.
func (l *Link) expectOK() error {
	data, err := l.await()
	if err == nil && string(data) != wire.OK {
		err = fmt.Errorf("%w to the upgrade: %q", ErrUnexpectedReply, data)
	}
	return err
}

// A upgradeReader is the socket where one stream ends and another begins. Reading
// starts with what the link has read ahead. Heartbeats that nsqd sent before it
// changed over are passed over, and owed: neither TLS nor a compressed stream
// can begin like one.
type upgradeReader struct {
	*conn
	link  *Link
	src   io.Reader // below the new stream
	ahead []byte
	begun bool
}

// cross ends the stream that the link reads now.
func (l *Link) cross() *upgradeReader {
	return &upgradeReader{conn: l.conn, link: l, src: l.in.src, ahead: l.in.takeUnparsed()}
}

func (c *upgradeReader) Read(p []byte) (int, error) {
	if !c.begun {
		if err := c.skipHeartbeats(); err != nil {
			return 0, err
		}
		c.begun = true
	}
	if len(c.ahead) > 0 {
		n := copy(p, c.ahead)
		c.ahead = c.ahead[n:]
		return n, nil
	}
	return c.src.Read(p)
}

var heartbeatFrame = wire.AppendResponse(nil, wire.Heartbeat)

// skipHeartbeats reads until what comes cannot be a heartbeat.
func (c *upgradeReader) skipHeartbeats() error {
	for {
		switch {
		case bytes.HasPrefix(c.ahead, heartbeatFrame):
			c.ahead = c.ahead[len(heartbeatFrame):]
			c.link.owed++
		case bytes.HasPrefix(heartbeatFrame, c.ahead): // a part of one, or nothing
			c.ahead = slices.Grow(c.ahead, len(heartbeatFrame))
			n, err := c.src.Read(c.ahead[len(c.ahead):cap(c.ahead)])
			c.ahead = c.ahead[:len(c.ahead)+n]
			if err != nil && n == 0 {
				return err
			}
		default:
			return nil
		}
	}
}
