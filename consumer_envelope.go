package nsq

import "github.com/rdyhq/nsq/envelope"

// OpenEnvelopes returns a middleware that takes bodies out of their envelopes: see package
// [envelope] and [SealPublisher]. The handler gets a copy of the message with the body, and
// the headers in its context, for [envelope.FromContext]. A message with a plain body goes
// to the handler as it is, with no headers in its context, so use OpenEnvelopes as soon as
// a publisher may begin to seal.
//
// Of an envelope in an envelope it opens the outer one. A message that is given up goes to
// LogFailedMessage unopened.
func OpenEnvelopes() Middleware {
	return func(next Handler) Handler {
		return HandlerFunc(func(m *Message) error {
			h, body, ok := envelope.Open(m.Body)
			if !ok {
				return next.HandleMessage(m)
			}
			opened := m.WithContext(envelope.NewContext(m.Context(), h))
			opened.Body = body
			return next.HandleMessage(opened)
		})
	}
}
