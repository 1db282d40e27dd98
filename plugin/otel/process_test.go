package nsqotel

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"

	"github.com/rdyhq/nsq"
)

const traceID, spanID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

// withContext is a body that carries trace context.
const withContext = `{"n":1,"traceparent":"00-` + traceID + `-` + spanID + `-01"}`

func TestProcessSpan(t *testing.T) {
	inScene(t, func(s *scene) {
		s.consume(func(context.Context, *nsq.Message) error { return nil })
		s.nsqd.Publish("orders", "hello")
		after(time.Second)
		equal(t, traces(s.spans.GetSpans(), messageIDKey), `
		process orders CONSUMER
		    messaging.destination.name=orders
		    messaging.destination.subscription.name=billing
		    messaging.message.body.size=5
		    messaging.operation.name=process
		    messaging.operation.type=process
		    messaging.system=nsq
		    nsq.message.attempts=1
		    nsq.outcome=finished
		    server.address=nsqd1
		    server.port=4150
		    event finish`)
		span := s.spans.GetSpans()[0]
		if got := span.InstrumentationScope; got.Name != scope || got.SchemaURL != schemaURL {
			t.Errorf("scope %+v", got)
		}
		if got := attribute.NewSet(span.Attributes...); !hasID(got) {
			t.Error("no message ID")
		}
	})
}

func hasID(set attribute.Set) bool {
	id, ok := set.Value(messageIDKey)
	return ok && len(id.AsString()) == nsq.MsgIDLength
}

// only leaves out what all process spans have.
var only = []attribute.Key{
	"messaging.destination.name", "messaging.destination.subscription.name", "messaging.operation.name",
	"messaging.operation.type", "messaging.system", "server.address", "server.port", messageIDKey, bodySizeKey,
	"exception.stacktrace",
}

type refused struct{}

func (*refused) Error() string { return "refused" }

// TestOutcomes has a handler end in each way. If it failed, the message is delivered again.
func TestOutcomes(t *testing.T) {
	for name, tt := range map[string]struct {
		handler nsq.ContextHandlerFunc
		want    string
	}{
		"error": {
			func(_ context.Context, m *nsq.Message) error { return fmt.Errorf("order %d: %w", 1, &refused{}) }, `
			process orders CONSUMER
			    error.type=*nsqotel.refused
			    nsq.message.attempts=1
			    nsq.outcome=requeued
			    event exception exception.message=order 1: refused exception.type=*fmt.wrapError
			    event requeue nsq.requeue.delay=90
			    status Error: order 1: refused`,
		},
		"retry after": {
			func(context.Context, *nsq.Message) error { return nsq.RetryAfter(time.Hour, errors.New("later")) }, `
			process orders CONSUMER
			    error.type=_OTHER
			    nsq.message.attempts=1
			    nsq.outcome=requeued
			    event exception exception.message=later (retry after 1h0m0s) exception.type=*nsq.retryAfterError
			    event requeue nsq.requeue.delay=3600
			    status Error: later (retry after 1h0m0s)`,
		},
		"discard": {
			func(context.Context, *nsq.Message) error { return nsq.Discard(&refused{}) }, `
			process orders CONSUMER
			    error.type=*nsqotel.refused
			    nsq.message.attempts=1
			    nsq.outcome=discarded
			    event exception exception.message=refused exception.type=*nsq.discardError
			    event finish
			    status Error: refused`,
		},
		"panic": {
			func(context.Context, *nsq.Message) error { panic(errors.New("oh")) }, `
			process orders CONSUMER
			    error.type=panic
			    nsq.message.attempts=1
			    nsq.outcome=requeued
			    event requeue nsq.requeue.delay=90
			    event exception exception.message=oh exception.type=*errors.errorString
			    status Error: handler panicked`,
		},
		"goexit": {
			func(context.Context, *nsq.Message) error { runtime.Goexit(); return nil }, `
			process orders CONSUMER
			    error.type=panic
			    nsq.message.attempts=1
			    nsq.outcome=requeued
			    event requeue nsq.requeue.delay=90
			    status Error: handler panicked`,
		},
		"answered": {
			func(_ context.Context, m *nsq.Message) error { m.Finish(); return nil }, `
			process orders CONSUMER
			    nsq.message.attempts=1
			    nsq.outcome=answered`,
		},
		"pending": {
			func(_ context.Context, m *nsq.Message) error { m.DisableAutoResponse(); return nil }, `
			process orders CONSUMER
			    nsq.message.attempts=1
			    nsq.outcome=pending`,
		},
		"lease lost": {
			func(ctx context.Context, _ *nsq.Message) error { <-ctx.Done(); return nil }, `
			process orders CONSUMER
			    error.type=nsq.ErrMessageTimedOut
			    nsq.message.attempts=1
			    nsq.outcome=finished
			    event lease_lost
			    status Error: message timed out`,
		},
		"connection lost": {
			func(ctx context.Context, _ *nsq.Message) error { <-ctx.Done(); return ctx.Err() }, `
			process orders CONSUMER
			    error.type=nsq.ErrConnectionLost
			    nsq.message.attempts=1
			    nsq.outcome=requeued
			    event exception exception.message=context canceled exception.type=*errors.errorString
			    event lease_lost
			    status Error: nsqd nsqd1:4150: connection lost`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.consume(tt.handler)
				s.nsqd.Publish("orders", "hello")
				after(time.Second)
				if name == "connection lost" {
					s.nsqd.Kill()
				}
				after(80 * time.Second)
				equal(t, traces(s.spans.GetSpans()[:1], only...), tt.want)
			})
		})
	}
}

