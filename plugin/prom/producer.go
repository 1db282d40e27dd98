package nsqprom

import (
	"maps"
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rdyhq/nsq"
)

type publicationKey struct{ topic, nsqd string }

type latencyKey struct{ topic, result string }

// publishResults are the results of a publish.
var publishResults = [...]string{"ok", "refused", "not_sent", "unknown"}

// publication is the series of a topic that is published to an nsqd.
type publication struct {
	messages, bytes [len(publishResults)]atomic.Uint64
	seconds         [len(publishResults)]*histogram // shared by the nsqds of a topic
}

// producerNSQD is the state of an nsqd that Producers or pools publish to.
type producerNSQD struct {
	presence
	pending      int
	pendingBytes int64
	pooled       bool // in a pool
	healthy      bool // in all pools
}

func (m *Metrics) publicationLabels(names publicationKey) publicationKey {
	return publicationKey{m.topicLabel(names.topic), m.nsqdLabel(names.nsqd)}
}

func (m *Metrics) newPublication(labels publicationKey) *publication {
	p := &publication{}
	for i, result := range publishResults {
		p.seconds[i] = m.latencies.labelled(latencyKey{labels.topic, result})
	}
	return p
}

// Producer adds a Producer. Each scrape reads it until it has stopped. The hooks of m must
// be in its Config: see [Metrics.Hooks]. Adding a Producer again does nothing.
func (m *Metrics) Producer(p *nsq.Producer) {
	m.addProducer(p, func() []nsq.PoolMember { return []nsq.PoolMember{{ProducerSnapshot: p.Snapshot()}} })
}

// Pool adds a ProducerPool. Each scrape reads it until it has stopped. The hooks of m must
// be in its Config: see [Metrics.Hooks]. Adding a pool again does nothing.
func (m *Metrics) Pool(p *nsq.ProducerPool) { m.addProducer(p, p.Snapshot) }

func (m *Metrics) addProducer(p any, members func() []nsq.PoolMember) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.producers[p] = members
}

func (m *Metrics) readProducers() {
	m.mu.Lock()
	producers := maps.Clone(m.producers)
	m.mu.Unlock()
	for _, n := range m.nsqds {
		*n = producerNSQD{presence: presence{seen: true}}
	}
	for p, members := range producers {
		_, pooled := p.(*nsq.ProducerPool)
		if stopped := m.readMembers(members(), pooled); stopped {
			m.mu.Lock()
			delete(m.producers, p)
			m.mu.Unlock()
		}
	}
}

// readMembers adds the states of members. It reports whether all of them have stopped.
func (m *Metrics) readMembers(members []nsq.PoolMember, pooled bool) (stopped bool) {
	stopped = len(members) > 0
	for _, member := range members {
		n := m.producerNSQD(member.Addr)
		if member.State == nsq.ProducerStopped {
			continue
		}
		stopped, n.live = false, true
		n.pending += member.Pending
		n.pendingBytes += member.PendingBytes
		if pooled {
			n.healthy = member.Healthy && (n.healthy || !n.pooled)
			n.pooled = true
		}
	}
	return stopped
}

// producerNSQD returns the state of an nsqd that a Producer or pool has or had.
func (m *Metrics) producerNSQD(addr string) *producerNSQD {
	label := m.nsqdLabel(addr)
	n := m.nsqds[label]
	if n == nil {
		n = &producerNSQD{}
		m.nsqds[label] = n
	}
	n.seen = true
	return n
}

func (m *Metrics) exportPublications(out *exported) {
	seconds := map[*histogram]bool{}
	for labels, p := range m.publications.all() {
		if n := m.nsqds[labels.nsqd]; n != nil && !n.shown() {
			continue
		}
		of := m.withNSQD(labels.nsqd, labels.topic)
		for i, result := range publishResults {
			out.add(m.descs.publishedMessages, prometheus.CounterValue, float64(p.messages[i].Load()), append(slices.Clip(of), result)...)
			out.add(m.descs.publishedBytes, prometheus.CounterValue, float64(p.bytes[i].Load()), append(slices.Clip(of), result)...)
			seconds[p.seconds[i]] = true
		}
	}
	for h := range seconds {
		out.histogram(h)
	}
	for label, n := range m.nsqds {
		if n.live {
			out.producerNSQD(&m.descs, n, m.withNSQD(label))
		}
	}
}

// withNSQD returns labels with that of the nsqd, if series have one.
func (m *Metrics) withNSQD(nsqd string, labels ...string) []string {
	if m.options.perNSQD {
		return append(labels, nsqd)
	}
	return labels
}

func (e *exported) producerNSQD(d *descs, n *producerNSQD, labels []string) {
	e.add(d.pendingPublishes, prometheus.GaugeValue, float64(n.pending), labels...)
	e.add(d.pendingBytes, prometheus.GaugeValue, float64(n.pendingBytes), labels...)
	if n.pooled && len(labels) > 0 {
		e.add(d.healthy, prometheus.GaugeValue, oneIf(n.healthy), labels...)
	}
}
