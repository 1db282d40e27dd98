package nsq

import "encoding/json"

// PoolMember is the state of one nsqd of a [ProducerPool]. Its counts begin when the nsqd
// becomes a member. They count tries: if the pool fails to send a message to one nsqd and
// another stores it, it counts as NotSent at the first and as Published at the second.
type PoolMember struct {
	ProducerSnapshot
	Healthy bool // whether it takes its turns; false while the pool passes it over
}

// MarshalJSON writes LastError as its text, or null.
func (m PoolMember) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		plainProducerSnapshot
		Healthy   bool
		LastError *string // hides that of the snapshot
	}{plainProducerSnapshot(m.ProducerSnapshot), m.Healthy, errorText(m.LastError)})
}

// Snapshot returns the state of the nsqds in the order in which they were given, or sorted
// by address if nsqlookupds list them. An nsqd that the pool has let go is not among them,
// but [ProducerPool.Counts] includes its counts. Any goroutine and any hook may call it.
func (pool *ProducerPool) Snapshot() []PoolMember {
	pool.mu.Lock()
	members := make([]PoolMember, len(pool.members))
	producers := make([]*Producer, len(pool.members))
	for i, m := range pool.members {
		producers[i], members[i].Healthy = m.p, m.Healthy()
	}
	pool.mu.Unlock()
	for i, p := range producers {
		members[i].ProducerSnapshot = p.Snapshot()
	}
	return members
}

// Counts returns the counts over all nsqds, including those that the pool has let go, so no
// count ever falls. Like those of a [PoolMember] they count tries. A publish that finds no
// nsqd to try counts as NotSent. Any goroutine and any hook may call it.
func (pool *ProducerPool) Counts() ProducerCounts { return pool.tally.counts() }
