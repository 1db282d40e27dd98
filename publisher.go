package nsq

import (
	"context"
	"fmt"

	"github.com/rdyhq/nsq/envelope"
)

// Publisher publishes messages: a [Producer], a [ProducerPool], or a wrapper of one, such
// as [SealPublisher] makes. Both methods must return as soon as the context ends, and
// return errors as [Producer.PublishContext] does.
type Publisher interface {
	PublishContext(ctx context.Context, topic string, body []byte) error
	MultiPublishContext(ctx context.Context, topic string, body [][]byte) error
}

// SealPublisher returns a Publisher that puts each body into an envelope and publishes it
// through p. Consumers of the topic take it out with [OpenEnvelopes]; they should do so
// before the first envelope is published. Package [envelope] describes the format.
//
// header returns the headers of a message, and is called once for each: with the context
// of the publish, whose values it may use, and the topic. A nil Header leaves the body as
// it is, for topics without envelopes. Any other, even an empty one, seals the body,
// whatever it is: a body that is an envelope is put into another one. header may be called
// from several goroutines at once.
//
// Headers of more than [envelope.MaxHeaderLen] bytes are an error before anything is
// sent. max_msg_size and nsqd's limits apply to the envelope. An empty body, which nsqd
// refuses, may be published in an envelope.
//
// A [Batcher] on top of it publishes with a context of its own, which has none of the
// callers' values. There, or for a deferred publish, call [envelope.Seal] with the body.
// SealPublisher panics if p or header is nil.
func SealPublisher(p Publisher, header func(ctx context.Context, topic string) envelope.Header) Publisher {
	if p == nil || header == nil {
		panic("nil publisher or header function")
	}
	return &sealingPublisher{to: p, header: header}
}

type sealingPublisher struct {
	to     Publisher
	header func(ctx context.Context, topic string) envelope.Header
}

// PublishContext publishes an envelope.
func (p *sealingPublisher) PublishContext(ctx context.Context, topic string, body []byte) error {
	sealed, err := p.seal(ctx, topic, body)
	if err != nil {
		return err
	}
	return p.to.PublishContext(ctx, topic, sealed)
}

// MultiPublishContext publishes envelopes, with headers of their own.
func (p *sealingPublisher) MultiPublishContext(ctx context.Context, topic string, bodies [][]byte) error {
	sealed := make([][]byte, len(bodies))
	for i, body := range bodies {
		var err error
		if sealed[i], err = p.seal(ctx, topic, body); err != nil {
			return err
		}
	}
	return p.to.MultiPublishContext(ctx, topic, sealed)
}

func (p *sealingPublisher) seal(ctx context.Context, topic string, body []byte) ([]byte, error) {
	h := p.header(ctx, topic)
	if h == nil {
		return body, nil
	}
	sealed := envelope.Seal(h, body)
	if n := len(sealed) - len(body); n > envelope.MaxHeaderLen {
		return nil, fmt.Errorf("publish to topic %s: %d bytes of headers, more than the %d of an envelope",
			topic, n, envelope.MaxHeaderLen)
	}
	return sealed, nil
}