// TestDeadLetter checks that a message that becomes a dead letter is a failure, and that its
// span says what follows.
func TestDeadLetter(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.DeadLetter = &nsq.DeadLetterPolicy{To: s.produce()}
		s.consume(func(context.Context, *nsq.Message) error { return nsq.DeadLetter(&refused{}) })
		s.nsqd.Publish("orders", "hello")
		after(time.Second)
		equal(t, traces(s.spans.GetSpans()[:1], only...), `
		process orders CONSUMER
		    error.type=*nsqotel.refused
		    nsq.message.attempts=1
		    nsq.outcome=buried
		    event exception exception.message=refused exception.type=*nsq.deadLetterError
		    event dead_letter
		    status Error: refused`)
	})
}

func TestSecondAttempt(t *testing.T) {
	inScene(t, func(s *scene) {
		s.consume(func(_ context.Context, m *nsq.Message) error {
			if m.Attempts == 1 {
				return errors.New("once more")
			}
			return nil
		})
		s.nsqd.Publish("orders", "hello")
		after(time.Hour)
		equal(t, traces(s.spans.GetSpans()[1:], only...), `
		process orders CONSUMER
		    nsq.message.attempts=2
		    nsq.outcome=finished
		    event finish`)
	})
}

// TestGivenUp checks that a message given up has no span, since no handler is called.
func TestGivenUp(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxAttempts = 1
		s.consume(func(context.Context, *nsq.Message) error { return errors.New("fails") })
		s.nsqd.Publish("orders", "hello")
		after(time.Hour)
		if n := len(s.spans.GetSpans()); n != 1 {
			t.Errorf("%d spans, want that of the first attempt", n)
		}
	})
}

// TestContext checks that the handler's context has the baggage and the span, which links to
// the publish or is its child.
func TestContext(t *testing.T) {
	body := strings.Replace(withContext, "{", `{"baggage":"user=7",`, 1)
	for name, tt := range map[string]struct {
		body  string
		child bool
		opts  []Option
		links int
	}{
		"link":         {body: body, links: 1},
		"child":        {body: body, child: true, opts: []Option{AsChild()}},
		"without":      {body: "plain"},
		"without, too": {body: "plain", opts: []Option{AsChild()}},
		"not a trace":  {body: `{"traceparent":"00-1"}`},
	} {
		t.Run(name, func(t *testing.T) {
			opts := slices.Concat(tt.opts, []Option{WithCarrier(JSONField("traceparent", "baggage"))})
			inScene(t, func(s *scene) {
				var seen, also trace.SpanContext
				var user string
				s.consume(func(ctx context.Context, m *nsq.Message) error {
					seen, also = trace.SpanContextFromContext(ctx), trace.SpanContextFromContext(m.Context())
					user = baggage.FromContext(ctx).Member("user").Value()
					if string(m.Body) != tt.body {
						t.Errorf("body %q", m.Body)
					}
					return nil
				})
				s.nsqd.Publish("orders", tt.body)
				after(time.Second)
				span := s.spans.GetSpans()[0]
				if !seen.Equal(span.SpanContext) || !also.Equal(seen) {
					t.Errorf("handler saw span %v and %v, want %v", seen, also, span.SpanContext)
				}
				if child := span.Parent.SpanID().String() == spanID && seen.TraceID().String() == traceID; child != tt.child {
					t.Errorf("parent %v of %v", span.Parent, seen)
				}
				if len(span.Links) != tt.links {
					t.Errorf("links %v", span.Links)
				}
				for _, l := range span.Links {
					if l.SpanContext.SpanID().String() != spanID || !l.SpanContext.IsRemote() || seen.TraceID().String() == traceID {
						t.Errorf("link %v of %v", l, seen)
					}
				}
				if carried := strings.Contains(tt.body, "baggage"); carried != (user == "7") {
					t.Errorf("baggage %q", user)
				}
			}, opts...)
		})
	}
}

