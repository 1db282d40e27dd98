package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

// burialInterval is the time between two lines about dead letters.
const burialInterval = 10 * time.Second

// burials tells the user of messages that become dead letters: of the first one at once, and then
// how many more there are. A line for each would hide everything else.
type burials struct {
	*app

	mu      sync.Mutex // guards the fields below
	letters int        // stored so far
	told    int        // of which lines have told
	latest  nsq.BuriedEvent
}

// add notes a dead letter that is stored.
func (b *burials) add(e nsq.BuriedEvent) {
	b.mu.Lock()
	b.letters++
	b.latest = e
	first := b.letters == 1
	b.mu.Unlock()
	if first {
		b.tell()
	}
}

// tell prints a line if there are dead letters that no line has told of.
func (b *burials) tell() {
	b.mu.Lock()
	told, more, e := b.told, b.letters-b.told, b.latest
	b.told = b.letters
	b.mu.Unlock()
	latest := fmt.Sprintf("message %s of topic %s: %v", e.ID[:], e.Topic, e.Err)
	switch {
	case told == 0:
		b.notice("rdy: a dead letter is in topic %s, and others will be counted: %s", e.DeadTopic, latest)
	case more > 0:
		b.notice("rdy: %s more in topic %s; the latest is %s", figures.Things(more, "dead letter"), e.DeadTopic, latest)
	}
}

// run prints lines until the returned function is called. The report at the end has the number of
// all dead letters.
func (b *burials) run() (end func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(burialInterval)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				b.tell()
			}
		}
	}()
	return func() { close(stop); <-stopped }
}

// hopeless is why a message becomes a dead letter at its first failure. burials tells of it.
type hopeless struct{ error }

func (h hopeless) Unwrap() error { return h.error }

// withoutHopeless returns a logger that drops the records of consumers about hopeless messages, one
// for each, unless --log-level asks for more than the default.
func (a *app) withoutHopeless(log *slog.Logger) *slog.Logger {
	if a.level < defaultLogLevel {
		return log
	}
	return slog.New(hopelessFilter{log.Handler()})
}

type hopelessFilter struct{ slog.Handler }

func (f hopelessFilter) Handle(ctx context.Context, r slog.Record) error {
	drop := false
	r.Attrs(func(attr slog.Attr) bool {
		if err, ok := attr.Value.Any().(error); ok {
			_, drop = errors.AsType[hopeless](err)
		}
		return !drop
	})
	if drop {
		return nil
	}
	return f.Handler.Handle(ctx, r)
}

func (f hopelessFilter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return hopelessFilter{f.Handler.WithAttrs(attrs)}
}

func (f hopelessFilter) WithGroup(name string) slog.Handler {
	return hopelessFilter{f.Handler.WithGroup(name)}
}
