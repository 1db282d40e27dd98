package nsq

import (
	"context"
	"time"
)

// Publish publishes a message to one of the nsqds and waits for its reply. See
// [ProducerPool.PublishContext].
func (pool *ProducerPool) Publish(topic string, body []byte) error {
	return pool.PublishContext(context.Background(), topic, body)
}

// PublishContext publishes a message to one of the nsqds and waits for its reply
// until ctx ends. ctx bounds all tries together.
//
// The errors are those of [Producer.PublishContext]. If several nsqds were tried
// and none has stored the message, their errors are joined. If one of them may have
// stored it, or refuses it for good, its error is returned.
func (pool *ProducerPool) PublishContext(ctx context.Context, topic string, body []byte) error {
	return pool.publish(ctx, pub(topic, body))
}

// MultiPublish publishes messages as one command to one of the nsqds, and waits
// for its reply. See [ProducerPool.MultiPublishContext].
func (pool *ProducerPool) MultiPublish(topic string, body [][]byte) error {
	return pool.MultiPublishContext(context.Background(), topic, body)
}

// MultiPublishContext publishes messages as one command to one of the nsqds, like
// [Producer.MultiPublishContext]. It tries other nsqds as [ProducerPool.PublishContext]
// does. If an nsqd fails midway, the messages before that point are stored and no
// other nsqd is tried, unless [ProducerPool.AllowDuplicates] is set.
func (pool *ProducerPool) MultiPublishContext(ctx context.Context, topic string, body [][]byte) error {
	return pool.publish(ctx, mpub(topic, body))
}

// DeferredPublish publishes a message that the nsqd delivers after a delay. See
// [ProducerPool.DeferredPublishContext].
func (pool *ProducerPool) DeferredPublish(topic string, delay time.Duration, body []byte) error {
	return pool.DeferredPublishContext(context.Background(), topic, delay, body)
}

// DeferredPublishContext publishes a message that the nsqd delivers after a delay, like
// [Producer.DeferredPublishContext]. It tries other nsqds as
// [ProducerPool.PublishContext] does.
func (pool *ProducerPool) DeferredPublishContext(ctx context.Context, topic string, delay time.Duration, body []byte) error {
	return pool.publish(ctx, dpub(topic, delay, body))
}

// maxBody tells a Batcher what the pool would refuse.
func (pool *ProducerPool) maxBody() int { return pool.cfg.maxBody() }

func (pool *ProducerPool) publish(ctx context.Context, m *publication) error {
	if err := m.check(pool.maxBody()); err != nil {
		return err
	}
	return pool.tryMembers(ctx, &poolTries{}, m, func(to *poolMember) error { return to.p.publish(ctx, m) })
}
