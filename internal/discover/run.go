package discover

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// forgetAfter is for how many intervals the last response of an nsqlookupd that fails is
// kept, while others respond.
const forgetAfter = 10

// run is what the goroutine of Run owns.
type run struct {
	*Poller
	rand     *rand.Rand
	requests sync.WaitGroup // the goroutines of startRequest
	results  chan queryResult
	lookupds []*lookupd // the Poller's, as of the last loadChanges
	poked    bool       // Poke was called since the last poll began
	due      time.Time  // of the next regular poll; zero without nsqlookupds
}

// Run polls until the context ends. It is called once. When it returns, all requests
// and their goroutines have ended, and nothing more is published. It returns as soon
// as the context ends, unless the caller's Client does not let go of a request.
func (p *Poller) Run(ctx context.Context) {
	r := &run{
		Poller:  p,
		rand:    rand.New(rand.NewPCG(p.cfg.Seed, p.cfg.Seed)), // #nosec G404 -- jitter
		results: make(chan queryResult),
	}
	defer r.finish()
	timer := time.NewTimer(time.Hour) // set below
	defer timer.Stop()
	for ctx.Err() == nil {
		removed := r.loadChanges()
		now := time.Now()
		r.poll(ctx, now)
		if removed {
			r.publishMerged(nil)
		}
		if r.due.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(r.due.Sub(now))
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-timer.C:
		case res := <-r.results:
			r.handleResult(ctx, res)
		}
	}
}

// finish waits for the requests, whose context has ended. Then it releases the callers
// that wait for a first result.
func (r *run) finish() {
	r.requests.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	for _, l := range r.Poller.lookupds {
		l.closeFirst()
	}
}

// loadChanges loads what Add, Remove and Poke changed, and cancels the requests
// to nsqlookupds that were removed. It reports whether there were any.
func (r *run) loadChanges() (removed bool) {
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

// poll queries all nsqlookupds if a poll is due, and otherwise only the new ones. It
// skips those whose last request is still in flight.
func (r *run) poll(ctx context.Context, now time.Time) {
	all := r.schedule(now)
	for _, l := range r.lookupds {
		if l.cancel == nil && (all || !l.queried) {
			r.startRequest(ctx, l, now)
		}
	}
}

// schedule reports whether a poll of all nsqlookupds is due, and if so plans the
// next one. The jitter spreads the polls of consumers that start together.
func (r *run) schedule(now time.Time) bool {
	interval := r.cfg.Interval
	switch {
	case len(r.lookupds) == 0:
		r.due = time.Time{} // the next Add starts a new schedule
		return false
	case r.due.IsZero():
		r.due = now.Add(interval + time.Duration(r.rand.Float64()*r.cfg.Jitter*float64(interval)))
	case !now.Before(r.due):
		r.due = now.Add(interval)
	case !r.poked:
		return false
	}
	r.poked = false
	return true
}

// startRequest queries an nsqlookupd on a goroutine. The result goes to
// r.results, unless the request is cancelled before Run receives it.
func (r *run) startRequest(ctx context.Context, l *lookupd, now time.Time) {
	ctx, l.cancel = context.WithCancel(ctx)
	l.queried, l.sent = true, now
	r.requests.Go(func() {
		res := r.query(ctx, l)
		select {
		case r.results <- res:
		case <-ctx.Done():
		}
	})
}

// handleResult records a result and publishes. It drops a result that arrives just as
// ctx ends or its nsqlookupd is removed: the request may have failed only because it
// was cancelled.
func (r *run) handleResult(ctx context.Context, res queryResult) {
	l := res.from
	if ctx.Err() != nil || !slices.Contains(r.lookupds, l) {
		return
	}
	now := time.Now()
	l.cancel()
	l.cancel, l.err, l.ended = nil, nil, l.sent
	if res.err != nil {
		l.err = &Error{Lookupd: l.name, Err: res.err}
	} else {
		l.producers, l.skipped, l.topics = res.producers, nil, res.topics
		l.asked, l.responded = l.sent, now
		for _, s := range res.skipped {
			l.skipped = append(l.skipped, &Error{Lookupd: l.name, Err: s})
		}
	}
	r.publishMerged(&Request{Lookupd: l.name, Took: now.Sub(l.sent), Producers: len(res.producers), Err: res.err})
	l.closeFirst()
}

// publishMerged publishes what all nsqlookupds list, and their failures. ended is the
// request that has just ended, or nil.
func (r *run) publishMerged(ended *Request) {
	result := Result{Ended: ended}
	for _, l := range r.lookupds {
		if l.asked.After(result.Responded) {
			result.Responded = l.asked
		}
	}
	for _, l := range r.lookupds {
		if l.cancel != nil {
			result.Waiting++
		}
		if l.err != nil {
			result.Failed = append(result.Failed, l.err)
			if result.Responded.Sub(l.asked) > forgetAfter*r.cfg.Interval {
				l.producers, l.skipped, l.topics = nil, nil, nil
			}
		}
		result.Skipped = append(result.Skipped, l.skipped...)
		state := Lookupd{Name: l.name, Responded: l.responded, Producers: len(l.producers)}
		if l.err != nil {
			state.Err = l.err.Err
		}
		result.Lookupds = append(result.Lookupds, state)
		result.Topics = append(result.Topics, l.topics...)
	}
	result.Producers = r.merged()
	slices.Sort(result.Topics)
	result.Topics = slices.Compact(result.Topics)
	if len(result.Failed) == len(r.lookupds) {
		for _, l := range r.lookupds {
			if result.AllFailed.IsZero() || l.ended.Before(result.AllFailed) {
				result.AllFailed = l.ended
			}
		}
	}
	r.cfg.Publish(result)
}

// merged returns the nsqds in the last responses of all nsqlookupds.
func (r *run) merged() (all []Producer) {
	for _, l := range r.lookupds {
		from := len(all)
		all = append(all, l.producers...)
		for i := range all[from:] {
			all[from+i].Asked = l.asked
		}
	}
	// The sort is stable: if two nsqlookupds describe one address differently,
	// the one added first wins.
	slices.SortStableFunc(all, func(a, b Producer) int { return strings.Compare(a.Addr, b.Addr) })
	merged := all[:0]
	for _, p := range all {
		last := len(merged) - 1
		switch {
		case last < 0 || merged[last].Addr != p.Addr:
			merged = append(merged, p)
		case p.Asked.After(merged[last].Asked):
			merged[last].Asked = p.Asked
		}
	}
	return merged
}
