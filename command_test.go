package nsq

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

var goldenMessageID = MessageID([]byte("18a5406324a69000"))

const goldenMessageIDHex = "31 38 61 35 34 30 36 33 32 34 61 36 39 30 30 30"

func mustCommand(c *Command, err error) *Command {
	if err != nil {
		panic(err)
	}
	return c
}

// goldenCommands has commands of every constructor, with their text and go-nsq's bytes on
// the wire.
var goldenCommands = []struct {
	command *Command
	line    string
	hex     string
}{
	{mustCommand(Identify(map[string]any{"a": 1})), "IDENTIFY", "49 44 45 4e 54 49 46 59 0a 00 00 00 07 7b 22 61 22 3a 31 7d"},
	{mustCommand(Identify(nil)), "IDENTIFY", "49 44 45 4e 54 49 46 59 0a 00 00 00 04 6e 75 6c 6c"},
	{mustCommand(Auth("pw")), "AUTH", "41 55 54 48 0a 00 00 00 02 70 77"},
	{mustCommand(Auth("")), "AUTH", "41 55 54 48 0a 00 00 00 00"},
	{Register("t", "c"), "REGISTER t c", "52 45 47 49 53 54 45 52 20 74 20 63 0a"},
	{Register("t", ""), "REGISTER t", "52 45 47 49 53 54 45 52 20 74 0a"},
	{UnRegister("t", "c"), "UNREGISTER t c", "55 4e 52 45 47 49 53 54 45 52 20 74 20 63 0a"},
	{UnRegister("t", ""), "UNREGISTER t", "55 4e 52 45 47 49 53 54 45 52 20 74 0a"},
	{Ping(), "PING", "50 49 4e 47 0a"},
	{Publish("t", []byte("hi")), "PUB t", "50 55 42 20 74 0a 00 00 00 02 68 69"},
	{Publish("t", []byte{}), "PUB t", "50 55 42 20 74 0a 00 00 00 00"},
	{Publish("t", nil), "PUB t", "50 55 42 20 74 0a"},
	{
		mustCommand(MultiPublish("t", [][]byte{[]byte("a"), []byte("bc")})), "MPUB t",
		"4d 50 55 42 20 74 0a 00 00 00 0f 00 00 00 02 00 00 00 01 61 00 00 00 02 62 63",
	},
	{mustCommand(MultiPublish("t", nil)), "MPUB t", "4d 50 55 42 20 74 0a 00 00 00 04 00 00 00 00"},
	{DeferredPublish("t", 250*time.Millisecond, []byte("x")), "DPUB t 250", "44 50 55 42 20 74 20 32 35 30 0a 00 00 00 01 78"},
	// Between 15 h and a year: no delay is capped.
	{DeferredPublish("t", 16*time.Hour, []byte("x")), "DPUB t 57600000", "44 50 55 42 20 74 20 35 37 36 30 30 30 30 30 0a 00 00 00 01 78"},
	{DeferredPublish("t", 365*24*time.Hour, []byte("x")), "DPUB t 31536000000", "44 50 55 42 20 74 20 33 31 35 33 36 30 30 30 30 30 30 0a 00 00 00 01 78"},
	{DeferredPublish("t", 1999*time.Microsecond, []byte("x")), "DPUB t 1", "44 50 55 42 20 74 20 31 0a 00 00 00 01 78"},
	{Subscribe("t", "c"), "SUB t c", "53 55 42 20 74 20 63 0a"},
	{Ready(5), "RDY 5", "52 44 59 20 35 0a"},
	{Finish(goldenMessageID), "FIN 18a5406324a69000", "46 49 4e 20" + goldenMessageIDHex + "0a"},
	{Requeue(goldenMessageID, 1500*time.Millisecond), "REQ 18a5406324a69000 1500", "52 45 51 20" + goldenMessageIDHex + "20 31 35 30 30 0a"},
	{Requeue(goldenMessageID, 0), "REQ 18a5406324a69000 0", "52 45 51 20" + goldenMessageIDHex + "20 30 0a"},
	{Requeue(goldenMessageID, -time.Second), "REQ 18a5406324a69000 -1000", "52 45 51 20" + goldenMessageIDHex + "20 2d 31 30 30 30 0a"},
	{Requeue(goldenMessageID, 16*time.Hour), "REQ 18a5406324a69000 57600000", "52 45 51 20" + goldenMessageIDHex + "20 35 37 36 30 30 30 30 30 0a"},
	{Requeue(goldenMessageID, 365*24*time.Hour), "REQ 18a5406324a69000 31536000000", "52 45 51 20" + goldenMessageIDHex + "20 33 31 35 33 36 30 30 30 30 30 30 0a"},
	{Touch(goldenMessageID), "TOUCH 18a5406324a69000", "54 4f 55 43 48 20" + goldenMessageIDHex + "0a"},
	{StartClose(), "CLS", "43 4c 53 0a"},
	{Nop(), "NOP", "4e 4f 50 0a"},
	{&Command{Name: []byte("X"), Params: [][]byte{nil, {}}}, "X  ", "58 20 20 0a"},
	{&Command{}, "", "0a"},
}

