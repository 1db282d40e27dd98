package nsqprom

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rdyhq/nsq"
)

// counters are the metrics that are made of nsq.Counts.
var counters = [...]struct {
	name, help string
	of         func(nsq.Counts) uint64
}{
	{"received_messages_total", "Messages received, redeliveries included.", func(c nsq.Counts) uint64 { return c.Received }},
	{"finished_messages_total", "Messages acked.", func(c nsq.Counts) uint64 { return c.Finished }},
	{"requeued_messages_total", "Messages requeued.", func(c nsq.Counts) uint64 { return c.Requeued }},
	{"expired_messages_total", "Messages whose lease ended before a handler began them.", func(c nsq.Counts) uint64 { return c.Expired }},
	{"lost_messages_total", "Messages whose lease or connection ended before they were acked or requeued.", func(c nsq.Counts) uint64 { return c.Lost }},
	{"unsent_answers_total", "FINs and REQs that were not sent before their connection ended.", func(c nsq.Counts) uint64 { return c.Unsent }},
	{"refused_answers_total", "FINs, REQs and TOUCHes that nsqd refused.", func(c nsq.Counts) uint64 { return c.Refused }},
}

// counts has one value for each element of counters.
type counts [len(counters)]uint64

func countsOf(c nsq.Counts) (all counts) {
	for i, counter := range counters {
		all[i] = counter.of(c)
	}
	return all
}

func (c *counts) add(more counts) {
	for i := range c {
		c[i] += more[i]
	}
}

// since returns by how much the counts have grown since before. If one has fallen, all of
// them have begun again from 0.
func (c *counts) since(before counts) counts {
	var grown counts
	for i := range c {
		if c[i] < before[i] {
			return *c
		}
		grown[i] = c[i] - before[i]
	}
	return grown
}

// descs describe the metrics that a scrape makes.
type descs struct {
	counters  [len(counters)]*prometheus.Desc
	inFlight  *prometheus.Desc
	ready     *prometheus.Desc
	connects  *prometheus.Desc
	handled   *prometheus.Desc
	abandoned *prometheus.Desc
	buried    *prometheus.Desc

	connections, maxInFlight, handlers, busy, queued, oldest, backoff, paused, lastMessage *prometheus.Desc

	publishedMessages, publishedBytes, pendingPublishes, pendingBytes, healthy *prometheus.Desc
}

func newDescs(o *options) descs {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(o.namespace, "", name), help, labels, o.constLabels)
	}
	ofNSQD := func(labels ...string) []string {
		if o.perNSQD {
			return append(labels, "nsqd")
		}
		return labels
	}
	consumer := func(name, help string) *prometheus.Desc { return desc("consumer_"+name, help, "topic", "channel") }
	perNSQD := func(name, help string) *prometheus.Desc {
		return desc("consumer_"+name, help, ofNSQD("topic", "channel")...)
	}
	d := descs{
		inFlight:  perNSQD("in_flight_messages", "Messages received and not acked or requeued."),
		ready:     perNSQD("ready_messages", "RDY: how many messages nsqd may have in flight."),
		connects:  desc("consumer_connects_total", "Dials of nsqds.", append(ofNSQD("topic", "channel"), "result")...),
		handled:   desc("consumer_handled_messages_total", "Messages whose handlers returned, and messages given up.", "topic", "channel", "outcome"),
		abandoned: desc("consumer_abandoned_messages_total", "Messages that nsqd delivers again although they were not requeued.", "topic", "channel", "reason"),
		buried:    desc("consumer_dead_letters_total", "Messages stored as dead letters, and failures to store one.", "topic", "channel", "result"),

		connections: desc("consumer_connections", "Number of nsqds by the state of the connection.", "topic", "channel", "state"),
		maxInFlight: consumer("max_in_flight_messages", "The most messages that may be in flight: max_in_flight."),
		handlers:    consumer("handlers", "Handlers that may run at once."),
		busy:        consumer("busy_handlers", "Handlers at work."),
		queued:      consumer("queued_messages", "Received messages that wait for a handler."),
		oldest:      consumer("oldest_handling_seconds", "How long the longest-running handler has been at work."),
		backoff:     consumer("backoff_level", "Backoff level; 0 without backoff."),
		paused:      consumer("paused", "1 if paused by Pause."),
		lastMessage: consumer("last_message_timestamp_seconds", "When the last message was received."),

		publishedMessages: desc("producer_published_messages_total", "Messages published.", append(ofNSQD("topic"), "result")...),
		publishedBytes:    desc("producer_published_bytes_total", "Bytes of the bodies of published messages.", append(ofNSQD("topic"), "result")...),
		pendingPublishes:  desc("producer_pending_publishes", "Publish commands that wait to be sent or for nsqd's reply.", ofNSQD()...),
		pendingBytes:      desc("producer_pending_bytes", "Size of pending publishes. Further publishes wait when it would exceed 16 MiB.", ofNSQD()...),
		healthy:           desc("producer_nsqd_healthy", "1 if all pools use the nsqd, 0 if one passes it over.", "nsqd"),
	}
	for i, counter := range counters {
		d.counters[i] = perNSQD(counter.name, counter.help)
	}
	return d
}

func (d *descs) all() []*prometheus.Desc {
	return append(d.counters[:],
		d.inFlight, d.ready, d.connects, d.handled, d.abandoned, d.buried,
		d.connections, d.maxInFlight, d.handlers, d.busy, d.queued, d.oldest, d.backoff, d.paused, d.lastMessage,
		d.publishedMessages, d.publishedBytes, d.pendingPublishes, d.pendingBytes, d.healthy)
}
