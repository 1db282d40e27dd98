package nsqotel

import (
	"context"

	"github.com/rdyhq/nsq"
)

// givenUp is the error.type of messages that were delivered more than max_attempts times.
const givenUp = string(nsq.OutcomeGivenUp)

// metrics are the instruments of the hooks.
type metrics struct {
	instruments
	measurements cache[series, measurement]
}

// handled counts a message whose handler has returned, and records how long that took.
func (m *metrics) handled(e nsq.HandledEvent) {
	s := series{
		route:     route{processing, e.Topic, e.Channel, e.Message.NSQDAddress},
		errorType: errorType(e.Err),
	}
	if e.Outcome == nsq.OutcomeGivenUp {
		s.errorType = givenUp
	}
	to := m.measurements.get(s, series.measurement)
	ctx := context.Background()
	m.consumed.Add(ctx, 1, to.add...)
	if e.Outcome != nsq.OutcomeGivenUp { // no handler was called
		m.processing.Record(ctx, e.Took.Seconds(), to.record...)
	}
}

// published counts the messages of a publish, and records how long it took.
func (m *metrics) published(e nsq.PublishedEvent) {
	to := m.measurements.get(series{
		route:     route{publishing, e.Topic, "", e.Addr},
		errorType: errorType(e.Err),
	}, series.measurement)
	ctx := context.Background()
	m.sent.Add(ctx, int64(e.Messages), to.add...)
	m.publishing.Record(ctx, e.Took.Seconds(), to.record...)
}
