package nsq

import (
	"context"
	"errors"
	"time"

	"github.com/rdyhq/nsq/internal/publishing"
	"github.com/rdyhq/nsq/internal/wire"
)

// dialGate says whether a Producer may dial its nsqd. A Producer of a discovered pool
// has one; others dial whenever they need a connection.
type dialGate interface {
	// open reports whether the nsqd may be dialled now.
	open() bool
	// await waits until the nsqd may be dialled. It returns errNoConsent if it may not
	// be for the time being, and the cause when ctx ends.
	await(ctx context.Context) error
	// connected and parted report that a connection came up, and that a connection or a
	// dial ended. The caller holds the connector's mutex, so that no dial comes between.
	connected()
	parted()
	// lost reports, after parted, why a connection was lost. The caller holds no mutex.
	lost(err error)
}

// errNoConsent is why an nsqd is not dialled although a publish needs a connection.
var errNoConsent = errors.New("no nsqlookupd lists the nsqd any more")

// mayDial reports whether a new attempt to connect may start. Only the first attempt
// after the loss of a connection waits at the gate: after a failure callers fail at
// once while the gate is shut. Callers hold the mutex.
func (n *connector) mayDial() bool {
	return n.redial.Allowed(time.Now()) && (n.gate == nil || n.failed == nil || n.gate.open())
}

// awaitGate waits until the nsqd may be dialled.
func (n *connector) awaitGate() error {
	if n.gate == nil {
		return nil
	}
	return n.gate.await(n.alive)
}

// tellGate reports that a connection came up, or that a connection or a dial ended.
// Callers hold the mutex.
func (n *connector) tellGate(up bool) {
	switch {
	case n.gate == nil:
	case up:
		n.gate.connected()
	default:
		n.gate.parted()
	}
}

// stillListens reports whether a connection ends because nsqd refused a publish that no
// nsqd would take. Then nsqd listens as before, and no nsqlookupd need be asked. One
// that failed to store a message may be about to exit.
func stillListens(err error) bool {
	refusal, ok := errors.AsType[*wire.Error](err)
	if !ok {
		return false
	}
	verdict := publishing.OfRefusal(refusal)
	return verdict == publishing.Final || verdict == publishing.Content
}
