package nsq

// Handler handles messages. A Consumer calls it from as many goroutines as it was
// told to.
//
// If HandleMessage returns nil, the Consumer finishes the message. If it returns an
// error, the Consumer requeues the message, with the delay of an automatic
// [Message.Requeue], and backs off. The errors of [RetryAfter], [NoBackoff] and
// [Discard], wrapped or not, change that. A panic counts as an error: the Consumer
// logs a [*PanicError] and its stack.
type Handler interface {
	HandleMessage(message *Message) error
}

// HandlerFunc makes a function a [Handler].
type HandlerFunc func(message *Message) error

// HandleMessage calls the function.
func (h HandlerFunc) HandleMessage(m *Message) error { return h(m) }

// FailedMessageLogger is an optional interface of a [Handler]. The Consumer gives
// up a message that nsqd delivered more than max_attempts times: it calls
// LogFailedMessage instead of HandleMessage, and then finishes the message. nsqd
// counts every delivery, to any consumer: timeouts, and requeues by a consumer
// that stopped, are included.
type FailedMessageLogger interface {
	LogFailedMessage(message *Message)
}
