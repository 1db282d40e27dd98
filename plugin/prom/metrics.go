package nsqprom

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rdyhq/nsq"
)

// invalidLabel is the label of a name for which TopicLabel panics. No topic has this name.
const invalidLabel = "#invalid"

// Metrics exports metrics of the Consumers, Producers and ProducerPools that are added to
// it. Its methods may be called by several goroutines at once.
type Metrics struct {
	options options
	descs   descs

	handlingSeconds, ageSeconds, waitSeconds, publishSeconds, lookupSeconds *prometheus.HistogramVec

	lookups       *prometheus.CounterVec
	subscriptions *family[subscriptionKey, subscription]
	outcomes      *family[outcomeKey, outcome]
	publications  *family[publicationKey, publication]
	latencies     *family[latencyKey, histogram] // found by labels only

	// scraping lets one scrape run at a time, because snapshots must be added up in the
	// order in which they were taken. Only scrapes wait for it.
	scraping sync.Mutex
	nsqds    map[string]*producerNSQD // by label; guarded by scraping

	mu        sync.Mutex // guards what follows
	consumers map[*nsq.Consumer]*reading
	producers map[any]func() []nsq.PoolMember // by *nsq.Producer or *nsq.ProducerPool
}

// New returns a Metrics that is registered with reg. It fails if an option is invalid, or if
// reg already has a Metrics with the same Namespace and ConstLabels.
func New(reg prometheus.Registerer, opts ...Option) (*Metrics, error) {
	m := newMetrics(opts)
	if err := m.options.validate(); err != nil {
		return nil, fmt.Errorf("nsqprom: %w", err)
	}
	m.makeSeries()
	if err := reg.Register(collector{m}); err != nil {
		if _, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
			err = errors.New("already registered: use one Metrics for all consumers and producers, or another Namespace or ConstLabels")
		}
		return nil, fmt.Errorf("nsqprom: %w", err)
	}
	return m, nil
}

func newMetrics(opts []Option) *Metrics {
	m := &Metrics{
		options: options{namespace: "nsq", buckets: defaultBuckets, perNSQD: true, topicLabel: FoldEphemeral},
		nsqds:   map[string]*producerNSQD{}, consumers: map[*nsq.Consumer]*reading{},
		producers: map[any]func() []nsq.PoolMember{},
	}
	for _, opt := range opts {
		opt(&m.options)
	}
	return m
}

func (m *Metrics) makeSeries() {
	o := &m.options
	m.descs = newDescs(o)
	m.handlingSeconds = o.histogram("consumer_handling_seconds", "How long handlers took.", o.buckets, "topic", "channel", "outcome")
	m.ageSeconds = o.histogram("consumer_message_age_seconds",
		"Age of messages when a handler began them: from the publish, by nsqd's clock, until then, by the consumer's clock.",
		ageBuckets, "topic", "channel")
	m.waitSeconds = o.histogram("consumer_wait_seconds", "How long received messages waited for a handler.",
		o.buckets, "topic", "channel")
	m.publishSeconds = o.histogram("producer_publish_seconds", "How long publishes took, until nsqd's reply.", o.buckets, "topic", "result")
	m.lookupSeconds = o.histogram("lookup_request_seconds", "How long requests to nsqlookupds took.", o.buckets, "lookupd", "result")
	m.lookups = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: o.namespace, Name: "lookup_requests_total", Help: "Requests to nsqlookupds.", ConstLabels: o.constLabels,
	}, []string{"lookupd", "result"})
	m.subscriptions = newFamily(m.subscriptionLabels, m.newSubscription)
	m.outcomes = newFamily(m.outcomeLabels, m.newOutcome)
	m.latencies = newFamily(nil, func(labels latencyKey) *histogram {
		return newHistogram(m.publishSeconds, labels.topic, labels.result)
	})
	m.publications = newFamily(m.publicationLabels, m.newPublication)
}

// Consumer adds a Consumer. Each scrape reads it until it has stopped. The hooks of m must
// be in its Config: see [Metrics.Hooks]. Adding a Consumer again does nothing.
//
// A scrape calls [nsq.Consumer.Snapshot], which waits while the Consumer's Logger blocks.
func (m *Metrics) Consumer(c *nsq.Consumer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.consumers[c] == nil {
		m.consumers[c] = &reading{source: c.Snapshot, stopped: c.StopChan}
	}
}

// topicLabel returns the label for the name of a topic or channel.
func (m *Metrics) topicLabel(name string) (label string) {
	defer func() {
		if recover() != nil {
			label = invalidLabel
		}
	}()
	return valid(m.options.topicLabel(name))
}

// nsqdLabel returns the label for the address of an nsqd.
func (m *Metrics) nsqdLabel(addr string) string {
	if !m.options.perNSQD {
		return ""
	}
	return valid(addr)
}

// valid replaces what is not UTF-8 in a label, because it would make the whole scrape fail.
func valid(label string) string { return strings.ToValidUTF8(label, "\uFFFD") }
