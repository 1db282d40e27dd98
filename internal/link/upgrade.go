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

// upgrade puts TLS and compression between the link and its socket, as far as nsqd
// granted them. At each step nsqd discards what it has read ahead, so nothing may be
// sent until it has said OK on the new stream.
func (h *handshake) upgrade(ctx context.Context) (op string, err error) {
	wanted, granted := &h.cfg.Identify, &h.granted
	if wanted.TLSv1 {
		if !granted.TLSv1 {
			return OpTLS, ErrTLSRefused
		}
		if err := h.startTLS(ctx); err != nil {
			return OpTLS, err
		}
	}
	switch {
	case wanted.Snappy && granted.Snappy:
		h.compression = OpSnappy
	case wanted.Deflate && granted.Deflate:
		h.compression = OpDeflate
	default:
		return OpIdentify, nil
	}
	return h.compression, h.startCompression()
}

func (h *handshake) startTLS(ctx context.Context) error {
	secure := tls.Client(h.endStream(), h.tlsConfig())
	if err := secure.HandshakeContext(ctx); err != nil {
		return err
	}
	h.in.src, h.out, h.tls = secure, secure, secure
	return h.expectOK()
}

// tlsConfig returns a copy of the owner's config, completed for this connection.
func (h *handshake) tlsConfig() *tls.Config {
	cfg := &tls.Config{} // #nosec G402 -- Go's default minimum version
	if h.cfg.TLS != nil {
		cfg = h.cfg.TLS.Clone()
	}
	if h.cfg.RenewTLS != nil {
		h.cfg.RenewTLS(cfg)
	}
	if cfg.ServerName == "" && !strings.HasPrefix(h.cfg.Addr, "unix:") {
		// The name is set even if TLS itself verifies nothing: the owner's
		// VerifyConnection may use it. A unix: address has no host: unless the owner
		// gives a name, TLS fails with an error that asks for one.
		cfg.ServerName, _, _ = net.SplitHostPort(h.cfg.Addr)
	}
	// Small first records let a browser start on a page early. Here they would only
	// cost system calls.
	cfg.DynamicRecordSizingDisabled = true
	return cfg
}

func (h *handshake) startCompression() error {
	out, err := newEncoder(h.out, h.compression, h.cfg.Identify.DeflateLevel)
	if err != nil {
		return err
	}
	h.in.src, h.out = newDecoder(h.endStream(), h.compression), out
	return h.expectOK()
}

// expectOK reads the OK with which nsqd begins a new stream.
func (h *handshake) expectOK() error {
	data, err := h.readReply()
	if err == nil && string(data) != wire.OK {
		err = fmt.Errorf("%w to the upgrade: %.200q", ErrUnexpectedReply, data)
	}
	return err
}

// An upgradeReader is what a new stream reads from: first what the link has read
// ahead on the old stream, then the old stream's source. It skips the heartbeats
// that nsqd still sent on the old stream, and owes a NOP for them:
//
//  1. nsqd replies to IDENTIFY, or says OK on a new stream. The link goes on to the
//     next upgrade.
//  2. A heartbeat is due before nsqd has changed over. nsqd sends it on the old stream.
//  3. Without the skip, TLS or the decompressor would mistake the heartbeat for the
//     beginning of its stream, and fail.
//
// The skip is safe since neither TLS nor a compressed stream can begin like a heartbeat.
type upgradeReader struct {
	*conn
	h       *handshake
	src     io.Reader // the old stream's source
	ahead   []byte    // read from src and not yet returned by Read
	skipped bool      // the heartbeats were removed from ahead
}

// endStream ends the stream that the handshake is reading, and returns a reader of the
// rest.
func (h *handshake) endStream() *upgradeReader {
	return &upgradeReader{conn: h.conn, h: h, src: h.in.src, ahead: h.in.takeUnparsed()}
}

func (u *upgradeReader) Read(p []byte) (int, error) {
	if !u.skipped {
		if err := u.skipHeartbeats(); err != nil {
			return 0, err
		}
		u.skipped = true
	}
	if len(u.ahead) > 0 {
		n := copy(p, u.ahead)
		u.ahead = u.ahead[n:]
		return n, nil
	}
	return u.src.Read(p)
}

var heartbeatFrame = wire.AppendResponse(nil, wire.Heartbeat)

// skipHeartbeats removes heartbeats from ahead. It reads until ahead cannot begin with
// another.
func (u *upgradeReader) skipHeartbeats() error {
	for {
		switch {
		case bytes.HasPrefix(u.ahead, heartbeatFrame):
			u.ahead = u.ahead[len(heartbeatFrame):]
			u.h.owesNop = true
		case bytes.HasPrefix(heartbeatFrame, u.ahead): // a part of one, or nothing
			u.ahead = slices.Grow(u.ahead, len(heartbeatFrame))
			n, err := u.src.Read(u.ahead[len(u.ahead):cap(u.ahead)])
			u.ahead = u.ahead[:len(u.ahead)+n]
			if err != nil && n == 0 {
				return err
			}
		default:
			return nil
		}
	}
}
