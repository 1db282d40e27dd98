package main

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
)

// maxComplaints is how many failures are told one by one.
const maxComplaints = 10

// pubResult is what became of the lines, as --json prints it.
type pubResult struct {
	Published int     `json:"published"`
	Failed    int     `json:"failed"`
	Unknown   int     `json:"unknown"`
	Skipped   int     `json:"skipped"`
	Bytes     int64   `json:"bytes"`   // of what was published
	Batches   int     `json:"batches"` // groups of lines that were sent as one command
	Seconds   float64 `json:"seconds"`
	Rate      float64 `json:"rate"` // published per second

	read int64 // bytes of the input
}

// tally counts what becomes of lines, and tells of those that fail.
type tally struct {
	mu         sync.Mutex // guards what follows; the writer, too, so that lines stay whole
	w          io.Writer
	counts     pubResult
	complaints int
}

func newTally(w io.Writer) *tally { return &tally{w: w} }

// readMore counts what was read.
func (t *tally) readMore(read int64, skipped int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.read += read
	t.counts.Skipped += skipped
}

// sent counts a batch that was sent.
func (t *tally) sent() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Batches++
}

// settled counts what became of the lines of a batch.
func (t *tally) settled(b *batch) {
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

// reject counts a line that fails before it is sent, and says why.
func (t *tally) reject(at position, why string) {
	t.mu.Lock()
	t.counts.Failed++
	t.mu.Unlock()
	t.complain("%s: %s", at, why)
}

// complain tells of a failure, unless it was told of many.
func (t *tally) complain(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch t.complaints++; {
	case t.complaints <= maxComplaints:
		t.print(format, args...)
	case t.complaints == maxComplaints+1:
		t.print("further failures are counted only")
	}
}

// say tells of something that is no failure.
func (t *tally) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.print(format, args...)
}

// print writes a line. Where that fails there is nobody to tell. Callers hold
// the mutex.
func (t *tally) print(format string, args ...any) {
	_, _ = fmt.Fprintf(t.w, "rdy: "+format+"\n", args...)
}

// now returns the counts as they are.
func (t *tally) now() pubResult {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts
}

// result returns the counts of a command that took so long.
func (t *tally) result(took time.Duration) *pubResult {
	r := t.now()
	r.Seconds = took.Seconds()
	if r.Seconds > 0 {
		r.Rate = float64(r.Published) / r.Seconds
	}
	return &r
}

// err is not nil if any line was not published.
func (r *pubResult) err() error {
	if r.Failed+r.Unknown == 0 {
		return nil
	}
	return fmt.Errorf("%d lines failed, and of %d the outcome is unknown; %d were published", r.Failed, r.Unknown, r.Published)
}

// table returns the result as a person reads it.
func (r *pubResult) table() []byte {
	var out bytes.Buffer
	align(&out, [][]string{
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
