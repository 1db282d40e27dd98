package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

const (
	// sameSignal is how long after the first signal further ones count as the
	// same: timeout(1), for example, signals both a process and its group.
	sameSignal = 50 * time.Millisecond

	// noticeDelay is how long a command may take to stop before the user is told
	// how to exit at once.
	noticeDelay = time.Second
)

var errInterrupted = errors.New("interrupted")

// watchSignals cancels a command's context at the first signal, so that the
// command drains and returns. Hangups that the command has claimed do not count. At the
// second signal it exits, unless that is a hangup: when a terminal goes away, both the
// shell and the kernel send one, and service managers send one after SIGTERM. No user
// asks for a quick exit then.
func watchSignals(signals <-chan os.Signal, h *hangups, stderr io.Writer, cancel context.CancelCauseFunc, exit func(code int)) {
	for h.pass(<-signals) { // the command has it
	}
	cancel(errInterrupted)
	same, notice := time.After(sameSignal), time.After(noticeDelay)
	for {
		select {
		case s := <-signals:
			if same == nil && s != syscall.SIGHUP {
				exit(exitInterrupted)
				return
			}
		case <-same:
			same = nil
		case <-notice:
			_, _ = fmt.Fprintln(stderr, "rdy: still stopping; press Ctrl-C again to exit at once")
		}
	}
}
