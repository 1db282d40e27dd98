package wire

import (
	"errors"
	"testing"
)

const (
	goldenIdentify = `{"client_id":"c","hostname":"","user_agent":"","feature_negotiation":true,` +
		`"heartbeat_interval":30000,"output_buffer_size":0,"output_buffer_timeout":0,"tls_v1":false,` +
		`"snappy":false,"deflate":false,"deflate_level":0,"sample_rate":0,"msg_timeout":0}`
	goldenResponseJSON = `{"max_rdy_count":2500,"version":"1.3.0","max_msg_timeout":900000,"msg_timeout":60000,` +
		`"tls_v1":true,"deflate":false,"deflate_level":6,"max_deflate_level":6,"snappy":true,"sample_rate":7,` +
		`"auth_required":true,"output_buffer_size":16384,"output_buffer_timeout":250}`
	goldenAuthJSON = `{"identity":"jo","identity_url":"http://auth/jo","permission_count":1}`
)

var (
	goldenResponse = IdentifyResponse{
		MaxRdyCount:         2500,
		Version:             "1.3.0",
		MaxMsgTimeout:       900000,
		MsgTimeout:          60000,
		TLSv1:               true,
		DeflateLevel:        6,
		MaxDeflateLevel:     6,
		Snappy:              true,
		SampleRate:          7,
		AuthRequired:        true,
		OutputBufferSize:    16384,
		OutputBufferTimeout: 250,
	}
	goldenAuth = AuthResponse{Identity: "jo", IdentityURL: "http://auth/jo", PermissionCount: 1}
)

func TestIdentifyRoundTrip(t *testing.T) {
	want := Identify{
		ClientID:            "c",
		Hostname:            `a host with "quotes" & <brackets>`,
		UserAgent:           "nsq/1.0",
		ShortID:             "c",
		LongID:              "h",
		FeatureNegotiation:  true,
		HeartbeatInterval:   -1,
		OutputBufferSize:    -1,
		OutputBufferTimeout: -1,
		TLSv1:               true,
		Snappy:              true,
		Deflate:             true,
		DeflateLevel:        9,
		SampleRate:          99,
		MsgTimeout:          1000,
		TopologyRegion:      "eu",
		TopologyZone:        "eu-1",
	}
	c, _, err := ParseCommand(must(AppendIdentify(nil, &want)), DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseIdentify(c.Body); err != nil || got != want {
		t.Errorf("got  %+v, error %v\nwant %+v", got, err, want)
	}
}

func TestParseIdentify(t *testing.T) {
	tests := []struct {
		body string
		want Identify
		ok   bool
	}{
		{body: `{}`, ok: true},
		{body: `null`, ok: true}, // nsqd uses all its defaults
		{body: `{"client_id":"c","new_in_some_version":[1,2]}`, want: Identify{ClientID: "c"}, ok: true},
		{body: `{"heartbeat_interval":30000}`, want: Identify{HeartbeatInterval: 30000}, ok: true},
		{body: `{"heartbeat_interval":30000.0}`},
		{body: `{"heartbeat_interval":"30000"}`},
		{body: `{"tls_v1":1}`},
		{body: `{"sample_rate":4294967296}`},
		{body: `{"client_id":7}`},
		{body: `{"client_id":"c"`},
		{body: `{} {}`},
		{body: `[]`},
		{body: `"OK"`},
		{body: ``},
	}
	for _, tt := range tests {
		got, err := ParseIdentify([]byte(tt.body))
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%s: got %+v, error %v; want %+v, ok %v", tt.body, got, err, tt.want, tt.ok)
		}
	}
}

func TestParseIdentifyResponse(t *testing.T) {
	tests := []struct {
		data       string
		want       IdentifyResponse
		negotiated bool
		ok         bool
	}{
		{data: `OK`, ok: true},
		{data: `{}`, negotiated: true, ok: true},
		{data: goldenResponseJSON, want: goldenResponse, negotiated: true, ok: true},
		{
			data:       `{"msg_timeout":60000,"topology_region":"eu","topology_zone":"eu-1","unknown":null}`,
			want:       IdentifyResponse{MsgTimeout: 60000, TopologyRegion: "eu", TopologyZone: "eu-1"},
			negotiated: true, ok: true,
		},
		{data: ``},
		{data: `null`},
		{data: `OK `},
		{data: `O`},
		{data: `true`},
		{data: `[]`},
		{data: `"OK"`},
		{data: `{`},
		{data: `{"max_rdy_count":"2500"}`},
		{data: `{"max_rdy_count":2500.5}`},
		{data: `{"max_rdy_count":9223372036854775808}`},
		{data: `{"tls_v1":1}`},
		{data: `{"version":1.3}`},
		{data: `{"auth_required":"yes"}`},
		{data: `{}garbage`},
	}
	for _, tt := range tests {
		got, negotiated, err := ParseIdentifyResponse([]byte(tt.data))
		if got != tt.want || negotiated != tt.negotiated || (err == nil) != tt.ok {
			t.Errorf("%s: got %+v, negotiated %v, error %v; want %+v, %v, ok %v",
				tt.data, got, negotiated, err, tt.want, tt.negotiated, tt.ok)
		}
	}
}

func TestIdentifyResponseTruncated(t *testing.T) {
	for i := range len(goldenResponseJSON) {
		if r, negotiated, err := ParseIdentifyResponse([]byte(goldenResponseJSON[:i])); err == nil {
			t.Errorf("first %d bytes: got %+v, negotiated %v; want an error", i, r, negotiated)
		}
	}
}

func TestParseAuthResponse(t *testing.T) {
	tests := []struct {
		data string
		want AuthResponse
		ok   bool
	}{
		{data: goldenAuthJSON, want: goldenAuth, ok: true},
		{data: `{"permission_count":3}`, want: AuthResponse{PermissionCount: 3}, ok: true},
		{data: `OK`},
		{data: ``},
		{data: `null`},
		{data: `{"identity":null}`, ok: true},
		{data: `{"identity":7}`},
		{data: `{"permission_count":"1"}`},
		{data: goldenAuthJSON[:len(goldenAuthJSON)-1]},
	}
	for _, tt := range tests {
		got, err := ParseAuthResponse([]byte(tt.data))
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%s: got %+v, error %v; want %+v, ok %v", tt.data, got, err, tt.want, tt.ok)
		}
	}
}

// TestNotAnObject: a reply that is not a JSON object is a malformed frame, and
// errors.Is finds that.
func TestNotAnObject(t *testing.T) {
	if _, _, err := ParseIdentifyResponse(nil); !errors.Is(err, ErrFrame) {
		t.Errorf("IDENTIFY: %v, want ErrFrame", err)
	}
	if _, err := ParseAuthResponse([]byte("null")); !errors.Is(err, ErrFrame) {
		t.Errorf("AUTH: %v, want ErrFrame", err)
	}
}
