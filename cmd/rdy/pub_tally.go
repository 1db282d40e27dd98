package main

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

// maxFailuresReported is how many failures are reported one by one.
const maxFailuresReported = 10

// pubResult is the summary of a run, as --json prints it.
type pubResult struct {
	Published int     `json:"published"`
	Failed    int     `json:"failed"`
	Unknown   int     `json:"unknown"`
	Skipped   int     `json:"skipped"`
	Bytes     int64   `json:"bytes"`   // in the bodies of published lines
	Batches   int     `json:"batches"` // groups of lines sent as one command
	Seconds   float64 `json:"seconds"`
	Rate      float64 `json:"rate"` // published lines per second

	read int64 // bytes of input read so far
}

// tally counts the outcomes of lines and reports failures to the user.
type tally struct {
	mu               sync.Mutex // guards the fields below, and keeps lines written to w whole
	w                io.Writer
	counts           pubResult
	failuresReported int
}

func newTally(w io.Writer) *tally { return &tally{w: w} }

// addRead counts input bytes and skipped lines.
func (t *tally) addRead(read int64, skipped int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.read += read
	t.counts.Skipped += skipped
}

// addBatch counts a batch that was sent.
func (t *tally) addBatch() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Batches++
}

// addOutcomes counts the lines of a batch by outcome.
func (t *tally) addOutcomes(b *batch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, l := range b.lines {
		switch b.outcome(i) {
		case published:
			t.counts.Published++
			t.counts.Bytes += int64(len(l.body))
		case unknown:
			t.counts.Unknown++
		default:
			t.counts.Failed++
		}
	}
}

// reject counts a line that fails before it is sent, and reports why.
func (t *tally) reject(at position, why string) {
	t.mu.Lock()
	t.counts.Failed++
	t.mu.Unlock()
	t.reportFailure("%s: %s", at, why)
}

// reportFailure reports a failure to the user. After maxFailuresReported failures it
// only says that more are not shown.
func (t *tally) reportFailure(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch t.failuresReported++; {
	case t.failuresReported <= maxFailuresReported:
		t.print(format, args...)
	case t.failuresReported == maxFailuresReported+1:
		t.print("further failures are counted but not shown")
	}
}

// report tells the user about something that is not a failure.
func (t *tally) report(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.print(format, args...)
}

// print writes a line. An error of the write is ignored: there is nowhere to
// report it. The caller holds mu.
func (t *tally) print(format string, args ...any) {
	_, _ = t.w.Write(noticeLine("rdy: "+format, args...))
}

// now returns the counts so far.
func (t *tally) now() pubResult {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts
}

// result returns the counts of a command that took this long.
func (t *tally) result(took time.Duration) *pubResult {
	r := t.now()
	r.Seconds = took.Seconds()
	if r.Seconds > 0 {
		r.Rate = float64(r.Published) / r.Seconds
	}
	return &r
}

// err returns an error unless every line was published.
func (r *pubResult) err() error {
	if r.Failed+r.Unknown == 0 {
		return nil
	}
	return fmt.Errorf("%s failed, %d %s an unknown outcome, %d %s published", figures.Things(r.Failed, "line"),
		r.Unknown, figures.Verb(r.Unknown, "has", "have"), r.Published, figures.Verb(r.Published, "was", "were"))
}

// table returns the result as text for people.
func (r *pubResult) table() []byte {
	var out bytes.Buffer
	align(&out, 1, [][]string{
		{"published", strconv.Itoa(r.Published)},
		{"failed", strconv.Itoa(r.Failed)},
		{"unknown", strconv.Itoa(r.Unknown)},
		{"skipped", strconv.Itoa(r.Skipped)},
		{"bytes", strconv.FormatInt(r.Bytes, 10)},
		{"batches", strconv.Itoa(r.Batches)},
		{"seconds", fmt.Sprintf("%.2f", r.Seconds)},
		{"messages/s", fmt.Sprintf("%.0f", r.Rate)},
	})
	return out.Bytes()
}
