package main

import (
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

// hangups passes SIGHUP to a command that uses it for something else than its end.
type hangups struct {
	signals  chan<- os.Signal // read by watchSignals; nil in tests without signals
	claimed  atomic.Bool
	received chan os.Signal // holds one signal: several that come together count as one
}

func newHangups(signals chan<- os.Signal) *hangups {
	return &hangups{signals: signals, received: make(chan os.Signal, 1)}
}

// claim returns the channel of hangups. From then on they do not end the command, and
// are received even under nohup. A nil h, as in tests, has none.
func (h *hangups) claim() <-chan os.Signal {
	if h == nil {
		return nil
	}
	h.claimed.Store(true)
	if h.signals != nil {
		signal.Notify(h.signals, syscall.SIGHUP)
	}
	return h.received
}

// pass reports whether a signal is a hangup that the command has claimed, and passes it on.
func (h *hangups) pass(s os.Signal) bool {
	if s != syscall.SIGHUP || !h.claimed.Load() {
		return false
	}
	select {
	case h.received <- s:
	default:
	}
	return true
}
