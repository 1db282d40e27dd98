package link

import (
	"crypto/tls"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// A session is what the handshake has agreed on with nsqd.
type session struct {
	granted     wire.IdentifyResponse // empty unless negotiated
	negotiated  bool                  // nsqd replied to IDENTIFY with more than OK
	tls         *tls.Conn             // nil without TLS
	compression string                // OpSnappy, OpDeflate or empty
	auth        *wire.AuthResponse    // nil if nsqd did not ask for AUTH
	roundTrip   time.Duration         // nsqd took so long to reply to IDENTIFY
}

// inRange returns what nsqd granted with limits that the client can reckon with. A
// limit below 0 stands for none, as 0 does. Counts fit an int everywhere, and timeouts,
// in milliseconds, 32 bits: that is seven weeks.
func inRange(r wire.IdentifyResponse) wire.IdentifyResponse {
	const most31, most32 = 1<<31 - 1, 1<<32 - 1
	r.MaxRdyCount = min(max(r.MaxRdyCount, 0), most31)
	r.MsgTimeout = min(max(r.MsgTimeout, 0), most32)
	r.MaxMsgTimeout = min(max(r.MaxMsgTimeout, 0), most32)
	return r
}

// Granted returns nsqd's reply to IDENTIFY, with limits as inRange makes them. If nsqd only
// said OK, r is empty and ok is false.
func (s *session) Granted() (r wire.IdentifyResponse, ok bool) { return s.granted, s.negotiated }

// Auth returns nsqd's reply to AUTH. ok is false when nsqd did not ask for AUTH.
func (s *session) Auth() (r wire.AuthResponse, ok bool) {
	if s.auth == nil {
		return r, false
	}
	return *s.auth, true
}

// RoundTrip returns how long nsqd took to reply to IDENTIFY.
func (s *session) RoundTrip() time.Duration { return s.roundTrip }

// Transport says how a link is connected.
type Transport struct {
	TLS         string // its version, such as "TLS 1.3"; empty without TLS
	CipherSuite string // of TLS
	Compression string // "snappy", "deflate" or empty
	Version     string // nsqd's; empty if it did not negotiate
}

// Transport returns how the link is connected.
func (s *session) Transport() Transport {
	t := Transport{Compression: s.compression, Version: s.granted.Version}
	if s.tls != nil {
		state := s.tls.ConnectionState()
		t.TLS, t.CipherSuite = tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite)
	}
	return t
}
