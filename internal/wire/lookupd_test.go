package wire

import (
	"errors"
	"testing"
)

const goldenPeerJSON = `{"broadcast_address":"a","hostname":"h","tcp_port":4150,"http_port":4151,"version":"1.3.0"}`

var goldenPeer = Peer{BroadcastAddress: "a", Hostname: "h", TCPPort: 4150, HTTPPort: 4151, Version: "1.3.0"}

func TestParsePeer(t *testing.T) {
	tests := []struct {
		data string
		want Peer
		ok   bool
	}{
		{data: goldenPeerJSON, want: goldenPeer, ok: true},
		{
			data: `{"tcp_port":1,"topology_region":"eu","topology_zone":"eu-1","unknown":{}}`,
			want: Peer{TCPPort: 1, TopologyRegion: "eu", TopologyZone: "eu-1"},
			ok:   true,
		},
		{data: ``},
		{data: `OK`},
		{data: `null`},
		{data: `{"tcp_port":"4150"}`},
		{data: goldenPeerJSON[:len(goldenPeerJSON)-1]},
	}
	for _, tt := range tests {
		got, err := ParsePeer([]byte(tt.data))
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%s: got %+v, error %v; want %+v, ok %v", tt.data, got, err, tt.want, tt.ok)
		}
	}
}

func TestParseLookupdResponseHostile(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"negative size", []byte("\xff\xff\xff\xfe"), ErrFrame},
		{"largest size", []byte("\xff\xff\xff\xff"), ErrFrame},
		{"one over the limit", []byte("\x00\x01\x00\x01"), ErrFrame},
		{"at the limit", []byte("\x00\x01\x00\x00"), ErrShort},
		{"HTTP", []byte("HTTP/1.1 400 Bad Request\r\n"), ErrHTTP},
	}
	for _, tt := range tests {
		data, n, err := ParseLookupdResponse(tt.in)
		if !errors.Is(err, tt.want) || n != 0 || data != nil {
			t.Errorf("%s: got %q, took %d, error %v; want %v", tt.name, data, n, err, tt.want)
		}
	}
}
