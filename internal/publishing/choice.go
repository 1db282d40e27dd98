package publishing

import "slices"

// Member is an nsqd of a pool, told apart by ==.
type Member interface {
	comparable
	// Healthy reports whether the last publish there went well, or a probe since.
	Healthy() bool
}

// Tries is what came of one publish so far, at one nsqd of a pool after the other.
// The zero value is a publish that has not begun.
type Tries[M Member] struct {
	// Refused is the error of an nsqd that refused the message for good.
	Refused error
	// Unknown is the error of the last nsqd that may have stored the message.
	Unknown error

	tried []try[M] // one for each nsqd tried, in the order of the first tries
	again bool     // all were tried: now the healthy ones are tried again
}

// try is the latest try at one nsqd.
type try[M Member] struct {
	at  M
	err error // nil if it says nothing of the nsqd
}

// Next returns the index of the nsqd to try: the first from turn on that is
// healthy and untried, or else the first that is untried. Once all were tried (see
// Look) it is the first that is healthy. ok is false if there is none.
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

// Look decides, when Next found nothing, what there is to wait for. ready reports
// whether Next would find one of these members now; allTried, whether there are
// members and all of them were tried. From then on Next returns the healthy ones,
// until Look finds one that was not tried.
func (t *Tries[M]) Look(members []M) (ready, allTried bool) {
	untried := slices.ContainsFunc(members, func(m M) bool { return t.at(m) < 0 })
	t.again = len(t.tried) > 0 && !untried
	ready = slices.ContainsFunc(members, func(m M) bool { return !t.again || m.Healthy() })
	return ready, t.again && len(members) > 0
}

// LetGo notes that the pool let an nsqd go while it was tried.
func (t *Tries[M]) LetGo(m M) { t.note(m, nil) }

// Failed notes that a try failed, and reports whether it leaves room for another:
// nothing is stored and another nsqd may store it, or the caller allows
// duplicates of what may be stored.
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

// Forget drops the errors of the nsqds tried so far.
func (t *Tries[M]) Forget() { t.tried = nil }

// Errors returns the latest error of each nsqd that has not stored the message.
func (t *Tries[M]) Errors() []error {
	var errs []error
	for _, try := range t.tried {
		if try.err != nil {
			errs = append(errs, try.err)
		}
	}
	return errs
}

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
