package fleet

import (
	"slices"
	"time"
)

// Word is what nsqlookupds have said, as of one response or failure. Its times are those
// at which requests were sent: what happened after that is not in their responses.
//
// It decides whether an address that is only listed may be dialled again. Say that its
// connection was lost, or its dial failed, at the time t.
//
//  1. If an nsqlookupd lists it in response to a request sent after t, it is dialled,
//     unless a later poll no longer lists it.
//  2. If an nsqlookupd has responded to a request sent after t, and none lists the
//     address, it is not dialled: its topic may have been deleted, or another nsqd,
//     which knows the topic from elsewhere, may use the address now.
//  3. If all requests sent after t have failed, the address is dialled: nsqlookupds may
//     be down for longer than nsqds.
type Word struct {
	Listed   []Listing
	Answered time.Time // of the newest request that has had a response; zero: none has
	Deaf     time.Time // of the oldest of the last requests, if each of them failed; otherwise zero
	Complete bool      // there are nsqlookupds, and each has responded to its last request
	Pending  bool      // a request has neither failed nor had its response yet
	None     bool      // there is no nsqlookupd to ask
}

// Listing is an address that an nsqlookupd lists.
type Listing struct {
	Addr  string
	Asked time.Time // of the newest request whose response lists it
}

// removal is how long an nsqd may need to remove a topic after it has closed the topic's
// consumers: it empties the topic's channels one by one, and many or large ones took
// 0.2 s.
const removal = 3 * time.Second

// consent is what nsqlookupds have said about an nsqd, and what it is compared with.
type consent struct {
	listed   bool      // an nsqlookupd listed it, and it has not been missing for too long
	asked    time.Time // of the newest request whose response listed it
	round    int       // the last Word that listed it
	missing  absence   // polls that did not list it, of those to which all responded
	unheard  absence   // the same, of those to which any responded
	absent   time.Time // if the last settled poll did not list it, when that was sent
	parted   time.Time // when its last connection or dial ended; zero before that
	removing time.Time // until when nsqd may be removing the topic; zero: it is not
}

// removed is an address that is listed and was removed.
type removed struct {
	asked   time.Time // of the newest request whose response lists it, or when it was removed
	unheard absence
}

// absence counts the polls in a row that did not list an address.
type absence struct {
	polls int
	since time.Time // the first of them
}

func (a *absence) count(at time.Time) {
	if a.polls == 0 {
		a.since = at
	}
	a.polls++
}

// allowed reports whether an address may be dialled, at its due time.
func (m *Machine) allowed(n *nsqd) bool {
	switch {
	case n.direct || m.word.None:
		return true
	case n.absent.IsZero() && n.asked.After(n.parted) && n.asked.After(n.removing):
		return true
	}
	return m.word.Deaf.After(n.parted) && !m.word.Answered.After(n.parted)
}

// SubAfter returns the time before which a dial of an address must not subscribe, which
// may be in the past. An nsqd that closed our connection and still accepts others has
// not restarted, and may be removing the topic: see Lost. The dial may connect: a
// failure with NotListening proves a restart.
func (m *Machine) SubAfter(addr string) time.Time {
	if n := m.nsqds[addr]; n != nil {
		return n.removing
	}
	return time.Time{}
}

// Discovered reports what nsqlookupds list. It appends to gone the addresses that it
// lets go: they are no longer wanted.
func (m *Machine) Discovered(now time.Time, w Word, gone []string) []string {
	m.round++
	news := w.Answered.After(m.word.Answered) // otherwise it misses nothing that the last Word did not
	if !news {
		w.Answered = m.word.Answered
	}
	for _, l := range w.Listed {
		m.listed(now, &w, l)
	}
	w.Listed = nil
	m.word = w
	m.forgetRemoved(now, news)
	from := len(gone)
	for _, n := range m.nsqds {
		if !n.listed || n.round == m.round {
			continue
		}
		m.missed(now, n, news)
		if !m.tooLongGone(now, n) {
			continue
		}
		n.listed, n.missing, n.unheard = false, absence{}, absence{}
		if !n.direct {
			m.drop(n)
			gone = append(gone, n.addr)
		} else {
			m.place(n)
		}
	}
	m.placeAll()
	slices.Sort(gone[from:])
	return gone
}

// partialGrace is the Grace of polls to which not every nsqlookupd responded.
func (m *Machine) partialGrace() time.Duration { return m.cfg.Grace / misses * partialMisses }

// listed notes that a Word lists an address. If not every nsqlookupd responded, the
// listing may come from the last response of one that is down, which says nothing new:
// then it counts only if its request is newer than that of the last listing, or than any
// response to that.
func (m *Machine) listed(now time.Time, w *Word, l Listing) {
	if was, ok := m.unwanted[l.Addr]; ok {
		if l.Asked.After(was.asked) {
			m.unwanted[l.Addr] = removed{asked: l.Asked}
		}
		return
	}
	if !w.Complete && w.Answered.Sub(l.Asked) > m.partialGrace() {
		return // all others have forgotten it
	}
	n := m.track(now, l.Addr)
	changed := !n.listed
	if !w.Complete && n.listed && !l.Asked.After(n.asked) && w.Answered.After(n.asked) {
		return
	}
	if l.Asked.After(n.asked) {
		n.asked = l.Asked
	}
	if !n.absent.IsZero() {
		if n.absent.After(n.parted) {
			n.removing = time.Time{} // nsqd has registered again: see Lost
		}
		if n.state == Waiting {
			n.due, changed = now, true
		}
	}
	n.listed, n.round, n.missing, n.unheard, n.absent = true, m.round, absence{}, absence{}, time.Time{}
	if changed { // otherwise placeAll does what is left to do
		m.place(n)
	}
}

// missed notes that a Word does not list an address. news says that a request has had
// its response since the last Word.
func (m *Machine) missed(now time.Time, n *nsqd, news bool) {
	w := &m.word
	if w.Complete {
		n.missing.count(now)
	}
	if !w.Answered.After(n.asked) {
		return
	}
	if news {
		n.unheard.count(w.Answered)
	}
	if !w.Pending { // otherwise the nsqlookupd that lists it may only be slower
		n.absent = w.Answered
	}
}

// tooLongGone reports whether an address that the last Word missed is to be let go.
func (m *Machine) tooLongGone(now time.Time, n *nsqd) bool {
	if n.state == Connected {
		return m.word.Complete && n.missing.polls >= misses && now.Sub(n.missing.since) >= max(m.cfg.Grace, connectedGrace)
	}
	return m.word.Complete && n.missing.polls >= misses && now.Sub(n.missing.since) >= m.cfg.Grace ||
		m.unheard(&n.unheard)
}

// unheard reports whether those nsqlookupds that respond have not listed an address for
// so long that the others do not matter.
func (m *Machine) unheard(a *absence) bool {
	return a.polls >= partialMisses && m.word.Answered.Sub(a.since) >= m.partialGrace()
}

// forgetRemoved forgets the removed addresses that are not listed any more: the next time
// that they are listed, they are wanted.
func (m *Machine) forgetRemoved(now time.Time, news bool) {
	for addr, was := range m.unwanted {
		if news && m.word.Answered.After(was.asked) {
			was.unheard.count(m.word.Answered)
			m.unwanted[addr] = was
		}
		if m.word.Complete && now.Sub(was.asked) > m.cfg.Grace || m.unheard(&was.unheard) {
			delete(m.unwanted, addr)
		}
	}
}
