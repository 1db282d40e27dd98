package nsq

import "sync/atomic"

// signals are what the run loop lets readers and handlers know. They only read
// them, and outside backoff they hardly ever change: this is all that the way of a
// message that is handled well has in common with the others.
type signals struct {
	// epoch is what messages are stamped with when they come. It is set before
	// the RDY that begins it is written, so no message of that RDY has an
	// earlier one.
	epoch atomic.Uint32
	// reporting says that flow wants to hear of successes, too.
	reporting atomic.Bool
	// asleep says that flow wants to hear of the next message.
	asleep atomic.Bool
}
