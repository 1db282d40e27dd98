// Package cloudevents is an example of tracing messages that are CloudEvents in JSON. The
// extension "Distributed Tracing" of CloudEvents has the trace context in the members
// traceparent and tracestate, where nsqotel.JSONField writes and reads it. So programs in
// other languages find it, too, and nothing else is needed.
package cloudevents
