package nsq

import "time"

// start returns the current time, for a PublishedEvent, or zero without a Published hook.
func (h *hooks) start() (now time.Time) {
	if len(h.published) > 0 {
		now = time.Now()
	}
	return now
}

// begin sets when a publish began, unless a pool has set it.
func (m *publication) begin(h *hooks) {
	if m.start.IsZero() {
		m.start = h.start()
	}
}

// event returns the PublishedEvent of a publish, without its result. addr is the nsqd's.
func (m *publication) event(addr string) PublishedEvent {
	e := PublishedEvent{Topic: m.topic, Addr: addr, Messages: m.messages(), Bytes: len(m.body), Start: m.start, Deferred: m.delay}
	for _, b := range m.bodies {
		e.Bytes += len(b)
	}
	return e
}

// messages returns how many messages a publication has.
func (m *publication) messages() int {
	if m.bodies != nil {
		return len(m.bodies)
	}
	return 1
}

// publishEnded calls the Published hooks with the result of a publish. addr is empty if a
// pool had no nsqd to try.
func (h *hooks) publishEnded(m *publication, addr string, err error) {
	if len(h.published) > 0 {
		h.tellPublished(m.event(addr), err)
	}
}

// tellPublished adds the result to an event, and calls the Published hooks with it.
func (h *hooks) tellPublished(event PublishedEvent, err error) {
	event.Took, event.Err = time.Since(event.Start), err
	h.published.call(h.log, event)
}

// ended counts a publish that has ended, and calls the Published hooks. Call it before the
// result is returned or sent to the caller of the publish.
func (p *Producer) ended(m *publication, err error) {
	p.tally.ended(m.messages(), err)
	p.hooks.publishEnded(m, p.addr, err)
}

// stopEnded tells the hooks that a Producer or pool has stopped, and waits until they have
// returned, for stop_timeout at most.
func (h *hooks) stopEnded(event StoppedEvent, stopTimeout time.Duration) {
	limit := time.NewTimer(stopTimeout)
	defer limit.Stop()
	select {
	case <-h.finish(event):
	case <-limit.C:
	}
}
