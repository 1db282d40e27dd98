package nsq

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

// needsPerson reports whether a dial failed in a way that does not pass by itself: nsqd
// refused the client or its options, TLS or AUTH failed, or the address is invalid. err is
// what connectError returned.
func needsPerson(err error) bool {
	if refusal, ok := errors.AsType[*ProtocolError](err); ok {
		return wire.Code(refusal.Code) != wire.SubFailed // the topic is being deleted
	}
	if errors.Is(err, link.ErrAuthRequired) {
		return true
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok { // from nsqd; also a net.Error
		return true
	}
	if _, ok := errors.AsType[*net.AddrError](err); ok { // such as a missing port; also a net.Error
		return true
	}
	if _, ok := errors.AsType[ErrIdentify](err); !ok {
		return false
	}
	_, network := errors.AsType[net.Error](err)
	return !network && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, link.ErrHandshakeTimeout)
}

// dialTrouble returns the kind that tells failures of dials apart in the log: the code of
// nsqd's error, or whether the failure needs a person.
func dialTrouble(err error) string {
	if refusal, ok := errors.AsType[*ProtocolError](err); ok {
		return refusal.Code[:min(len(refusal.Code), len(wire.IdentifyFailed))] // the longest
	}
	if needsPerson(err) {
		return "refused"
	}
	return ""
}

// logDialFailed logs that a dial has failed. first is true if it is the first failure in a
// row. What a person must fix is logged as an error each time, anything else as an error
// the first time and then as a warning.
func logDialFailed(log *slog.Logger, err error, first bool, args ...any) {
	level := slog.LevelWarn
	if first || needsPerson(err) {
		level = slog.LevelError
	}
	how := repeatable{Context: context.Background(), kind: dialTrouble(err), begins: first, recovery: connectedText}
	log.Log(how, level, "not connected to nsqd", append(args, "err", err)...)
}

// connectedText is what a Consumer logs of a new connection.
const connectedText = "connected to nsqd"

// warnOfClearAuth warns, once for each nsqd, that a dial has sent the secret over the
// network unencrypted, whether or not nsqd accepted it. l and err are what link.Dial
// returned.
func (c *Config) warnOfClearAuth(log *slog.Logger, addr string, l *link.Link, err error) {
	sent := false
	if err == nil {
		_, sent = l.Auth()
	} else if failed, ok := errors.AsType[*link.Error](err); ok {
		sent = failed.Op == link.OpAuth && !errors.Is(err, link.ErrAuthRequired)
	}
	if sent && !c.TlsV1 && !strings.HasPrefix(addr, "unix:") {
		log.WarnContext(repeatable{Context: context.Background(), once: true},
			"auth_secret was sent to nsqd in clear; set tls_v1", "nsqd", addr)
	}
}
