package nsqotel

import (
	"errors"
	"fmt"
	"runtime/debug"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/rdyhq/nsq"
)

const scope = "github.com/rdyhq/nsq/plugin/otel"

// Telemetry makes metrics and spans of what Consumers and Producers do. One Telemetry serves
// a whole program. Its methods may be called from any goroutine.
type Telemetry struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	fields     []string // that the propagator may set

	carriers      map[string]Carrier // by topic; "" is for all other topics
	asChild       bool
	noCreateSpans bool
	spans         cache[spanKey, spanStart]
	metrics       metrics
	gauges        gauges
}

// An Option changes what [New] makes.
type Option func(*options)

type options struct {
	tracers       trace.TracerProvider
	meters        metric.MeterProvider
	propagator    propagation.TextMapPropagator
	carriers      map[string]Carrier
	asChild       bool
	noCreateSpans bool
	err           error // errors of the options, joined
}

// WithTracerProvider sets where spans go. The default is otel.GetTracerProvider().
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(o *options) { o.tracers = p }
}

// WithMeterProvider sets where metrics go. The default is otel.GetMeterProvider().
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(o *options) { o.meters = p }
}

// WithPropagator sets how trace context is written. Consumers and producers must use the
// same propagators. The default is otel.GetTextMapPropagator().
func WithPropagator(p propagation.TextMapPropagator) Option {
	return func(o *options) { o.propagator = p }
}

// WithCarrier sets how messages of the given topics carry trace context. Without topics it
// is for all topics that have no Carrier of their own. It may be used several times, but not
// twice for a topic. Switch it on at consumers before producers: a consumer without it gets
// the trace context as part of the body.
func WithCarrier(c Carrier, topics ...string) Option {
	return func(o *options) {
		if len(topics) == 0 {
			topics = []string{""}
		}
		for _, topic := range topics {
			o.addCarrier(topic, c)
		}
	}
}

func (o *options) addCarrier(topic string, c Carrier) {
	_, twice := o.carriers[topic]
	switch names, isJSON := c.(jsonFields); {
	case c == nil:
		o.err = errors.Join(o.err, fmt.Errorf("nil carrier for topic %q", topic))
	case twice:
		o.err = errors.Join(o.err, fmt.Errorf("a second carrier for topic %q", topic))
	case isJSON:
		o.err = errors.Join(o.err, names.check())
	}
	o.carriers[topic] = c
}

// AsChild makes the span of a handler a child of the span that published the message, in the
// same trace. Without it, the handler's span begins a new trace and links to the publish.
// That suits messages that wait long or are delivered to several channels.
//
// With the usual samplers, a child span is sampled if the publish was.
func AsChild() Option { return func(o *options) { o.asChild = true } }

// WithoutCreateSpans leaves out the spans of the single messages of a MultiPublishContext.
// The messages then carry the context of the publish span.
func WithoutCreateSpans() Option { return func(o *options) { o.noCreateSpans = true } }

// New returns a Telemetry. It fails if
//
//   - an option is invalid or two options contradict each other,
//   - there is a Carrier, but the propagator propagates nothing, as otel's default until
//     otel.SetTextMapPropagator is called, or
//   - the MeterProvider refuses an instrument.
func New(opts ...Option) (*Telemetry, error) {
	o := options{
		tracers:    otel.GetTracerProvider(),
		meters:     otel.GetMeterProvider(),
		propagator: otel.GetTextMapPropagator(),
		carriers:   map[string]Carrier{},
	}
	for _, opt := range opts {
		opt(&o)
	}
	switch {
	case o.err != nil:
		return nil, fmt.Errorf("nsqotel: %w", o.err)
	case o.tracers == nil, o.meters == nil, o.propagator == nil:
		return nil, errors.New("nsqotel: nil tracer provider, meter provider or propagator")
	case len(o.carriers) > 0 && len(o.propagator.Fields()) == 0:
		return nil, errors.New("nsqotel: a carrier, but no propagator: " +
			"call otel.SetTextMapPropagator first, or pass WithPropagator")
	}
	v := version()
	meter := o.meters.Meter(scope, metric.WithInstrumentationVersion(v), metric.WithSchemaURL(schemaURL))
	named, err := newInstruments(meter)
	if err != nil {
		return nil, fmt.Errorf("nsqotel: %w", err)
	}
	t := &Telemetry{
		tracer:        o.tracers.Tracer(scope, trace.WithInstrumentationVersion(v), trace.WithSchemaURL(schemaURL)),
		propagator:    o.propagator,
		fields:        o.propagator.Fields(),
		carriers:      o.carriers,
		asChild:       o.asChild,
		noCreateSpans: o.noCreateSpans,
		metrics:       metrics{instruments: named},
	}
	if err := t.gauges.init(meter); err != nil {
		return nil, fmt.Errorf("nsqotel: %w", err)
	}
	return t, nil
}

// version returns the version of this module in the program, or "" if it is unknown.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == scope {
			return m.Version
		}
	}
	return ""
}

// Hooks returns the hooks that count and time handlers and publishes. Add them once to each
// Config. They do no I/O.
func (t *Telemetry) Hooks() nsq.Hooks {
	return nsq.Hooks{Handled: t.metrics.handled, Published: t.metrics.published}
}

// carrier returns the Carrier for a topic, or nil if it has none.
func (t *Telemetry) carrier(topic string) Carrier {
	if c, ok := t.carriers[topic]; ok {
		return c
	}
	return t.carriers[""]
}
