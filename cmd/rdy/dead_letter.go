package main

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/letters"
	"github.com/rdyhq/nsq/cmd/rdy/internal/visible"
	"github.com/spf13/pflag"
)

// deadErrorWidth is how much of an error a table shows.
const deadErrorWidth = 60

// deadLetter is a letter as --json prints it.
type deadLetter struct {
	ID       string      `json:"id"`
	NSQD     string      `json:"nsqd"` // TCP address
	Stored   time.Time   `json:"stored"`
	Attempts uint16      `json:"attempts"` // of the letter itself
	Raw      bool        `json:"raw"`
	Size     int         `json:"size"` // bytes of the original body
	Origin   *deadOrigin `json:"origin,omitempty"`
	Failed   *deadFailed `json:"failed,omitempty"`
}

type deadOrigin struct {
	Topic     string    `json:"topic"`
	Channel   string    `json:"channel"`
	NSQD      string    `json:"nsqd"`
	ID        string    `json:"id"`
	Attempts  int       `json:"attempts"`
	Published time.Time `json:"published,omitzero"`
}

type deadFailed struct {
	At    time.Time `json:"at,omitzero"`
	Error string    `json:"error"`
	Host  string    `json:"host"`
}

func newDeadLetter(l *letters.Letter) deadLetter {
	d := deadLetter{ID: l.ID, NSQD: l.NSQD, Stored: l.Stored, Attempts: l.Attempts, Raw: l.Raw(), Size: len(l.Body)}
	if d.Raw {
		return d
	}
	d.Origin = &deadOrigin{
		Topic: l.Header.Get(nsq.HeaderOriginTopic), Channel: l.Header.Get(nsq.HeaderOriginChannel),
		NSQD: l.Header.Get(nsq.HeaderOriginNSQD), ID: l.Header.Get(nsq.HeaderOriginID),
		Attempts: l.OriginAttempts(), Published: l.Published(),
	}
	d.Failed = &deadFailed{At: l.Failed(), Error: l.Header.Get(nsq.HeaderFailedError), Host: l.Header.Get(nsq.HeaderFailedHost)}
	return d
}

// cells returns the row of a table.
func (d *deadLetter) cells(now time.Time) []string {
	if d.Raw {
		return []string{d.ID, d.NSQD, noFigure, "(raw)", noFigure, figures.Count(int64(d.Size)), noFigure}
	}
	return []string{
		d.ID, d.NSQD, age(d.Failed.At, now), d.Origin.Topic + "/" + d.Origin.Channel, strconv.Itoa(d.Origin.Attempts),
		figures.Count(int64(d.Size)), shortened(d.Failed.Error, deadErrorWidth),
	}
}

// shortened returns a text of at most width characters.
func shortened(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}

// text returns the headers and the body for people. Control characters are escaped, except
// tabs and newlines of the body.
func (d *deadLetter) text(body []byte) []byte {
	stamp := func(t time.Time) string {
		if t.IsZero() {
			return noFigure
		}
		return t.Format(time.RFC3339)
	}
	rows := [][]string{{"id", d.ID}, {"nsqd", d.NSQD}, {"stored", stamp(d.Stored)}, {"attempts", strconv.Itoa(int(d.Attempts))}}
	if d.Raw {
		rows = append(rows, []string{"headers", "none: the letter is raw"})
	} else {
		rows = append(rows, [][]string{
			{"origin", d.Origin.Topic + "/" + d.Origin.Channel},
			{"origin nsqd", d.Origin.NSQD},
			{"origin id", d.Origin.ID},
			{"published", stamp(d.Origin.Published)},
			{"delivered", strconv.Itoa(d.Origin.Attempts) + " " + figures.Verb(d.Origin.Attempts, "time", "times")},
			{"failed", stamp(d.Failed.At)},
			{"host", d.Failed.Host},
			{"error", d.Failed.Error},
		}...)
	}
	rows = append(rows, []string{"size", figures.Things(d.Size, "byte")})
	var out bytes.Buffer
	align(&out, 2, rows)
	out.WriteByte('\n')
	out.Write(visible.Escape(body, "\t\n"))
	if !bytes.HasSuffix(out.Bytes(), []byte("\n")) {
		out.WriteByte('\n')
	}
	return out.Bytes()
}

// deadFilter chooses letters by their headers.
type deadFilter struct {
	err    string
	origin string // TOPIC or TOPIC/CHANNEL
}

func (f *deadFilter) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.err, "error", "", "only letters whose error contains this `text`")
	flags.StringVar(&f.origin, "origin", "", "only letters from this `topic` or topic/channel")
}

// set reports whether the filter leaves letters out.
func (f *deadFilter) set() bool { return f.err+f.origin != "" }

// matches reports whether the filter chooses a letter. With a filter no raw letter matches.
func (f *deadFilter) matches(l *letters.Letter) bool {
	topic, channel, both := strings.Cut(f.origin, "/")
	switch {
	case !f.set():
		return true
	case l.Raw(), !strings.Contains(l.Header.Get(nsq.HeaderFailedError), f.err):
		return false
	case f.origin != "" && topic != l.Header.Get(nsq.HeaderOriginTopic):
		return false
	}
	return !both || channel == l.Header.Get(nsq.HeaderOriginChannel)
}
