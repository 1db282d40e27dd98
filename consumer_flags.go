package nsq

import "sync/atomic"

// flowFlags are set by the run loop and read by readers and handlers. Outside backoff
// they hardly ever change. They are the only state that messages share on the success
// path, and there they are only read.
type flowFlags struct {
	// epoch is stamped on messages when they arrive. The run loop sets a new epoch
	// before it writes the RDY that begins it, so a message that comes by that RDY
	// never has an older stamp.
	epoch atomic.Uint32
	// reporting makes handlers report successes to flow, not only failures.
	reporting atomic.Bool
	// listening makes the reader of the next message wake the machine, which has little
	// to do while none comes.
	listening atomic.Bool
}

// set sets all flags. Only the run loop calls it.
func (f *flowFlags) set(epoch uint32, reporting, listening bool) {
	f.epoch.Store(epoch)
	f.reporting.Store(reporting)
	f.listening.Store(listening)
}

// claimWake reports whether the caller, which has read a message, must wake the machine. It
// lowers the listening flag, so only one reader does.
func (f *flowFlags) claimWake() bool {
	return f.listening.Load() && f.listening.CompareAndSwap(true, false)
}
