package nsq

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"
)

// Some records may come again and again: an nsqd that is down for hours, a thousand acks
// that nsqd refuses. They are logged with a context of type repeatable. The first is
// written at once; those that follow are counted, and written at growing intervals with
// that count.

// repeatWaits are the times from one written record to the next. The last one repeats.
var repeatWaits = [...]time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute}

const (
	// beginsStep is the longest wait, as an index, of a record that begins something
	// new.
	beginsStep = 2
	// A record that has not come for repeatsForget counts as new. If room is needed, what
	// is known of one that has not come for repeatsDrop is dropped, even if repeats were
	// not written yet: that nsqd will hardly come back.
	repeatsForget, repeatsDrop = 10 * time.Minute, time.Hour
	// mostRepeats is how many records are told apart. If there are more, those with the
	// same text are folded whatever nsqd they are about.
	mostRepeats = 1000
)

// repeatable is the context of a record that may repeat. Records with the same text,
// nsqd, nsqlookupd and kind are repeats of each other.
type repeatable struct {
	context.Context
	kind   string
	once   bool // only the first is written, and repeats are not counted
	begins bool // an outage begins: the record waits for a minute at most
	// recovery is the text of the record that says that this trouble is over. It is
	// written if this one was.
	recovery string
}

// repeating is the context of records that text, nsqd and nsqlookupd alone tell apart.
var repeating context.Context = repeatable{Context: context.Background()}

// repeatKey tells repeatable records apart.
type repeatKey struct{ text, about, kind string }

// repeats counts the repeatable records of one log. Its zero value is ready for use.
type repeats struct {
	mu     sync.Mutex // guards what follows
	known  map[repeatKey]*repeat
	pruned time.Time // when those that stay away were last removed
}

// repeat is what is known of one record.
type repeat struct {
	step    int       // index of the wait that follows the last one written
	written time.Time // when one was last written
	came    time.Time // when one last came
	more    int       // how many have come since and were not written
	due     bool      // the trouble that this record ends was written
	held    *heldRecord
}

// heldRecord is the last record that was not written.
type heldRecord struct {
	by     *logHandler
	record slog.Record
}

// admit reports whether to write a record now. If so, more is how many were not written
// since the time since. If not, held is kept for rest.
func (rs *repeats) admit(now time.Time, key repeatKey, how repeatable, held *heldRecord) (more int, since time.Time, write bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.find(now, key)
	if how.begins {
		r.step = min(r.step, beginsStep)
	}
	more, since = r.more, r.written
	switch {
	case how.once && !since.IsZero():
		r.came = now
		return 0, since, false
	case since.IsZero() || now.Sub(r.came) >= repeatsForget:
		r.step = 0
		write = true
	case r.due || now.Sub(since) >= repeatWaits[r.step]:
		r.step = min(r.step+1, len(repeatWaits)-1)
		write = true
	}
	r.came = now
	if !write {
		r.more++
		r.held = held
		return 0, since, false
	}
	r.written, r.more, r.due, r.held = now, 0, false, nil
	for _, about := range []string{key.about, ""} { // some recoveries are about all nsqlookupds
		if over := rs.known[repeatKey{text: how.recovery, about: about}]; over != nil {
			over.due = true
		}
	}
	return more, since, true
}

// find returns what is known of a record. Callers hold the mutex.
func (rs *repeats) find(now time.Time, key repeatKey) *repeat {
	if r := rs.known[key]; r != nil {
		return r
	}
	if rs.known == nil {
		rs.known = make(map[repeatKey]*repeat)
	}
	if len(rs.known) >= mostRepeats && now.Sub(rs.pruned) >= time.Minute { // a flood must not search all each time
		rs.pruned = now
		maps.DeleteFunc(rs.known, func(_ repeatKey, r *repeat) bool {
			away := now.Sub(r.came)
			return away >= repeatsDrop || away >= repeatsForget && r.more == 0
		})
	}
	if len(rs.known) >= mostRepeats {
		key = repeatKey{text: key.text} // one more for each text
	}
	r := rs.known[key]
	if r == nil {
		r = &repeat{}
		rs.known[key] = r
	}
	return r
}

// rest returns the last of each record that came and was not written, with how many
// others were not.
func (rs *repeats) rest() (records []*heldRecord) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, r := range rs.known {
		if r.held != nil {
			withMore(&r.held.record, r.more-1, r.written)
			records = append(records, r.held)
			r.more, r.held = 0, nil
		}
	}
	return records
}

// withMore adds to a record how many more there were.
func withMore(r *slog.Record, more int, since time.Time) {
	if more > 0 {
		r.AddAttrs(slog.Int("more", more), slog.Time("since", since.Round(0)))
	}
}

// fold returns the record to write in place of r, which may repeat. It reports false if
// none is to be written now.
func (h *logHandler) fold(how repeatable, r slog.Record) (slog.Record, bool) {
	r = r.Clone()
	key := repeatKey{text: r.Message, about: h.about(r), kind: how.kind}
	more, since, ok := h.logs.repeats.admit(r.Time, key, how, &heldRecord{by: h, record: r})
	if ok {
		withMore(&r, more, since)
	}
	return r, ok
}

// about returns the nsqd or nsqlookupd that a record is about.
func (h *logHandler) about(r slog.Record) (about string) {
	for _, a := range h.attrs {
		if a.Key == "nsqd" || a.Key == "lookupd" {
			about = a.Value.String()
		}
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "nsqd" || a.Key == "lookupd" {
			about = a.Value.String()
		}
		return true
	})
	return about
}

// writeRest writes what fold has kept back. The log's owner calls it when it ends.
func (l *logs) writeRest() {
	for _, held := range l.repeats.rest() {
		if ctx := context.Background(); held.by.Enabled(ctx, held.record.Level) {
			_ = held.by.Handle(ctx, held.record) // as slog does
		}
	}
}
