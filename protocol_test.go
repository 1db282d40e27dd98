package nsq

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/rdyhq/nsq/internal/wire"
)

func sized(data string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...)
}

var goldenMessageFrame = wire.AppendMessage(nil, &wire.Message{
	Timestamp: 1, Attempts: 2, ID: wire.ID(goldenMessageID), Body: []byte("body"),
})

var goldenFrames = []struct {
	frame []byte
	typ   int32
	data  string
}{
	{wire.AppendResponse(nil, "OK"), FrameTypeResponse, "OK"},
	{wire.AppendError(nil, &wire.Error{Code: wire.Invalid, Desc: "no"}), FrameTypeError, "E_INVALID no"},
	{goldenMessageFrame, FrameTypeMessage, string(goldenMessageFrame[8:])},
	{sized("\x00\x00\x00\x00"), FrameTypeResponse, ""},
	{sized("\x00\x00\x00\x09x"), 9, "x"},
	{sized("\xff\xff\xff\xffx"), -1, "x"},
}

// A frame is read as it was sent, however its bytes arrive, and nothing after it is
// consumed. A frame cut at any byte is an error.
func TestReadUnpackedResponse(t *testing.T) {
	for _, g := range goldenFrames {
		for _, limit := range []int32{0, int32(len(g.frame) - 4)} {
			r := bytes.NewReader(append(bytes.Clone(g.frame), "rest"...))
			typ, data, err := ReadUnpackedResponse(iotest.OneByteReader(r), limit)
			if typ != g.typ || string(data) != g.data || err != nil || r.Len() != 4 {
				t.Errorf("%q: %d, %q, %v, %d bytes left", g.frame, typ, data, err, r.Len())
			}
		}
		for i := range g.frame {
			want := io.ErrUnexpectedEOF
			if i == 0 {
				want = io.EOF
			}
			typ, data, err := ReadUnpackedResponse(bytes.NewReader(g.frame[:i]), 0)
			if typ != -1 || data != nil || !errors.Is(err, want) {
				t.Errorf("first %d bytes of %q: %d, %q, %v", i, g.frame, typ, data, err)
			}
			_, err = ReadResponse(iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(g.frame))), 0)
			if !errors.Is(err, iotest.ErrTimeout) {
				t.Errorf("a read that fails: %v", err)
			}
		}
	}
}

// nsqlookupd's responses are data without a frame type.
func TestReadResponse(t *testing.T) {
	for _, data := range []string{"", "OK", "E_INVALID", strings.Repeat("x", 3*readStep+1)} {
		got, err := ReadResponse(bytes.NewReader(sized(data)), 0)
		if string(got) != data || got == nil || err != nil {
			t.Errorf("%d bytes: got %d, %v", len(data), len(got), err)
		}
	}
}

func TestReadResponseRefuses(t *testing.T) {
	for _, c := range []struct {
		name, in string
		limit    int32
		want     string
	}{
		{"negative", "\xff\xff\xff\xff", 0, "size -1 is negative"},
		{"over the limit", string(sized("12345")), 4, "size 5 exceeds the maximum of 4"},
		{"HTTP", "HTTP/1.1 400 Bad Request\r\n\r\n", 0, "HTTP"},
		{"HTTP and a limit", "HTTP", 100, "HTTP"},
	} {
		data, err := ReadResponse(strings.NewReader(c.in), c.limit)
		if data != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q, %v", c.name, data, err)
		}
	}
}

// D35: a large length allocates no memory before data arrives.
func TestReadResponseMemory(t *testing.T) {
	in := "\x7f\xff\xff\xff" + strings.Repeat("x", 1000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := ReadResponse(strings.NewReader(in), 0)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 256<<10 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d bytes allocated, %v", n, err)
	}
}

