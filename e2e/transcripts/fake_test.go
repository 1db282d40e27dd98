package transcripts

import (
	"context"
	"maps"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// A fake is an nsqd of package nsqtest, in virtual time.
type fake struct {
	nsqd    *nsqtest.Nsqd
	network *nsqtest.Network
	seen    map[string]map[string]bool // topics and their channels that have had a client or an admin
}

// playFake plays steps on the fake.
func playFake(t *testing.T, c config, next source) []moment {
	t.Helper()
	var moments []moment
	synctest.Test(t, func(t *testing.T) {
		f := &fake{network: nsqtest.NewNetwork(), seen: make(map[string]map[string]bool)}
		opts := c.fake
		opts.Network, opts.HeartbeatInterval = f.network, heartbeatInterval
		if opts.TLSConfig != nil {
			opts.TLSConfig = opts.TLSConfig.Clone()
		}
		f.nsqd = nsqtest.NewNsqd(t, opts)
		for _, fault := range c.faults {
			f.nsqd.Inject(fault)
		}
		s := newScene(t, f, c.clientTLS.Clone())
		s.play(ending(next))
		moments = s.moments
	})
	return moments
}

func (f *fake) dial() (net.Conn, error) {
	return f.network.DialContext(context.Background(), "tcp", f.nsqd.Addr())
}

func (f *fake) topic(name string) string { return name }

func (f *fake) publish(topic string, bodies []string) { f.nsqd.Publish(topic, bodies...) }

func (f *fake) admin(verb, topic, channel string) {
	f.see(topic, channel)
	switch verb {
	case "pause":
		f.nsqd.Pause(topic, channel)
	case "unpause":
		f.nsqd.Unpause(topic, channel)
	case "empty":
		f.nsqd.Empty(topic, channel)
	case "create":
		f.nsqd.CreateChannel(topic, channel)
	case "delete":
		f.nsqd.DeleteChannel(topic, channel)
	}
}

func (f *fake) restart() {
	f.nsqd.Kill()
	f.nsqd.Restart()
}

func (f *fake) see(topic, channel string) {
	if f.seen[topic] == nil {
		f.seen[topic] = make(map[string]bool)
	}
	f.seen[topic][channel] = true
}

func (f *fake) settle(s *scene) string {
	synctest.Wait()
	return s.state()
}

// longest is how long a step may wait for a frame. It is longer than any interval and
// timeout in the scripts.
const longest = 20 * time.Second

func (f *fake) await(_ *scene, c *client) {
	before := len(c.received(0))
	for end := time.Now().Add(longest); len(c.received(0)) == before && time.Now().Before(end); synctest.Wait() {
		time.Sleep(7 * time.Millisecond) // in a bubble; no event is due at a multiple of it
	}
}

func (f *fake) counts(topic string) topicCounts {
	counts := topicCounts{
		backlog:  len(f.nsqd.Queued(topic, "")),
		channels: make(map[string]channelCounts),
		clients:  make(map[string]clientCounts),
	}
	for _, c := range f.nsqd.Clients() {
		if c.Topic == topic {
			f.see(topic, c.Channel)
			counts.clients[c.RemoteAddr] = clientCounts{c.RDY, c.InFlight, c.Closing}
		}
	}
	for channel := range f.seen[topic] {
		c := f.nsqd.Stats(topic, channel)
		counts.channels[channel] = channelCounts{c.Depth, c.InFlight, c.Deferred, c.Requeued, c.TimedOut, c.Clients}
	}
	return counts
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
