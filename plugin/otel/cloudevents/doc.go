// Package cloudevents is an example of tracing messages that are CloudEvents in JSON. The
// CloudEvents extension "Distributed Tracing" keeps the trace context in the members
// traceparent and tracestate, where nsqotel.JSONField writes and reads it. So it needs
// nothing else, and programs in other languages find the trace context as well.
package cloudevents
