package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
)

// soakLedger has each message since it was last settled: what came of its publish, which
// channels are to handle it, and which have.
type soakLedger struct {
	t *testing.T

	mu       sync.Mutex // guards what follows
	channels map[string][]string
	open     map[string]*soakMessage // by body
	handled  map[string]bool         // channel and ID: may be acked
	next     int

	stored, notSent, unknown int // publishes, over all time
	handlings, repeats, lost int
	settlements              int
	longest                  time.Duration
}

type soakMessage struct {
	stored, notSent bool     // the result, once there is one
	wanted          []string // the channels that are to handle it
	handled         []string // those that have
}

func newSoakLedger(t *testing.T) *soakLedger {
	return &soakLedger{t: t, channels: map[string][]string{}, open: map[string]*soakMessage{}, handled: map[string]bool{}}
}

func channelOf(topic, channel string) string { return topic + "/" + channel }

// expect has a channel get all messages of a topic that are published from now on.
func (l *soakLedger) expect(topic, channel string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.channels[topic] = append(slices.Clone(l.channels[topic]), channelOf(topic, channel))
}

// release has a channel get no messages that are published from now on.
func (l *soakLedger) release(topic, channel string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(l.channels[topic]), func(c string) bool { return c == channelOf(topic, channel) })
	if l.channels[topic] = left; len(left) == 0 {
		delete(l.channels, topic)
	}
}

// begin returns the body of a message that is about to be published.
func (l *soakLedger) begin(topic string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	body := fmt.Sprintf("%s %d", topic, l.next)
	l.open[body] = &soakMessage{wanted: l.channels[topic]}
	return body
}

// end notes the result of a publish.
func (l *soakLedger) end(body string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.open[body]
	switch {
	case err == nil:
		m.stored = true
		l.stored++
	case errors.Is(err, nsq.ErrNotSent):
		m.notSent = true
		l.notSent++
		if len(m.handled) > 0 {
			l.t.Errorf("%s was handled, although its publish said that it was not sent: %v", body, err)
		}
	case errors.Is(err, nsq.ErrUnknownOutcome):
		l.unknown++
	default:
		l.t.Errorf("publish: %v", err)
	}
}

// done notes that a channel's handler is about to return nil.
func (l *soakLedger) done(channel string, m *nsq.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handlings++
	l.handled[channel+string(m.ID[:])] = true
	of := l.open[string(m.Body)]
	switch {
	case of == nil:
		l.t.Errorf("%s: %s came after it was settled", channel, m.Body)
	case of.notSent:
		l.t.Errorf("%s: %s was handled, although its publish said that it was not sent", channel, m.Body)
	case slices.Contains(of.handled, channel):
		l.repeats++
	default:
		of.handled = append(of.handled, channel)
	}
}

// acked checks that a message is not acked before it was handled.
func (l *soakLedger) acked(channel, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.handled[channel+id] {
		l.t.Errorf("%s: message %s was acked and not handled", channel, id)
	}
}

// missing returns what is stored and was not handled: channels and bodies.
func (l *soakLedger) missing() (all []string) {
	for channel, bodies := range l.waiting() {
		for _, body := range bodies {
			all = append(all, channel+": "+body)
		}
	}
	return all
}

// waiting returns the bodies that are stored and were not handled, by channel.
func (l *soakLedger) waiting() map[string][]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	bodies := map[string][]string{}
	for body, m := range l.open {
		for _, channel := range m.wanted {
			if m.stored && !slices.Contains(m.handled, channel) {
				bodies[channel] = append(bodies[channel], body)
			}
		}
	}
	return bodies
}

// stillWaiting returns how many of the bodies were not handled by a channel so far.
func (l *soakLedger) stillWaiting(channel string, bodies []string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, body := range bodies {
		if m := l.open[body]; m != nil && !slices.Contains(m.handled, channel) {
			n++
		}
	}
	return n
}

