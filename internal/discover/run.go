package discover

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// pokeGap is the least time between a poll and one that was asked for by Poke.
const pokeGap = time.Second

// run is what the goroutine of Run owns.
type run struct {
	*Poller
	rand     *rand.Rand
	asking   sync.WaitGroup // requests under way
	answers  chan answer
	lookupds []*lookupd // as of the last update
	poked    bool       // and a poll was asked for since the last one
	last     time.Time  // of the last poll
	due      time.Time  // of the next poll; zero without nsqlookupds
}

// Run polls until the context ends. When it returns, which it does at once then
// unless a Client of the caller's holds on to a request, all requests have ended
// with their goroutines, and nothing more is published. It is called once.
func (p *Poller) Run(ctx context.Context) {
	r := &run{
		Poller:  p,
		rand:    rand.New(rand.NewPCG(p.cfg.Seed, p.cfg.Seed)), // #nosec G404 -- jitter
		answers: make(chan answer),
	}
	defer r.end()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		removed := r.update()
		now := time.Now()
		r.poll(ctx, now)
		if removed {
			r.publish()
		}
		if next := r.next(); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(next.Sub(now))
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-timer.C:
		case a := <-r.answers:
			r.answered(ctx, a)
		}
	}
}

// end waits for the requests, whose context has ended.
func (r *run) end() {
	r.asking.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	for _, l := range r.Poller.lookupds {
		l.settle()
	}
}

// update takes what the methods have done, and tells whether an nsqlookupd was
// removed.
func (r *run) update() (removed bool) {
	before := r.lookupds
	r.mu.Lock()
	r.lookupds = r.Poller.lookupds
	r.poked = r.poked || r.Poller.poked
	r.Poller.poked = false
	r.mu.Unlock()
	for _, l := range before {
		if slices.Contains(r.lookupds, l) {
			continue
		}
		removed = true
		if l.cancel != nil {
			l.cancel()
		}
	}
	return removed
}

// poll asks all nsqlookupds if it is time to, and else those that never were.
func (r *run) poll(ctx context.Context, now time.Time) {
	all := r.takeDue(now)
	for _, l := range r.lookupds {
		if l.cancel == nil && (all || !l.asked) {
			r.ask(ctx, l)
		}
	}
}

// takeDue tells whether it is time to ask all nsqlookupds, and plans the next
// time. The chance in it is for the many consumers that started together.
func (r *run) takeDue(now time.Time) bool {
	interval := r.cfg.Interval
	switch {
	case len(r.lookupds) == 0:
		r.due = time.Time{} // the next Add is a new beginning
		return false
	case r.due.IsZero():
		r.due = now.Add(interval + time.Duration(r.rand.Float64()*r.cfg.Jitter*float64(interval)))
	case !now.Before(r.due):
		r.due = now.Add(interval)
	case !r.poked || now.Before(r.last.Add(pokeGap)):
		return false
	}
	r.last, r.poked = now, false
	return true
}

// next is when takeDue is to be asked again; zero is not before there is news.
func (r *run) next() time.Time {
	if soon := r.last.Add(pokeGap); r.poked && soon.Before(r.due) {
		return soon
	}
	return r.due
}

// ask begins a request. Its answer does not come if it is cancelled.
func (r *run) ask(ctx context.Context, l *lookupd) {
	ctx, l.cancel = context.WithCancel(ctx)
	l.asked = true
	r.asking.Go(func() {
		a := r.query(ctx, l)
		select {
		case r.answers <- a:
		case <-ctx.Done():
		}
	})
}

// answered takes an answer in. One that comes together with the end of what it
// is for is none: it may be the failure that the end has caused.
func (r *run) answered(ctx context.Context, a answer) {
	l := a.from
	if ctx.Err() != nil || !slices.Contains(r.lookupds, l) {
		return
	}
	l.cancel()
	l.cancel, l.err = nil, nil
	if a.err != nil {
		l.err = &Error{Lookupd: l.name, Err: a.err}
	} else {
		l.producers, l.skipped = a.producers, nil
		for _, s := range a.skipped {
			l.skipped = append(l.skipped, &Error{Lookupd: l.name, Err: s})
		}
	}
	r.publish()
	l.settle()
}

// publish hands over what is known.
func (r *run) publish() {
	result := Result{Asked: len(r.lookupds)}
	for _, l := range r.lookupds {
		if l.cancel != nil {
			result.Waiting++
		}
		if l.err != nil {
			result.Failed = append(result.Failed, l.err)
		}
		result.Producers = append(result.Producers, l.producers...)
		result.Skipped = append(result.Skipped, l.skipped...)
	}
	// Of two that list an address differently the one added first is believed.
	slices.SortStableFunc(result.Producers, func(a, b Producer) int { return strings.Compare(a.Addr, b.Addr) })
	result.Producers = slices.CompactFunc(result.Producers, func(a, b Producer) bool { return a.Addr == b.Addr })
	r.cfg.Publish(result)
}
