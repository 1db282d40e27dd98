package delay

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/envelope"
)

func TestTopic(t *testing.T) {
	long := strings.Repeat("x", 56)
	for _, tt := range []struct{ topic, want string }{
		{"t", "t.delayed"},
		{"t.delayed", "t.delayed.delayed"},
		{long, long + ".delayed"},
		{long + "y", long[:47] + "-814e2454.delayed"},
		{long + "z", long[:47] + "-844e290d.delayed"},
		{strings.Repeat("x", 64), long[:47] + "-d19b1ac5.delayed"},
	} {
		got, err := Topic(tt.topic)
		if err != nil || got != tt.want {
			t.Errorf("%s: got  %s, %v\nwant %s", tt.topic, got, err, tt.want)
		}
		if !nsq.IsValidTopicName(got) {
			t.Errorf("%s is no valid name", got)
		}
	}
	for topic, want := range map[string]string{
		"":                      `delay: invalid topic name ""`,
		"a b":                   `delay: invalid topic name "a b"`,
		strings.Repeat("x", 65): `delay: invalid topic name "` + strings.Repeat("x", 65) + `"`,
		"t#ephemeral":           "delay: topic t#ephemeral is ephemeral: nsqd does not keep its messages for later",
	} {
		if got, err := Topic(topic); err == nil || err.Error() != want || got != "" {
			t.Errorf("%q: got %q, %v", topic, got, err)
		}
	}
}

// capture is a Publisher that keeps the last message, and returns an error.
type capture struct {
	topic string
	body  []byte
	err   error
}

func (c *capture) PublishContext(_ context.Context, topic string, body []byte) error {
	c.topic, c.body = topic, bytes.Clone(body)
	return c.err
}

func (c *capture) MultiPublishContext(context.Context, string, [][]byte) error {
	panic("not called by package delay")
}

func TestPublish(t *testing.T) {
	c := &capture{err: errors.New("from the Publisher")}
	at := time.Date(2100, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	if err := Publish(t.Context(), c, "t", at, []byte("body")); err != c.err { //nolint:errorlint // as it is
		t.Error(err)
	}
	const want = "NSQ-Envelope: 1\ndelay-topic: t\ndelay-until: 2100-01-02T02:04:05.000000006Z\n\nbody"
	if c.topic != "t.delayed" || string(c.body) != want {
		t.Errorf("published to %s: %q", c.topic, c.body)
	}
}

// What is due is published at once, unchanged.
func TestPublishInThePast(t *testing.T) {
	for _, at := range []time.Time{{}, time.Unix(0, 0), time.Now()} {
		c := &capture{}
		if err := Publish(t.Context(), c, "t", at, []byte("body")); err != nil {
			t.Error(err)
		}
		if c.topic != "t" || string(c.body) != "body" {
			t.Errorf("%v: published to %s: %q", at, c.topic, c.body)
		}
	}
}

// Bad use is an error before anything is published.
func TestPublishRefuses(t *testing.T) {
	soon := time.Now().Add(time.Hour)
	for _, tt := range []struct {
		topic string
		at    time.Time
		body  string
		want  string
	}{
		{"t#ephemeral", soon, "body", "delay: topic t#ephemeral is ephemeral"},
		{"t#ephemeral", time.Time{}, "body", "delay: topic t#ephemeral is ephemeral"},
		{"?", soon, "body", `delay: invalid topic name "?"`},
		{"t", soon, "", "delay: publish to topic t: empty body"},
		{"t", time.Time{}, "", "delay: publish to topic t: empty body"},
		{"t", time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), "body", "delay: publish to topic t: "},
	} {
		c := &capture{}
		err := Publish(t.Context(), c, tt.topic, tt.at, []byte(tt.body))
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
		if c.topic != "" {
			t.Errorf("%+v: published to %s", tt, c.topic)
		}
	}
}

func TestHop(t *testing.T) {
	for wait, want := range map[time.Duration]time.Duration{
		1:                                   time.Millisecond,
		time.Millisecond:                    time.Millisecond,
		time.Millisecond + 1:                2 * time.Millisecond,
		longestHop - time.Millisecond:       longestHop - time.Millisecond,
		longestHop:                          longestHop,
		longestHop + 1:                      longestHop,
		time.Duration(1<<63 - 1):            longestHop, // time.Until returns no more
		time.Duration(1<<63-1) - time.Hour:  longestHop,
		time.Second + 500*time.Microsecond:  time.Second + time.Millisecond,
		59*time.Minute + 59*time.Second + 1: longestHop,
	} {
		if got := hop(wait); got != want {
			t.Errorf("%v: %v, want %v", wait, got, want)
		}
	}
}

// FuzzPublish checks that open finds what Publish has been given, whatever that is, and that
// an envelope around it stays there.
func FuzzPublish(f *testing.F) {
	f.Add([]byte("body"), int64(4e9), int64(1), "key", "value")
	f.Add([]byte("NSQ-Envelope: 1\n\n"), int64(1<<40), int64(0), "", "")
	f.Add([]byte("NSQ-Envelope: 1\r\ndelay-until: 1\r\n\r\n"), int64(253402300799), int64(999999999), "delay-topic", "u")
	f.Fuzz(func(t *testing.T, body []byte, sec, nsec int64, name, value string) {
		at, c := time.Unix(sec, nsec), &capture{}
		if err := Publish(t.Context(), c, "t", at, body); err != nil || c.topic == "t" {
			return // refused, or due
		}
		d, err := open(c.body)
		if err != nil || !d.until.Equal(at) || d.topic != "t" || !bytes.Equal(d.body, body) {
			t.Fatalf("%v, %q: opened to %+v, %v", at, body, d, err)
		}
		h := envelope.Header{}
		if h.Set(name, value); h[untilHeader] != "" {
			return // taken for an envelope of Publish
		}
		around := envelope.Seal(h, nil)
		if len(around) > envelope.MaxHeaderLen {
			return
		}
		d, err = open(slices.Concat(around, c.body))
		if want := slices.Concat(around, body); err != nil || !d.until.Equal(at) || !bytes.Equal(d.body, want) {
			t.Fatalf("%q around %q: opened to %+v, %v", around, body, d, err)
		}
	})
}

// FuzzOpen checks that open never panics, changes nothing, and accepts only envelopes.
func FuzzOpen(f *testing.F) {
	for _, data := range []string{
		"", "plain", "NSQ-Envelope: 1\n\nbody", "NSQ-Envelope: 1\ndelay-until: soon\ndelay-topic: t\n\nbody",
		"NSQ-Envelope: 1\ndelay-until: 2100-01-02T02:04:05Z\n\n",
		"NSQ-Envelope: 1\n\nNSQ-Envelope: 1\ndelay-until: 2100-01-02T02:04:05Z\na: b\n\nNSQ-Envelope: 1\nb: c\n\nbody",
	} {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		d, err := open(data)
		if !bytes.Equal(data, before) {
			t.Fatalf("%q became %q", before, data)
		}
		if _, _, ok := envelope.Open(data); err == nil && !ok {
			t.Fatalf("%q opened to %+v", data, d)
		}
	})
}
