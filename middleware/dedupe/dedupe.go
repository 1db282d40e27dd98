// Package dedupe keeps duplicates from handlers: of the messages with the same key, it lets a
// handler succeed with one, and acks the others for some time. Duplicates are normal: NSQ
// delivers at least once, and a publisher may publish again a message that has arrived.
// A [Store] remembers the keys. [Memory] is one.
package dedupe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/internal/lease"
)

// ErrClaimed is why the handler was not called: another message with the key is being
// handled. It comes wrapped in an [nsq.RetryAfter].
var ErrClaimed = errors.New("another message with the same key is being handled")

const (
	// unleased is how long a claim holds for a message that no Consumer delivered.
	unleased = time.Minute
	// leastClaim is the shortest claim, and the shortest delay of a message that finds its
	// key claimed: each try costs an attempt.
	leastClaim = time.Second
	// settleTimeout bounds Commit and Release. They must not end with the message's
	// context, which ends when the handler acks the message.
	settleTimeout = 5 * time.Second
)

// New returns a middleware that passes on a message only if no message with the same key was
// handled successfully before, as far as the Store remembers, or is being handled now. key says
// what makes two messages the same: an order's number, or a hash of the body. It is called once
// for each message, by several goroutines at a time. A message with the key "" is passed on
// without a look at the Store. Messages of different topics or channels never have the same key.
//
//  1. The middleware claims the key for as long as the message's lease can last. If the key is
//     claimed for another message, this one is not acked, because the other one may fail: it is
//     requeued until that claim ends ([ErrClaimed]). If a message with the key was handled,
//     this one is acked.
//  2. If the handler succeeds, the middleware commits the key, and then the message is acked. A
//     crash between the two does no harm: the message comes again and is acked.
//  3. If the handler returns an error or panics, the middleware releases the key, so that the
//     next delivery reaches the handler. If the process crashes, the claim stays, but the next
//     delivery of the same message takes it over.
//
// If the handler acks the message itself, or calls [nsq.Message.DisableAutoResponse], Finish
// commits the key and Requeue releases it. Both then wait for the Store, for up to 5 s. The
// handler must call them on the message that it was given. [nsq.Message.Answer] with an error of
// [nsq.Discard] or [nsq.DeadLetter] acks, and so commits the key of a message that was not
// handled: return such an error instead.
//
// If the Store fails to claim, the message is requeued and the Consumer backs off. If it fails to
// commit or release, the logger of [nsq.LoggerFromContext] logs a warning, and duplicates may be
// handled, or wait until the claim ends.
//
// A handler must end with its context. If it goes on after the lease, the next delivery may be
// handled at the same time. To extend leases, use auto_touch, which the claim takes into account,
// and not [nsq.Message.Touch].
//
// New panics if an argument is nil.
func New(store Store, key func(*nsq.Message) string) nsq.Middleware {
	if store == nil || key == nil {
		panic("nil Store or key function")
	}
	return func(next nsq.Handler) nsq.Handler {
		return nsq.HandlerFunc(func(m *nsq.Message) error {
			if k := key(m); k != "" {
				return newClaim(store, m, k).handle(next, m)
			}
			return next.HandleMessage(m)
		})
	}
}

// claim is the claim of a key for one delivery of a message.
type claim struct {
	store      Store
	key, owner string
	ctx        context.Context // the message's
	settled    sync.Once       // by commit or release
}

func newClaim(store Store, m *nsq.Message, key string) *claim {
	return &claim{
		store: store, ctx: m.Context(),
		key: m.Topic() + "/" + m.Channel() + "/" + key,
		// nsqd delivers a message again only when it has given up the delivery before. So
		// deliveries share an owner, and the next one need not wait for the claim to end.
		owner: m.NSQDAddress + "/" + string(m.ID[:]),
	}
}

// handle calls the handler if the key can be claimed, and settles the claim.
func (c *claim) handle(next nsq.Handler, m *nsq.Message) error {
	length := lease.Left(c.ctx)
	if length == lease.Endless {
		length = unleased
	}
	state, left, err := c.store.Claim(c.ctx, c.key, c.owner, max(length, leastClaim))
	switch {
	case err != nil:
		return fmt.Errorf("handler not called: claim key %q: %w", c.key, err)
	case state == Done:
		return nil
	case state == Busy:
		return nsq.RetryAfter(max(left, leastClaim), fmt.Errorf("handler not called: %w", ErrClaimed))
	}
	settle := c.release // if the handler panics
	defer func() { settle() }()
	passedOn := m.WithContext(c.ctx)
	passedOn.Delegate = &delegate{m.Delegate, c}
	err = next.HandleMessage(passedOn)
	switch outcome, _ := m.Outcome(err); outcome {
	case nsq.OutcomeFinished:
		settle = c.commit
	case nsq.OutcomePending:
		settle = func() {} // the delegate does
	}
	return err
}

// commit records that the message was handled.
func (c *claim) commit() {
	c.settle("the key of a handled message was not committed, a duplicate will be handled", c.store.Commit)
}

// release gives up the claim. If the lease or the connection is lost, it does nothing: the
// claim may belong to the next delivery by now.
func (c *claim) release() {
	cause := context.Cause(c.ctx)
	if !errors.Is(cause, nsq.ErrMessageTimedOut) && !errors.Is(cause, nsq.ErrConnectionLost) {
		c.settle("the key of a message was not released, duplicates wait until its claim ends", c.store.Release)
	}
}

// settle calls a method of the Store. Only the first settle counts.
func (c *claim) settle(ifNot string, method func(ctx context.Context, key, owner string) error) {
	c.settled.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), settleTimeout)
		defer cancel()
		if err := method(ctx, c.key, c.owner); err != nil {
			nsq.LoggerFromContext(ctx).WarnContext(ctx, ifNot, "key", c.key, "err", err)
		}
	})
}

// delegate settles the claim of a message that the program acks or requeues by itself.
type delegate struct {
	next  nsq.MessageDelegate // nil for a message that no Consumer delivered
	claim *claim
}

func (d *delegate) OnFinish(m *nsq.Message) {
	d.claim.commit()
	if d.next != nil {
		d.next.OnFinish(m)
	}
}

func (d *delegate) OnRequeue(m *nsq.Message, delay time.Duration, backoff bool) {
	d.claim.release()
	if d.next != nil {
		d.next.OnRequeue(m, delay, backoff)
	}
}

func (d *delegate) OnTouch(m *nsq.Message) {
	if d.next != nil {
		d.next.OnTouch(m)
	}
}
