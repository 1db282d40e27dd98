package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq"
	"golang.org/x/time/rate"
)

const (
	// refusedDelay is the delay of a message that a server has refused, if there is no topic
	// for dead letters: long, because a retry does not help until the cause is fixed.
	refusedDelay = 15 * time.Minute

	// patience is how many messages may fail in a row before planned retries count as
	// failures and the consumer backs off. Otherwise a server that refuses everything
	// would make nsqd defer the whole backlog, and deferred messages take its memory.
	patience = 10
)

// courier is the handler of to-http.
type courier struct {
	*toHTTP
	stopping context.Context // ends when the command is to stop
	poster   poster
	router   router
	partial  *partial
	stats    *httpStats
	limit    *rate.Limiter // nil without --rate
	inARow   atomic.Int32  // messages that have failed since the last success
	told     sync.Map      // failures that a line was printed for, by URL and status
	burials  *burials      // nil without --dead-letter
}

func newCourier(ctx context.Context, h *toHTTP, client *http.Client) *courier {
	c := &courier{
		toHTTP: h, stopping: ctx,
		poster: poster{
			client: client, method: h.method, headers: h.headers, attributes: h.attributes, timeout: h.timeout,
			timedOut: fmt.Errorf("no response within %v", h.timeout),
			fixed:    http.Header{"User-Agent": {"rdy/" + readVersion().Version}},
		},
		router:  router{mode: h.mode, destinations: h.urls},
		partial: newPartial(),
		stats:   newHTTPStats(len(h.urls), h.statusEvery, time.Now()),
	}
	if hasBody(h.method) {
		c.poster.fixed.Set("Content-Type", h.contentType)
	}
	if h.rate > 0 {
		c.limit = rate.NewLimiter(rate.Limit(h.rate), 1)
	}
	return c
}

// HandleMessage sends a message.
func (c *courier) HandleMessage(m *nsq.Message) error {
	if !inSample(m, c.sample) {
		c.count(func(n *httpCounts) { n.notSampled++ })
		return nil
	}
	if !c.mayStart(m) {
		c.count(func(n *httpCounts) { n.requeued++ })
		m.RequeueWithoutBackoff(0)
		return nil
	}
	failures := c.send(m)
	if len(failures) == 0 {
		c.inARow.Store(0)
		c.count(func(n *httpCounts) { n.delivered++ })
		return nil
	}
	err := c.result(m, failures)
	if outcome, _ := m.Outcome(err); outcome != nsq.OutcomeBuried { // buried counts that
		c.count(func(n *httpCounts) { n.requeued++ })
	}
	return err
}

// inSample reports whether a message belongs to the share that is sent. It depends on the ID
// alone: a message that was chosen and has failed must not be dropped at its next attempt.
func inSample(m *nsq.Message, share float64) bool {
	if share >= 1 {
		return true
	}
	hash := sha256.Sum256(m.ID[:])
	return float64(binary.BigEndian.Uint64(hash[:]))/(1<<64) < share
}

// mayStart waits for --rate. It reports false if the command stops or the message is lost
// meanwhile.
//
// The limiter does not see the deadline of the lease. It would refuse at once a wait that
// ends after it, and the message would come again at once and be refused again, as fast as
// nsqd can send it. Each time is an attempt, so --max-attempts would make dead letters of
// messages that were never sent.
func (c *courier) mayStart(m *nsq.Message) bool {
	if c.limit == nil {
		return true
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(m.Context()))
	defer cancel()
	defer context.AfterFunc(m.Context(), cancel)()
	defer context.AfterFunc(c.stopping, cancel)()
	return c.limit.Wait(ctx) == nil
}

// send sends a message to the server or servers that it is meant for. It returns why servers
// have not taken it.
func (c *courier) send(m *nsq.Message) []*httpFailure {
	if c.mode == modeAll {
		return c.sendToAll(m)
	}
	i := c.router.pick(time.Now(), m.Attempts > 1)
	f := c.sendTo(m, i)
	c.router.done(i, f, time.Now())
	if f == nil {
		return nil
	}
	return []*httpFailure{f}
}

