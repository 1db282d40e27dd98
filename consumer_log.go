package nsq

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/rdyhq/nsq/internal/control"
	"github.com/rdyhq/nsq/internal/link"
)

// logEvent logs an event of a Consumer. transport returns the TLS and compression of a
// link whose dial has just succeeded.
func logEvent(log *slog.Logger, event control.Event, transport func(control.ID) link.Transport) {
	switch e := event.(type) {
	case control.DialBegun:
		log.Debug("connecting to nsqd", "nsqd", e.Addr)
	case control.DialFailed:
		logDialFailed(log, e.Err, e.First, "nsqd", e.Addr, "retry_in", e.Retry.Round(time.Millisecond))
	case control.ConnUp:
		how := transport(e.ID)
		log.InfoContext(repeating, connectedText,
			"nsqd", e.Addr, "version", how.Version, "tls", how.TLS, "compression", how.Compression)
	case control.ConnLost:
		level := slog.LevelWarn
		if errors.Is(e.Err, ErrBeyondRDY) { // that does not pass by itself
			level = slog.LevelError
		}
		log.Log(repeatable{Context: context.Background(), recovery: connectedText}, level, "connection to nsqd lost",
			"nsqd", e.Addr, "err", e.Err, "retry_in", e.Retry.Round(time.Millisecond))
	case control.ConnClosed:
		log.InfoContext(repeating, "disconnected from nsqd", "nsqd", e.Addr)
		switch {
		case errors.Is(e.Err, errNoCloseWait):
			log.WarnContext(repeating, "nsqd did not reply to CLS, disconnected without waiting for it", "nsqd", e.Addr)
		case e.Err != nil:
			log.WarnContext(repeating, "disconnected before every message was acked", "nsqd", e.Addr, "err", e.Err)
		}
	case control.Listed:
		for _, addr := range e.Removed {
			log.InfoContext(repeating, "nsqd is not listed any more, disconnecting", "nsqd", addr)
		}
	case control.LowMaxRDY:
		log.WarnContext(repeating, "nsqd's max-rdy-count is below max_in_flight",
			"nsqd", e.Addr, "max_rdy_count", e.MaxRDY, "max_in_flight", e.MaxInFlight)
	case control.FewSlots:
		log.Warn("max_in_flight is below what handlers can have at a time, or the number of nsqds: some will wait",
			"max_in_flight", e.MaxInFlight, "messages", e.Messages, "nsqds", e.NSQDs,
			"set_at_least", max(e.Messages, e.NSQDs))
	case control.Overload:
		log.Warn("messages time out before a handler takes them, taking fewer: max_in_flight is more than handlers get through within msg_timeout",
			"max_in_flight", e.MaxInFlight, "handlers", e.Handlers, "msg_timeout", e.Lease)
	case control.Backoff:
		if e.Level == 0 {
			log.Info("backoff is over")
			return
		}
		log.Warn("backing off", "level", e.Level, "for", e.Pause)
	case control.StopBegun:
		log.Info("stopping")
	case control.StopEnded:
		log.Info("stopped")
	}
}
