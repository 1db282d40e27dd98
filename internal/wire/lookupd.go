package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// A Peer is what nsqd says of itself when it introduces itself to nsqlookupd,
// and what nsqlookupd answers of its own. nsqlookupd refuses an nsqd without
// address, ports or version.
type Peer struct {
	BroadcastAddress string `json:"broadcast_address"`
	Hostname         string `json:"hostname"`
	TCPPort          int    `json:"tcp_port"`
	HTTPPort         int    `json:"http_port"`
	Version          string `json:"version"`
	TopologyRegion   string `json:"topology_region,omitempty"`
	TopologyZone     string `json:"topology_zone,omitempty"`
}

// AppendPeerIdentify adds the IDENTIFY that nsqd sends to nsqlookupd.
func AppendPeerIdentify(dst []byte, p *Peer) ([]byte, error) {
	return appendIdentify(dst, p)
}

// AppendPeerReply adds nsqlookupd's answer to that IDENTIFY.
func AppendPeerReply(dst []byte, p *Peer) ([]byte, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return dst, fmt.Errorf("wire: %w", err)
	}
	return appendBody(dst, data), nil
}

// ParsePeer reads the body of that IDENTIFY, or the data of the answer to it.
func ParsePeer(data []byte) (Peer, error) {
	var p Peer
	if err := parseObject(data, &p); err != nil {
		return Peer{}, fmt.Errorf("wire: peer: %w", err)
	}
	return p, nil
}

// AppendRegister adds REGISTER for nsqlookupd; the channel may be empty.
func AppendRegister(dst []byte, topic, channel string) []byte {
	return appendLookupd(dst, CmdRegister, topic, channel)
}

// AppendUnregister adds UNREGISTER for nsqlookupd; the channel may be empty.
func AppendUnregister(dst []byte, topic, channel string) []byte {
	return appendLookupd(dst, CmdUnregister, topic, channel)
}

// AppendPing adds PING, nsqd's sign of life to nsqlookupd.
func AppendPing(dst []byte) []byte { return append(dst, CmdPing+"\n"...) }

func appendLookupd(dst []byte, name, topic, channel string) []byte {
	if channel == "" {
		return appendLine(dst, name, topic)
	}
	return appendLine(dst, name, topic, channel)
}

// AppendLookupdReply adds an answer of nsqlookupd's TCP protocol: a length and
// the data, without a frame type.
func AppendLookupdReply(dst []byte, data string) []byte {
	return append(AppendBodyHead(dst, len(data)), data...)
}

// ParseLookupdReply reads an answer of nsqlookupd's TCP protocol at the front
// of b and returns how many bytes it took.
func ParseLookupdReply(b []byte) (data []byte, n int, err error) {
	if len(b) < 4 {
		return nil, 0, ErrShort
	}
	size := binary.BigEndian.Uint32(b)
	switch {
	case size == httpSize:
		return nil, 0, ErrHTTP
	case size > MaxControl:
		return nil, 0, fmt.Errorf("%w: reply of %d bytes", ErrFrame, size)
	case len(b)-4 < int(size):
		return nil, 0, ErrShort
	}
	n = 4 + int(size)
	return b[4:n:n], n, nil
}
