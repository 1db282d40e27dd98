package wire

import (
	"errors"
	"testing"
)

var (
	benchBody   = make([]byte, 200)
	benchBodies = [][]byte{benchBody, benchBody, benchBody}
	benchFrame  = AppendMessage(nil, &Message{Timestamp: 1, Attempts: 1, ID: goldenID, Body: benchBody})
)

// appends are the commands and frames whose encoding needs no JSON.
var appends = []struct {
	name   string
	append func(dst []byte) []byte
}{
	{"AUTH", func(dst []byte) []byte { return AppendAuth(dst, "secret") }},
	{"SUB", func(dst []byte) []byte { return AppendSub(dst, "topic", "channel") }},
	{"RDY", func(dst []byte) []byte { return AppendRdy(dst, 2500) }},
	{"FIN", func(dst []byte) []byte { return AppendFin(dst, &goldenID) }},
	{"REQ", func(dst []byte) []byte { return AppendReq(dst, &goldenID, 90000) }},
	{"TOUCH", func(dst []byte) []byte { return AppendTouch(dst, &goldenID) }},
	{"CLS", AppendCls},
	{"NOP", AppendNop},
	{"PUB", func(dst []byte) []byte { return AppendPub(dst, "topic", benchBody) }},
	{"DPUB", func(dst []byte) []byte { return AppendDpub(dst, "topic", 250, benchBody) }},
	{"MPUB", func(dst []byte) []byte { return AppendMpub(dst, "topic", benchBodies) }},
	{"REGISTER", func(dst []byte) []byte { return AppendRegister(dst, "topic", "channel") }},
	{"UNREGISTER", func(dst []byte) []byte { return AppendUnregister(dst, "topic", "") }},
	{"PING", AppendPing},
	{"response", func(dst []byte) []byte { return AppendResponse(dst, OK) }},
	{"error", func(dst []byte) []byte { return AppendError(dst, &Error{FinFailed, "FIN x"}) }},
	{"message", func(dst []byte) []byte {
		return AppendMessage(dst, &Message{Timestamp: 1, Attempts: 1, ID: goldenID, Body: benchBody})
	}},
	{"nsqlookupd response", func(dst []byte) []byte { return AppendLookupdResponse(dst, OK) }},
}

func TestAppendAllocatesNothing(t *testing.T) {
	dst := make([]byte, 0, 4096)
	for _, a := range appends {
		if n := testing.AllocsPerRun(100, func() { dst = a.append(dst[:0]) }); n != 0 {
			t.Errorf("%s: %v allocations", a.name, n)
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	heartbeat := AppendResponse(nil, Heartbeat)
	n := testing.AllocsPerRun(100, func() {
		f, _, err := ParseFrame(benchFrame)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseMessage(f.Data); err != nil {
			t.Fatal(err)
		}
		if f, _, err := ParseFrame(heartbeat); err != nil || !f.IsHeartbeat() {
			t.Fatal(f, err)
		}
		if _, _, err := ParseFrame(benchFrame[:100]); !errors.Is(err, ErrShort) {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, a := range appends {
		b.Run(a.name, func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]byte, 0, 4096)
			for b.Loop() {
				dst = a.append(dst[:0])
			}
			b.SetBytes(int64(len(dst)))
		})
	}
}

func BenchmarkParseFrame(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(benchFrame)))
	for b.Loop() {
		if _, _, err := ParseFrame(benchFrame); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseMessage(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(benchFrame)))
	for b.Loop() {
		f, _, err := ParseFrame(benchFrame)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := ParseMessage(f.Data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseCommand(b *testing.B) {
	for name, cmd := range map[string][]byte{
		"FIN": AppendFin(nil, &goldenID),
		"PUB": AppendPub(nil, "topic", benchBody),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(cmd)))
			for b.Loop() {
				if _, _, err := ParseCommand(cmd, DefaultLimits); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseMpub(b *testing.B) {
	body := AppendMpub(nil, "t", benchBodies)[len("MPUB t\n")+4:]
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := ParseMpub(body, DefaultLimits); err != nil {
			b.Fatal(err)
		}
	}
}
