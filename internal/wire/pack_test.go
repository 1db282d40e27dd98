package wire

import (
	"bytes"
	"fmt"
	"testing"
)

// A pack is the PUB of its only message, or else the MPUB of all, at any place of a buffer.
func TestPack(t *testing.T) {
	for _, before := range []string{"", "NOP\n", "PUB t\n\x00\x00\x00\x01x"} {
		for _, topic := range []string{"t", "a-longer.topic#ephemeral"} {
			buf := AppendPub([]byte(before), topic, []byte("first"))
			p := NewPack(topic, len(before))
			bodies := [][]byte{[]byte("first")}
			for i := range 300 {
				body := bytes.Repeat([]byte{byte(i)}, 1+i*7%50)
				grows, length := p.Grows(len(body)), p.BodyLen(len(buf), len(body))
				old := len(buf)
				buf = p.Append(buf, body)
				bodies = append(bodies, body)
				if want := AppendMpub([]byte(before), topic, bodies); !bytes.Equal(buf, want) {
					t.Fatalf("%d messages behind %q:\n%q, want\n%q", len(bodies), before, buf, want)
				}
				if len(buf)-old != grows || int64(length) != MpubLen(bodies) || p.Messages != len(bodies) {
					t.Fatalf("%d messages: it grew by %d and has a body of %d; said %d, %d and %d messages",
						len(bodies), len(buf)-old, MpubLen(bodies), grows, length, p.Messages)
				}
			}
		}
	}
}

// Whatever the topic and the bodies are, the bytes are those of AppendMpub.
func FuzzPack(f *testing.F) {
	f.Add("t", []byte("a"), []byte("bc"), uint8(3))
	f.Add("topic", []byte("MPUB topic\n"), []byte{0, 0, 0, 1}, uint8(1))
	f.Fuzz(func(t *testing.T, topic string, first, other []byte, n uint8) {
		buf := AppendPub(nil, topic, first)
		p := NewPack(topic, 0)
		bodies := [][]byte{first}
		for i := range n {
			body := fmt.Appendf(bytes.Clone(other), "%d", i)
			bodies = append(bodies, body)
			buf = p.Append(buf, body)
		}
		want := AppendMpub(nil, topic, bodies)
		if n == 0 {
			want = AppendPub(nil, topic, first)
		}
		if !bytes.Equal(buf, want) {
			t.Errorf("%q, want %q", buf, want)
		}
	})
}
