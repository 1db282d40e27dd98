package publishing

import "slices"

// Member is an nsqd of a pool. Members are compared with ==.
type Member interface {
	comparable
	// Healthy reports whether the last publish to it succeeded, or a probe since then.
	Healthy() bool
}

// Tries records the tries of one publish, at one nsqd of a pool after another. The zero
// value is a publish that has not begun.
type Tries[M Member] struct {
	// Refused is the error of an nsqd that refused the message for good.
	Refused error
	// Unknown is the error of the last nsqd that may have stored the message.
	Unknown error

	tried []try[M] // the latest try at each nsqd, in the order of the first tries
	again bool     // all were tried, so healthy ones are tried again
}

// try is the latest try at one nsqd.
type try[M Member] struct {
	at  M
	err error // nil if Errors must not return it
}

// Next returns the index of the nsqd to try: going round from turn, the first that is
// healthy and untried, or else the first that is untried. After Look has found that all
// were tried, it is the first that is healthy. ok is false if there is none.
func (t *Tries[M]) Next(members []M, turn int) (index int, ok bool) {
	for i := range members {
		i = (turn + i) % len(members)
		switch m := members[i]; {
		case !t.again && t.at(m) >= 0:
		case m.Healthy():
			return i, true
		case !ok && !t.again:
			index, ok = i, true
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
	t.again = len(t.tried) > 0 && !untried
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
func (t *Tries[M]) Forget() { t.tried = nil }

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
	return slices.IndexFunc(t.tried, func(try try[M]) bool { return try.at == m })
}

func (t *Tries[M]) note(m M, err error) {
	if i := t.at(m); i >= 0 {
		t.tried[i].err = err
	} else {
		t.tried = append(t.tried, try[M]{m, err})
	}
}
