package nsq

import "sync/atomic"

// flowFlags are what the run loop lets readers and handlers know. Outside backoff
// they hardly ever change. They are the only state that messages share on the
// success path, and there they are only read.
type flowFlags struct {
	// epoch is what messages are stamped with when they arrive. It is set before
	// the RDY that begins it is written, so no message of that RDY has an earlier
	// one.
	epoch atomic.Uint32
	// reporting says that flow wants to hear of successes as well as of failures.
	reporting atomic.Bool
	// listening says that flow wants to hear of the next message.
	listening atomic.Bool
}

// set is called by the run loop.
func (f *flowFlags) set(epoch uint32, reporting, listening bool) {
	f.epoch.Store(epoch)
	f.reporting.Store(reporting)
	f.listening.Store(listening)
}

// heard reports whether the caller, which has read a message, is the one to wake
// flow.
func (f *flowFlags) heard() bool {
	return f.listening.Load() && f.listening.CompareAndSwap(true, false)
}
