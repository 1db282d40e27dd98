package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseCommandLine(t *testing.T) {
	tests := []struct {
		in     string
		name   string
		params []string
	}{
		{"\n", "", nil},
		{"\r\n", "", nil},
		{"NOP\r\n", "NOP", nil},
		{"NOP\r\r\n", "NOP\r", nil},
		{"nop\n", "nop", nil},
		{"SUB t c\r\n", "SUB", []string{"t", "c"}},
		{"SUB  t\n", "SUB", []string{"", "t"}},
		{"RDY \n", "RDY", []string{""}},
		{" RDY 1\n", "", []string{"RDY", "1"}},
		{" \n", "", []string{""}},
		{"RDY 1 2 3\n", "RDY", []string{"1", "2", "3"}},
		{"GET / HTTP/1.1\r\n", "GET", []string{"/", "HTTP/1.1"}},
		{"\x00\xff\n", "\x00\xff", nil},
	}
	for _, tt := range tests {
		want := Command{Name: tt.name, Params: tt.params}
		c, n, err := ParseCommand([]byte(tt.in+"NOP\n"), DefaultLimits)
		if err != nil || n != len(tt.in) || !reflect.DeepEqual(c, want) {
			t.Errorf("%q: got %+v, took %d, error %v; want %+v", tt.in, c, n, err, want)
		}
	}
}

func TestParseCommandLongLine(t *testing.T) {
	line := strings.Repeat("x", 16384) // a literal, to pin the value of MaxLine
	tests := []struct {
		name string
		in   string
		took int
		err  error
	}{
		{"longest line", line[1:] + "\n", 16384, nil},
		{"longest line with more after it", line[1:] + "\nNOP\n", 16384, nil},
		{"longest line without its newline", line[1:], 0, ErrShort},
		{"one byte too long", line + "\n", 0, ErrLineTooLong},
		{"too long without a newline", line, 0, ErrLineTooLong},
	}
	for _, tt := range tests {
		if _, n, err := ParseCommand([]byte(tt.in), DefaultLimits); n != tt.took || !errors.Is(err, tt.err) {
			t.Errorf("%s: took %d, error %v; want %d, %v", tt.name, n, err, tt.took, tt.err)
		}
	}
}

// TestParseCommandBodySize: the size of a body is checked as soon as it has
// arrived, before the body has.
func TestParseCommandBodySize(t *testing.T) {
	lim := Limits{MsgSize: 10, BodySize: 20}
	tests := []struct {
		line string
		size int32
		want string // the error's text; "" if the size is legal
	}{
		{"PUB t", 10, ""},
		{"PUB t", 0, "E_BAD_MESSAGE PUB invalid message body size 0"},
		{"PUB t", -1, "E_BAD_MESSAGE PUB invalid message body size -1"},
		{"PUB t", math.MinInt32, "E_BAD_MESSAGE PUB invalid message body size -2147483648"},
		{"PUB t", 11, "E_BAD_MESSAGE PUB message too big 11 > 10"},
		{"PUB t", math.MaxInt32, "E_BAD_MESSAGE PUB message too big 2147483647 > 10"},
		{"DPUB t 1", 10, ""},
		{"DPUB t 1", 0, "E_BAD_MESSAGE DPUB invalid message body size 0"},
		{"DPUB t 1", 11, "E_BAD_MESSAGE DPUB message too big 11 > 10"},
		{"MPUB t", 20, ""},
		{"MPUB t", 0, "E_BAD_BODY MPUB invalid body size 0"},
		{"MPUB t", -1, "E_BAD_BODY MPUB invalid body size -1"},
		{"MPUB t", 21, "E_BAD_BODY MPUB body too big 21 > 20"},
		{"IDENTIFY", 20, ""},
		{"IDENTIFY", 0, "E_BAD_BODY IDENTIFY invalid body size 0"},
		{"IDENTIFY", 21, "E_BAD_BODY IDENTIFY body too big 21 > 20"},
		{"AUTH", 20, ""},
		{"AUTH", -1, "E_BAD_BODY AUTH invalid body size -1"},
		{"AUTH", 21, "E_BAD_BODY AUTH body too big 21 > 20"},
	}
	for _, tt := range tests {
		in := binary.BigEndian.AppendUint32([]byte(tt.line+"\n"), uint32(tt.size))
		c, n, err := ParseCommand(in, lim)
		e, refused := errors.AsType[*Error](err)
		switch {
		case n != 0:
			t.Errorf("%s, size %d: took %d bytes before the body arrived", tt.line, tt.size, n)
		case tt.want == "" && !errors.Is(err, ErrShort):
			t.Errorf("%s, size %d: error %v, want ErrShort", tt.line, tt.size, err)
		case tt.want != "" && (!refused || e.Error() != tt.want):
			t.Errorf("%s, size %d: error %v, want %s", tt.line, tt.size, err, tt.want)
		case tt.want != "" && (c.String() != tt.line || c.Body != nil):
			t.Errorf("%s, size %d: the error came with command %+v", tt.line, tt.size, c)
		}
	}
}

