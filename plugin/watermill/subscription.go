package nsqwatermill

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/rdyhq/nsq"
)

var (
	errNacked = errors.New("nacked")
	errStale  = errors.New("nobody has taken the message from the channel within its lease")
)

// subscription is what one call of Subscribe began. It is the handler of its Consumer: each
// goroutine of the Consumer hands over a message and waits for its Ack or Nack.
type subscription struct {
	consumer *nsq.Consumer
	config   *SubscriberConfig

	subscribed context.Context // the context given to Subscribe
	ending     context.Context // ends with subscribed, or when the Subscriber closes
	end        context.CancelCauseFunc
	unhook     func() bool // lets the Subscriber forget the subscription

	messages chan *message.Message // run closes it
	stopping chan struct{}         // closed when the Consumer has been told to stop
	late     chan struct{}         // closed when it is time to give up on Acks

	mu      sync.Mutex     // guards ended, and senders.Add
	ended   bool           // set before stopping is closed: handlers hand over no more messages
	senders sync.WaitGroup // handlers that may send to messages
}

func newSubscription(ctx, closing context.Context, consumer *nsq.Consumer, config *SubscriberConfig) *subscription {
	s := &subscription{
		consumer: consumer, config: config, subscribed: ctx,
		messages: make(chan *message.Message), stopping: make(chan struct{}), late: make(chan struct{}),
	}
	s.ending, s.end = context.WithCancelCause(ctx)
	s.unhook = context.AfterFunc(closing, func() { s.end(context.Cause(closing)) })
	return s
}

// run waits for the end of the subscription, stops the Consumer and closes messages. It
// returns the Consumer's StopError, nil if nothing is left unfinished.
//
// It must not close messages before the handlers have their Acks: when messages is closed,
// Watermill's Router closes the publisher of the messages that handlers produce.
func (s *subscription) run() error {
	defer s.unhook()
	select {
	case <-s.ending.Done():
		timer := time.AfterFunc(s.config.CloseTimeout, func() { close(s.late) })
		defer timer.Stop()
	case <-s.consumer.Stopped(): // by the program
		s.end(nsq.ErrStopped)
		close(s.late)
	}
	s.consumer.Stop()
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	close(s.stopping)
	err := s.consumer.Run(s.ending)
	// The Consumer waits for its handlers, but not forever, and on a busy machine a handler
	// may run late. It would panic if it sent to messages after the close:
	//
	//  1. A handler finds that ended is not set, adds itself to senders, and waits to send.
	//  2. run sets ended. No other handler adds itself.
	//  3. Wait returns when the handler has sent, or has given up because stopping is closed.
	s.senders.Wait()
	close(s.messages)
	return err
}

// HandleMessage hands a message to Watermill and waits for its Ack or Nack.
func (s *subscription) HandleMessage(m *nsq.Message) error {
	received, err := s.config.Marshaler.Unmarshal(m)
	if err != nil {
		return nsq.NoBackoff(fmt.Errorf("unmarshal: %w", err))
	}
	ctx, release := newMessageContext(m, s.subscribed)
	defer release()
	received.SetContext(ctx)
	if !s.handOver(m, received) {
		return s.giveBack(m)
	}
	select {
	case <-received.Acked():
		return nil
	case <-received.Nacked():
		return nsq.RetryAfter(s.nackDelay(m.Attempts), errNacked)
	case <-s.late:
		select {
		case <-received.Acked(): // both are ready: the Ack counts
			return nil
		default:
			return s.giveBack(m)
		}
	}
}

// handOver reports whether Watermill has taken the message. It does not hand over a message
// whose lease is over: nsqd delivers it again.
func (s *subscription) handOver(m *nsq.Message, received *message.Message) bool {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return false
	}
	s.senders.Add(1)
	s.mu.Unlock()
	defer s.senders.Done()
	select {
	case s.messages <- received:
		return true
	case <-s.stopping:
	case <-m.Context().Done():
	}
	return false
}

// giveBack has nsqd deliver the message again at once.
//
// During a stop nsqd must not deliver it to this Consumer again. A requeue with backoff goes
// through the Consumer's run loop, after the stop, so CLS is sent before the REQ. The backoff
// has no effect by then.
func (s *subscription) giveBack(m *nsq.Message) error {
	select {
	case <-s.stopping:
		m.Requeue(0)
		return nil
	default:
		return nsq.RetryAfter(0, errStale)
	}
}

// nackDelay returns NackDelay times attempts, at most max_requeue_delay.
func (s *subscription) nackDelay(attempts uint16) time.Duration {
	longest := s.config.Config.MaxRequeueDelay
	if attempts := time.Duration(attempts); s.config.NackDelay <= longest/max(attempts, 1) {
		return s.config.NackDelay * attempts
	}
	return longest
}