// sendToAll sends a message to all servers that do not have it yet, at the same time.
func (c *courier) sendToAll(m *nsq.Message) []*httpFailure {
	key := keyOf(m)
	before := c.partial.of(key)
	results := make([]*httpFailure, len(c.urls))
	var requests sync.WaitGroup
	for i := range c.urls {
		if before&(1<<i) == 0 {
			requests.Go(func() { results[i] = c.sendTo(m, i) })
		}
	}
	requests.Wait()
	var failures []*httpFailure
	var has uint64
	for i, f := range results {
		if f == nil {
			has |= 1 << i
		} else {
			failures = append(failures, f)
		}
	}
	if len(failures) == 0 {
		c.partial.forget(key)
	} else {
		c.partial.add(key, has)
	}
	return failures
}

// sendTo makes a request to the i-th URL, and counts it.
func (c *courier) sendTo(m *nsq.Message, i int) *httpFailure {
	start := time.Now()
	f := c.poster.send(m, c.urls[i].urlTemplate)
	c.stats.request(i, f, time.Since(start))
	return f
}

// result returns the handler's result for a message that servers have not taken. If some of
// them have refused it and others have failed, it is retried as long as others fail.
func (c *courier) result(m *nsq.Message, failures []*httpFailure) error {
	var all []error
	var delay time.Duration
	refused, planned, cut := true, true, false
	for _, f := range failures {
		all = append(all, f)
		cut = cut || f.cut
		if !f.refused {
			refused = false
			planned = planned && f.after > 0
			delay = max(delay, f.after)
		}
	}
	err := errors.New(oneLine(errors.Join(all...)))
	switch {
	case cut:
		return nsq.RetryAfter(0, err)
	case refused && c.deadLetter != "":
		return nsq.DeadLetter(hopeless{err})
	case refused:
		delay = refusedDelay
	case !planned:
		c.inARow.Add(1)
		return err // the consumer logs it
	}
	c.tell(failures, delay)
	if c.inARow.Add(1) > patience {
		m.Requeue(delay)
		return nil
	}
	return nsq.RetryAfter(delay, err)
}

// tell prints a line for failures that the consumer does not log, one for each URL and reason.
func (c *courier) tell(failures []*httpFailure, delay time.Duration) {
	for _, f := range failures {
		if _, before := c.told.LoadOrStore(f.url+" "+f.why, true); before {
			continue
		}
		hint := ""
		if f.refused && c.deadLetter == "" {
			hint = "; --dead-letter keeps such messages in a topic"
		}
		c.notice("rdy: %v; the message comes again in %v, and others with this response are not reported%s", f, delay, hint)
	}
}

// buried counts a dead letter.
func (c *courier) buried(e nsq.BuriedEvent) {
	if e.PublishErr == nil {
		c.burials.add(e)
	}
	c.count(func(n *httpCounts) {
		if e.PublishErr == nil {
			n.deadLetters++
		} else {
			n.requeued++
		}
	})
}

// count counts the end of a delivery, and reports if that is due. An error of standard
// output shows at the end.
func (c *courier) count(change func(*httpCounts)) {
	now := time.Now()
	if counts, due := c.stats.message(change, now); due {
		_ = c.report(counts.report(c.urls, now, false))
	}
}

// reportEnd reports the whole run. The consumer knows of more requeues than was counted: it gives
// back what no handler has begun when a stop begins.
func (c *courier) reportEnd(consumer *nsq.Consumer) error {
	counts, now := c.stats.whole(), time.Now()
	counts.requeued = int(consumer.Stats().MessagesRequeued) // #nosec G115 -- a count
	return c.report(counts.report(c.urls, now, true))
}

func (c *courier) report(r *httpReport) error {
	if c.json {
		return c.printJSON(r)
	}
	c.notice("rdy: %s", r.line())
	return nil
}
