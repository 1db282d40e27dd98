package nsqotel

import (
	"context"
	"maps"
	"slices"

	"go.opentelemetry.io/otel/propagation"

	"github.com/rdyhq/nsq/envelope"
)

// Envelope returns a Carrier that writes all fields of the propagator as headers of an
// envelope: see package envelope. It suits any body. An envelope that is there already gets
// the headers, other bodies are put into one. If the headers would be more than
// envelope.MaxHeaderLen, the body passes as it is.
//
// A Publisher that nsq.SealPublisher has made must be the outer one of the two, as in
// nsq.SealPublisher(telemetry.Publisher(p), header): the other way round it puts an envelope
// into an envelope.
//
// Trace context is found whether nsq.OpenEnvelopes stands before [Telemetry.Middleware] or
// after it. Without OpenEnvelopes the handler gets the envelope.
func Envelope() Carrier { return sealed{} }

type sealed struct{}

// Inject adds headers.
func (sealed) Inject(body []byte, fields propagation.MapCarrier) []byte {
	h, inner, ok := envelope.Open(body)
	if !ok {
		h = envelope.Header{}
	}
	for name, value := range fields {
		h.Set(name, value)
	}
	with := envelope.Seal(h, inner)
	if len(with)-len(inner) > envelope.MaxHeaderLen {
		return body
	}
	return with
}

// Extract returns the headers. nsq.OpenEnvelopes has put them into the context and taken
// them off the body, if it was called before.
func (sealed) Extract(ctx context.Context, body []byte) propagation.TextMapCarrier {
	h, ok := envelope.FromContext(ctx)
	if !ok {
		h, _, ok = envelope.Open(body)
	}
	if !ok {
		return nil
	}
	return headers(h)
}

// headers is the headers of an envelope as the propagator reads them, with names in any
// case.
type headers envelope.Header

// Get returns the value of a header, empty if there is none.
func (h headers) Get(name string) string { return envelope.Header(h).Get(name) }

// Keys returns the names of the headers.
func (h headers) Keys() []string { return slices.Collect(maps.Keys(h)) }

// Set does nothing: a message that was delivered is only read.
func (headers) Set(string, string) {}
