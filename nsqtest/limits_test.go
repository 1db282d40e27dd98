package nsqtest_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// sized returns a command with a body of size bytes: those of begin, then zeros.
func sized(line string, size int, begin ...byte) string {
	b := binary.BigEndian.AppendUint32([]byte(line+"\n"), uint32(size))
	return string(append(b, append(begin, make([]byte, size-len(begin))...)...))
}

// mpub returns an MPUB with a body of size bytes, in messages of at most 1 MiB.
func mpub(size int) string {
	var bodies [][]byte
	for left := size - 4; left > 0; {
		n := min(left-4, 1<<20)
		bodies = append(bodies, bytes.Repeat([]byte("m"), n))
		left -= 4 + n
	}
	return string(wire.AppendMpub(nil, "t", bodies))
}

// identify returns an IDENTIFY with one field.
func identify(field string, value int) string {
	return string(body("IDENTIFY", fmt.Sprintf(`{%q:%d}`, field, value)))
}

// TestLimits holds the documented limits as literals: a command exactly at a
// limit passes, one beyond it fails.
func TestLimits(t *testing.T) {
	const sub = "SUB t c\n"
	type limit struct {
		name       string
		at, beyond string // commands
		want       string // the reply to beyond
	}
	limits := []limit{
		{"line", "NOP " + strings.Repeat("x", 16379) + "\n", "NOP " + strings.Repeat("x", 16380) + "\n", "closed"},
		{"topic", "SUB " + strings.Repeat("n", 64) + " c\n", "SUB " + strings.Repeat("n", 65) + " c\n",
			`error E_BAD_TOPIC SUB topic name "` + strings.Repeat("n", 65) + `" is not valid`},
		{"RDY", sub + "RDY 2500\n", sub + "RDY 2501\n", "error E_INVALID RDY count 2501 out of range 0-2500"},
		{"message", sized("PUB t", 1048576), sized("PUB t", 1048577), "error E_BAD_MESSAGE PUB message too big 1048577 > 1048576"},
		{"delayed message", sized("DPUB t 0", 1048576), sized("DPUB t 0", 1048577),
			"error E_BAD_MESSAGE DPUB message too big 1048577 > 1048576"},
		{"batch", mpub(5242880), mpub(5242881), "error E_BAD_BODY MPUB body too big 5242881 > 5242880"},
		{"message of a batch", sized("MPUB t", 8+1048576, 0, 0, 0, 1, 0, 0x10, 0, 0),
			sized("MPUB t", 8+1048577, 0, 0, 0, 1, 0, 0x10, 0, 1),
			"error E_BAD_MESSAGE MPUB message too big 1048577 > 1048576"},
		{"delay", string(body("DPUB t 3600000", "m")), string(body("DPUB t 3600001", "m")),
			"error E_INVALID DPUB timeout 3600001 out of range 0-3600000"},
	}
	for _, f := range []struct {
		field     string
		low, high int
	}{
		{"heartbeat_interval", 1000, 60_000},
		{"output_buffer_timeout", 25, 30_000},
		{"output_buffer_size", 64, 65_536},
		{"sample_rate", 0, 99},
		{"msg_timeout", 1000, 900_000},
	} {
		text := "error E_BAD_BODY IDENTIFY " + strings.ReplaceAll(f.field, "_", " ") + " (%d) is invalid"
		limits = append(limits,
			limit{f.field, identify(f.field, f.low), identify(f.field, f.low-1), fmt.Sprintf(text, f.low-1)},
			limit{f.field, identify(f.field, f.high), identify(f.field, f.high+1), fmt.Sprintf(text, f.high+1)})
	}
	for _, tt := range limits {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
				for send, want := range map[string]string{
					tt.at + "END\n": "error E_INVALID invalid command END", // only END fails
					tt.beyond:       tt.want,
				} {
					r := dial(t, n, d.Addr())
					go func() { _, _ = r.conn.Write([]byte(send)) }() // nsqd may stop reading early
					got := r.next()
					for got == "OK" {
						got = r.next()
					}
					if got != want {
						t.Errorf("got %q, want %q", got, want)
					}
					r.want("closed")
				}
			})
		})
	}
}

// TestDefaultTimes holds the documented default times as literals.
func TestDefaultTimes(t *testing.T) {
	for _, tt := range []struct {
		name     string
		identify wire.Identify
		touch    time.Duration // when to send a TOUCH; 0 sends none
		requeue  string        // the delay of a REQ; empty sends none
		want     time.Duration // until the message is delivered again
	}{
		{name: "msg timeout", want: time.Minute},
		{name: "max msg timeout", identify: wire.Identify{MsgTimeout: 600_000}, touch: 599 * time.Second, want: 15 * time.Minute},
		{name: "max req timeout", requeue: "3600000", want: time.Hour},
		{name: "beyond max req timeout", requeue: "3600001", want: time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := nsqtest.Options{HeartbeatInterval: 100 * time.Hour}
			bubble(t, opts, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
				r := dial(t, n, d.Addr())
				r.identify(tt.identify)
				r.send("SUB t c\nRDY 1\n")
				r.want("OK", "OK")
				start := time.Now()
				d.Publish("t", "m")
				r.want("message 1 m")
				if tt.touch > 0 {
					pass(tt.touch)
					r.touch("m")
				}
				if tt.requeue != "" {
					r.send("REQ " + string(r.id("m")[:]) + " " + tt.requeue + "\n")
				}
				r.want("message 2 m")
				if took := time.Since(start); took != tt.want {
					t.Errorf("redelivered after %v, want %v", took, tt.want)
				}
			})
		})
	}
}
