package nsq

import "encoding/json"

// PoolMember is the state of one nsqd of a [ProducerPool]. Its counts begin when the nsqd
// becomes a member. They count tries: a message that one nsqd does not get and another
// stores is in the NotSent of the one and in the Published of the other.
type PoolMember struct {
	ProducerSnapshot
	Healthy bool // it takes its turns
}

// MarshalJSON writes LastError as its text, or null.
func (m PoolMember) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		plainProducerSnapshot
		Healthy   bool
		LastError *string // hides that of the snapshot
	}{plainProducerSnapshot(m.ProducerSnapshot), m.Healthy, errorText(m.LastError)})
}

// Snapshot returns the state of the nsqds in the order in which they were given.
// Those that nsqlookupds list are ordered by address. An nsqd that the pool has let go is
// not among them; [ProducerPool.Counts] has what it counted.
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

// Counts returns how publishes have ended over all nsqds, including those that the pool has
// let go, so that no count ever falls. Like those of a [PoolMember] they count tries. A
// publish that finds no nsqd to try counts as not sent.
func (pool *ProducerPool) Counts() ProducerCounts { return pool.tally.counts() }
