package nsq

// Handler is what consumes messages. A Consumer calls it from as many
// goroutines as it was told to.
//
// A nil error finishes the message. Any other requeues it, with the delay that
// [Message.Requeue] computes, and has the Consumer back off, unless it is or
// wraps what [RetryAfter], [NoBackoff] or [Discard] returned. A panic is an error, too: a [*PanicError] whose
// stack is logged.
type Handler interface {
	HandleMessage(message *Message) error
}

// HandlerFunc is a function as a [Handler].
type HandlerFunc func(message *Message) error

// HandleMessage calls the function.
func (h HandlerFunc) HandleMessage(m *Message) error { return h(m) }

// FailedMessageLogger is what a [Handler] may implement to be told of a message
// that is given up: one that nsqd delivered more than max_attempts times, to
// whomever, requeues by a stopping Consumer and timeouts included. It is called
// instead of HandleMessage, and the message is then finished.
type FailedMessageLogger interface {
	LogFailedMessage(message *Message)
}
