package nsq

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/envelope"
)

var (
	_ Publisher = (*Producer)(nil)
	_ Publisher = (*ProducerPool)(nil)
)

// numberedHeader returns a header function that counts its calls and takes a value from
// the context. Topic plain has no envelopes.
func numberedHeader() func(ctx context.Context, topic string) envelope.Header {
	n := 0
	return func(ctx context.Context, topic string) envelope.Header {
		if topic == "plain" {
			return nil
		}
		n++
		return envelope.Header{"n": fmt.Sprint(n), "from": fmt.Sprint(ctx.Value(testKey("from"))), "topic": topic}
	}
}

// A body that a Publisher has sealed reaches the handler as it was published, with the
// headers in the context. A plain body arrives as it is, without headers.
func TestEnvelopes(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		d.CreateChannel("t", "c")
		p, err := NewProducer("a:1", s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		defer p.Stop()
		pool, err := NewProducerPool([]string{"a:1"}, s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		defer pool.Stop()
		ctx := context.WithValue(context.Background(), testKey("from"), "here")
		inner := envelope.Seal(envelope.Header{"n": "0"}, []byte("in two"))
		header := numberedHeader()
		one, many := SealPublisher(p, header), SealPublisher(pool, header)
		for _, publish := range []func() error{
			func() error { return one.PublishContext(ctx, "t", []byte("one")) },
			func() error { return many.MultiPublishContext(ctx, "t", [][]byte{[]byte("two"), {}}) },
			func() error { return many.PublishContext(ctx, "t", inner) },
			func() error { return one.PublishContext(ctx, "plain", []byte("not sealed")) },
			func() error { return p.Publish("t", []byte("plain")) },
			func() error { return p.Publish("t", []byte("NSQ-Envelope: 1\nof old")) },
		} {
			if err := publish(); err != nil {
				s.Fatal(err)
			}
		}
		d.CreateChannel("plain", "c")
		if got := d.Queued("plain", "c"); !slices.Equal(got, []string{"not sealed"}) {
			s.Errorf("topic plain has %q", got)
		}
		got := map[string]string{}
		s.consumer(0, nil)
		s.c.AddHandler(ContextHandlerFunc(func(ctx context.Context, m *Message) error {
			h, ok := envelope.FromContext(ctx)
			got[string(m.Body)] = fmt.Sprint(ok, h["n"], h["from"], h["topic"])
			return nil
		}))
		s.c.Use(OpenEnvelopes())
		s.connect(d)
		synctest.Wait()
		want := map[string]string{
			"one":                     "true1heret",
			"two":                     "true2heret",
			"":                        "true3heret",
			string(inner):             "true4heret",
			"plain":                   "false",
			"NSQ-Envelope: 1\nof old": "false",
		}
		if !maps.Equal(got, want) {
			s.Errorf("handled %q, want %q", got, want)
		}
	})
}

// With a plain body the handler gets the delivered message, and nothing asks for its
// context.
func TestPlainBodiesAreUntouched(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		var delivered, handled *Message
		s.consumer(1, func(m *Message) error {
			handled = m
			if m.is(observed) {
				s.Error("the message has a context")
			}
			return nil
		})
		s.c.Use(func(next Handler) Handler {
			return HandlerFunc(func(m *Message) error { delivered = m; return next.HandleMessage(m) })
		}, OpenEnvelopes())
		s.connect(d)
		d.Publish("t", "plain")
		synctest.Wait()
		if handled == nil || handled != delivered {
			s.Errorf("delivered %p, handled %p", delivered, handled)
		}
	})
}

// With recycle_bodies the body in an envelope stays intact until its message is acked. Then
// the memory is recycled.
func TestRecycledEnvelopes(t *testing.T) {
	inScene(t, func(s *scene) {
		const n = 200
		s.cfg.RecycleBodies, s.cfg.MaxInFlight = true, 50
		d := s.nsqd("a:1")
		header := envelope.Header{"pad": strings.Repeat("x", 5000)}
		for i := range n {
			d.Publish("t", string(envelope.Seal(header, fmt.Appendf(nil, "%04d", i))))
		}
		got := map[string]int{}
		s.consumer(1, func(m *Message) error {
			sleep(time.Millisecond)
			h, _ := envelope.FromContext(m.Context())
			if recycledMemory(m.own()) != nil && maps.Equal(h, header) {
				got[string(m.Body)]++
			}
			return nil
		})
		s.c.Use(OpenEnvelopes())
		s.connect(d)
		after(time.Minute)
		for i := range n {
			if body := fmt.Sprintf("%04d", i); got[body] != 1 {
				s.Errorf("body %s came %d times in recycled memory", body, got[body])
			}
		}
		s.balanced()
	})
}

// Headers that are too long for Open are refused, and nothing is sent.
func TestSealTooLongHeaders(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		p, err := NewProducer("a:1", s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		defer p.Stop()
		value := 0
		sealing := SealPublisher(p, func(context.Context, string) envelope.Header {
			return envelope.Header{"a": strings.Repeat("x", value)}
		})
		value = envelope.MaxHeaderLen - len("NSQ-Envelope: 1\na: \n\n")
		if err := sealing.PublishContext(context.Background(), "t", []byte("fits")); err != nil {
			s.Error(err)
		}
		value++
		for _, err := range []error{
			sealing.PublishContext(context.Background(), "t", []byte("body")),
			sealing.MultiPublishContext(context.Background(), "t", [][]byte{[]byte("body")}),
		} {
			if want := "publish to topic t: headers take 65537 bytes, an envelope allows 65536"; err == nil || err.Error() != want {
				s.Errorf("error %v, want %s", err, want)
			}
		}
		if got := len(commands(d, "PUB", "MPUB")); got != 1 {
			s.Errorf("%d commands sent, want 1", got)
		}
	})
	for _, header := range []func(context.Context, string) envelope.Header{nil, numberedHeader()} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("SealPublisher of nothing did not panic")
				}
			}()
			var to Publisher
			if header == nil {
				to = &Producer{}
			}
			SealPublisher(to, header)
		}()
	}
}
