package wire

import (
	"bytes"
	"compress/flate"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

// unhex decodes hex digits with spaces anywhere between them.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

var goldenID = ID([]byte("18a5406324a69000"))

const goldenIDHex = "31 38 61 35 34 30 36 33 32 34 61 36 39 30 30 30"

// goldenCommands has every command: what the Append function returns, its bytes
// in hex, and the Command that a server parses.
var goldenCommands = []struct {
	name  string
	bytes []byte
	hex   string
	want  Command
}{
	{
		"IDENTIFY",
		must(AppendIdentify(nil, &Identify{ClientID: "c", FeatureNegotiation: true, HeartbeatInterval: 30000})),
		"49 44 45 4e 54 49 46 59 0a 00 00 00 f6" + hex.EncodeToString([]byte(goldenIdentify)),
		Command{Name: "IDENTIFY", Body: []byte(goldenIdentify)},
	},
	{
		"AUTH", AppendAuth(nil, "pw"),
		"41 55 54 48 0a 00 00 00 02 70 77",
		Command{Name: "AUTH", Body: []byte("pw")},
	},
	{
		"SUB", AppendSub(nil, "t", "c"),
		"53 55 42 20 74 20 63 0a",
		Command{Name: "SUB", Params: []string{"t", "c"}},
	},
	{
		"RDY", AppendRdy(nil, 5),
		"52 44 59 20 35 0a",
		Command{Name: "RDY", Params: []string{"5"}},
	},
	{
		"RDY 0", AppendRdy(nil, 0),
		"52 44 59 20 30 0a",
		Command{Name: "RDY", Params: []string{"0"}},
	},
	{
		"FIN", AppendFin(nil, &goldenID),
		"46 49 4e 20" + goldenIDHex + "0a",
		Command{Name: "FIN", Params: []string{"18a5406324a69000"}},
	},
	{
		"REQ", AppendReq(nil, &goldenID, 1500),
		"52 45 51 20" + goldenIDHex + "20 31 35 30 30 0a",
		Command{Name: "REQ", Params: []string{"18a5406324a69000", "1500"}},
	},
	{
		"REQ with a negative delay", AppendReq(nil, &goldenID, -1),
		"52 45 51 20" + goldenIDHex + "20 30 0a",
		Command{Name: "REQ", Params: []string{"18a5406324a69000", "0"}},
	},
	{
		"TOUCH", AppendTouch(nil, &goldenID),
		"54 4f 55 43 48 20" + goldenIDHex + "0a",
		Command{Name: "TOUCH", Params: []string{"18a5406324a69000"}},
	},
	{
		"CLS", AppendCls(nil),
		"43 4c 53 0a",
		Command{Name: "CLS"},
	},
	{
		"NOP", AppendNop(nil),
		"4e 4f 50 0a",
		Command{Name: "NOP"},
	},
	{
		"PUB", AppendPub(nil, "t", []byte("hi")),
		"50 55 42 20 74 0a 00 00 00 02 68 69",
		Command{Name: "PUB", Params: []string{"t"}, Body: []byte("hi")},
	},
	{
		"PUB of a newline", AppendPub(nil, "t", []byte("\n")),
		"50 55 42 20 74 0a 00 00 00 01 0a",
		Command{Name: "PUB", Params: []string{"t"}, Body: []byte("\n")},
	},
	{
		"MPUB", AppendMpub(nil, "t", [][]byte{[]byte("a"), []byte("bc")}),
		"4d 50 55 42 20 74 0a 00 00 00 0f 00 00 00 02 00 00 00 01 61 00 00 00 02 62 63",
		Command{Name: "MPUB", Params: []string{"t"}, Body: []byte("\x00\x00\x00\x02\x00\x00\x00\x01a\x00\x00\x00\x02bc")},
	},
	{
		"DPUB", AppendDpub(nil, "t", 250, []byte("x")),
		"44 50 55 42 20 74 20 32 35 30 0a 00 00 00 01 78",
		Command{Name: "DPUB", Params: []string{"t", "250"}, Body: []byte("x")},
	},
	{
		"DPUB with a negative delay", AppendDpub(nil, "t", -250, []byte("x")),
		"44 50 55 42 20 74 20 30 0a 00 00 00 01 78",
		Command{Name: "DPUB", Params: []string{"t", "0"}, Body: []byte("x")},
	},
	{
		"IDENTIFY to nsqlookupd", must(AppendPeerIdentify(nil, &goldenPeer)),
		"49 44 45 4e 54 49 46 59 0a 00 00 00 5b" + hex.EncodeToString([]byte(goldenPeerJSON)),
		Command{Name: "IDENTIFY", Body: []byte(goldenPeerJSON)},
	},
	{
		"REGISTER topic", AppendRegister(nil, "t", ""),
		"52 45 47 49 53 54 45 52 20 74 0a",
		Command{Name: "REGISTER", Params: []string{"t"}},
	},
	{
		"REGISTER channel", AppendRegister(nil, "t", "c"),
		"52 45 47 49 53 54 45 52 20 74 20 63 0a",
		Command{Name: "REGISTER", Params: []string{"t", "c"}},
	},
	{
		"UNREGISTER topic", AppendUnregister(nil, "t", ""),
		"55 4e 52 45 47 49 53 54 45 52 20 74 0a",
		Command{Name: "UNREGISTER", Params: []string{"t"}},
	},
	{
		"UNREGISTER channel", AppendUnregister(nil, "t", "c"),
		"55 4e 52 45 47 49 53 54 45 52 20 74 20 63 0a",
		Command{Name: "UNREGISTER", Params: []string{"t", "c"}},
	},
	{
		"PING", AppendPing(nil),
		"50 49 4e 47 0a",
		Command{Name: "PING"},
	},
}

// goldenFrames has every kind of frame: what the Append function returns, its
// bytes in hex, and the Frame that a client parses.
var goldenFrames = []struct {
	name  string
	bytes []byte
	hex   string
	want  Frame
}{
	{
		"OK", AppendResponse(nil, OK),
		"00 00 00 06 00 00 00 00 4f 4b",
		Frame{FrameResponse, []byte("OK")},
	},
	{
		"heartbeat", AppendResponse(nil, Heartbeat),
		"00 00 00 0f 00 00 00 00 5f 68 65 61 72 74 62 65 61 74 5f",
		Frame{FrameResponse, []byte("_heartbeat_")},
	},
	{
		"CLOSE_WAIT", AppendResponse(nil, CloseWait),
		"00 00 00 0e 00 00 00 00 43 4c 4f 53 45 5f 57 41 49 54",
		Frame{FrameResponse, []byte("CLOSE_WAIT")},
	},
	{
		"empty response", AppendFrame(nil, FrameResponse, nil),
		"00 00 00 04 00 00 00 00",
		Frame{FrameResponse, []byte{}},
	},
	{
		"error without a description", AppendError(nil, &Error{Code: BadProtocol}),
		"00 00 00 12 00 00 00 01 45 5f 42 41 44 5f 50 52 4f 54 4f 43 4f 4c",
		Frame{FrameError, []byte("E_BAD_PROTOCOL")},
	},
	{
		"error", AppendError(nil, &Error{FinFailed, "FIN x"}),
		"00 00 00 16 00 00 00 01 45 5f 46 49 4e 5f 46 41 49 4c 45 44 20 46 49 4e 20 78",
		Frame{FrameError, []byte("E_FIN_FAILED FIN x")},
	},
	{
		"message",
		AppendMessage(nil, &Message{Timestamp: 0x18ea98e8ee215e54, Attempts: 1, ID: goldenID, Body: []byte("m")}),
		"00 00 00 1f 00 00 00 02 18 ea 98 e8 ee 21 5e 54 00 01" + goldenIDHex + "6d",
		Frame{FrameMessage, []byte("\x18\xea\x98\xe8\xee\x21\x5e\x54\x00\x0118a5406324a69000m")},
	},
	{
		"reply to IDENTIFY", must(AppendIdentifyResponse(nil, &goldenResponse)),
		"00 00 01 09 00 00 00 00" + hex.EncodeToString([]byte(goldenResponseJSON)),
		Frame{FrameResponse, []byte(goldenResponseJSON)},
	},
	{
		"reply to AUTH", must(AppendAuthResponse(nil, &goldenAuth)),
		"00 00 00 4a 00 00 00 00" + hex.EncodeToString([]byte(goldenAuthJSON)),
		Frame{FrameResponse, []byte(goldenAuthJSON)},
	},
}

// goldenLookupdResponses has responses of nsqlookupd's TCP protocol.
var goldenLookupdResponses = []struct {
	name  string
	bytes []byte
	hex   string
	want  string
}{
	{"OK", AppendLookupdResponse(nil, OK), "00 00 00 02 4f 4b", "OK"},
	{"empty", AppendLookupdResponse(nil, ""), "00 00 00 00", ""},
	{
		"error", AppendLookupdResponse(nil, (&Error{Invalid, "client must IDENTIFY"}).Error()),
		"00 00 00 1e" + hex.EncodeToString([]byte("E_INVALID client must IDENTIFY")),
		"E_INVALID client must IDENTIFY",
	},
	{
		"response to IDENTIFY", must(AppendPeerResponse(nil, &goldenPeer)),
		"00 00 00 5b" + hex.EncodeToString([]byte(goldenPeerJSON)),
		goldenPeerJSON,
	},
}

func TestMagic(t *testing.T) {
	if got, want := []byte(MagicV2), unhex(t, "20 20 56 32"); !bytes.Equal(got, want) {
		t.Errorf("V2: %x, want %x", got, want)
	}
	if got, want := []byte(MagicV1), unhex(t, "20 20 56 31"); !bytes.Equal(got, want) {
		t.Errorf("V1: %x, want %x", got, want)
	}
}

func TestGoldenCommands(t *testing.T) {
	for _, g := range goldenCommands {
		t.Run(g.name, func(t *testing.T) {
			golden := unhex(t, g.hex)
			if !bytes.Equal(g.bytes, golden) {
				t.Fatalf("appended %q\nwant     %q", g.bytes, golden)
			}
			c, n, err := ParseCommand(append(golden, "NOP\n"...), DefaultLimits)
			if err != nil || n != len(golden) {
				t.Fatalf("took %d bytes of %d, error %v", n, len(golden), err)
			}
			if !reflect.DeepEqual(c, g.want) {
				t.Errorf("parsed %+v\nwant   %+v", c, g.want)
			}
			for i := range golden {
				if c, n, err := ParseCommand(golden[:i], DefaultLimits); !errors.Is(err, ErrShort) || n != 0 {
					t.Errorf("first %d bytes: %+v, took %d, error %v; want ErrShort", i, c, n, err)
				}
			}
		})
	}
}

func TestGoldenFrames(t *testing.T) {
	for _, g := range goldenFrames {
		t.Run(g.name, func(t *testing.T) {
			golden := unhex(t, g.hex)
			if !bytes.Equal(g.bytes, golden) {
				t.Fatalf("appended %q\nwant     %q", g.bytes, golden)
			}
			f, n, err := ParseFrame(append(golden, "more"...))
			if err != nil || n != len(golden) {
				t.Fatalf("took %d bytes of %d, error %v", n, len(golden), err)
			}
			if !reflect.DeepEqual(f, g.want) {
				t.Errorf("parsed %+v\nwant   %+v", f, g.want)
			}
			for i := range golden {
				if f, n, err := ParseFrame(golden[:i]); !errors.Is(err, ErrShort) || n != 0 {
					t.Errorf("first %d bytes: %+v, took %d, error %v; want ErrShort", i, f, n, err)
				}
			}
		})
	}
}

func TestGoldenLookupdResponses(t *testing.T) {
	for _, g := range goldenLookupdResponses {
		t.Run(g.name, func(t *testing.T) {
			golden := unhex(t, g.hex)
			if !bytes.Equal(g.bytes, golden) {
				t.Fatalf("appended %q\nwant     %q", g.bytes, golden)
			}
			for _, more := range []string{"", "more"} {
				data, n, err := ParseLookupdResponse(append(golden, more...))
				if err != nil || n != len(golden) || string(data) != g.want || cap(data) != len(data) {
					t.Fatalf("parsed %q with capacity %d, took %d of %d, error %v", data, cap(data), n, len(golden), err)
				}
			}
			for i := range golden {
				if data, n, err := ParseLookupdResponse(golden[:i]); !errors.Is(err, ErrShort) || n != 0 {
					t.Errorf("first %d bytes: %q, took %d, error %v; want ErrShort", i, data, n, err)
				}
			}
		})
	}
}

// TestAppendKeepsPrefix: Append functions keep what dst holds, so commands can be
// collected in one buffer.
func TestAppendKeepsPrefix(t *testing.T) {
	dst := AppendNop(nil)
	dst = AppendFin(dst, &goldenID)
	dst = AppendPub(dst, "t", []byte("hi"))
	dst = AppendRdy(dst, 5)
	var names []string
	for len(dst) > 0 {
		c, n, err := ParseCommand(dst, DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, c.String())
		dst = dst[n:]
	}
	want := []string{"NOP", "FIN 18a5406324a69000", "PUB t", "RDY 5"}
	if !reflect.DeepEqual(names, want) {
		t.Errorf("read back %q, want %q", names, want)
	}
}

// TestDeflatedFrame reads the frame OK as nsqd v1.3.0 sends it through deflate. The
// stream stops after two sync markers, without a final block.
func TestDeflatedFrame(t *testing.T) {
	in := unhex(t, "62 60 60 60 63 60 60 60 f0 f7 06 00 00 00 ff ff 00 00 00 ff ff")
	frame := make([]byte, 10)
	if _, err := io.ReadFull(flate.NewReader(bytes.NewReader(in)), frame); err != nil {
		t.Fatal(err)
	}
	f, n, err := ParseFrame(frame)
	if err != nil || n != len(frame) || f.Type != FrameResponse || string(f.Data) != OK {
		t.Errorf("got %+v, took %d, error %v", f, n, err)
	}
}
