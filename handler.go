package nsq

// Handler handles messages. A Consumer calls it on one goroutine, or on as many as
// [Consumer.AddConcurrentHandlers] was told to use.
//
// The Consumer acks or requeues a message when its handler returns:
//
//	handler                        message                 backoff          log level
//	return nil                     ack: nsqd forgets it    one level down   -
//	return err                     requeue                 one level up     error
//	return nsq.NoBackoff(err)      requeue                 same level       error
//	return nsq.RetryAfter(d, err)  requeue, delayed by d   no effect        info
//	return nsq.DeadLetter(err)     dead letter, then ack   no effect        error
//	return nsq.Discard(err)        ack: no retry helps     no effect        error
//	panic(v)                       requeue                 one level up     error, with the stack
//
// The errors may be wrapped. Unless the table names a delay, a requeue is delayed by
// default_requeue_delay × attempts. With a [DeadLetterPolicy] a message whose last attempt
// fails becomes a dead letter; without one, DeadLetter(err) counts as err. If a dependency is
// down, return a plain error, so that the Consumer backs off. [RetryAfter] is for planned
// retries, such as of an order that cannot be billed yet.
type Handler interface {
	HandleMessage(message *Message) error
}

// HandlerFunc makes a function a [Handler].
type HandlerFunc func(message *Message) error

// HandleMessage calls the function.
func (h HandlerFunc) HandleMessage(m *Message) error { return h(m) }

// FailedMessageLogger is an optional interface of a [Handler]. The Consumer gives up
// on a message that nsqd delivered more than max_attempts times: it calls
// LogFailedMessage instead of HandleMessage, and then finishes the message. nsqd
// counts deliveries to any consumer, including those that timed out or that a stopping
// consumer requeued.
//
// With Config.DeadLetter few messages get that far: most become dead letters when their last
// attempt fails, without a call of LogFailedMessage. A message that is given up becomes a
// dead letter after LogFailedMessage, unless that has acked or requeued it. If the dead
// letter cannot be stored, the message comes again, and LogFailedMessage is called again. See
// Hooks.Buried.
type FailedMessageLogger interface {
	LogFailedMessage(message *Message)
}
