package nsqprom

import (
	"errors"

	"github.com/rdyhq/nsq"
)

// Hooks returns the hooks that count handled and abandoned messages, dead letters, publishes,
// dials and lookups. Add them once to each Config, to as many Configs as there are. They do
// not block.
func (m *Metrics) Hooks() nsq.Hooks {
	return nsq.Hooks{
		Connected: m.connected,
		LookedUp:  m.lookedUp,
		Handled:   m.handled,
		Abandoned: m.abandoned,
		Buried:    m.buried,
		Published: m.published,
		Stopped:   m.stopped,
	}
}

func (m *Metrics) handled(e nsq.HandledEvent) {
	o := m.outcomes.get(outcomeKey{subscriptionKey{e.Topic, e.Channel}, e.Outcome})
	o.messages.Add(1)
	if e.Outcome == nsq.OutcomeGivenUp {
		return // no handler has seen it
	}
	o.handling.observe(e.Took.Seconds())
	// If nsqd's clock is ahead, the age is negative. That must not make the sum fall.
	o.subscription.age.observe(max(e.Age, 0).Seconds())
	o.subscription.wait.observe(e.Waited.Seconds())
}

func (m *Metrics) abandoned(e nsq.AbandonedEvent) {
	s := m.subscriptions.get(subscriptionKey{e.Topic, e.Channel})
	s.abandoned[reasonOf(e.Why)].Add(1)
}

func (m *Metrics) buried(e nsq.BuriedEvent) {
	s := m.subscriptions.get(subscriptionKey{e.Topic, e.Channel})
	s.buried[resultOf(e.PublishErr)].Add(1)
}

// reasonOf returns the index of a reason.
func reasonOf(why error) int {
	switch {
	case errors.Is(why, nsq.ErrMessageTimedOut):
		return 0
	case errors.Is(why, nsq.ErrConnectionLost):
		return 1
	case errors.Is(why, nsq.ErrMessageTooBig):
		return 2
	default:
		return 3
	}
}

func (m *Metrics) connected(e nsq.ConnectEvent) {
	if e.Topic != "" { // not a Producer's
		m.subscriptions.get(subscriptionKey{e.Topic, e.Channel}).connected(m.nsqdLabel(e.Addr), e.Err)
	}
}

func (m *Metrics) lookedUp(e nsq.LookupEvent) {
	lookupd := valid(e.Addr)
	for _, result := range results {
		m.lookups.WithLabelValues(lookupd, result) // exported from the start
	}
	result := results[resultOf(e.Err)]
	m.lookups.WithLabelValues(lookupd, result).Inc()
	m.lookupSeconds.WithLabelValues(lookupd, result).Observe(e.Took.Seconds())
}

func (m *Metrics) published(e nsq.PublishedEvent) {
	p := m.publications.get(publicationKey{e.Topic, e.Addr})
	i := publishResultOf(e.Err)
	p.messages[i].Add(uint64(max(e.Messages, 0)))
	p.bytes[i].Add(uint64(max(e.Bytes, 0)))
	p.seconds[i].observe(e.Took.Seconds())
}

// publishResultOf returns the index of a result of a publish.
func publishResultOf(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, nsq.ErrUnknownOutcome):
		return 3
	}
	if _, ok := errors.AsType[*nsq.ProtocolError](err); ok && !errors.Is(err, nsq.ErrNotSent) {
		return 1
	}
	return 2
}

// stopped forgets the names of a Consumer or Producer that has stopped. There may be an
// unlimited number of names for one label.
func (m *Metrics) stopped(e nsq.StoppedEvent) {
	if e.Topic == "" {
		m.publications.forget(func(names publicationKey) bool { return names.nsqd == e.Addr })
		return
	}
	m.forget(subscriptionKey{e.Topic, e.Channel})
}

// forget forgets the names of a Consumer that has stopped.
func (m *Metrics) forget(ended subscriptionKey) {
	m.subscriptions.forget(func(names subscriptionKey) bool { return names == ended })
	m.outcomes.forget(func(names outcomeKey) bool { return names.subscriptionKey == ended })
}
