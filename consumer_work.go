package nsq

import (
	"runtime/debug"
	"sync/atomic"
	"time"
)

// work is a handler's goroutine. It ends when the delivery queue is closed.
func (c *Consumer) work(handler Handler) {
	// A handler that calls runtime.Goexit takes this goroutine with it; the
	// deferred function still runs and puts another in its place.
	over := false
	defer func() {
		if over {
			c.handlerEnded()
		} else {
			go c.work(handler)
		}
	}()
	for {
		m, ok := c.delivery.take()
		if !ok {
			over = true
			return
		}
		c.handle(handler, m)
	}
}

func (c *Consumer) handlerEnded() {
	c.mu.Lock()
	c.handlers--
	c.mu.Unlock()
	c.mail.post(func(time.Time) {}) // the loop may be waiting for the last one
}

func (c *Consumer) runningHandlers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.handlers
}

// handle works on one message and answers it.
func (c *Consumer) handle(handler Handler, m *Message) {
	if c.cfg.MaxAttempts > 0 && m.Attempts > c.cfg.MaxAttempts {
		c.giveUp(handler, m)
		return
	}
	returned := false
	defer func() {
		if returned {
			return
		}
		p := &PanicError{Value: recover(), Stack: debug.Stack()}
		c.log.Error("handler panicked", "err", p, "id", string(m.ID[:]), "nsqd", m.NSQDAddress,
			"stack", string(p.Stack))
		// What a handler that failed this way meant by disabling the automatic
		// answer is anybody's guess. If it answered, that stands.
		m.Requeue(autoDelay)
	}()
	err := handler.HandleMessage(m)
	returned = true
	if err != nil {
		c.log.Error("handler returned an error", "err", err, "id", string(m.ID[:]), "nsqd", m.NSQDAddress)
	}
	switch {
	case m.IsAutoResponseDisabled():
	case err != nil:
		m.Requeue(autoDelay)
	default:
		m.Finish()
	}
}

// giveUp finishes a message that was delivered too often. This is the one case
// in which a message that no handler has handled is acknowledged, and it is
// what max_attempts asks for.
func (c *Consumer) giveUp(handler Handler, m *Message) {
	c.log.Error("message given up: delivered more than max_attempts times",
		"attempts", m.Attempts, "id", string(m.ID[:]), "bytes", len(m.Body), "nsqd", m.NSQDAddress)
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("LogFailedMessage panicked", "id", string(m.ID[:]), "panic", p)
		}
		atomic.OrUint32(&m.state, givenUp)
		m.Finish()
	}()
	if failed, ok := handler.(FailedMessageLogger); ok {
		failed.LogFailedMessage(m)
	}
}
