package letters

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

const (
	// DefaultChannel is the channel that is created in a topic of dead letters without one.
	DefaultChannel = "rdy-dead"

	// TopicSuffix ends the names that DeadLetterPolicy gives to topics of dead letters.
	TopicSuffix = ".dead"
)

// Found are the letters of a topic, and where they wait.
type Found struct {
	Topic, Channel string
	Queues         []Queue      // of the nsqds that have any
	Counts         *admin.Topic // what the nsqds count of the topic
}

// ChannelError reports that the letters of a topic are in other channels than the one to read.
type ChannelError struct {
	Topic    string
	Channels []string
}

func (e *ChannelError) Error() string {
	return fmt.Sprintf("the letters of topic %s are in %s %s", e.Topic, figures.Verb(len(e.Channels), "the channel", "the channels"), figures.List(e.Channels))
}

// Find returns the letters of a topic that v has, and which wait in a channel or for it. named
// are the HTTP addresses of nsqds that the user has named. The error says why none would come; it
// is a *ChannelError if another channel has them.
func Find(v *admin.View, topic, channel string, named []string) (*Found, error) {
	counts := v.Topic(topic)
	if counts == nil {
		return nil, fmt.Errorf("topic %s not found", topic)
	}
	f := &Found{Topic: topic, Channel: channel, Counts: counts}
	if names := channelNames(counts); len(names) > 0 && !slices.Contains(names, channel) {
		return nil, &ChannelError{topic, names}
	}
	for _, n := range v.NSQDs {
		q := Queue{Topic: topic, Channel: channel, Waiting: waitingOn(counts, channel, n.Addr)}
		if q.Waiting == 0 {
			continue
		}
		if q.Addr = ClientAddr(n, named); q.Addr == "" {
			return nil, fmt.Errorf("nsqd %s has letters, but listens on a Unix socket only", n.Addr)
		}
		f.Queues = append(f.Queues, q)
	}
	return f, f.paused()
}

// Waiting returns how many letters wait.
func (f *Found) Waiting() (n int64) {
	for _, q := range f.Queues {
		n += q.Waiting
	}
	return n
}

// Creates reports whether reading the letters creates their channel.
func (f *Found) Creates() bool { return len(f.Queues) > 0 && f.Counts.Channel(f.Channel) == nil }

// First returns the queues with no more than n letters in them, so that no others are taken.
func (f *Found) First(n int64) (some []Queue) {
	for _, q := range f.Queues {
		if q.Waiting = min(q.Waiting, n); q.Waiting > 0 {
			some = append(some, q)
		}
		n -= q.Waiting
	}
	return some
}

// paused returns an error if a pause keeps the letters back.
func (f *Found) paused() error {
	if f.Counts.Paused && f.Counts.Depth > 0 {
		return fmt.Errorf("topic %s is paused: rdy topic unpause %s lets its letters into the channel", f.Topic, f.Topic)
	}
	if c := f.Counts.Channel(f.Channel); c != nil && c.Paused {
		return fmt.Errorf("channel %s of topic %s is paused: rdy channel unpause %s %s lets its letters be read", f.Channel, f.Topic, f.Topic, f.Channel)
	}
	return nil
}

// waitingOn returns how many letters wait on an nsqd for a channel, which need not exist yet.
func waitingOn(t *admin.Topic, channel, nsqd string) (n int64) {
	for _, on := range t.NSQDs {
		if on.NSQD == nsqd {
			n = on.Depth
		}
	}
	if c := t.Channel(channel); c != nil {
		for _, on := range c.NSQDs {
			if on.NSQD == nsqd {
				n += on.Depth
			}
		}
	}
	return n
}

func channelNames(t *admin.Topic) (names []string) {
	if t != nil {
		for i := range t.Channels {
			names = append(names, t.Channels[i].Name)
		}
	}
	return names
}

// ClientAddr returns the address at which clients reach an nsqd, empty if there is none. named
// are the HTTP addresses of nsqds that the user has named. The host of such an nsqd is the
// user's: what the nsqd broadcasts may be out of reach.
func ClientAddr(n admin.NSQD, named []string) string {
	addr := n.TCPAddr()
	if addr == "" || !slices.Contains(named, n.Addr) {
		return addr
	}
	hostPort := n.Addr
	if _, rest, isURL := strings.Cut(hostPort, "://"); isURL {
		hostPort, _, _ = strings.Cut(rest, "/")
	}
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return addr
	}
	return net.JoinHostPort(host, strconv.Itoa(n.TCPPort))
}
