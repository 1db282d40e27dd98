package main

import (
	"context"
	"fmt"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

// demoFault is a fault on purpose.
type demoFault struct {
	what  string // what is done, in words
	shows string // what the page says of it, in words
	begin func(context.Context) error
	end   func(context.Context) error
}

// showFaults has a fault every so often, in turn, until ctx ends. Each is announced by a line when
// it begins. A fault that cannot be begun or ended is a line, too: the viewer may have deleted what
// it is about.
func showFaults(ctx context.Context, faults []demoFault, every, lasts time.Duration, say func(string)) {
	try := func(f *demoFault, do func(context.Context) error) {
		if err := do(ctx); err != nil && ctx.Err() == nil {
			say(fmt.Sprintf("%s: %v", f.what, err))
		}
	}
	say(fmt.Sprintf("The load is steady, with a fault on purpose every %s. Press Ctrl-C to stop.", figures.Duration(every)))
	for i := 0; demoPause(ctx, every-lasts); i = (i + 1) % len(faults) {
		f := &faults[i]
		say(fmt.Sprintf("%s for %s. The page says: %s.", f.what, figures.Duration(lasts), f.shows))
		try(f, f.begin)
		if !demoPause(ctx, lasts) {
			return
		}
		try(f, f.end)
	}
}

// faults returns the faults in their order.
func (p *demoPage) faults() []demoFault {
	at := func(do func()) func(context.Context) error {
		return func(context.Context) error { do(); return nil }
	}
	l := p.load
	last := p.nodes[len(p.nodes)-1]
	return []demoFault{
		{
			"The handlers of payments/fraud-check hang", "stuck, then draining",
			at(l.fraud.hang), at(l.fraud.goOn),
		},
		{
			"The nsqd " + last.HTTPAddr + " is stopped", "missing, figures with ≥, then restarted",
			at(func() { _ = last.stop() }), last.start, // an nsqd that failed before is stopped, too
		},
		{
			"The channel orders/shipping is paused", "paused, by choice",
			func(ctx context.Context) error { return p.admin.PauseChannel(ctx, "orders", "shipping") },
			func(ctx context.Context) error { return p.admin.UnpauseChannel(ctx, "orders", "shipping") },
		},
		{
			"Half of the deliveries of orders/billing fail", "retrying",
			at(func() { l.billing.failing.Store(true) }), at(func() { l.billing.failing.Store(false) }),
		},
		{
			"The topic clicks gets twice as many messages", "clicks/rollup never drains, then draining",
			at(func() { l.clicks.faster.Store(true) }), at(func() { l.clicks.faster.Store(false) }),
		},
		{
			"The consumers of orders/audit are gone", "orphan",
			at(l.audit.leave), func(ctx context.Context) error { return l.consume(ctx, l.audit) },
		},
	}
}

// demoPause waits. It reports false if ctx ends before.
func demoPause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