// TestEnvelopes checks that trace context is found whether the envelope is opened before or
// after Middleware.
func TestEnvelopes(t *testing.T) {
	for name, before := range map[string]bool{"opened before": true, "opened after": false} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				c, err := nsq.NewConsumer("orders", "billing", s.cfg)
				if err != nil {
					t.Fatal(err)
				}
				if before {
					c.Use(nsq.OpenEnvelopes(), s.Middleware)
				} else {
					c.Use(s.Middleware, nsq.OpenEnvelopes())
				}
				c.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
					if string(m.Body) != "\x00body" || !trace.SpanFromContext(m.Context()).IsRecording() {
						t.Errorf("handler got %q", m.Body)
					}
					return nil
				}))
				if err := c.ConnectToNSQD(s.nsqd.Addr()); err != nil {
					t.Fatal(err)
				}
				defer stop(c)
				p := s.Publisher(s.produce())
				if err := p.PublishContext(context.Background(), "orders", []byte("\x00body")); err != nil {
					t.Fatal(err)
				}
				after(time.Second)
				if text := traces(s.spans.GetSpans()); !strings.Contains(text, "link to publish orders\n") {
					t.Errorf("got\n%s", text)
				}
			}, WithCarrier(Envelope()))
		})
	}
}

// TestOtherTopic has a Carrier for another topic, so trace context is not read.
func TestOtherTopic(t *testing.T) {
	inScene(t, func(s *scene) {
		s.consume(func(context.Context, *nsq.Message) error { return nil })
		s.nsqd.Publish("orders", withContext)
		after(time.Second)
		if got := s.spans.GetSpans()[0].Links; len(got) != 0 {
			t.Errorf("links %v", got)
		}
	}, WithCarrier(JSONField("traceparent"), "invoices"))
}

// TestEnclosingSpan has a middleware with a span before ours. That span is still the parent.
func TestEnclosingSpan(t *testing.T) {
	r := newRecorder(t, WithCarrier(JSONField("traceparent")))
	ctx, span := r.tracer.Start(context.Background(), "enclosing")
	h := r.Middleware(nsq.HandlerFunc(func(*nsq.Message) error { return nil }))
	m := nsq.NewMessage(nsq.MessageID{}, []byte(withContext)).WithContext(ctx)
	if err := h.HandleMessage(m); err != nil {
		t.Fatal(err)
	}
	span.End()
	equal(t, traces(r.spans.GetSpans(), only...), `
	enclosing INTERNAL
	  process CONSUMER
	      nsq.message.attempts=0
	      nsq.outcome=finished
	      link to 
	      event finish`)
}

// TestStopEndsContext: a handler that returns when a stop ends its context is still acked.
func TestStopEndsContext(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.StopTimeout = time.Second
		c := s.consume(func(ctx context.Context, _ *nsq.Message) error { <-ctx.Done(); return nil })
		s.nsqd.Publish("orders", "hello")
		after(time.Second)
		stop(c)
		if got := s.nsqd.Stats("orders", "billing"); got.Finished != 1 {
			t.Errorf("%+v", got)
		}
		equal(t, traces(s.spans.GetSpans(), append(only, messageIDKey)...), `
		process orders CONSUMER
		    nsq.message.attempts=1
		    nsq.outcome=finished
		    event finish`)
	})
}
