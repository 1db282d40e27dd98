package nsq

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
)

// countingHandler counts how often a logger is derived.
type countingHandler struct {
	slog.Handler
	derived *int
}

func (h countingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	*h.derived++
	return h.Handler.WithAttrs(attrs)
}

func TestContextLogger(t *testing.T) {
	inScene(t, func(s *scene) {
		var out bytes.Buffer
		derived := 0
		base := slog.New(countingHandler{slog.NewTextHandler(&out, nil), &derived})
		d := s.nsqd("a:1")
		s.consumer(0, nil)
		s.c.Use(ContextLogger(base))
		s.c.AddHandler(ContextHandlerFunc(func(ctx context.Context, m *Message) error {
			if string(m.Body) == "silent" {
				return nil
			}
			child, cancel := context.WithCancel(ctx)
			defer cancel()
			LoggerFromContext(child).Info("billed", "order", string(m.Body))
			LoggerFromContext(ctx).Info("again")
			return nil
		}))
		s.connect(d)
		id := d.Publish("t", "pen")[0]
		synctest.Wait()
		for _, want := range []string{
			"level=INFO msg=billed topic=t channel=c id=" + id + " attempts=1 nsqd=a:1 order=pen\n",
			"level=INFO msg=again topic=t channel=c id=" + id + " attempts=1 nsqd=a:1\n",
		} {
			if !strings.Contains(out.String(), want) {
				s.Errorf("logged %q, want %q", out.String(), want)
			}
		}
		d.Publish("t", "silent")
		synctest.Wait()
		if derived != 1 || s.balanced().Finished != 2 {
			s.Errorf("%d loggers made for 2 messages, want 1, for the one that logs", derived)
		}
	})
}

func TestLoggerOfOtherContexts(t *testing.T) {
	if LoggerFromContext(context.Background()) != slog.Default() {
		t.Error("the logger of a context without one is not slog.Default")
	}
	defer func() {
		if got := recover(); got != "nil logger" {
			t.Errorf("panic %v of a nil logger", got)
		}
	}()
	ContextLogger(nil)
}
