package link

// A Borrower is a Receiver that may use the reader's goroutine, to handle messages at once
// instead of waking another goroutine for them.
type Borrower interface {
	Receiver
	// Borrows reports whether the receiver wants the goroutine now. The reader asks before
	// each read, when everything that it has read was passed on. Borrows must not block.
	Borrows() bool
	// Work is called if Borrows was true. Unlike the other methods it may take long, and
	// may call runtime.Goexit. If it takes long, or waits for the link to send something,
	// another goroutine has to call Recall: until then, the link reads nothing, sends
	// nothing new, and is not down if it ends. After Recall, Work may outlast Down.
	Work(Loan)
}

// A Loan is one call of Work: its number, from 1 on.
type Loan uint64

// While the reader is on loan, commands do not wake the writer. Most of them are the acks
// of what the reader has just read: it writes them itself when it comes back, in one go
// and without waking anybody. If the loan is recalled, the writer is woken.
//
// A loan ends once, by a compare-and-swap:
//
//  1. Work returns, or ends its goroutine, and the goroutine finds its loan's number: it
//     is the reader, and reads on.
//  2. Recall finds the number: it has a new goroutine read on. When Work returns, its
//     goroutine finds another number, or none, and ends without touching the link.
//
// The number tells a loan from the next one, which the new reader may have begun by then.

// beginLoan begins a loan. Only the reader calls it.
func (l *Link) beginLoan() Loan {
	l.loans++
	l.setLent(true)
	l.loan.Store(uint64(l.loans))
	return l.loans
}

// Recall has another goroutine read in place of the one that is on loan. It reports false if
// that loan is over, and for 0, which is no loan: without the check, 0 would match while the
// reader reads, and a second one would read beside it.
func (l *Link) Recall(loan Loan) bool {
	if loan == 0 || !l.loan.CompareAndSwap(uint64(loan), 0) {
		return false
	}
	l.setLent(false)
	l.writerWake.Signal()
	go l.readLoop()
	return true
}

// endLoan ends a loan whose goroutine is back. It reports false if the loan was recalled.
func (l *Link) endLoan(loan Loan) bool {
	if !l.loan.CompareAndSwap(uint64(loan), 0) {
		return false
	}
	l.writeBack()
	return true
}

func (l *Link) setLent(lent bool) {
	l.mu.Lock()
	l.lent = lent
	l.mu.Unlock()
}

// writeBack writes what is pending at the end of a loan, as far as the socket takes it at
// once, and leaves the rest to the writer. So does it leave everything to the writer if that
// is at work, or if there is more to a Write than the socket.
//
// No command stays behind: what is appended during the write does not wake the writer, since
// pending is not empty then, and writeBack wakes it if anything is left.
func (l *Link) writeBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lent = false
	switch {
	case l.pending.len == 0:
		return
	case l.direct == nil || l.writing || l.closing || len(l.pending.chunks) > 1 || len(l.pauses) > 0:
		l.writerWake.Signal()
		return
	}
	chunk := l.pending.chunks[0][l.pending.written:]
	l.packed = openPack{} // no publish may join what is being written
	l.writing = true
	l.stats.Writes++
	l.mu.Unlock()
	n := l.direct.write(chunk)
	l.mu.Lock()
	l.writing = false
	l.pending.drop(n)
	l.sent += uint64(n) // #nosec G115 -- not negative
	l.acks.forgetSent(l.sent)
	l.signalProgress()
	if l.pending.len > 0 || l.drain.requested || l.drain.abandoned {
		l.writerWake.Signal()
	}
}