// pending reports whether a channel has yet to handle a message, or a publish with it has no
// result.
func (l *soakLedger) pending(channel string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.open {
		if slices.Contains(m.wanted, channel) && !m.notSent && !slices.Contains(m.handled, channel) {
			return true
		}
	}
	return false
}

// settled forgets all messages. No publish is under way, and no nsqd has a message.
func (l *soakLedger) settled(lost int, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open, l.handled = map[string]*soakMessage{}, map[string]bool{}
	l.lost += lost
	l.settlements++
	l.longest = max(l.longest, took)
}

func (l *soakLedger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d published, %d not sent, %d unknown; handled %d times, %d of them repeated, %d lost by nsqds; settled %d times in at most %v",
		l.stored, l.notSent, l.unknown, l.handlings, l.repeats, l.lost, l.settlements, l.longest.Round(time.Millisecond))
}

// check compares what is published with what is handled and stored, and checks the counts of
// all consumers.
func (s *soak) check() {
	s.checkCounts()
	waiting := s.ledger.waiting()
	stored := map[string]stored{}
	for _, n := range s.nsqds {
		here, err := storedAt(n.HTTPAddr())
		if err != nil {
			return // it restarts
		}
		for channel, c := range here {
			sum := stored[channel]
			sum.messages += c.messages
			sum.moving += c.moving
			stored[channel] = sum
		}
	}
	restarts := int(s.restarts.Load())
	for channel, bodies := range waiting {
		// nsqd reads its figures one after the other. While a message moves it may be in none.
		missing := s.ledger.stillWaiting(channel, bodies) - stored[channel].messages - stored[channel].moving
		if missing <= restarts*maxVisitors {
			s.deficit[channel] = 0
			continue
		}
		if s.deficit[channel]++; s.deficit[channel] == 5 {
			s.t.Errorf("%s: for five seconds %d messages were neither handled nor in an nsqd", channel, missing)
		}
	}
}

// checkCounts checks that the counts of each consumer add up and do not fall.
func (s *soak) checkCounts() {
	now := map[*nsq.Consumer]nsq.Counts{}
	for _, c := range s.consumers() {
		snap := c.Snapshot()
		n := snap.Counts
		if n.Received+n.Unsent != n.Finished+n.Requeued+n.Expired+n.Lost+uint64(snap.InFlight) { // #nosec G115
			s.t.Errorf("%s/%s: the counts do not add up: %+v", snap.Topic, snap.Channel, snap)
		}
		before := s.counts[c]
		if n.Received < before.Received || n.Finished < before.Finished || n.Requeued < before.Requeued || n.Expired < before.Expired ||
			n.Lost < before.Lost || n.Unsent < before.Unsent || n.Refused < before.Refused {
			s.t.Errorf("%s/%s: a count has fallen, from %+v to %+v", snap.Topic, snap.Channel, before, n)
		}
		now[c] = n
	}
	s.counts = now
}

// stored is what an nsqd has of a channel.
type stored struct {
	messages int // waiting, in flight and deferred; those of the topic included
	moving   int // at most so many may be on their way between these
}

// storedAt returns what an nsqd has, by channel.
func storedAt(addr string) (map[string]stored, error) {
	resp, err := client.Get("http://" + addr + "/stats?format=json&include_mem=false") //nolint:noctx // client has a timeout
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	var stats struct {
		Topics []struct {
			Name     string `json:"topic_name"`
			Depth    int    `json:"depth"`
			Channels []struct {
				ChannelStats
				Name string `json:"channel_name"`
			} `json:"channels"`
		} `json:"topics"`
	}
	if err := json.Unmarshal(text, &stats); err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %q: %w", resp.Status, text, err)
	}
	all := map[string]stored{}
	for _, t := range stats.Topics {
		for _, c := range t.Channels {
			all[channelOf(t.Name, c.Name)] = stored{t.Depth + c.Depth + c.InFlight + c.Deferred, 1 + len(c.Clients)}
		}
	}
	return all, nil
}
