package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// A Peer describes a daemon: nsqd describes itself in the IDENTIFY that it sends to
// nsqlookupd, and nsqlookupd describes itself in the response. nsqlookupd refuses
// an nsqd without address, ports or version.
type Peer struct {
	BroadcastAddress string `json:"broadcast_address"`
	Hostname         string `json:"hostname"`
	TCPPort          int    `json:"tcp_port"`
	HTTPPort         int    `json:"http_port"`
	Version          string `json:"version"`
	TopologyRegion   string `json:"topology_region,omitempty"`
	TopologyZone     string `json:"topology_zone,omitempty"`
}

// AppendPeerIdentify appends the IDENTIFY that nsqd sends to nsqlookupd.
func AppendPeerIdentify(dst []byte, p *Peer) ([]byte, error) {
	return appendIdentify(dst, p)
}

// AppendPeerResponse appends nsqlookupd's response to that IDENTIFY.
func AppendPeerResponse(dst []byte, p *Peer) ([]byte, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return dst, fmt.Errorf("wire: %w", err)
	}
	return appendBody(dst, data), nil
}

// ParsePeer reads the body of that IDENTIFY, or the data of the response.
func ParsePeer(data []byte) (Peer, error) {
	var p Peer
	if err := parseObject(data, &p); err != nil {
		return Peer{}, fmt.Errorf("wire: peer: %w", err)
	}
	return p, nil
}

// AppendRegister appends REGISTER for nsqlookupd. The channel may be empty.
func AppendRegister(dst []byte, topic, channel string) []byte {
	return appendLookupd(dst, CmdRegister, topic, channel)
}

// AppendUnregister appends UNREGISTER for nsqlookupd. The channel may be empty.
func AppendUnregister(dst []byte, topic, channel string) []byte {
	return appendLookupd(dst, CmdUnregister, topic, channel)
}

// AppendPing appends PING, which tells nsqlookupd that nsqd is alive.
func AppendPing(dst []byte) []byte { return append(dst, CmdPing+"\n"...) }

func appendLookupd(dst []byte, name, topic, channel string) []byte {
	if channel == "" {
		return appendLine(dst, name, topic)
	}
	return appendLine(dst, name, topic, channel)
}

// AppendLookupdResponse appends a response of nsqlookupd's TCP protocol: a length
// and the data, without a frame type.
func AppendLookupdResponse(dst []byte, data string) []byte {
	return append(AppendBodyHead(dst, len(data)), data...)
}

// ParseLookupdResponse reads the response of nsqlookupd's TCP protocol at the
// front of b and returns how many bytes it takes.
func ParseLookupdResponse(b []byte) (data []byte, n int, err error) {
	if len(b) < 4 {
		return nil, 0, ErrShort
	}
	size := binary.BigEndian.Uint32(b)
	switch {
	case size == httpSize:
		return nil, 0, ErrHTTP
	case size > MaxControl:
		return nil, 0, fmt.Errorf("%w: response of %d bytes", ErrFrame, size)
	case len(b)-4 < int(size):
		return nil, 0, ErrShort
	}
	n = 4 + int(size)
	return b[4:n:n], n, nil
}
