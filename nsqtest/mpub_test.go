package nsqtest_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// N27: nsqd does not compare the length that an MPUB announces with its messages. The
// next command begins after the last message.
func TestMpubAnnouncesAnyLength(t *testing.T) {
	bubble(t, nsqtest.Options{}, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := dial(t, n, d.Addr())
		var want []string
		for i, length := range []uint32{1, 5, 17, 5 << 20} {
			first, second := fmt.Sprint("a", i), fmt.Sprint("b", i)
			b := wire.AppendMpub(nil, "t", [][]byte{[]byte(first), []byte(second)})
			binary.BigEndian.PutUint32(b[len("MPUB t\n"):], length)
			want = append(want, first, second)
			for at := range b { // in pieces of one byte
				r.sendBytes(b[at : at+1])
			}
			r.want("OK")
			r.send("PUB t\n\x00\x00\x00\x01c")
			r.want("OK")
			want = append(want, "c")
		}
		if got := d.Queued("t", ""); !slices.Equal(got, want) {
			t.Errorf("stored %q, want %q", got, want)
		}
	})
}

// An MPUB is refused at the first fault, as nsqd does: before its messages have come.
func TestMpubIsRefusedEarly(t *testing.T) {
	for _, tt := range []struct {
		name, send, want string
		opts             nsqtest.Options
	}{
		{"topic", "MPUB t$\n", `error E_BAD_TOPIC E_BAD_TOPIC MPUB topic name "t$" is not valid`, nsqtest.Options{}},
		{"no topic", "MPUB\n", "error E_INVALID MPUB insufficient number of parameters", nsqtest.Options{}},
		{"auth", "MPUB t\n", "error E_AUTH_FIRST AUTH required before MPUB", nsqtest.Options{AuthSecret: "s"}},
		{"count", "MPUB t\n\x00\x00\x00\x01\x00\x10\x00\x00", "error E_BAD_BODY MPUB invalid message count 1048576", nsqtest.Options{}},
		{"message", "MPUB t\n\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x01a\x00\x00\x00\x00",
			"error E_BAD_MESSAGE MPUB invalid message(1) body size 0", nsqtest.Options{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, tt.opts, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
				r := dial(t, n, d.Addr())
				r.send(tt.send)
				r.want(tt.want, "closed")
			})
		})
	}
}

// N27: the limits of IDENTIFY follow the Options.
func TestIdentifyLimitsAreOptions(t *testing.T) {
	opts := nsqtest.Options{
		MaxHeartbeatInterval: 5 * time.Minute, MaxOutputBufferSize: 1 << 20,
		MinOutputBufferTimeout: time.Millisecond, MaxOutputBufferTimeout: time.Minute,
	}
	for field, ends := range map[string][2]int{
		"heartbeat_interval":    {1000, 300_000},
		"output_buffer_size":    {64, 1 << 20},
		"output_buffer_timeout": {1, 60_000},
	} {
		for value, ok := range map[int]bool{ends[0]: true, ends[0] - 1: ends[0] == 1, ends[1]: true, ends[1] + 1: false} {
			bubble(t, opts, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
				r := dial(t, n, d.Addr())
				r.send(identify(field, value))
				if ok {
					r.want("OK")
					return
				}
				r.want(fmt.Sprintf("error E_BAD_BODY IDENTIFY %s (%d) is invalid", strings.ReplaceAll(field, "_", " "), value), "closed")
			})
		}
	}
}