// TestDefaultLimits checks each of nsqd's default limits, at its value and one beyond.
func TestDefaultLimits(t *testing.T) {
	for line, limit := range map[string]int{
		"PUB t": 1048576, "DPUB t 1": 1048576,
		"MPUB t": 5242880, "IDENTIFY": 5242880, "AUTH": 5242880,
	} {
		if _, _, err := ParseCommand(AppendBodyHead([]byte(line+"\n"), limit), DefaultLimits); !errors.Is(err, ErrShort) {
			t.Errorf("%s, size %d: error %v, want ErrShort", line, limit, err)
		}
		_, _, err := ParseCommand(AppendBodyHead([]byte(line+"\n"), limit+1), DefaultLimits)
		if _, refused := errors.AsType[*Error](err); !refused {
			t.Errorf("%s, size %d: error %v, want an *Error", line, limit+1, err)
		}
	}

	most := mpub(1048575, strings.Repeat("\x00\x00\x00\x01a", 1048576))
	bodies, err := ParseMpub(most[:4+5*1048575], DefaultLimits)
	if err != nil || len(bodies) != 1048575 {
		t.Errorf("MPUB of 1048575 messages: parsed %d, error %v", len(bodies), err)
	}
	line := AppendBodyHead([]byte("MPUB t\n"), 5242880)
	if _, n, err := ParseCommand(append(line, most...), DefaultLimits); err != nil || n != len(line)+4+5*1048575 {
		t.Errorf("MPUB of 1048575 messages: command of %d bytes, error %v", n, err)
	}
	binary.BigEndian.PutUint32(most, 1048576)
	if _, err := ParseMpub(most, DefaultLimits); err == nil {
		t.Error("MPUB of 1048576 messages: want an error")
	}
	if _, _, err := ParseCommand(append(line, most...), DefaultLimits); err == nil || errors.Is(err, ErrShort) {
		t.Errorf("MPUB of 1048576 messages: error %v, want a refusal", err)
	}
}

