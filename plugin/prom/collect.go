package nsqprom

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rdyhq/nsq"
)

// collector is what New registers. It keeps Describe and Collect out of the method set of
// Metrics.
type collector struct{ m *Metrics }

// Describe sends the descriptions of all metrics.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.m.descs.all() {
		ch <- d
	}
	for _, vec := range []prometheus.Collector{
		c.m.handlingSeconds, c.m.ageSeconds, c.m.waitSeconds, c.m.publishSeconds, c.m.lookupSeconds, c.m.lookups,
	} {
		vec.Describe(ch)
	}
}

// Collect sends all metrics. It holds no lock while it sends.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	for _, metric := range c.m.scrape() {
		ch <- metric
	}
	c.m.lookups.Collect(ch)
	c.m.lookupSeconds.Collect(ch)
}

// scrape reads all Consumers, Producers and pools, and returns their metrics.
func (m *Metrics) scrape() exported {
	m.scraping.Lock()
	defer m.scraping.Unlock()
	m.readConsumers()
	m.readProducers()
	var out exported
	for labels, s := range m.subscriptions.all() {
		if s.shown() {
			for _, outcome := range outcomes {
				m.outcomes.labelled(outcomeKey{labels, outcome}) // exported from the start
			}
			m.exportSubscription(&out, labels, s)
		}
	}
	for labels, o := range m.outcomes.all() {
		if o.subscription.shown() {
			out.add(m.descs.handled, prometheus.CounterValue, float64(o.messages.Load()),
				labels.topic, labels.channel, string(labels.outcome))
			out.histogram(o.handling)
		}
	}
	m.exportPublications(&out)
	return out
}

func (m *Metrics) readConsumers() {
	m.mu.Lock()
	consumers := maps.Clone(m.consumers)
	m.mu.Unlock()
	for _, s := range m.subscriptions.all() {
		s.clear()
	}
	var stopped []*nsq.Consumer
	for c, r := range consumers {
		if names, ended := m.read(r); ended {
			stopped = append(stopped, c)
			m.forget(names) // the hook may have come before this reading
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range stopped {
		delete(m.consumers, c)
	}
}

// exported holds the metrics of a scrape.
type exported []prometheus.Metric

func (e *exported) add(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
	*e = append(*e, prometheus.MustNewConstMetric(desc, kind, value, labels...))
}

// histogram adds a histogram, unless it is empty.
func (e *exported) histogram(h *histogram) {
	if metric := h.metric(); metric != nil {
		*e = append(*e, metric)
	}
}

func (m *Metrics) exportSubscription(e *exported, labels subscriptionKey, s *subscription) {
	e.histogram(s.age)
	e.histogram(s.wait)
	for i, reason := range reasons {
		e.add(m.descs.abandoned, prometheus.CounterValue, float64(s.abandoned[i].Load()), labels.topic, labels.channel, reason)
	}
	for i, result := range results {
		e.add(m.descs.buried, prometheus.CounterValue, float64(s.buried[i].Load()), labels.topic, labels.channel, result)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for nsqd, l := range s.nsqds {
		if l.live || !s.seen {
			e.link(&m.descs, l, m.withNSQD(nsqd, labels.topic, labels.channel))
		}
	}
	if !s.live {
		return // known from hooks only
	}
	e.gauges(&m.descs, &s.gauges, labels)
	if !s.lastMessage.IsZero() {
		e.add(m.descs.lastMessage, prometheus.GaugeValue, float64(s.lastMessage.UnixMilli())/1000, labels.topic, labels.channel)
	}
}

// link adds the series of an nsqd. If no Consumer was added, only its dials are known.
func (e *exported) link(d *descs, l *nsqdLink, labels []string) {
	for i, result := range results {
		e.add(d.connects, prometheus.CounterValue, float64(l.connects[i]), append(slices.Clip(labels), result)...)
	}
	if !l.live {
		return
	}
	for i, desc := range d.counters {
		e.add(desc, prometheus.CounterValue, float64(l.counts[i]), labels...)
	}
	e.add(d.inFlight, prometheus.GaugeValue, float64(l.inFlight), labels...)
	e.add(d.ready, prometheus.GaugeValue, float64(l.ready), labels...)
}

func (e *exported) gauges(d *descs, g *gauges, labels subscriptionKey) {
	for i, state := range states {
		e.add(d.connections, prometheus.GaugeValue, float64(g.connections[i]), labels.topic, labels.channel, string(state))
	}
	for _, gauge := range []struct {
		desc  *prometheus.Desc
		value float64
	}{
		{d.maxInFlight, float64(g.maxInFlight)},
		{d.handlers, float64(g.handlers)},
		{d.busy, float64(g.busy)},
		{d.queued, float64(g.queued)},
		{d.oldest, g.oldest.Seconds()},
		{d.backoff, float64(g.backoff)},
		{d.paused, oneIf(g.paused)},
	} {
		e.add(gauge.desc, prometheus.GaugeValue, gauge.value, labels.topic, labels.channel)
	}
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
