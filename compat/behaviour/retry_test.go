//go:build !race

package behaviour

import (
	"testing"
	"time"
)

// A loop that retries on what go-nsq returns while nsqd is away publishes.
//
// go-nsq's Producer has a data race when it connects again, which the race detector
// would report.
func TestRetryLoop(t *testing.T) {
	compare(t, []scenario{{name: "restart", play: func(s *scene) {
		p := s.producer()
		s.result("first", p.Publish(topic, []byte("a")))
		rejected("PUB", []byte{})(s)
		err := p.Publish(topic, []byte("b"))
		s.result("lost", err)
		s.nsqd.ClearFaults()
		s.nsqd.Kill()
		s.nsqd.Restart()
		for s.kind(err) == "ErrNotConnected" || s.kind(err) == "*net.OpError" {
			await(s.t, time.After(10*time.Millisecond))
			err = p.Publish(topic, []byte("b"))
		}
		s.result("retried", err)
		p.Stop()
		s.note("%q", s.nsqd.Queued(topic, ""))
	}}})
}