// A head and the body that the caller appends are the command.
func TestHeads(t *testing.T) {
	body := []byte("hi")
	for _, tt := range []struct{ head, want []byte }{
		{AppendPubHead([]byte("NOP\n"), "t", len(body)), AppendPub([]byte("NOP\n"), "t", body)},
		{AppendDpubHead([]byte("NOP\n"), "t", 250, len(body)), AppendDpub([]byte("NOP\n"), "t", 250, body)},
	} {
		if got := slices.Concat(tt.head, body); !bytes.Equal(got, tt.want) {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

// TestParseCommandBody: a body aliases the input, and an append to it does not
// overwrite the next command.
func TestParseCommandBody(t *testing.T) {
	in := AppendNop(AppendPub(nil, "t", []byte("hi")))
	c, n, err := ParseCommand(in, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	if &c.Body[0] != &in[n-len("hi")] {
		t.Error("body was copied")
	}
	_ = append(c.Body, "garbage"...)
	if c, _, err := ParseCommand(in[n:], DefaultLimits); err != nil || c.Name != CmdNop {
		t.Errorf("next command is %+v, error %v", c, err)
	}
}

func TestCommandString(t *testing.T) {
	for _, line := range []string{"NOP", "SUB t c", "RDY ", "", " x", "PUB t"} {
		c := splitLine(line)
		if got := c.String(); got != line {
			t.Errorf("%q: String returns %q", line, got)
		}
	}
}

// mpub returns the body of an MPUB with the given count and bytes after it.
func mpub(count uint32, parts ...string) []byte {
	b := binary.BigEndian.AppendUint32(nil, count)
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func TestParseMpub(t *testing.T) {
	lim := Limits{MsgSize: 4, BodySize: 64}
	const one, two = "\x00\x00\x00\x01a", "\x00\x00\x00\x02bc"
	tests := []struct {
		name string
		in   []byte
		want []string
		err  string
	}{
		{name: "one message", in: mpub(1, one), want: []string{"a"}},
		{name: "two messages", in: mpub(2, one, two), want: []string{"a", "bc"}},
		{name: "message at the limit", in: mpub(1, "\x00\x00\x00\x04abcd"), want: []string{"abcd"}},
		{name: "most messages", in: mpub(12, strings.Repeat(one, 12)), want: strings.Split("aaaaaaaaaaaa", "")},

		{name: "nothing", in: nil, err: "E_BAD_BODY MPUB failed to read message count"},
		{name: "half a count", in: []byte{0, 0, 0}, err: "E_BAD_BODY MPUB failed to read message count"},
		{name: "count 0", in: mpub(0), err: "E_BAD_BODY MPUB invalid message count 0"},
		{name: "count 0 and a message", in: mpub(0, one), err: "E_BAD_BODY MPUB invalid message count 0"},
		{name: "count -1", in: mpub(1<<32-1, one), err: "E_BAD_BODY MPUB invalid message count -1"},
		{name: "largest count", in: mpub(1<<31-1, one), err: "E_BAD_BODY MPUB invalid message count 2147483647"},
		{name: "smallest count", in: mpub(1<<31, one), err: "E_BAD_BODY MPUB invalid message count -2147483648"},
		{name: "count over nsqd's limit", in: mpub(13, strings.Repeat(one, 13)), err: "E_BAD_BODY MPUB invalid message count 13"},
		{name: "count over the messages that follow", in: mpub(3, one, two), err: "E_BAD_BODY MPUB invalid message count 3"},
		{name: "count under the messages that follow", in: mpub(1, one, two), err: "E_INVALID MPUB 6 bytes after the last message"},

		{name: "size 0", in: mpub(1, "\x00\x00\x00\x00a"), err: "E_BAD_MESSAGE MPUB invalid message(0) body size 0"},
		{name: "second of size -1", in: mpub(2, one, "\xff\xff\xff\xffa"), err: "E_BAD_MESSAGE MPUB invalid message(1) body size -1"},
		{name: "size over the limit", in: mpub(1, "\x00\x00\x00\x05abcde"), err: "E_BAD_MESSAGE MPUB message too big 5 > 4"},
		{name: "largest size", in: mpub(1, "\x7f\xff\xff\xffa"), err: "E_BAD_MESSAGE MPUB message too big 2147483647 > 4"},
		{name: "size over the bytes that follow", in: mpub(1, "\x00\x00\x00\x02a"), err: "E_BAD_MESSAGE MPUB failed to read message body"},
		{
			name: "no body", in: mpub(2, "\x00\x00\x00\x04abcd", "\x00\x00\x00\x01"),
			err: "E_BAD_MESSAGE MPUB failed to read message body",
		},
		{
			name: "no size", in: mpub(2, "\x00\x00\x00\x04abcd", "\x00\x00"),
			err: "E_BAD_MESSAGE MPUB failed to read message(1) body size",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseMpub(tt.in, lim)
			if tt.err != "" {
				e, ok := errors.AsType[*Error](err)
				if !ok || e.Error() != tt.err || got != nil {
					t.Fatalf("got %q, error %v; want %s", got, err, tt.err)
				}
				return
			}
			if err != nil || len(got) != len(tt.want) {
				t.Fatalf("got %q, error %v; want %q", got, err, tt.want)
			}
			for i, b := range got {
				if string(b) != tt.want[i] || cap(b) != len(b) {
					t.Errorf("message %d is %q with capacity %d; want %q", i, b, cap(b), tt.want[i])
				}
			}
			again := AppendMpub(nil, "t", got)
			if want := append([]byte("MPUB t\n\x00\x00\x00"), byte(len(tt.in))); !bytes.Equal(again, append(want, tt.in...)) {
				t.Errorf("encoded again: %q", again)
			}
		})
	}
}

// TestParseMpubTruncated: a truncated body is an error, never a shorter list.
func TestParseMpubTruncated(t *testing.T) {
	body := mpub(2, "\x00\x00\x00\x01a", "\x00\x00\x00\x02bc")
	for i := range body {
		if got, err := ParseMpub(body[:i], DefaultLimits); err == nil {
			t.Errorf("first %d bytes: %q, want an error", i, got)
		}
	}
}

func TestMpubLen(t *testing.T) {
	for _, bodies := range [][][]byte{nil, {[]byte("a")}, {[]byte("a"), []byte("bc")}} {
		if got, want := MpubLen(bodies), int64(len(AppendMpub(nil, "t", bodies))-len("MPUB t\n")-4); got != want {
			t.Errorf("%q: %d, want %d", bodies, got, want)
		}
	}
}

func TestParseNumber(t *testing.T) {
	tests := []struct {
		in   string
		want uint64
		ok   bool
	}{
		{"", 0, true},
		{"0", 0, true},
		{"007", 7, true},
		{"2500", 2500, true},
		{"9223372036854775808", 1 << 63, true},
		{"18446744073709551615", math.MaxUint64, true},
		{"18446744073709551619", 3, true},
		{"99999999999999999999999999", 15908979783594147839, true},

		{"-1", 0, false},
		{"+1", 0, false},
		{"1-", 0, false},
		{" 1", 0, false},
		{"1 ", 0, false},
		{"1.0", 0, false},
		{"1e3", 0, false},
		{"0x10", 0, false},
		{"1_000", 0, false},
		{"x", 0, false},
		{"٣", 0, false},
	}
	for _, tt := range tests {
		if n, err := ParseNumber(tt.in); n != tt.want || (err == nil) != tt.ok {
			t.Errorf("%q: %d, error %v; want %d, ok %v", tt.in, n, err, tt.want, tt.ok)
		}
	}
}

// What a server replies to a command that is cut short says which part is missing.
func TestCutShort(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"PUB t\n", "E_BAD_MESSAGE PUB failed to read message body size"},
		{"DPUB t 0\n\x00\x00\x00", "E_BAD_MESSAGE DPUB failed to read message body size"},
		{"PUB t\n\x00\x00\x00\x02", "E_BAD_MESSAGE PUB failed to read message body"},
		{"IDENTIFY\n\x00", "E_BAD_BODY IDENTIFY failed to read body size"},
		{"AUTH\n\x00\x00\x00\x02a", "E_BAD_BODY AUTH failed to read body"},
		{"MPUB t\n\x00\x00\x00", "E_BAD_BODY MPUB failed to read body size"},
		{"MPUB t\n\x00\x00\x00\x09\x00\x00", "E_BAD_BODY MPUB failed to read message count"},
		{"MPUB t\n\x00\x00\x00\x09\x00\x00\x00\x02", "E_BAD_MESSAGE MPUB failed to read message(0) body size"},
		{"MPUB t\n\x00\x00\x00\x09\x00\x00\x00\x02\x00\x00\x00\x01a\x00", "E_BAD_MESSAGE MPUB failed to read message(1) body size"},
		{"MPUB t\n\x00\x00\x00\x09\x00\x00\x00\x01\x00\x00\x00\x02a", "E_BAD_MESSAGE MPUB failed to read message body"},
	} {
		if _, _, err := ParseCommand([]byte(tt.in), DefaultLimits); !errors.Is(err, ErrShort) {
			t.Errorf("%q is not short: %v", tt.in, err)
		}
		if e := CutShort([]byte(tt.in)); e == nil || e.Error() != tt.want {
			t.Errorf("%q: %v, want %q", tt.in, e, tt.want)
		}
	}
	if e := CutShort([]byte("PUB t")); e != nil {
		t.Errorf("a line without an end: %v", e)
	}
}

func TestParseID(t *testing.T) {
	if id, err := ParseID("18a5406324a69000"); err != nil || id != goldenID {
		t.Errorf("got %q, error %v", id, err)
	}
	for _, s := range []string{"", "18a5406324a6900", "18a5406324a690000"} {
		e, ok := errors.AsType[*Error](func() error { _, err := ParseID(s); return err }())
		if !ok || e.Error() != "E_INVALID invalid message ID" {
			t.Errorf("%q: %v", s, e)
		}
	}
}
