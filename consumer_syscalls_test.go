package nsq

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/rdyhq/nsq/nsqtest"
)

// counted is a client's end of a connection that counts its reads.
type counted struct {
	*nsqtest.Conn
	reads *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	c.reads.Add(1)
	return c.Conn.Read(p)
}

// One read takes all messages that have arrived, and one write sends all FINs that have
// gathered, since system calls cost more than anything else. With max_in_flight 100 and
// handlers that return at once, 1,000 messages take some 40 reads and 40 writes, and
// fewer with a larger max_in_flight. The exact numbers depend on the scheduler. Without
// batching there would be 1,000 of each.
func TestSystemCallsPerMessage(t *testing.T) {
	const messages, mostCalls = 20_000, 100 // calls of each kind per 1,000
	for _, tc := range []struct{ maxInFlight, handlers int }{
		{100, 1}, {100, 4}, {100, 64}, {2500, 1}, {2500, 4}, {2500, 64},
	} {
		t.Run(fmt.Sprintf("max_in_flight=%d x%d", tc.maxInFlight, tc.handlers), func(t *testing.T) {
			inScene(t, func(s *scene) {
				var reads, handled atomic.Int64
				s.cfg.MaxInFlight = tc.maxInFlight
				s.cfg.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := s.net.DialContext(ctx, network, addr)
					if err != nil {
						return nil, err
					}
					return counted{conn.(*nsqtest.Conn), &reads}, nil
				}
				d := s.nsqd("a:1")
				d.Publish("t", slices.Repeat([]string{"m"}, messages)...)
				s.consumer(tc.handlers, func(*Message) error { handled.Add(1); return nil })
				s.connect(d)
				after(rdyMoves)
				if n := handled.Load(); n != messages {
					s.Fatalf("%d messages handled, want %d", n, messages)
				}
				if r, w := reads.Load(), s.net.Writes(); r > messages*mostCalls/1000 || w > messages*mostCalls/1000 {
					s.Errorf("%d reads and %d writes for %d messages, want %d per 1,000 at most", r, w, messages, mostCalls)
				}
			})
		})
	}
}
