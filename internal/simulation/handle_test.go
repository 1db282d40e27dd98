package simulation

import (
	"context"
	"time"

	"github.com/rdyhq/nsq"
)

const (
	fetched = 3                     // messages at a time
	ackTime = 50 * time.Millisecond // by which an ack reaches nsqd, if nothing is wrong
)

// handling is a message that a handler has. The body may be gone once it is answered.
type handling struct {
	a       *taker
	m       *nsq.Message
	id      string
	channel string
	key     message
}

// begin notes that a message has reached the program.
func (a *taker) begin(m *nsq.Message) handling {
	h := handling{a: a, m: m, id: idOf(m.Body), channel: m.Topic() + "/" + m.Channel()}
	d := a.nsqdAt(m.NSQDAddress)
	h.key = message{d.Addr(), h.channel, m.ID}
	for _, fault := range a.deliveries.begin(h.key, h.id, m.Attempts, d.timeout) {
		a.Errorf("%v: %s: message %s of %s %s", time.Since(a.world.begin), a.name, h.id, h.channel, fault)
	}
	if err := m.Context().Err(); err != nil {
		a.Errorf("%s: message %s comes when its lease is over: %v", a.name, h.id, context.Cause(m.Context()))
	}
	if due := a.ledger.dueAt(h.id); time.Now().Before(due) {
		a.Errorf("%s: message %s comes %v before its time", a.name, h.id, time.Until(due))
	}
	return h
}

// chance returns what the story has decided for this delivery, 0 to 99.
func (h handling) chance(of string) int {
	return chance(of, h.a.story[0].name(0), h.channel, h.id, h.m.Attempts)
}

// handled notes success, which the program is about to tell. Where nothing is wrong and that is in
// time, the message must not come again.
func (h handling) handled() {
	h.a.ledger.success(h.channel, h.id)
	h.a.deliveries.note(h.a.deliveries.finished, h.key)
	if h.inTime() {
		h.a.deliveries.note(h.a.deliveries.over, h.key)
	}
}

// inTime reports whether what the program says of the message now must reach nsqd before the
// message's lease is over.
func (h handling) inTime() bool {
	ctx := h.m.Context()
	ends, ok := ctx.Deadline()
	return h.a.gentle && ctx.Err() == nil && (!ok || time.Until(ends) > ackTime)
}

// later notes that the program asks for the message again after a delay.
func (h handling) later(delay time.Duration) {
	if h.inTime() {
		h.a.deliveries.postpone(h.key, delay)
	}
}

// handle is the handler of Consumers and groups.
func (a *taker) handle(m *nsq.Message) error {
	a.calls.Add(1)
	defer a.calls.Add(-1)
	a.atWork.Add(1)
	defer a.atWork.Add(-1)
	return a.begin(m).decide()
}

// answer handles a message of a loop or a Fetch.
func (a *taker) answer(m *nsq.Message) {
	h := a.begin(m)
	defer func() {
		if p := recover(); p != nil {
			m.Answer(errStory)
		}
	}()
	err := h.decide()
	if !m.IsAutoResponseDisabled() {
		m.Answer(err)
	}
}

// decide does with a message what the story says.
func (h handling) decide() error {
	if h.a.calm.Load() {
		sleep(time.Millisecond)
		h.handled()
		return nil
	}
	sleep(h.a.ms("work") * time.Duration(h.chance("work")) / 100)
	n := h.chance("outcome")
	for _, outcome := range []struct {
		key string
		do  func() error
	}{
		{"fail", h.fail},
		{"panic", func() error { panic("the story says so") }},
		{"late", h.late},
		{"other", h.other},
	} {
		if n -= h.a.number(outcome.key); n < 0 {
			return outcome.do()
		}
	}
	h.handled()
	return nil
}

// fail returns an error, after which the message comes again after requeue_delay or later.
func (h handling) fail() error {
	h.later(h.a.ms("requeue"))
	return errStory
}

// late works until the lease is over.
func (h handling) late() error {
	sleep(h.a.nsqds[0].timeout*time.Duration(80+h.chance("late"))/100 + 313*time.Microsecond)
	if h.chance("late result") < 50 {
		return h.fail()
	}
	h.handled()
	return nil
}

// other does what few handlers do.
func (h handling) other() error {
	m, pause := h.m, time.Duration(h.chance("pause"))*time.Millisecond
	switch h.chance("way") % 9 {
	case 0:
		h.later(2 * pause)
		return nsq.RetryAfter(2*pause, errStory)
	case 1:
		h.later(h.a.ms("requeue"))
		return nsq.NoBackoff(errStory)
	case 2:
		h.later(pause)
		m.RequeueWithoutBackoff(pause)
		return nil
	case 3:
		m.Requeue(-1)
		return errStory
	case 4:
		m.Touch()
		sleep(pause)
		h.handled()
		return nil
	case 5:
		h.handled()
		m.Finish()
		return errStory
	case 6: // another goroutine acks it later
		m.DisableAutoResponse()
		h.a.others.Go(func() {
			sleep(5 * pause)
			h.handled()
			m.Finish()
		})
		return nil
	case 7: // nobody ever does
		m.DisableAutoResponse()
		return nil
	}
	h.handled() // it is dropped on purpose
	return nsq.Discard(errStory)
}

func (a *taker) handleBatch(_ context.Context, batch []*nsq.Message) error {
	a.calls.Add(1)
	defer a.calls.Add(-1)
	var hs []handling
	for _, m := range batch {
		if m.Context().Err() == nil {
			hs = append(hs, a.begin(m))
		}
	}
	for _, h := range hs {
		if h.m.Context().Err() != nil {
			continue
		}
		if h.chance("batch") < 20 && !a.calm.Load() {
			return errStory // for the rest of the batch
		}
		err := h.decide()
		if !h.m.IsAutoResponseDisabled() {
			h.m.Answer(err)
		}
	}
	return errStory // of those whose lease is over
}

func (a *taker) fetch(ctx context.Context, c *nsq.Consumer) {
	for {
		batch, err := c.Fetch(ctx, nsq.BatchLimits{Messages: fetched, Wait: 30 * time.Millisecond})
		for _, m := range batch {
			if m.Context().Err() == nil {
				a.answer(m)
			} else {
				m.Answer(errStory)
			}
		}
		if err != nil && (ctx.Err() != nil || len(batch) == 0) {
			if ctx.Err() != nil {
				return
			}
			select {
			case <-c.Stopped():
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}
