package nsq

// Answer acks or requeues the message as if a [Handler] had returned err: nil acks it
// (FIN), an error is logged, requeues the message (REQ) and counts as a failure for backoff,
// and errors of [RetryAfter], [NoBackoff], [DeadLetter] and [Discard] have the same meaning.
// Only the first ack or requeue counts. Any goroutine may call Answer. If the message becomes
// a dead letter, Answer waits until the dead letter is stored or could not be: see
// [DeadLetterPolicy]. Otherwise it does not wait.
//
// Use it for messages of [Consumer.Messages], [Consumer.Fetch] and batches, and for those
// that a handler leaves to be acked later: see [Message.DisableAutoResponse]. In a batch, the
// answer to a message takes precedence over the result of the batch.
func (m *Message) Answer(err error) {
	if m.conn == nil {
		m.answerByDelegate(err)
		return
	}
	if m.HasResponded() {
		return
	}
	c := m.conn.c
	end := ending{as: OutcomeFinished}
	if err != nil {
		end = c.failed(m, err)
	}
	end.insisted = true
	if extra := m.own().extra; extra != nil && extra.taking != nil && m.set(told)&told == 0 {
		end.begun, end.batch = extra.taking.at, extra.taking.messages
		c.conclude(nil, m, &end)
		return
	}
	c.respond(nil, m, &end)
}

// answerByDelegate answers a message that no Consumer delivered.
func (m *Message) answerByDelegate(err error) {
	asked := resultOf(err)
	if err == nil || asked.discard {
		m.Finish()
		return
	}
	m.requeue(asked.delay, !asked.noBackoff && !asked.planned())
}

// beginAll prepares messages that the program takes together. It gives up those that were
// delivered too often, and returns the others. handler is their batch handler, if any.
func (c *Consumer) beginAll(messages []*Message, handler any) (begun []*Message) {
	now := c.elapsed()
	begun = make([]*Message, 0, len(messages))
	for _, m := range messages {
		if c.givesUp(m) {
			c.giveUp(nil, m, handler, now)
		} else {
			begun = append(begun, m)
		}
	}
	if len(c.hooks.handled) == 0 {
		return begun
	}
	how := &taking{at: now, messages: len(begun)}
	for _, m := range begun {
		m.noteTaking(how)
	}
	return begun
}

// noteTaking notes for hooks how a message was taken.
func (m *Message) noteTaking(how *taking) {
	extra := &messageExtra{taking: how}
	if m.extra != nil {
		extra.bodies = m.extra.bodies
	}
	m.extra = extra
}

// dropExpired gives up messages whose leases have ended before they were begun.
func (c *Consumer) dropExpired(messages []*Message) {
	for _, m := range messages {
		if m.respond() {
			m.conn.conclude(nil, m, outcome{fate: expired})
		}
	}
}
