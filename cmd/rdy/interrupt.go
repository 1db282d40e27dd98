package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	// echo is how soon after the first signal another is not a second one:
	// timeout(1) and others signal both a process and its group.
	echo = 50 * time.Millisecond

	// patience is how long a command may take to stop before the user is told
	// how not to wait for it.
	patience = time.Second
)

var errInterrupted = errors.New("interrupted")

// watchSignals ends a command's context at the first signal, so that it drains
// and returns, and the process at the second.
func watchSignals(signals <-chan os.Signal, stderr io.Writer, cancel context.CancelCauseFunc, exit func(code int)) {
	<-signals
	cancel(errInterrupted)
	for first := time.After(echo); first != nil; {
		select {
		case <-signals:
		case <-first:
			first = nil
		}
	}
	select {
	case <-signals:
	case <-time.After(patience - echo):
		_, _ = fmt.Fprintln(stderr, "rdy: still stopping, Ctrl-C again exits at once")
		<-signals
	}
	exit(exitInterrupted)
}
