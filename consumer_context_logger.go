package nsq

import (
	"context"
	"log/slog"
	"sync"
)

// ContextLogger returns a middleware that gives the handler a logger in its context, for
// [LoggerFromContext]. It is l with the attributes topic, channel, id, attempts and nsqd of
// the message, which are those of the Consumer's own log lines. It is made when it is first
// asked for, so a handler that logs nothing does not pay for it. ContextLogger panics if l
// is nil.
func ContextLogger(l *slog.Logger) Middleware {
	if l == nil {
		panic("nil logger")
	}
	return func(next Handler) Handler {
		return HandlerFunc(func(m *Message) error {
			logger := sync.OnceValue(func() *slog.Logger {
				return l.With("topic", m.Topic(), "channel", m.Channel(), "id", string(m.ID[:]),
					"attempts", m.Attempts, "nsqd", m.NSQDAddress)
			})
			return next.HandleMessage(m.WithContext(context.WithValue(m.Context(), loggerKey{}, logger)))
		})
	}
}

type loggerKey struct{}

// LoggerFromContext returns the logger that [ContextLogger] put into the context of a
// message, and slog.Default for any other context.
func LoggerFromContext(ctx context.Context) *slog.Logger {
	if logger, ok := ctx.Value(loggerKey{}).(func() *slog.Logger); ok {
		return logger()
	}
	return slog.Default()
}
