package nsqotel

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/rdyhq/nsq"
)

// Publisher publishes through a Producer or ProducerPool. It makes a span for each publish,
// as a child of the span in the caller's context. If the topic has a [Carrier], it puts the
// trace context into the messages. max_msg_size applies to the larger bodies that result.
//
// The methods return the errors of the wrapped Publisher. They may be called from any
// goroutine.
type Publisher struct {
	t    *Telemetry
	next nsq.Publisher
	nsqd string // of a Producer; empty for a pool, which chooses one later
}

// Publisher returns a Publisher that publishes through p. It panics if p is nil.
func (t *Telemetry) Publisher(p nsq.Publisher) *Publisher {
	if p == nil {
		panic("nil publisher")
	}
	traced := &Publisher{t: t, next: p}
	if producer, ok := p.(*nsq.Producer); ok {
		traced.nsqd = producer.String()
	}
	return traced
}

// PublishContext publishes a message: see [nsq.Producer.PublishContext].
func (p *Publisher) PublishContext(ctx context.Context, topic string, body []byte) error {
	return p.publish(ctx, topic, body, func(ctx context.Context, body []byte) error {
		return p.next.PublishContext(ctx, topic, body)
	})
}

// DeferredPublishContext publishes a message that nsqd delivers after a delay: see
// [nsq.Producer.DeferredPublishContext]. It fails if the wrapped Publisher does not have
// this method.
func (p *Publisher) DeferredPublishContext(ctx context.Context, topic string, delay time.Duration, body []byte) error {
	next, ok := p.next.(interface {
		DeferredPublishContext(ctx context.Context, topic string, delay time.Duration, body []byte) error
	})
	if !ok {
		return fmt.Errorf("publish to topic %s: %T has no method DeferredPublishContext", topic, p.next)
	}
	return p.publish(ctx, topic, body, func(ctx context.Context, body []byte) error {
		return next.DeferredPublishContext(ctx, topic, delay, body)
	})
}

// publish sends one message within a span.
func (p *Publisher) publish(ctx context.Context, topic string, body []byte, send func(context.Context, []byte) error) error {
	carrier := p.t.carrier(topic)
	ctx, span := p.start(ctx, publishing, topic, kindOf(carrier))
	defer span.End()
	body = p.t.inject(ctx, carrier, body)
	if span.IsRecording() {
		span.SetAttributes(bodySizeKey.Int(len(body)))
	}
	return sent(span, send(ctx, body))
}

// MultiPublishContext publishes messages as one command: see
// [nsq.Producer.MultiPublishContext]. If the topic has a Carrier, each message has a create
// span and carries the context of that span. The publish span links to the create spans; by
// default an SDK keeps 128 links of a span. [WithoutCreateSpans] leaves the create spans out.
func (p *Publisher) MultiPublishContext(ctx context.Context, topic string, bodies [][]byte) error {
	carrier := p.t.carrier(topic)
	traced := bodies
	var opts []trace.SpanStartOption
	kind := kindOf(carrier)
	if carrier != nil {
		traced = make([][]byte, len(bodies))
	}
	if carrier != nil && !p.t.noCreateSpans {
		kind = trace.SpanKindClient
		opts = []trace.SpanStartOption{trace.WithLinks(p.create(ctx, topic, carrier, bodies, traced)...)}
	}
	ctx, span := p.start(ctx, publishing, topic, kind, opts...)
	defer span.End()
	if carrier != nil && p.t.noCreateSpans {
		for i, body := range bodies {
			traced[i] = p.t.inject(ctx, carrier, body)
		}
	}
	if span.IsRecording() {
		span.SetAttributes(messageCountKey.Int(len(bodies)))
	}
	return sent(span, p.next.MultiPublishContext(ctx, topic, traced))
}

// create makes a span for each message, and puts the context of the span into the body. It
// returns links to the spans.
func (p *Publisher) create(ctx context.Context, topic string, carrier Carrier, bodies, traced [][]byte) []trace.Link {
	links := make([]trace.Link, len(bodies))
	for i, body := range bodies {
		traced[i], links[i].SpanContext = p.createOne(ctx, topic, carrier, body)
	}
	return links
}

func (p *Publisher) createOne(ctx context.Context, topic string, carrier Carrier, body []byte) ([]byte, trace.SpanContext) {
	ctx, span := p.start(ctx, creating, topic, trace.SpanKindProducer)
	defer span.End()
	traced := p.t.inject(ctx, carrier, body)
	if span.IsRecording() {
		span.SetAttributes(bodySizeKey.Int(len(traced)))
	}
	return traced, span.SpanContext()
}

func (p *Publisher) start(ctx context.Context, op operation, topic string, kind trace.SpanKind, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	start := p.t.spans.get(spanKey{route{op, topic, "", p.nsqd}, kind}, spanKey.start)
	return p.t.tracer.Start(ctx, start.name, append(slices.Clip(start.opts), opts...)...)
}

// kindOf returns the kind of a publish: PRODUCER if a message carries its context to a
// consumer, and otherwise CLIENT.
func kindOf(c Carrier) trace.SpanKind {
	if c == nil {
		return trace.SpanKindClient
	}
	return trace.SpanKindProducer
}

// inject returns a body that carries the trace context of ctx.
func (t *Telemetry) inject(ctx context.Context, c Carrier, body []byte) []byte {
	if c == nil {
		return body
	}
	fields := propagation.MapCarrier{}
	t.propagator.Inject(ctx, fields)
	if len(fields) == 0 {
		return body
	}
	for _, name := range t.fields { // a body that is forwarded may have them
		if _, ok := fields[name]; !ok {
			fields[name] = ""
		}
	}
	return c.Inject(body, fields)
}

// sent writes the result of a publish into its span, and returns it.
func sent(span trace.Span, err error) error {
	if err != nil && span.IsRecording() {
		fail(span, err)
	}
	return err
}