// counting counts Write calls.
type counting struct {
	bytes.Buffer
	writes int
}

func (c *counting) Write(p []byte) (int, error) {
	c.writes++
	return c.Buffer.Write(p)
}

func TestCommands(t *testing.T) {
	for _, g := range goldenCommands {
		if s := g.command.String(); s != g.line {
			t.Errorf("String() = %q, want %q", s, g.line)
		}
		var w counting
		n, err := g.command.WriteTo(&w)
		if got, want := hex.EncodeToString(w.Bytes()), strings.ReplaceAll(g.hex, " ", ""); got != want {
			t.Errorf("%s: %s, want %s", g.line, got, want)
		}
		if n != int64(w.Len()) || err != nil || w.writes != 1 {
			t.Errorf("%s: returned %d and %v for %d bytes in %d writes", g.line, n, err, w.Len(), w.writes)
		}
	}
}

// A command keeps a copy of the message's ID.
func TestCommandKeepsItsID(t *testing.T) {
	id := goldenMessageID
	c := Finish(id)
	id[0] = 'x'
	if c.String() != "FIN 18a5406324a69000" {
		t.Error(c)
	}
}

func TestCommandWriteFails(t *testing.T) {
	r, w := io.Pipe()
	_ = r.CloseWithError(io.ErrClosedPipe)
	if n, err := Publish("t", []byte("hi")).WriteTo(w); n != 0 || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%d, %v", n, err)
	}
}

func TestCommandErrors(t *testing.T) {
	if c, err := Identify(map[string]any{"f": func() {}}); c != nil || err == nil {
		t.Errorf("%v, %v", c, err)
	}
	// Lists of exactly 2 GiB, one byte beyond the limit, and of 4 GiB and some bytes, which
	// 32 bits would take for a few bytes.
	part := make([]byte, 1<<20)
	for _, total := range []int64{1 << 31, 1<<32 + 1<<20} {
		var bodies [][]byte
		left := total - 4
		for ; left > int64(len(part)+8); left -= int64(len(part) + 4) {
			bodies = append(bodies, part)
		}
		for _, size := range []int64{left / 2, left - left/2} {
			bodies = append(bodies, part[:size-4])
		}
		want := sprint("MPUB: %d bytes exceed the protocol's maximum of 2147483647", total)
		if c, err := MultiPublish("t", bodies); c != nil || err == nil || err.Error() != want {
			t.Errorf("a list of %d bytes: %v, %v", total, c, err)
		}
	}
}

// A server reads from a MultiPublish the bodies that it was given.
func TestMultiPublishIsRead(t *testing.T) {
	bodies := [][]byte{[]byte("a"), []byte(strings.Repeat("b", 1000)), []byte("c")}
	c := mustCommand(MultiPublish("t", bodies))
	part := bodies[1]
	part[0] = 'x'
	got, err := wire.ParseMpub(c.Body, wire.DefaultLimits)
	if err != nil || len(got) != 3 || string(got[1]) != strings.Repeat("b", 1000) {
		t.Errorf("%d bodies, %v", len(got), err)
	}
}
