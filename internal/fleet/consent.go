package fleet

import (
	"slices"
	"time"
)

// Responses are what nsqlookupds have said, as of one response or failure. The times are
// those at which requests were sent: what happened after that is not in the responses.
//
// They decide whether an address that is only listed may be dialled again. Say that its
// connection was lost, or its dial failed, at the time t.
//
//  1. If an nsqlookupd lists it in response to a request sent after t, it is dialled,
//     unless a later poll no longer lists it.
//  2. If an nsqlookupd has responded to a request sent after t, and none lists the
//     address, it is not dialled: its topic may have been deleted, or the nsqd of another
//     cluster, with a topic of that name, may use the address now.
//  3. If all requests sent after t have failed, the address is dialled: nsqlookupds may
//     be down for longer than nsqds.
type Responses struct {
	Listed    []Listing
	Responded time.Time // of the newest request that has had a response; zero: none has
	AllFailed time.Time // of the oldest of the last requests, if each of them failed; otherwise zero
	Complete  bool      // there are nsqlookupds, and each has responded to its last request
	Pending   bool      // a request has neither failed nor had its response yet
	None      bool      // there is no nsqlookupd to ask
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

// listingState is what nsqlookupds have said about an nsqd, and what that is compared with.
type listingState struct {
	listed   bool      // an nsqlookupd listed it, and it has not been missing for too long
	asked    time.Time // of the newest request whose response listed it
	round    int       // Machine.round when it was last listed
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
	case n.direct || m.responses.None:
		return true
	case n.absent.IsZero() && n.asked.After(n.parted) && n.asked.After(n.removing):
		return true
	}
	return m.responses.AllFailed.After(n.parted) && !m.responses.Responded.After(n.parted)
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
func (m *Machine) Discovered(now time.Time, r Responses, gone []string) []string {
	m.round++
	newer := r.Responded.After(m.responses.Responded) // without one, an absence says nothing new
	if !newer {
		r.Responded = m.responses.Responded
	}
	for _, l := range r.Listed {
		m.noteListed(now, &r, l)
	}
	r.Listed = nil
	m.responses = r
	m.forgetRemoved(now, newer)
	from := len(gone)
	for _, n := range m.nsqds {
		if !n.listed || n.round == m.round {
			continue
		}
		m.noteMissed(now, n, newer)
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

// noteListed notes that Responses list an address. If not every nsqlookupd responded, the
// listing may come from the last response of one that is down, which says nothing new.
// Then it counts only if its request is newer than that of the last listing, or if no
// nsqlookupd has responded to a later request than that.
func (m *Machine) noteListed(now time.Time, r *Responses, l Listing) {
	if was, ok := m.unwanted[l.Addr]; ok {
		if l.Asked.After(was.asked) {
			m.unwanted[l.Addr] = removed{asked: l.Asked}
		}
		return
	}
	if !r.Complete && r.Responded.Sub(l.Asked) > m.partialGrace() {
		return // all others have forgotten it
	}
	n := m.track(now, l.Addr)
	changed := !n.listed
	if !r.Complete && n.listed && !l.Asked.After(n.asked) && r.Responded.After(n.asked) {
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

// noteMissed notes that the last Responses do not list an address. newer is true if they
// have a newer response than those before.
func (m *Machine) noteMissed(now time.Time, n *nsqd, newer bool) {
	r := &m.responses
	if r.Complete {
		n.missing.count(now)
	}
	if !r.Responded.After(n.asked) {
		return
	}
	if newer {
		n.unheard.count(r.Responded)
	}
	if !r.Pending { // otherwise the nsqlookupd that lists it may only be slower
		n.absent = r.Responded
	}
}

// tooLongGone reports whether to let go an address that the last Responses do not list.
func (m *Machine) tooLongGone(now time.Time, n *nsqd) bool {
	if n.state == Connected {
		return m.responses.Complete && n.missing.polls >= misses && now.Sub(n.missing.since) >= max(m.cfg.Grace, connectedGrace)
	}
	return m.responses.Complete && n.missing.polls >= misses && now.Sub(n.missing.since) >= m.cfg.Grace ||
		m.unheard(&n.unheard)
}

// unheard reports whether those nsqlookupds that respond have not listed an address for
// so long that the others do not matter.
func (m *Machine) unheard(a *absence) bool {
	return a.polls >= partialMisses && m.responses.Responded.Sub(a.since) >= m.partialGrace()
}

// forgetRemoved forgets the removed addresses that are not listed any more: the next time
// that they are listed, they are wanted.
func (m *Machine) forgetRemoved(now time.Time, newer bool) {
	for addr, was := range m.unwanted {
		if newer && m.responses.Responded.After(was.asked) {
			was.unheard.count(m.responses.Responded)
			m.unwanted[addr] = was
		}
		if m.responses.Complete && now.Sub(was.asked) > m.cfg.Grace || m.unheard(&was.unheard) {
			delete(m.unwanted, addr)
		}
	}
}