// Programs compare with these and size arrays with them.
func TestProtocolConstants(t *testing.T) {
	if VERSION != "1.1.0" || MsgIDLength != 16 || len(MessageID{}) != 16 {
		t.Errorf("VERSION %s, IDs of %d bytes", VERSION, MsgIDLength)
	}
	if FrameTypeResponse != 0 || FrameTypeError != 1 || FrameTypeMessage != 2 {
		t.Errorf("frame types %d, %d, %d", FrameTypeResponse, FrameTypeError, FrameTypeMessage)
	}
	if StateInit != 0 || StateDisconnected != 1 || StateConnected != 2 {
		t.Errorf("states %d, %d, %d", StateInit, StateDisconnected, StateConnected)
	}
	if string(MagicV1) != "  V1" || string(MagicV2) != "  V2" {
		t.Errorf("magics %q and %q", MagicV1, MagicV2)
	}
}

func TestValidNames(t *testing.T) {
	for name, want := range map[string]bool{
		"a":                                    true,
		"azAZ09._-":                            true,
		strings.Repeat("x", 64):                true,
		strings.Repeat("x", 65):                false,
		"a#ephemeral":                          true,
		strings.Repeat("x", 54) + "#ephemeral": true,
		strings.Repeat("x", 55) + "#ephemeral": false,
		"":                                     false,
		"#ephemeral":                           false,
		"a#ephemeral#ephemeral":                false,
		"a#Ephemeral":                          false,
		"a#ephemeral2":                         false,
		"a b":                                  false,
		"a/b":                                  false,
		"a:b":                                  false,
		"a\n":                                  false,
		"é":                                    false,
	} {
		if IsValidTopicName(name) != want || IsValidChannelName(name) != want {
			t.Errorf("%q: topic %v, channel %v, want %v", name, IsValidTopicName(name), IsValidChannelName(name), want)
		}
	}
}

func TestUnpackResponse(t *testing.T) {
	for n := range 4 {
		if typ, data, err := UnpackResponse(make([]byte, n)); typ != -1 || data != nil || err == nil {
			t.Errorf("%d bytes: %d, %q, %v", n, typ, data, err)
		}
	}
}

// The type and data that are read are those of the input, and nothing panics.
func FuzzReadUnpackedResponse(f *testing.F) {
	for _, g := range goldenFrames {
		f.Add(g.frame, int32(0))
		f.Add(g.frame[:len(g.frame)-1], int32(0))
	}
	f.Add([]byte("HTTP/1.1 400 Bad Request"), int32(0))
	f.Add([]byte("\xff\xff\xff\xff"), int32(0))
	f.Add(sized("\x00\x00\x00\x00OK"), int32(5))
	f.Fuzz(func(t *testing.T, in []byte, limit int32) {
		typ, data, err := ReadUnpackedResponse(iotest.HalfReader(bytes.NewReader(in)), limit)
		if err != nil {
			if typ != -1 || data != nil {
				t.Fatalf("%d, %q with error %v", typ, data, err)
			}
			return
		}
		frame := binary.BigEndian.AppendUint32(nil, uint32(len(data)+4))
		frame = binary.BigEndian.AppendUint32(frame, uint32(typ))
		frame = append(frame, data...)
		if !bytes.HasPrefix(in, frame) || limit > 0 && len(data)+4 > int(limit) {
			t.Fatalf("limit %d: read %q from %q", limit, frame, in)
		}
		if typ == FrameTypeMessage {
			if m, err := DecodeMessage(data); err == nil {
				var out bytes.Buffer
				if _, err := m.WriteTo(&out); err != nil || !bytes.Equal(out.Bytes(), data) {
					t.Fatalf("message %q became %q, %v", data, out.Bytes(), err)
				}
			}
		}
	})
}

func FuzzUnpackResponse(f *testing.F) {
	for _, g := range goldenFrames {
		f.Add(g.frame[4:])
	}
	f.Add([]byte("\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		typ, data, err := UnpackResponse(in)
		if (err != nil) != (len(in) < 4) {
			t.Fatalf("%q: %v", in, err)
		}
		if err == nil && !bytes.Equal(append(binary.BigEndian.AppendUint32(nil, uint32(typ)), data...), in) {
			t.Fatalf("%q: %d, %q", in, typ, data)
		}
	})
}
