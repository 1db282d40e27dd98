package wire

import (
	"encoding/json"
	"fmt"
)

// Identify is the body of IDENTIFY: who the client is and what it asks of the
// connection. Durations are in milliseconds; 0 selects nsqd's default.
type Identify struct {
	ClientID            string `json:"client_id"`
	Hostname            string `json:"hostname"`
	UserAgent           string `json:"user_agent"`
	ShortID             string `json:"short_id,omitempty"` // client_id, for nsqd before 0.2.20
	LongID              string `json:"long_id,omitempty"`  // hostname, likewise
	FeatureNegotiation  bool   `json:"feature_negotiation"`
	HeartbeatInterval   int64  `json:"heartbeat_interval"`    // -1 switches heartbeats off
	OutputBufferSize    int64  `json:"output_buffer_size"`    // bytes; -1 for no buffer
	OutputBufferTimeout int64  `json:"output_buffer_timeout"` // -1 for no timed flush
	TLSv1               bool   `json:"tls_v1"`
	Snappy              bool   `json:"snappy"`
	Deflate             bool   `json:"deflate"`
	DeflateLevel        int    `json:"deflate_level"`
	SampleRate          int32  `json:"sample_rate"`
	MsgTimeout          int64  `json:"msg_timeout"`
	TopologyRegion      string `json:"topology_region,omitempty"`
	TopologyZone        string `json:"topology_zone,omitempty"`
}

// IdentifyResponse is nsqd's reply to an IDENTIFY that asks for feature
// negotiation: the features it grants and the limits it sets.
type IdentifyResponse struct {
	MaxRdyCount         int64  `json:"max_rdy_count"`
	Version             string `json:"version"`
	MaxMsgTimeout       int64  `json:"max_msg_timeout"` // milliseconds
	MsgTimeout          int64  `json:"msg_timeout"`     // milliseconds
	TLSv1               bool   `json:"tls_v1"`
	Deflate             bool   `json:"deflate"`
	DeflateLevel        int    `json:"deflate_level"`
	MaxDeflateLevel     int    `json:"max_deflate_level"`
	Snappy              bool   `json:"snappy"`
	SampleRate          int32  `json:"sample_rate"`
	AuthRequired        bool   `json:"auth_required"`
	OutputBufferSize    int64  `json:"output_buffer_size"`
	OutputBufferTimeout int64  `json:"output_buffer_timeout"`
	TopologyRegion      string `json:"topology_region,omitempty"`
	TopologyZone        string `json:"topology_zone,omitempty"`
}

// AuthResponse is nsqd's reply to AUTH.
type AuthResponse struct {
	Identity        string `json:"identity"`
	IdentityURL     string `json:"identity_url"`
	PermissionCount int64  `json:"permission_count"`
}

// AppendIdentify appends IDENTIFY.
func AppendIdentify(dst []byte, id *Identify) ([]byte, error) {
	return appendIdentify(dst, id)
}

// ParseIdentify reads the body of IDENTIFY. Like nsqd, it ignores unknown
// fields.
func ParseIdentify(body []byte) (Identify, error) {
	var id Identify
	if err := json.Unmarshal(body, &id); err != nil {
		return Identify{}, fmt.Errorf("wire: IDENTIFY: %w", err)
	}
	return id, nil
}

// ParseIdentifyResponse reads the reply to IDENTIFY. If nsqd does not negotiate
// it replies OK, and negotiated is false. A reply that is neither OK nor a JSON
// object is an error.
func ParseIdentifyResponse(data []byte) (r IdentifyResponse, negotiated bool, err error) {
	if string(data) == OK {
		return r, false, nil
	}
	if err := parseObject(data, &r); err != nil {
		return IdentifyResponse{}, false, fmt.Errorf("wire: reply to IDENTIFY: %w", err)
	}
	return r, true, nil
}

// AppendIdentifyResponse appends the reply to IDENTIFY as a response frame.
func AppendIdentifyResponse(dst []byte, r *IdentifyResponse) ([]byte, error) {
	return appendJSON(dst, r)
}

// ParseAuthResponse reads the reply to AUTH.
func ParseAuthResponse(data []byte) (AuthResponse, error) {
	var r AuthResponse
	if err := parseObject(data, &r); err != nil {
		return AuthResponse{}, fmt.Errorf("wire: reply to AUTH: %w", err)
	}
	return r, nil
}

// AppendAuthResponse appends the reply to AUTH as a response frame.
func AppendAuthResponse(dst []byte, r *AuthResponse) ([]byte, error) {
	return appendJSON(dst, r)
}

// parseObject is json.Unmarshal for objects only. Unmarshal itself accepts null
// and leaves v unchanged.
func parseObject(data []byte, v any) error {
	if len(data) == 0 || data[0] != '{' {
		return fmt.Errorf("%w: want a JSON object", ErrFrame)
	}
	return json.Unmarshal(data, v)
}

func appendIdentify(dst []byte, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return dst, fmt.Errorf("wire: IDENTIFY: %w", err)
	}
	return appendBody(append(dst, CmdIdentify+"\n"...), body), nil
}

func appendJSON(dst []byte, v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return dst, fmt.Errorf("wire: %w", err)
	}
	return AppendFrame(dst, FrameResponse, data), nil
}
