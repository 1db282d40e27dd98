package nsq

import (
	"sync"
	"sync/atomic"

	"github.com/rdyhq/nsq/internal/control"
)

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
	// weighAt makes the reader that brings this many bytes into memory have flow weigh
	// them. 0: none does.
	weighAt atomic.Int64
	// bounded says that the byte budget may keep messages from coming. Then readers make
	// sure that no taker waits for those messages: see Consumer.hurryTakers.
	bounded atomic.Bool
	// stalled says that the run loop is about to hear of takers that wait in vain.
	stalled atomic.Bool

	// spending makes acks other than those of workers go through the run loop: see
	// unlessSpending.
	spending bool
	acking   sync.RWMutex // guards spending; read-locked by acks that do not go there
}

// unlessSpending runs ack, which only queues a command, unless the spending flag is up, and
// reports whether it did. While the flag is up, the run loop must send a lower RDY before
// each ack, or nsqd sends a message that no Fetch has asked for.
//
// The lock orders acks and the flag. Without it:
//
//  1. The goroutine of an ack finds the flag down.
//  2. The run loop raises the flag, counts what is in flight, the acked message included,
//     and sends an RDY that covers it.
//  3. The FIN follows, and nsqd has room for one message more.
func (f *flowFlags) unlessSpending(ack func()) bool {
	f.acking.RLock()
	defer f.acking.RUnlock()
	if f.spending {
		return false
	}
	ack()
	return true
}

// set sets all flags. Only the run loop calls it.
func (f *flowFlags) set(flags control.SetFlags) {
	f.acking.Lock()
	f.spending = flags.Spending
	f.acking.Unlock()
	f.epoch.Store(flags.Epoch)
	f.reporting.Store(flags.Reporting)
	f.listening.Store(flags.Listening)
	f.weighAt.Store(flags.WeighAt)
	f.bounded.Store(flags.Bounded)
}

// claimWeighing reports whether the caller must have flow weigh what is in memory, now
// that it is so many bytes. It resets weighAt, so only one caller does.
func (f *flowFlags) claimWeighing(bytes int64) bool {
	at := f.weighAt.Load()
	return at > 0 && bytes >= at && f.weighAt.CompareAndSwap(at, 0)
}

// claimStall reports whether the caller must tell the run loop that takers wait in vain.
func (f *flowFlags) claimStall() bool {
	return f.bounded.Load() && f.stalled.CompareAndSwap(false, true)
}

// claimWake reports whether the caller, which has read a message, must wake the machine. It
// lowers the listening flag, so only one reader does.
func (f *flowFlags) claimWake() bool {
	return f.listening.Load() && f.listening.CompareAndSwap(true, false)
}
