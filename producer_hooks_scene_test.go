package nsq

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"
)

// toldHooks is what the hooks of a Producer or pool were told, as text.
type toldHooks struct {
	mu        sync.Mutex
	cold      []string // of the hooks' goroutine, in order
	published []string // of Published
	counts    ProducerCounts
}

// toldBy records what the hooks of a scene are told.
func toldBy(s *scene) *toldHooks {
	h := &toldHooks{}
	s.cfg.Hooks = append(s.cfg.Hooks, h.hooks())
	return h
}

func (h *toldHooks) hooks() Hooks {
	return Hooks{
		Connected: func(e ConnectEvent) {
			if e.Err != nil {
				h.note("dial of %s failed after %v: %s", e.Addr, e.Took, resultText(e.Err))
			} else {
				h.note("connected %s %s", e.Addr, strings.TrimSpace(e.Version+" "+e.TLS+" "+e.Compression))
				h.count(func(c *ProducerCounts) *uint64 { return &c.Connects }, 1)
			}
		},
		Disconnected: func(e DisconnectEvent) { h.note("disconnected %s up %v: %s", e.Addr, e.Up, resultText(e.Err)) },
		LookedUp: func(e LookupEvent) {
			h.note("%s lists %d%s after %v: %s", e.Addr, e.NSQDs, e.Topic, e.Took, resultText(e.Err))
		},
		Discovered: func(e DiscoverEvent) { h.note("discovered%s%s %v, without %v", e.Topic, e.Channel, e.Added, e.Removed) },
		PoolChanged: func(e PoolEvent) {
			h.note("%s healthy %t: %s", e.Addr, e.Healthy, resultText(e.Err))
		},
		Stopped:   func(e StoppedEvent) { h.note("stopped %s after %v", e.Addr, e.Took) },
		Published: h.publish,
		// A Producer has none of these.
		Ready:     func(e ReadyEvent) { h.note("%+v", e) },
		BackedOff: func(e BackoffEvent) { h.note("%+v", e) },
		Handled:   func(e HandledEvent) { h.note("%+v", e) },
		Abandoned: func(e AbandonedEvent) { h.note("%+v", e) },
	}
}

func (h *toldHooks) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cold = append(h.cold, fmt.Sprintf(format, args...))
}

func (h *toldHooks) count(which func(*ProducerCounts) *uint64, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*which(&h.counts) += uint64(n)
}

func (h *toldHooks) publish(e PublishedEvent) {
	h.count([publishResults]func(*ProducerCounts) *uint64{
		func(c *ProducerCounts) *uint64 { return &c.Published }, func(c *ProducerCounts) *uint64 { return &c.Refused },
		func(c *ProducerCounts) *uint64 { return &c.NotSent }, func(c *ProducerCounts) *uint64 { return &c.Unknown },
	}[publishResult(e.Err)], e.Messages)
	text := fmt.Sprintf("%s: %d of %d bytes at %s after %v: %s", e.Topic, e.Messages, e.Bytes, e.Addr, e.Took, resultText(e.Err))
	if e.Deferred > 0 {
		text += fmt.Sprintf(", deferred %v", e.Deferred)
	}
	if age := time.Since(e.Start); age != e.Took {
		text += fmt.Sprintf(", but it began %v ago", age)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.published = append(h.published, text)
}

// resultText returns a short name of an error.
func resultText(err error) string {
	refusal, refused := errors.AsType[*ProtocolError](err)
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrUnknownOutcome):
		return "unknown"
	case errors.Is(err, ErrNotSent):
		return "not sent"
	case err == ErrStopped: //nolint:errorlint // as it is
		return "stopped"
	case refused:
		return refusal.Code
	}
	words := strings.Split(err.Error(), " - ")
	return words[len(words)-1]
}

// expect checks what hooks were told since the last expect.
func (h *toldHooks) expect(s *scene, cold []string, published ...string) {
	s.Helper()
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.cold, cold) {
		s.Errorf("events %q\nwant   %q", h.cold, cold)
	}
	if !slices.Equal(h.published, published) {
		s.Errorf("published %q\nwant      %q", h.published, published)
	}
	h.cold, h.published = nil, nil
}

// sortEvents sorts the events so far, for a test in which their order is open.
func (h *toldHooks) sortEvents() {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.Sort(h.cold)
}

// expectCounts checks that a snapshot counts what the hooks were told.
func (h *toldHooks) expectCounts(s *scene, got ProducerCounts) {
	s.Helper()
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if got != h.counts {
		s.Errorf("counts %+v\nwant   %+v", got, h.counts)
	}
}
