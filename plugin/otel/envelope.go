package nsqotel

import (
	"context"
	"maps"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/propagation"

	"github.com/rdyhq/nsq/envelope"
)

// Envelope returns a Carrier that writes all fields of the propagator as headers of an
// envelope: see package envelope. It suits any body. If the body is an envelope already, the
// headers are added to it; any other body is put into an envelope. If the headers would take
// more than envelope.MaxHeaderLen bytes, the body is left as it is.
//
// To use nsq.SealPublisher as well, make it the outer of the two, as in
// nsq.SealPublisher(telemetry.Publisher(p), header). The other way round, an envelope would
// be put into an envelope.
//
// Consumers need nsq.OpenEnvelopes, before or after [Telemetry.Middleware]. Without it the
// trace context is found, but the handler gets the envelope.
func Envelope() Carrier { return sealed{} }

type sealed struct{}

// Inject sets headers, and deletes those that are empty.
func (sealed) Inject(body []byte, fields propagation.MapCarrier) []byte {
	h, inner, ok := envelope.Open(body)
	if !ok {
		h = envelope.Header{}
	}
	for name, value := range fields {
		if value == "" {
			delete(h, strings.ToLower(name)) // as Header has it
		} else {
			h.Set(name, value)
		}
	}
	with := envelope.Seal(h, inner)
	if len(with)-len(inner) > envelope.MaxHeaderLen {
		return body
	}
	return with
}

// Extract returns the headers. If nsq.OpenEnvelopes has opened the envelope already, they
// are in the context, and no longer in the body.
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

// headers is an envelope.Header as the propagator reads it, with names in any case.
type headers envelope.Header

// Get returns the value of a header, or "" if there is none.
func (h headers) Get(name string) string { return envelope.Header(h).Get(name) }

// Keys returns the names of the headers.
func (h headers) Keys() []string { return slices.Collect(maps.Keys(h)) }

// Set does nothing, because a delivered message is only read.
func (headers) Set(string, string) {}
