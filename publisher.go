package nsq

import (
	"context"
	"fmt"

	"github.com/rdyhq/nsq/envelope"
)

// Publisher publishes messages. It is a [Producer], a [ProducerPool], or a wrapper of one,
// such as [SealPublisher] returns. Both methods must be safe for concurrent use, return as
// soon as the context ends, and return errors as [Producer.PublishContext] does.
type Publisher interface {
	PublishContext(ctx context.Context, topic string, body []byte) error
	MultiPublishContext(ctx context.Context, topic string, body [][]byte) error
}

// SealPublisher returns a Publisher that puts each body into an envelope and publishes that
// through p. Consumers open envelopes with [OpenEnvelopes], and should use it before the
// first envelope is published. Package [envelope] describes the format.
//
// header is called once for each message and returns its headers. Its arguments are the
// context of the publish, whose values it may use, and the topic. If it returns nil, the
// body is published as it is, for topics without envelopes. If it returns an empty Header,
// the body is sealed all the same. A body that already is an envelope is put into another
// one. header may be called from several goroutines at once.
//
// If the headers take more than [envelope.MaxHeaderLen] bytes, the publish fails before
// anything is sent. max_msg_size and nsqd's limits apply to the envelope. nsqd refuses
// empty bodies, but an envelope may hold one.
//
// A [Batcher] that publishes through the result does so with a context of its own, which
// has none of the callers' values. There, and for deferred publishes, call [envelope.Seal]
// on the body instead. SealPublisher panics if p or header is nil.
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

// PublishContext publishes the body in an envelope.
func (p *sealingPublisher) PublishContext(ctx context.Context, topic string, body []byte) error {
	sealed, err := p.seal(ctx, topic, body)
	if err != nil {
		return err
	}
	return p.to.PublishContext(ctx, topic, sealed)
}

// MultiPublishContext publishes each body in an envelope with headers of its own.
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
		return nil, fmt.Errorf("publish to topic %s: headers take %d bytes, an envelope allows %d",
			topic, n, envelope.MaxHeaderLen)
	}
	return sealed, nil
}
