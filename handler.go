package nsq

// Handler handles messages. A Consumer calls it on one goroutine, or on as many as
// [Consumer.AddConcurrentHandlers] was told to use.
//
// If HandleMessage returns nil, the Consumer finishes the message. If it returns an
// error, the Consumer logs it, requeues the message, with the delay of an automatic
// [Message.Requeue], and backs off. The errors of [RetryAfter], [NoBackoff], [DeadLetter]
// and [Discard], wrapped or not, change that, and so does a [DeadLetterPolicy] after some
// attempts. A panic counts as an error: the Consumer logs a [*PanicError] and its stack.
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
