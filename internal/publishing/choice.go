package publishing

import "slices"

// Member is an nsqd of a pool. Members are compared with ==.
type Member interface {
	comparable
	// Healthy reports whether the last publish to it succeeded, or a probe since then.
	Healthy() bool
	// Owes returns how many publishes wait at the nsqd, for its connection or for its
	// reply.
	Owes() int
}

// Tries records the tries of one publish, at one nsqd of a pool after another. The zero
// value is a publish that has not begun.
type Tries[M Member] struct {
	// Refused is the error of an nsqd that refused the message for good.
	Refused error
	// Unknown is the error of the last nsqd that may have stored the message.
	Unknown error

	tried []try[M]  // the latest try at each nsqd, in the order of the first tries
	index map[M]int // where each nsqd is in tried; nil while tried is short
	again bool      // all were tried, so healthy ones are tried again

	// barren is set if Next found no healthy member to try, as of news.
	barren bool
	news   uint64
}

// shortTries is how many tries are searched one by one. With more there is an index: a
// publish that fails at each of 50,000 nsqds would otherwise compare a billion times.
const shortTries = 8

// try is the latest try at one nsqd.
type try[M Member] struct {
	at  M
	err error // nil if Errors must not return it
}

// Next returns the index of the nsqd to try: going round from turn, the first that is
// healthy and untried, or else the first that is untried. If that one is healthy and
// owes replies, and the next healthy one owes fewer, Next returns the next one: otherwise
// publishes would pile up at an nsqd that hangs until a caller gives up on it. After Look
// has found that all were tried, only healthy ones count. ok is false if there is none.
//
// news is a number that grows when a member joins or becomes healthy. While it stays the
// same, a publish that goes from one unhealthy member to the next looks at each once.
func (t *Tries[M]) Next(members []M, turn int, news uint64) (index int, ok bool) {
	barren := t.barren && t.news == news
	if barren && t.again {
		return 0, false
	}
	t.barren, t.news = true, news
	owed := 0 // by members[index]; 0 until a healthy one is found
	for i := range members {
		i = (turn + i) % len(members)
		switch m := members[i]; {
		case !t.again && t.at(m) >= 0:
		case !m.Healthy():
			if !ok && !t.again {
				index, ok = i, true
			}
			if ok && barren {
				return index, true
			}
		case owed == 0:
			t.barren = false
			if owed = m.Owes(); owed == 0 {
				return i, true
			}
			index, ok = i, true
		case m.Owes() < owed:
			return i, true
		default:
			return index, true
		}
	}
	return index, ok
}

// Look tells a publish for which Next found nothing what to wait for. ready reports
// whether Next would now find one of these members. allTried reports whether there are
// members and all were tried. If all were, Next returns healthy ones again, until a later
// Look finds one that was not tried.
func (t *Tries[M]) Look(members []M) (ready, allTried bool) {
	untried := slices.ContainsFunc(members, func(m M) bool { return t.at(m) < 0 })
	if again := len(t.tried) > 0 && !untried; again != t.again {
		t.again, t.barren = again, false // others may be tried now
	}
	ready = slices.ContainsFunc(members, func(m M) bool { return !t.again || m.Healthy() })
	return ready, t.again && len(members) > 0
}

// LetGo notes that the pool dropped an nsqd while it was being tried.
func (t *Tries[M]) LetGo(m M) { t.note(m, nil) }

// Failed notes that a try failed, and reports whether to try another nsqd: either nothing
// is stored and another nsqd may store it, or something may be stored and the caller
// allows duplicates.
func (t *Tries[M]) Failed(m M, err error, v Verdict, duplicates bool) (retry bool) {
	switch {
	case v.MayBeStored():
		t.Unknown = err
		t.note(m, nil)
		return duplicates
	case v.RetryOnOther():
		t.note(m, err)
		return true
	}
	t.Refused = err
	return false
}

// Forget drops the tries so far, and with them what Errors returns.
func (t *Tries[M]) Forget() { t.tried, t.index, t.barren = nil, nil, false }

// Errors returns the latest error of each nsqd whose latest try stored nothing.
func (t *Tries[M]) Errors() []error {
	var errs []error
	for _, try := range t.tried {
		if try.err != nil {
			errs = append(errs, try.err)
		}
	}
	return errs
}

// at returns the index in tried of the try at an nsqd, -1 if there is none.
func (t *Tries[M]) at(m M) int {
	if t.index == nil {
		return slices.IndexFunc(t.tried, func(try try[M]) bool { return try.at == m })
	}
	if i, ok := t.index[m]; ok {
		return i
	}
	return -1
}

func (t *Tries[M]) note(m M, err error) {
	if i := t.at(m); i >= 0 {
		t.tried[i].err = err
		return
	}
	t.tried = append(t.tried, try[M]{m, err})
	switch {
	case t.index != nil:
		t.index[m] = len(t.tried) - 1
	case len(t.tried) > shortTries:
		t.index = make(map[M]int)
		for i, try := range t.tried {
			t.index[try.at] = i
		}
	}
}
