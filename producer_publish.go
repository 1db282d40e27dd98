package nsq

import (
	"context"
	"time"

	"github.com/rdyhq/nsq/internal/link"
)

// Publish publishes a message and waits for nsqd's reply. A nil error means that nsqd
// has the message.
//
// The errors are go-nsq's, unwrapped, for programs that compare with == or use type
// assertions:
//   - an [ErrProtocol] if nsqd refuses the message, or would: see PublishContext,
//   - [ErrNotConnected] if the connection is lost before nsqd's reply,
//   - the error of the dial, or an [ErrIdentify], if no connection can be made,
//   - [ErrStopped] after Stop.
//
// After ErrNotConnected nsqd may have the message or not. [Producer.PublishContext]
// tells which, with [ErrNotSent] or [ErrUnknownOutcome]. The same holds for E_PUB_FAILED,
// unless pack_publishes is off: PublishContext then returns ErrUnknownOutcome.
func (p *Producer) Publish(topic string, body []byte) error {
	return asGoNSQ(p.publish(context.Background(), pub(topic, body)))
}

// PublishContext publishes a message and waits for nsqd's reply until ctx ends. A
// nil error means that nsqd has the message. The body may be changed as soon as the
// call returns.
//
// An invalid topic name, an empty body or a body over max_msg_size is an error before
// anything is sent. Otherwise the error is
//   - an [ErrProtocol] if nsqd refuses the message,
//   - [ErrNotSent] if no connection can be made,
//   - [ErrNotSent] or [ErrUnknownOutcome] if the connection or ctx ends before nsqd's
//     reply,
//   - [ErrUnknownOutcome] if nsqd fails midway in an MPUB that the message was packed into
//     with others: see [Config].PackPublishes,
//   - [ErrStopped] after Stop.
//
// ErrNotSent and ErrUnknownOutcome are wrapped together with the reason: compare with
// errors.Is.
//
// A body over 1 MiB or, in MultiPublish, bodies over 5 MiB together exceed nsqd's default
// limits. Such a publish is sent when nothing else is outstanding, and nothing follows it
// until nsqd's reply, unless nsqd has accepted as much on this connection. When nsqd
// refuses one, it names its limit. For a minute, or until the connection is lost for
// another reason or a dial fails, the Producer refuses what exceeds it, with nsqd's error.
func (p *Producer) PublishContext(ctx context.Context, topic string, body []byte) error {
	return p.publish(ctx, pub(topic, body))
}

// MultiPublish publishes messages as one command and waits for nsqd's reply. The
// errors are those of [Producer.Publish].
func (p *Producer) MultiPublish(topic string, body [][]byte) error {
	return asGoNSQ(p.publish(context.Background(), mpub(topic, body)))
}

// MultiPublishContext publishes messages as one command and waits for nsqd's reply
// until ctx ends. The errors are those of [Producer.PublishContext]; an empty list
// is an error too. If nsqd fails midway, the messages before that point are stored.
func (p *Producer) MultiPublishContext(ctx context.Context, topic string, body [][]byte) error {
	return p.publish(ctx, mpub(topic, body))
}

// DeferredPublish publishes a message that nsqd delivers after a delay, and waits
// for nsqd's reply. The errors are those of [Producer.Publish]. For the delay see
// [Producer.DeferredPublishContext].
func (p *Producer) DeferredPublish(topic string, delay time.Duration, body []byte) error {
	return asGoNSQ(p.publish(context.Background(), dpub(topic, delay, body)))
}

// DeferredPublishContext publishes a message that nsqd delivers after a delay, and
// waits for nsqd's reply until ctx ends. The delay is sent in whole milliseconds,
// rounded towards 0.
//
// The errors are those of [Producer.PublishContext]. A delay of -1 ms or less, or over a
// year, is an error before anything is sent. nsqd refuses a delay over its
// max-req-timeout, an hour by default, with E_INVALID; a delay over an hour is sent like
// a body over nsqd's limits. After a restart, nsqd delivers deferred messages without
// waiting for the rest of their delays.
func (p *Producer) DeferredPublishContext(ctx context.Context, topic string, delay time.Duration, body []byte) error {
	return p.publish(ctx, dpub(topic, delay, body))
}

func (p *Producer) maxBody() int { return p.cfg.maxBody() }

func (p *Producer) check(m *publication) error {
	return m.check(p.maxBody())
}

// publish sends a command and waits for nsqd's reply.
func (p *Producer) publish(ctx context.Context, m *publication) error {
	if err := p.check(m); err != nil {
		return err
	}
	m.begin(p.hooks)
	err := p.publishChecked(ctx, m)
	p.ended(m, err)
	return err
}

func (p *Producer) publishChecked(ctx context.Context, m *publication) error {
	return retryLost(func() error {
		r, _ := p.replies.Get().(*publishReply)
		if r == nil {
			r = &publishReply{done: make(chan error, 1)}
		}
		err := p.enqueue(ctx, m, func(way passage) link.Replier {
			r.passage = way
			return r
		})
		if err != nil {
			p.replies.Put(r)
			return err
		}
		return p.await(ctx, m.topic, r)
	})
}

// await waits for the reply to a publish. If ctx ends first, r is not reused: its
// reply is still to come.
func (p *Producer) await(ctx context.Context, topic string, r *publishReply) error {
	var err error
	select {
	case err = <-r.done:
	case <-ctx.Done():
		select {
		case err = <-r.done: // both are ready: the reply counts
		default:
			return unknownOutcome(p.addr, topic, context.Cause(ctx))
		}
	}
	r.passage = passage{}
	p.replies.Put(r)
	return publishError(p.addr, topic, err)
}

// publishReply receives the reply to one publish.
type publishReply struct {
	passage
	done chan error // buffers the result, so that the link never waits
}

// Reply passes the result on to await.
func (r *publishReply) Reply(data []byte, err error) { r.done <- r.replied(data, err) }

// enqueue waits for a connection and for room, and queues a command. replier returns
// the command's Replier for its passage.
func (p *Producer) enqueue(ctx context.Context, m *publication, replier func(passage) link.Replier) error {
	c, err := p.nsqd.connect(ctx)
	if err != nil {
		return err
	}
	way, err := c.passage(m)
	if err != nil {
		return err
	}
	if err := p.nsqd.reserve(ctx, way.size, m.patience); err != nil {
		return err
	}
	if way.alone != nil {
		// Another one may have been refused while this one waited.
		if err := p.nsqd.refusal(m); err != nil {
			p.nsqd.outstanding.release(way.size)
			return err
		}
	}
	if !m.sendOn(c.link, replier(way)) {
		return p.nsqd.notTaken(c, way.size)
	}
	return nil
}
