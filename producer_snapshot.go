package nsq

import (
	"encoding/json"
	"errors"
	"sync/atomic"
)

// ProducerState is the state of a [Producer].
type ProducerState string

// The states of a Producer.
const (
	ProducerDisconnected ProducerState = "disconnected" // the next publish dials, or fails if the last dial has just failed
	ProducerConnecting   ProducerState = "connecting"   // nsqd is being dialled
	ProducerConnected    ProducerState = "connected"
	ProducerStopping     ProducerState = "stopping" // Stop was called and has not returned
	ProducerStopped      ProducerState = "stopped"
)

// ProducerSnapshot is the state of a [Producer] when [Producer.Snapshot] was called.
type ProducerSnapshot struct {
	Addr  string // of the nsqd: as given, or as listed by nsqlookupd
	State ProducerState

	// Pending is the number of publish commands that wait to be sent or for nsqd's reply.
	Pending int
	// PendingBytes is the size of these commands: their bodies, and 64 bytes for each. Up
	// to 16 MiB may be pending; further publishes wait. A publish that is sent alone because
	// it exceeds nsqd's default limits counts as 16 MiB.
	PendingBytes int64

	ProducerCounts

	// LastError is the error of the last dial that failed or connection that was lost. In a
	// pool it may also be the error of a publish or ping for which the pool passed the nsqd
	// over. It stays when the nsqd works again. It is nil if there was no error.
	LastError error
}

// ProducerCounts are the results of publishes. Each message is counted once, when its
// publish ends, whether or not the command was sent. A publish with an invalid topic name,
// body or delay fails before anything is sent, and is not counted. No count ever falls.
type ProducerCounts struct {
	Published uint64 // messages that nsqd stored
	Refused   uint64 // messages that nsqd refused; after E_MPUB_FAILED it may have stored some of them
	NotSent   uint64 // messages that failed with ErrNotSent or, because of a stop, with ErrStopped
	Unknown   uint64 // messages that failed with ErrUnknownOutcome
	Connects  uint64 // connections that were made
}

// plainProducerSnapshot is a ProducerSnapshot without its MarshalJSON.
type plainProducerSnapshot ProducerSnapshot

// MarshalJSON writes LastError as its text, or null.
func (s ProducerSnapshot) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		plainProducerSnapshot
		LastError *string // hides that of the snapshot
	}{plainProducerSnapshot(s), errorText(s.LastError)})
}

// Snapshot returns the state of the Producer, even after it has stopped. Any goroutine and
// any hook may call it.
func (p *Producer) Snapshot() ProducerSnapshot {
	s := ProducerSnapshot{Addr: p.addr, ProducerCounts: p.tally.counts()}
	s.Pending, s.PendingBytes = p.nsqd.outstanding.state()
	s.State, s.LastError = p.nsqd.state()
	select {
	case <-p.stopped:
		s.State = ProducerStopped
	default:
	}
	return s
}

// state returns the state of the connector and its last error.
func (n *connector) state() (ProducerState, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.stopping:
		return ProducerStopping, n.lastError
	case n.conn != nil:
		return ProducerConnected, n.lastError
	case n.dial != nil:
		return ProducerConnecting, n.lastError
	}
	return ProducerDisconnected, n.lastError
}

// noteError sets the last error.
func (n *connector) noteError(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lastError = err
}

// producerTally counts for a Producer and for the pool that it belongs to. Any goroutine
// may use it.
type producerTally struct {
	pool     *producerTally // nil without a pool
	messages [publishResults]atomic.Uint64
	connects atomic.Uint64
}

// The results of a publish.
const (
	publishStored = iota
	publishRefused
	publishNotSent
	publishUnknown
	publishResults // how many there are
)

// publishResult returns the result of a publish with this error.
func publishResult(err error) int {
	switch {
	case err == nil:
		return publishStored
	case errors.Is(err, ErrUnknownOutcome):
		return publishUnknown
	case errors.Is(err, ErrNotSent), errors.Is(err, ErrStopped):
		return publishNotSent
	}
	return publishRefused
}

// ended counts the messages of a publish that has ended.
func (t *producerTally) ended(messages int, err error) {
	result := publishResult(err)
	for ; t != nil; t = t.pool {
		t.messages[result].Add(uint64(messages)) // #nosec G115 -- not negative
	}
}

// connected counts a connection.
func (t *producerTally) connected() {
	for ; t != nil; t = t.pool {
		t.connects.Add(1)
	}
}

func (t *producerTally) counts() ProducerCounts {
	return ProducerCounts{
		Published: t.messages[publishStored].Load(), Refused: t.messages[publishRefused].Load(),
		NotSent: t.messages[publishNotSent].Load(), Unknown: t.messages[publishUnknown].Load(),
		Connects: t.connects.Load(),
	}
}
