package link

const (
	// maxUnsent is how many bytes may wait for the socket, acks among them, before the
	// reader stops: some 50,000 FINs, far more than nsqd's default max-rdy-count lets be
	// in flight.
	maxUnsent = 1 << 20
	// maxHeld is how many bytes a FrameReceiver may hold before the reader stops.
	maxHeld = 16 << 20
)

// awaitBacklog waits while the backlog is too large to read on: nsqd sends messages and
// takes no acks, or the owner does not keep up. The wait also ends when the link accepts
// no more commands. The reader calls it before each read.
//
// Without it, the acks for an nsqd that sends messages and takes no acks would pile up
// until WriteTimeout. The wait is no deadlock: nsqd takes acks whether or not its
// messages are read.
func (l *Link) awaitBacklog() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.sealed && (l.held > maxHeld || l.queued-l.sent > maxUnsent && !l.acks.empty()) {
		l.waitProgress()
	}
}

// Hold tells the link that its owner keeps n more bytes of what the link has passed on or,
// if n is negative, fewer. While it keeps more than maxHeld, the link reads nothing.
func (l *Link) Hold(n int) {
	l.mu.Lock()
	l.held += n
	l.signalProgress()
	l.mu.Unlock()
}
