package nsqotel

import (
	"context"
	"errors"
	"slices"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/rdyhq/nsq"
)

// errPanicked stands for a panic, whose value only the Consumer knows.
var errPanicked error = &nsq.PanicError{}

// Middleware is an [nsq.Middleware] that makes a span for each call of a handler. Pass it to
// [nsq.Consumer.Use] first, or after nsq.OpenEnvelopes, so that the span includes the other
// middleware. The handler's context has the span: what the handler publishes with that
// context through [Telemetry.Publisher] belongs to the same trace.
//
// A message that is given up has no span, because its handler is not called.
func (t *Telemetry) Middleware(next nsq.Handler) nsq.Handler {
	return nsq.HandlerFunc(func(m *nsq.Message) error { return t.process(next, m) })
}

// process calls a handler within a span. If the handler panics, the deferred End records the
// panic and lets it pass.
func (t *Telemetry) process(next nsq.Handler, m *nsq.Message) error {
	delivered := m.Context()
	ctx, span := t.startProcess(delivered, m)
	m = m.WithContext(ctx)
	if !span.IsRecording() {
		defer span.End()
		return next.HandleMessage(m)
	}
	// This must be before the handler, which may change the message. With recycle_bodies
	// the body is gone once the message is acked.
	span.SetAttributes(messageIDKey.String(string(m.ID[:])), bodySizeKey.Int(len(m.Body)),
		attemptsKey.Int(int(m.Attempts)))
	defer span.End()
	err := errPanicked // unless the handler returns
	defer func() { endProcess(delivered, span, m, err) }()
	err = next.HandleMessage(m)
	return err
}

// startProcess begins the span of a message. ctx is the message's context as delivered.
func (t *Telemetry) startProcess(ctx context.Context, m *nsq.Message) (context.Context, trace.Span) {
	before := trace.SpanFromContext(ctx)
	if c := t.carrier(m.Topic()); c != nil {
		if fields := c.Extract(ctx, m.Body); fields != nil {
			ctx = t.propagator.Extract(ctx, fields)
		}
	}
	from := route{processing, m.Topic(), m.Channel(), m.NSQDAddress}
	start := t.spans.get(spanKey{from, trace.SpanKindConsumer}, spanKey.start)
	opts := start.opts
	creation := trace.SpanContextFromContext(ctx)
	if !t.asChild && creation.IsValid() && !creation.Equal(before.SpanContext()) {
		opts = append(slices.Clip(opts), trace.WithLinks(trace.Link{SpanContext: creation}))
		ctx = trace.ContextWithSpan(ctx, before)
	}
	return t.tracer.Start(ctx, start.name, opts...)
}

// endProcess writes into a span what becomes of its message. ctx is the message's context
// as delivered, and err is the handler's error.
func endProcess(ctx context.Context, span trace.Span, m *nsq.Message, err error) {
	outcome, delay := m.Outcome(err)
	span.SetAttributes(outcomeKey.String(string(outcome)))
	if err != nil {
		fail(span, err)
	}
	if lost := leaseLost(ctx); lost != nil {
		failed(span, lost.Error(), lost)
		span.AddEvent("lease_lost")
		return
	}
	switch outcome {
	case nsq.OutcomeFinished, nsq.OutcomeDiscarded:
		span.AddEvent("finish")
	case nsq.OutcomeBuried:
		span.AddEvent("dead_letter")
	case nsq.OutcomeRequeued:
		span.AddEvent("requeue", trace.WithAttributes(requeueDelayKey.Float64(delay.Seconds())))
	}
}

// leaseLost returns why nsqd delivers a message again whatever its handler returned, or nil
// if it does not. A stop is no such reason: it ends the context half a second before it
// ceases to send acks.
func leaseLost(ctx context.Context) error {
	cause := context.Cause(ctx)
	for _, lost := range []error{nsq.ErrMessageTimedOut, nsq.ErrConnectionLost} {
		if errors.Is(cause, lost) {
			return cause
		}
	}
	return nil
}

// fail marks a span as failed, and records the error. The value of a panic is not known
// here: the span's End records it.
func fail(span trace.Span, err error) {
	text := "handler panicked"
	if err != errPanicked { //nolint:errorlint // a handler may return an error that wraps one
		text = err.Error()
		span.RecordError(err)
	}
	failed(span, text, err)
}

// failed sets the status of a span.
func failed(span trace.Span, text string, err error) {
	span.SetStatus(codes.Error, text)
	span.SetAttributes(errorTypeKey.String(errorType(err)))
}
