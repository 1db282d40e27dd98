package nsqotel

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
	"go.opentelemetry.io/otel/propagation"
)

// A Carrier puts trace context into the bodies of messages and reads it from there. It must
// tolerate any body, and leave one that cannot carry trace context as it is. Its methods are
// called from many goroutines at once, and must not change a body in place.
type Carrier interface {
	// Inject returns a body with the fields in it. Their names are those of the
	// propagator, such as traceparent. A field that is empty is taken out of the body, which
	// may have come with one.
	Inject(body []byte, fields propagation.MapCarrier) []byte
	// Extract returns the fields of a body that was delivered, or nil if it has none. ctx
	// is the message's context.
	Extract(ctx context.Context, body []byte) propagation.TextMapCarrier
}

// JSONField returns a Carrier that writes the named fields of the propagator, such as
// "traceparent", as members of a JSON object. Consumers without a Carrier see a JSON object
// with more members. Bodies that are not JSON objects are left as they are. If a body has
// the member already, as a forwarded one may, it is replaced, or taken out if the new trace
// context does not have it.
//
// Only the named fields travel: add "tracestate" or "baggage" if you use them. A name
// consists of letters, digits, "-" and "_", and has at least one letter or "_". [New]
// returns an error for any other name.
//
// An event in CloudEvents' JSON format has its trace context in such members, so this is
// also the Carrier for CloudEvents.
func JSONField(field string, more ...string) Carrier {
	return jsonFields(append([]string{field}, more...))
}

type jsonFields []string

func (f jsonFields) check() error {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	for _, name := range f {
		// gjson takes other characters for a path, and sjson digits for an index.
		if strings.Trim(name, allowed) != "" || strings.Trim(name, "0123456789-") == "" {
			return fmt.Errorf("JSON field %q: want letters, digits, '-' and '_', with at least one letter or '_'", name)
		}
	}
	return nil
}

// Inject sets the members, and deletes those that are empty.
func (f jsonFields) Inject(body []byte, fields propagation.MapCarrier) []byte {
	if !isObject(body) || !gjson.ValidBytes(body) {
		return body
	}
	for _, name := range f {
		value, ok := fields[name]
		if !ok {
			continue
		}
		if value == "" {
			body = without(body, name)
		} else if with, err := sjson.SetBytes(body, name, value); err == nil { // only paths that check refuses are errors
			body = with
		}
	}
	return body
}

// without deletes a member, of which a body from elsewhere may have several.
func without(body []byte, name string) []byte {
	for {
		less, err := sjson.DeleteBytes(body, name)
		if err != nil || len(less) >= len(body) {
			return body
		}
		body = less
	}
}

// Extract returns the body itself, to be searched for each field.
func (f jsonFields) Extract(_ context.Context, body []byte) propagation.TextMapCarrier {
	if !isObject(body) {
		return nil
	}
	return jsonBody{names: f, body: body}
}

// isObject reports whether a body that is JSON is an object.
func isObject(body []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{"))
}

// jsonBody is a JSON object as the propagator reads it.
type jsonBody struct {
	names jsonFields
	body  []byte
}

// Get returns the text of a member, or "" if there is none or it is not a string.
func (b jsonBody) Get(name string) string {
	if !slices.Contains(b.names, name) {
		return ""
	}
	v := gjson.GetBytes(b.body, name)
	if v.Type != gjson.String {
		return ""
	}
	return v.Str
}

// Keys returns the names of the fields.
func (b jsonBody) Keys() []string { return b.names }

// Set does nothing, because a delivered message is only read.
func (jsonBody) Set(string, string) {}
