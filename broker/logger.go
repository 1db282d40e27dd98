package broker

import (
	"context"
	"log/slog"
	"strings"

	"github.com/nsqio/nsq/nsqd"
)

// sink logs a daemon's lines, which begin with a level and a colon, to slog.
type sink struct{ log *slog.Logger }

func newSink(log *slog.Logger, daemon string) sink { return sink{log.With("daemon", daemon)} }

// Output implements the logger interface of all three daemons.
func (s sink) Output(_ int, line string) error {
	level := slog.LevelInfo
	name, text, _ := strings.Cut(line, ": ")
	switch name {
	case "DEBUG":
		level = slog.LevelDebug
	case "WARNING":
		level = slog.LevelWarn
	case "ERROR", "FATAL":
		level = slog.LevelError
	}
	s.log.Log(context.Background(), level, text)
	return nil
}

// setLevel sets a daemon's log level to the lowest that log enables, so that the
// daemon formats no line that is then dropped. At debug level nsqd formats one
// for every command.
func setLevel[L ~int](dst *L, log *slog.Logger) {
	ctx := context.Background()
	switch {
	case log.Enabled(ctx, slog.LevelDebug):
		*dst = L(nsqd.LOG_DEBUG)
	case log.Enabled(ctx, slog.LevelInfo):
		*dst = L(nsqd.LOG_INFO)
	case log.Enabled(ctx, slog.LevelWarn):
		*dst = L(nsqd.LOG_WARN)
	case log.Enabled(ctx, slog.LevelError):
		*dst = L(nsqd.LOG_ERROR)
	default:
		*dst = L(nsqd.LOG_FATAL) + 1
	}
}
