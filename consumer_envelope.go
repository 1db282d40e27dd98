package nsq

import "github.com/rdyhq/nsq/envelope"

// OpenEnvelopes returns a middleware that takes bodies out of their envelopes: see package
// [envelope] and [SealPublisher]. The handler gets a copy of the message whose Body is the
// body in the envelope, and finds the headers in the context with [envelope.FromContext]. A
// message with a plain body goes to the handler as it is, without headers in the context.
// So OpenEnvelopes can be in use before the first publisher seals.
//
// If an envelope is inside another one, only the outer one is opened. A message that is
// given up goes to LogFailedMessage unopened.
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
