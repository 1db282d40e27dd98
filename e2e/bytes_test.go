package e2e

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
)

// N8: messages that are suddenly heavy, while handlers hang, cost neither memory nor the
// connection: nsqd gives up a client that takes longer than a heartbeat interval to read
// a message, or sends nothing for two, and these handlers hang for five.
func TestHeavyMessagesKeepTheConnection(t *testing.T) {
	const light, heavy, budget = 5000, 60, 2 << 20
	n := StartNSQD(t, nil)
	publish(t, n, "m", light)
	cfg := testConfig(t)
	cfg.MaxInFlight, cfg.MaxBytesInFlight, cfg.HeartbeatInterval = 2500, budget, time.Second
	hold := make(chan struct{})
	var again atomic.Int64
	c := consume(t, cfg, 4, func(m *nsq.Message) error {
		if len(m.Body) > 1000 {
			<-hold
		}
		if m.Attempts > 1 {
			again.Add(1)
		}
		return nil
	}, n)
	eventually(t, 30*time.Second, func() bool { return c.Stats().MessagesFinished == light })
	body := strings.Repeat("x", 1<<20)
	for range heavy {
		n.Publish(topic, body)
	}
	most := int64(0)
	for range 500 {
		most = max(most, c.Snapshot().BytesInFlight)
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("%d KiB in hand at most, of a budget of %d KiB", most>>10, budget>>10)
	// A body that was begun, and what a trickle brings.
	if trickle := int64(5 * 2 << 20); most > 2*budget+1<<20+trickle {
		t.Errorf("%d bytes in hand with a budget of %d", most, budget)
	}
	close(hold)
	eventually(t, 30*time.Second, func() bool { return c.Stats().MessagesFinished == light+heavy })
	if s := c.Snapshot(); again.Load() > 0 || s.Connections[0].LastError != nil || s.Lost > 0 {
		t.Errorf("%d messages came again, %+v", again.Load(), s)
	}
}
