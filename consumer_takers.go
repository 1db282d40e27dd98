package nsq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rdyhq/nsq/internal/control"
	"github.com/rdyhq/nsq/internal/flow"
)

// Messages come only if something takes them: a handler, a loop over [Consumer.Messages], or
// a [Consumer.Fetch]. While there are handlers or loops, as many messages may be in flight as
// max_in_flight says. While there are only Fetches, as many come as these ask for.

// errHasHandlers is the error of Fetch and the panic of Messages for a Consumer with handlers.
var errHasHandlers = errors.New("consumer has handlers: add none to take messages with Messages or Fetch")

// Connect connects to nsqds and subscribes, as [Consumer.ConnectToNSQDs] does. Unlike that, it
// works without a handler, for programs that call [Consumer.Messages] or [Consumer.Fetch]. It
// waits for the result of the first dial of each address, or until ctx ends. Whatever it
// returns, the Consumer keeps dialling the addresses that are not connected, unless it was
// stopped.
//
// The error joins the errors of all addresses that are not connected. Each names its address,
// and wraps an error of [Consumer.ConnectToNSQD] or the cause of ctx.
func (c *Consumer) Connect(ctx context.Context, nsqds ...string) error {
	if err := c.beginConnectingAnyway(); err != nil {
		return err
	}
	c.reportTakers()
	errs := make([]error, len(nsqds))
	var wg sync.WaitGroup
	for i, addr := range nsqds {
		result := make(chan error, 1)
		if !c.post(func(now time.Time) { c.loop.machine.Connect(now, addr, c.loop.call(result)) }) {
			result <- errConsumerStopped
		}
		wg.Go(func() {
			var err error
			select {
			case err = <-result:
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
			if err != nil {
				errs[i] = fmt.Errorf("nsqd %s: %w", addr, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Discover connects to the nsqds that nsqlookupds list, as [Consumer.ConnectToNSQLookupds]
// does, but works without a handler. It returns soon after the first nsqlookupd has responded,
// when each nsqd that is listed is connected or has failed once. An nsqd or nsqlookupd that
// cannot be reached is not an error. If ctx ends first, Discover returns the cause of ctx; if
// the Consumer stops, the error wraps [ErrStopped].
//
// Whatever it returns, the Consumer keeps asking the nsqlookupds, except for those whose
// address is invalid. The errors of invalid addresses are joined.
func (c *Consumer) Discover(ctx context.Context, lookupds ...string) error {
	if err := c.beginConnectingAnyway(); err != nil {
		return err
	}
	c.reportTakers()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.dialling, func() { cancel(errConsumerStopped) })()
	invalid, late := c.discover(ctx, lookupds)
	return errors.Join(invalid, late)
}

// reportTakers tells the run loop that what takes messages has changed.
func (c *Consumer) reportTakers() { c.post(c.loop.setTakers) }

// setTakers tells the machine what takes messages, and how many of them Fetches want. Once
// the queue is sealed, it tells it nothing: workers leave then, perhaps before the machine
// hears of the stop, and the machine would send an RDY 0 before the CLS.
func (l *runLoop) setTakers(now time.Time) {
	workers, messages, asking, sealed := l.c.queue.takers()
	if sealed {
		return
	}
	if l.machine.Allowing() != (workers == 0) {
		l.sampleAll(now)
	}
	l.machine.SetTakers(now, control.Takers{Workers: workers, Messages: messages, Asking: asking})
	l.carryOut() // the Spending flag is up before the samples that Ask relies on
	l.sampleAll(now)
	l.carryOut()
	if asking > 0 && l.c.flags.bounded.Load() {
		l.c.hurryTakers(false) // a new Fetch may have got messages that waited
	}
}

// sampleAll supplies the traffic of all connections. If messages come only because Fetches ask
// for them, it then says how many these still want. Both are of the same moment: a message
// that is received and not yet in the queue counts as one that is wanted, and not as one that
// has come.
func (l *runLoop) sampleAll(now time.Time) {
	allowing, wanted := l.machine.Allowing(), 0
	if allowing {
		wanted = l.c.queue.wanted(l.conns)
	}
	for _, conn := range l.conns {
		l.sample(now, conn, allowing)
	}
	if allowing {
		l.machine.Ask(now, wanted)
	}
}

// sample supplies the traffic of a connection.
func (l *runLoop) sample(now time.Time, conn *consumerConn, allowing bool) {
	s := conn.link.Sample()
	coming := 0
	if allowing && s.Received > conn.queuedThen {
		coming = int(s.Received - conn.queuedThen) // #nosec G115 -- few
	}
	l.machine.Sample(now, conn.id, flow.Sample{
		Received: s.Received, InFlight: s.InFlight, Peak: s.Peak, LastMessage: s.LastMessage,
		Bytes: s.Bytes, BytesInFlight: conn.bytes.Load(), Coming: coming,
	})
}

// spend tells the machine that a message of a connection is about to be acked.
func (l *runLoop) spend(now time.Time, conn *consumerConn, epoch uint32) {
	if l.c.flags.spending { // only this goroutine writes it
		l.sampleAll(now)
		l.machine.Spend(now, conn.id, epoch)
		l.carryOut()
	}
}

// takers returns how many workers there are, how many messages they can have at a time, how
// many Fetches wait for messages, and whether the queue is sealed.
func (d *deliveryQueue) takers() (workers, messages, asking int, sealed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.workers {
		messages += max(w.most, 1)
	}
	return len(d.workers), messages, d.fetches, d.sealed
}

// wanted returns how many messages Fetches still want. It also notes, in queuedThen, how many
// of each connection have come to the queue by then. Only the run loop calls it.
func (d *deliveryQueue) wanted(conns map[control.ID]*consumerConn) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shortOfMessages = false
	for _, c := range d.collectors {
		if c.fetch && !c.full && !c.cancelled {
			n += c.limits.Messages - len(c.messages)
		}
	}
	for _, conn := range conns {
		conn.queuedThen = conn.queued.Load()
	}
	return n
}

// tookMessages reports whether collectors have lost messages since the last call of wanted,
// because leases or connections have ended. They have to be asked for again.
func (d *deliveryQueue) tookMessages() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shortOfMessages
}

// fetchRound is how long a Fetch without a Wait waits for more messages: a message lies in
// nsqd's output buffer for up to output_buffer_timeout.
func (c *Consumer) fetchRound() time.Duration {
	return 2 * cmp.Or(max(c.cfg.OutputBufferTimeout, 0), defaultOutputBuffer)
}
