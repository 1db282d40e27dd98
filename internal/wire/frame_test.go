package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func header(size uint32, t FrameType) []byte {
	b := binary.BigEndian.AppendUint32(nil, size)
	return binary.BigEndian.AppendUint32(b, uint32(t))
}

func TestParseHeader(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		want Header
		err  error
	}{
		{name: "nothing", in: nil, err: ErrShort},
		{name: "half a size", in: []byte{0, 0, 0}, err: ErrShort},
		{name: "no type", in: []byte{0, 0, 0, 6, 0, 0, 0}, err: ErrShort},
		{name: "response", in: header(6, FrameResponse), want: Header{FrameResponse, 2}},
		{name: "empty error", in: header(4, FrameError), want: Header{FrameError, 0}},
		{name: "largest response", in: header(4+65536, FrameResponse), want: Header{FrameResponse, 65536}},
		{name: "largest error", in: header(4+65536, FrameError), want: Header{FrameError, 65536}},
		{name: "shortest message", in: header(4+26, FrameMessage), want: Header{FrameMessage, 26}},
		{name: "message at nsqd's default limit", in: header(1048606, FrameMessage), want: Header{FrameMessage, 1048602}},
		{name: "largest message", in: header(1<<31-1, FrameMessage), want: Header{FrameMessage, 1<<31 - 5}},

		{name: "size 0", in: header(0, FrameResponse), err: ErrFrame},
		{name: "size 3", in: header(3, FrameResponse), err: ErrFrame},
		{name: "size 3 without a type", in: []byte{0, 0, 0, 3}, err: ErrFrame},
		{name: "negative size", in: header(0x80000000, FrameMessage), err: ErrFrame},
		{name: "size -1", in: header(0xffffffff, FrameMessage), err: ErrFrame},
		{name: "response over the limit", in: header(4+65537, FrameResponse), err: ErrFrame},
		{name: "error over the limit", in: header(4+65537, FrameError), err: ErrFrame},
		{name: "empty message", in: header(4, FrameMessage), err: ErrFrame},
		{name: "message without a whole ID", in: header(4+25, FrameMessage), err: ErrFrame},
		{name: "type 3", in: header(6, 3), err: ErrFrame},
		{name: "type -1", in: header(6, -1), err: ErrFrame},
		{name: "HTTP", in: []byte("HTTP/1.1 400 Bad Request\r\n"), err: ErrHTTP},
		{name: "first word of HTTP", in: []byte("HTTP"), err: ErrHTTP},
		{name: "TLS alert", in: []byte("\x15\x03\x01\x00\x02\x02\x28"), err: ErrShort},
		{name: "SSH", in: []byte("SSH-2.0-OpenSSH"), err: ErrFrame},
	}
	for _, tt := range tests {
		h, err := ParseHeader(tt.in)
		if h != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: got %+v, error %v; want %+v, %v", tt.name, h, err, tt.want, tt.err)
		}
		if tt.err == nil {
			continue
		}
		if f, n, err := ParseFrame(tt.in); n != 0 || f.Data != nil || !errors.Is(err, tt.err) {
			t.Errorf("%s: frame %+v, took %d, error %v; want %v", tt.name, f, n, err, tt.err)
		}
	}
}

// TestParseFrameAliases: a frame's data aliases the input, and an append to it
// does not overwrite the next frame.
func TestParseFrameAliases(t *testing.T) {
	in := AppendResponse(AppendResponse(nil, OK), CloseWait)
	f, n, err := ParseFrame(in)
	if err != nil {
		t.Fatal(err)
	}
	if &f.Data[0] != &in[HeaderLen] {
		t.Error("data was copied")
	}
	_ = append(f.Data, "garbage"...)
	if f, _, err := ParseFrame(in[n:]); err != nil || string(f.Data) != CloseWait {
		t.Errorf("next frame is %q, error %v", f.Data, err)
	}
}

func TestIsHeartbeat(t *testing.T) {
	tests := []struct {
		f    Frame
		want bool
	}{
		{Frame{FrameResponse, []byte("_heartbeat_")}, true},
		{Frame{FrameResponse, []byte("_heartbeat")}, false},
		{Frame{FrameResponse, []byte("OK")}, false},
		{Frame{FrameResponse, nil}, false},
		{Frame{FrameError, []byte("_heartbeat_")}, false},
		{Frame{FrameMessage, []byte("_heartbeat_")}, false},
	}
	for _, tt := range tests {
		if got := tt.f.IsHeartbeat(); got != tt.want {
			t.Errorf("%+v: %v, want %v", tt.f, got, tt.want)
		}
	}
}

func TestParseMessage(t *testing.T) {
	want := Message{Timestamp: -2, Attempts: 65535, ID: goldenID, Body: []byte("body")}
	data := AppendMessageData(nil, &want)
	if len(data) != MessageDataLen(len(want.Body)) {
		t.Fatalf("data of %d bytes, MessageDataLen returns %d", len(data), MessageDataLen(len(want.Body)))
	}
	for i := range MessageDataLen(0) {
		if m, err := ParseMessage(data[:i]); !errors.Is(err, ErrFrame) {
			t.Errorf("first %d bytes: %+v, error %v; want ErrFrame", i, m, err)
		}
	}
	got, err := ParseMessage(data)
	if err != nil || got.Timestamp != want.Timestamp || got.Attempts != want.Attempts ||
		got.ID != want.ID || !bytes.Equal(got.Body, want.Body) {
		t.Errorf("got %+v, error %v; want %+v", got, err, want)
	}
	h, err := ParseHeader(AppendMessage(nil, &want))
	if err != nil || h.BodyLen() != len(want.Body) {
		t.Errorf("header %+v has a body of %d bytes, error %v; want %d", h, h.BodyLen(), err, len(want.Body))
	}
}

// TestParseMessageBody: the body aliases the input, and an append to it does not
// overwrite the next message in a shared buffer.
func TestParseMessageBody(t *testing.T) {
	slab := append(AppendMessageData(nil, &Message{Body: []byte("one")}), "next"...)
	m, err := ParseMessage(slab[:MessageDataLen(3)])
	if err != nil {
		t.Fatal(err)
	}
	if &m.Body[0] != &slab[MessageDataLen(0)] {
		t.Error("body was copied")
	}
	_ = append(m.Body, "more"...)
	if got := string(slab[MessageDataLen(3):]); got != "next" {
		t.Errorf("next bytes became %q", got)
	}
}
