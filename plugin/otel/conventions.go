package nsqotel

import (
	"errors"
	"net"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/messagingconv"
	"go.opentelemetry.io/otel/trace"
)

// Everything that the conventions name is in this file, so a new version of them changes
// only the imports of this file.
const (
	schemaURL = semconv.SchemaURL

	bodySizeKey     = semconv.MessagingMessageBodySizeKey
	messageIDKey    = semconv.MessagingMessageIDKey
	messageCountKey = semconv.MessagingBatchMessageCountKey
	errorTypeKey    = semconv.ErrorTypeKey

	attemptsKey     = attribute.Key("nsq.message.attempts")
	outcomeKey      = attribute.Key("nsq.outcome")
	requeueDelayKey = attribute.Key("nsq.requeue.delay") // seconds
)

// An operation is what a client does with messages.
type operation struct{ name, opType string }

var (
	publishing = operation{"publish", semconv.MessagingOperationTypeSend.Value.AsString()}
	creating   = operation{"create", semconv.MessagingOperationTypeCreate.Value.AsString()}
	processing = operation{"process", semconv.MessagingOperationTypeProcess.Value.AsString()}
)

// A route is an operation on messages of a topic, with the channel that they come from and
// the nsqd that they come from or go to. A producer has no channel. The nsqd is empty if it
// is not known beforehand.
type route struct {
	operation
	topic, channel, nsqd string
}

// attributes returns the attributes of a route, for spans and metrics.
func (r route) attributes() []attribute.KeyValue {
	return append(endpoint(r.topic, r.channel, r.nsqd),
		semconv.MessagingOperationName(r.name),
		semconv.MessagingOperationTypeKey.String(r.opType))
}

// gaugeAttributes returns the attributes of a Consumer, or of its connection to an nsqd, for
// gauges.
func gaugeAttributes(topic, channel, nsqd string) attribute.Set {
	return attribute.NewSet(endpoint(fold(topic), fold(channel), nsqd)...)
}

// endpoint returns the attributes of a topic, a channel and an nsqd, without those that are
// empty.
func endpoint(topic, channel, nsqd string) []attribute.KeyValue {
	all := append([]attribute.KeyValue{semconv.MessagingSystemKey.String("nsq")}, serverAttributes(nsqd)...)
	if topic != "" {
		all = append(all, semconv.MessagingDestinationName(topic))
	}
	if channel != "" {
		all = append(all, semconv.MessagingDestinationSubscriptionName(channel))
	}
	return all
}

// serverAttributes returns the attributes of an nsqd's address, which is host:port or
// unix:path.
func serverAttributes(nsqd string) []attribute.KeyValue {
	if path, ok := strings.CutPrefix(nsqd, "unix:"); ok {
		return []attribute.KeyValue{semconv.ServerAddress(path)}
	}
	host, port, err := net.SplitHostPort(nsqd)
	if err != nil {
		return nil
	}
	all := []attribute.KeyValue{semconv.ServerAddress(host)}
	if n, err := strconv.Atoi(port); err == nil {
		all = append(all, semconv.ServerPort(n))
	}
	return all
}

// typeName returns what an error's method ErrorType returns, or else its Go type.
func typeName(err error) string { return semconv.ErrorType(err).Value.AsString() }

// otherError is the error.type of an error without a telling type.
var otherError = semconv.ErrorTypeOther.Value.AsString()

// buckets are the bounds of all histograms, in seconds, as the conventions advise. The SDK's
// defaults are for milliseconds.
var buckets = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

// instruments are the metric instruments that the conventions name.
type instruments struct {
	consumed, sent         metric.Int64Counter
	processing, publishing metric.Float64Histogram // durations
}

func newInstruments(meter metric.Meter) (instruments, error) {
	bounds := metric.WithExplicitBucketBoundaries(buckets...)
	consumed, err1 := messagingconv.NewClientConsumedMessages(meter)
	sent, err2 := messagingconv.NewClientSentMessages(meter)
	processing, err3 := messagingconv.NewProcessDuration(meter, bounds)
	publishing, err4 := messagingconv.NewClientOperationDuration(meter, bounds)
	return instruments{consumed.Inst(), sent.Inst(), processing.Inst(), publishing.Inst()},
		errors.Join(err1, err2, err3, err4)
}

// A series is a route and a result, for metrics. errorType is empty for a success.
type series struct {
	route
	errorType string
}

// measurement is a series in the form that instruments accept.
type measurement struct {
	add    []metric.AddOption
	record []metric.RecordOption
}

func (s series) measurement() measurement {
	s.topic, s.channel = fold(s.topic), fold(s.channel)
	all := s.attributes()
	if s.errorType != "" {
		all = append(all, errorTypeKey.String(s.errorType))
	}
	set := metric.WithAttributeSet(attribute.NewSet(all...))
	return measurement{add: []metric.AddOption{set}, record: []metric.RecordOption{set}}
}

// ephemeral is the suffix of topics and channels that nsqd deletes after use.
const ephemeral = "#ephemeral"

// fold returns "#ephemeral" for an ephemeral name, and any other name unchanged. Tools make
// up names for ephemeral channels, and each would leave a series behind.
func fold(name string) string {
	if strings.HasSuffix(name, ephemeral) {
		return ephemeral
	}
	return name
}

// spanKey identifies spans that begin with the same name, kind and attributes.
type spanKey struct {
	route
	kind trace.SpanKind
}

// spanStart is the name of a span and the options with which it begins.
type spanStart struct {
	name string
	opts []trace.SpanStartOption
}

func (k spanKey) start() spanStart {
	name := k.name
	if k.topic != "" {
		name += " " + k.topic
	}
	return spanStart{name, []trace.SpanStartOption{
		trace.WithSpanKind(k.kind), trace.WithAttributes(k.attributes()...),
	}}
}
