package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
)

// messageLedger has each message since it was last settled: what came of its publish, which
// channels are to handle it, and which have.
type messageLedger struct {
	t *testing.T

	mu       sync.Mutex // guards what follows
	channels map[string][]string
	open     map[string]*ledgerMessage // by body
	handled  map[string]bool           // channel and ID: may be acked
	next     int

	stored, notSent, unknown int // publishes, over all time
	handlings, repeats, lost int
	settlements              int
	longest                  time.Duration
}

type ledgerMessage struct {
	begun                    time.Time // when its publish was called
	stored, notSent, unknown bool      // the result, once there is one
	wanted                   []string  // the channels that are to handle it
	handled                  []string  // those that have
	last                     time.Time // when the last of these handled it for the first time
}

func newMessageLedger(t *testing.T) *messageLedger {
	return &messageLedger{t: t, channels: map[string][]string{}, open: map[string]*ledgerMessage{}, handled: map[string]bool{}}
}

func channelOf(topic, channel string) string { return topic + "/" + channel }

// expect has a channel get all messages of a topic that are published from now on.
func (l *messageLedger) expect(topic, channel string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.channels[topic] = append(slices.Clone(l.channels[topic]), channelOf(topic, channel))
}

// release has a channel get no messages that are published from now on.
func (l *messageLedger) release(topic, channel string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(l.channels[topic]), func(c string) bool { return c == channelOf(topic, channel) })
	if l.channels[topic] = left; len(left) == 0 {
		delete(l.channels, topic)
	}
}

// begin returns the body of a message that is about to be published.
func (l *messageLedger) begin(topic string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	body := fmt.Sprintf("%s %d", topic, l.next)
	l.open[body] = &ledgerMessage{begun: time.Now(), wanted: l.channels[topic]}
	return body
}

// beginProbe returns the body of a message that no channel is expected to handle.
func (l *messageLedger) beginProbe(topic string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	body := fmt.Sprintf("%s probe %d", topic, l.next)
	l.open[body] = &ledgerMessage{begun: time.Now()}
	return body
}

// end notes the result of a publish.
func (l *messageLedger) end(body string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.open[body]
	_, refused := errors.AsType[nsq.ErrProtocol](err) // as by an nsqd that stops
	switch {
	case err == nil:
		m.stored = true
		l.stored++
	case refused, errors.Is(err, nsq.ErrNotSent):
		m.notSent = true
		l.notSent++
		if len(m.handled) > 0 {
			l.t.Errorf("%s was handled, although its publish said that it is not stored: %v", body, err)
		}
	case errors.Is(err, nsq.ErrUnknownOutcome):
		m.unknown = true
		l.unknown++
	default:
		l.t.Errorf("publish: %v", err)
	}
}

// done notes that a channel's handler is about to return nil.
func (l *messageLedger) done(channel string, m *nsq.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handlings++
	l.handled[channel+string(m.ID[:])] = true
	of := l.open[string(m.Body)]
	switch {
	case of == nil:
		l.t.Errorf("%s: %s came after it was settled", channel, m.Body)
	case of.notSent:
		l.t.Errorf("%s: %s was handled, although its publish said that it is not stored", channel, m.Body)
	case slices.Contains(of.handled, channel):
		l.repeats++
	default:
		of.handled, of.last = append(of.handled, channel), time.Now()
	}
}

// acked checks that a message is not acked before it was handled.
func (l *messageLedger) acked(channel, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.handled[channel+id] {
		l.t.Errorf("%s: message %s was acked and not handled", channel, id)
	}
}

// missing returns what is stored and was not handled: channels and bodies.
func (l *messageLedger) missing() (all []string) {
	for channel, bodies := range l.waiting() {
		for _, body := range bodies {
			all = append(all, channel+": "+body)
		}
	}
	return all
}

// missingSince returns the bodies of those that are missing and whose publish began after a
// time.
func (l *messageLedger) missingSince(at time.Time) (late []string) {
	waiting := l.waiting()
	l.mu.Lock()
	defer l.mu.Unlock()
	for channel, bodies := range waiting {
		for _, body := range bodies {
			if l.open[body].begun.After(at) {
				late = append(late, channel+": "+body)
			}
		}
	}
	return late
}

// probed returns when a probe was published and when the last channel of its topic handled it,
// which is zero if one of them has not.
func (l *messageLedger) probed(body string) (begun, handled time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	topic, _, _ := strings.Cut(body, " ")
	m := l.open[body]
	if len(m.handled) == len(l.channels[topic]) {
		handled = m.last
	}
	return m.begun, handled
}

// totals are counts over all time.
type totals struct{ failed, repeats int }

func (l *messageLedger) totals() totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	return totals{l.notSent + l.unknown, l.repeats}
}

// waiting returns the bodies that are stored and were not handled, by channel.
func (l *messageLedger) waiting() map[string][]string {
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
func (l *messageLedger) stillWaiting(channel string, bodies []string) (n int) {
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
func (l *messageLedger) pending(channel string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.open {
		if slices.Contains(m.wanted, channel) && !m.notSent && !m.unknown && !slices.Contains(m.handled, channel) {
			return true
		}
	}
	return false
}

// settled forgets all messages but those that may still be stored because the outcome of
// their publish is unknown. No publish is under way, and no nsqd has a message.
func (l *messageLedger) settled(lost int, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.open
	l.open, l.handled = map[string]*ledgerMessage{}, map[string]bool{} // a map that was large keeps its memory
	for body, m := range all {
		if m.unknown {
			l.open[body] = m
		}
	}
	l.lost += lost
	l.settlements++
	l.longest = max(l.longest, took)
}

func (l *messageLedger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d published, %d not sent or refused, %d unknown; handled %d times, %d of them repeated, %d destroyed with nsqds; settled %d times in at most %v",
		l.stored, l.notSent, l.unknown, l.handlings, l.repeats, l.lost, l.settlements, l.longest.Round(time.Millisecond))
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

// emptied reports whether no nsqd has a message, twice in a row: one that moves may be counted
// nowhere.
func emptied(t *testing.T, nsqds []*NSQD) bool {
	t.Helper()
	for range 2 {
		for _, n := range nsqds {
			stored, err := storedAt(n.HTTPAddr())
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range stored {
				if c.messages > 0 {
					return false
				}
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return true
}
