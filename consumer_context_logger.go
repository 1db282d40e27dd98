package nsq

import (
	"context"
	"log/slog"
	"sync"
)

// ContextLogger returns a middleware that puts a logger into the handler's context, where
// [LoggerFromContext] finds it. The logger is l with the attributes topic, channel, id,
// attempts and nsqd of the message, which the Consumer's own log lines have as well. It is
// made when it is first asked for, so a handler that logs nothing does not pay for it.
// ContextLogger panics if l is nil.
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

// LoggerFromContext returns the logger that [ContextLogger] put into a message's context,
// or slog.Default() for any other context.
func LoggerFromContext(ctx context.Context) *slog.Logger {
	if logger, ok := ctx.Value(loggerKey{}).(func() *slog.Logger); ok {
		return logger()
	}
	return slog.Default()
}
