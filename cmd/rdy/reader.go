package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"
)

const (
	// Between two looks at a pipe whose reader has not taken all of it yet. The first
	// pause is about as long as a reader takes to wake.
	firstLook = 20 * time.Microsecond
	maxLook   = 20 * time.Millisecond

	// takeGrace is how long a reader has after an interruption to take the last line.
	takeGrace = 100 * time.Millisecond
)

var errClosedAtStart = errors.New("standard output is closed; to discard the output, redirect it to a file such as " + os.DevNull)

// reader is the program that reads standard output through a pipe or a socket.
type reader struct {
	f      *os.File
	isPipe bool
}

// readerOf returns the reader of w, or nil if w is neither a pipe nor a socket: what
// is written to anything else has arrived.
func readerOf(w io.Writer) *reader {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return nil
	}
	return &reader{f: f, isPipe: info.Mode()&os.ModeNamedPipe != 0}
}

// awaitTaken waits until the reader has taken everything written so far, and reports
// whether it has: not if the reader is gone, nor if ctx and takeGrace have ended. On
// systems that do not tell what a reader has taken, it reports true at once.
func (r *reader) awaitTaken(ctx context.Context) bool {
	done := ctx.Done()
	var late <-chan time.Time
	for pause := firstLook; r.unread() > 0; pause = min(2*pause, maxLook) {
		if r.gone() {
			return false
		}
		select {
		case <-time.After(pause):
		case <-done:
			done, late = nil, time.After(takeGrace)
		case <-late:
			return false
		}
	}
	return true
}
