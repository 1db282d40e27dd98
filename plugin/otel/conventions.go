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

// All that the conventions name is in this file: another version of them changes only its
// imports.
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

// A route is an operation on messages of a topic, and where they come from or go to. The
// channel is empty for a producer. The nsqd is empty if it is not known beforehand.
type route struct {
	operation
	topic, channel, nsqd string
}

// attributes returns what spans and metrics say of a route.
func (r route) attributes() []attribute.KeyValue {
	return append(endpoint(r.topic, r.channel, r.nsqd),
		semconv.MessagingOperationName(r.name),
		semconv.MessagingOperationTypeKey.String(r.opType))
}

// gaugeAttributes returns what gauges say of a Consumer, or of its connection to an nsqd.
func gaugeAttributes(topic, channel, nsqd string) attribute.Set {
	return attribute.NewSet(endpoint(fold(topic), fold(channel), nsqd)...)
}

// endpoint returns the attributes of a topic, a channel and an nsqd. Those that are empty
// are left out.
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

// serverAttributes returns an nsqd's address: host:port or unix:path.
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

// typeName returns the Go type of an error, or what its method ErrorType returns.
func typeName(err error) string { return semconv.ErrorType(err).Value.AsString() }

// otherError is the error.type of an error that has none.
var otherError = semconv.ErrorTypeOther.Value.AsString()

// buckets are the bounds of all histograms, in seconds, as the conventions ask for. Those
// that the SDK would take are for milliseconds.
var buckets = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

// instruments are those that the conventions name.
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

// A series is a route in metrics. errorType is empty for a success.
type series struct {
	route
	errorType string
}

// measurement is a series as metric instruments take it.
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

// ephemeral is the end of the names of topics and channels that nsqd deletes after use.
const ephemeral = "#ephemeral"

// fold returns "#ephemeral" for an ephemeral name, and other names as they are. Tools make
// up names for ephemeral channels, and each would be a series of its own for ever.
func fold(name string) string {
	if strings.HasSuffix(name, ephemeral) {
		return ephemeral
	}
	return name
}

// spanKey says which spans begin alike.
type spanKey struct {
	route
	kind trace.SpanKind
}

// spanStart is how spans begin.
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
