package link

// An ackRun is a run of FINs and REQs of the same length, with nothing in between.
type ackRun struct {
	start uint64 // where the first begins, counted as Link.queued is
	size  uint64 // the length of each
	n     uint64
}

func (r *ackRun) end() uint64 { return r.start + r.n*r.size }

// ackRuns are the acks and requeues that were appended and not yet sent whole, oldest
// first. They are noted when they are appended: the bytes of a connection cannot be
// split into commands afterwards, since a body or an ID may look like one.
type ackRuns struct {
	list []ackRun
	head int // list[head:] are the runs
}

// add notes n commands of size bytes each, of which the first begins at start.
func (a *ackRuns) add(start uint64, size, n int) {
	each, more := uint64(size), uint64(n) // #nosec G115 -- positive
	if len(a.list) > a.head {
		if last := &a.list[len(a.list)-1]; last.size == each && last.end() == start {
			last.n += more
			return
		}
	}
	if len(a.list) == cap(a.list) && a.head > len(a.list)/2 {
		a.list, a.head = a.list[:copy(a.list, a.list[a.head:])], 0
	}
	a.list = append(a.list, ackRun{start, each, more})
}

// forgetSent drops the runs that end within the first sent bytes.
func (a *ackRuns) forgetSent(sent uint64) {
	for a.head < len(a.list) && a.list[a.head].end() <= sent {
		a.head++
	}
	switch {
	case a.head < len(a.list):
	case cap(a.list) > 64: // after a burst
		*a = ackRuns{}
	default:
		a.list, a.head = a.list[:0], 0
	}
}

// takeUnsent returns how many commands do not end within the first sent bytes, and
// forgets all runs.
func (a *ackRuns) takeUnsent(sent uint64) (unsent uint64) {
	for _, r := range a.list[a.head:] {
		whole := uint64(0)
		if sent > r.start {
			whole = min((sent-r.start)/r.size, r.n)
		}
		unsent += r.n - whole
	}
	*a = ackRuns{}
	return unsent
}

// empty reports whether all of them were sent.
func (a *ackRuns) empty() bool { return a.head == len(a.list) }
