package link

import (
	"slices"
	"strings"
	"testing"

	"github.com/rdyhq/nsq/nsqtest"
)

// FuzzInput feeds a stream in chunks of the given sizes. The frames and the error must
// be the same as in one piece, and memory must be bounded by the bytes that arrived.
func FuzzInput(f *testing.F) {
	f.Add(slices.Concat(okFrame, heartbeat, message("a", "x")), []byte{1}, uint16(0), uint16(50))
	f.Add(slices.Concat(message("a", strings.Repeat("x", 100)), okFrame), []byte{7, 30, 1}, uint16(99), uint16(50))
	f.Add(slices.Concat(message("a", strings.Repeat("x", 5000)), nsqtest.ErrorFrame("E_INVALID", "why")), []byte{255, 0}, uint16(5000), uint16(50))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n"), []byte{3}, uint16(0), uint16(50))
	f.Add([]byte("\x7f\xff\xff\xff\x00\x00\x00\x02 and more than the fixed part of it"), []byte{2}, uint16(1), uint16(50))
	f.Fuzz(func(t *testing.T, data, chunks []byte, maxBody, ownAbove uint16) {
		var sizes []int
		for _, c := range chunks {
			sizes = append(sizes, int(c)+1)
		}
		want, wantLargest, wantErr := readAll(&feed{data: data}, int(maxBody), int(ownAbove))
		got, largest, err := readAll(&feed{data: data, sizes: sizes}, int(maxBody), int(ownAbove))
		if !slices.Equal(got, want) || err.Error() != wantErr.Error() {
			t.Errorf("in chunks %q and %v, in one piece %q and %v", got, err, want, wantErr)
		}
		limit := max(busyBuffer, 2*len(data))
		if ownAbove > 0 {
			limit = max(unseenBody, limit)
		}
		if largest > limit || wantLargest > limit {
			t.Errorf("buffers of %d and %d for %d bytes", largest, wantLargest, len(data))
		}
	})
}
