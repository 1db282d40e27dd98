package exporter

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rdyhq/nsq/admin"
)

// family is the metrics of one name, which are made of values of T.
type family[T any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(T) float64
}

func counter[T any](name, help string, labels []string, value func(T) float64) family[T] {
	return family[T]{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue, value}
}

func gauge[T any](name, help string, labels []string, value func(T) float64) family[T] {
	return family[T]{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue, value}
}

// send sends the metric of v. A metric that cannot be made fails the scrape of it, not of others.
func (f *family[T]) send(ch chan<- prometheus.Metric, v T, labels ...string) {
	m, err := prometheus.NewConstMetric(f.desc, f.kind, f.value(v), labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(f.desc, err)
	}
	ch <- m
}

// sendAll sends the metrics of v of several families.
func sendAll[T any](ch chan<- prometheus.Metric, families []family[T], v T, labels ...string) {
	for i := range families {
		families[i].send(ch, v, labels...)
	}
}

// The labels.
var (
	ofNSQD    = []string{"nsqd"}
	ofTopic   = []string{"topic", "nsqd"}
	ofChannel = []string{"topic", "channel", "nsqd"}
	ofClient  = []string{"topic", "channel", "nsqd", "client", "remote_address"}
)

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func itself(v float64) float64 { return v }

var (
	nsqdUp   = gauge("nsqd_up", "1 if the nsqd has responded, 0 if not: then its other metrics are missing.", ofNSQD, itself)
	nsqdInfo = gauge("nsqd_info", "1, with the version and the broadcast address as labels.", []string{"nsqd", "version", "broadcast_address"}, itself)

	lookupdUp  = gauge("nsqlookupd_up", "1 if the nsqlookupd has responded, 0 if not.", []string{"lookupd"}, itself)
	tombstoned = gauge("nsqlookupd_tombstoned", "1 if the nsqlookupd hides the topic of the nsqd from consumers.", []string{"lookupd", "topic", "nsqd"}, itself)

	latency = gauge("nsqd_channel_latency_seconds", "Time from publish to ack; needs nsqd's --e2e-processing-latency-percentile.",
		[]string{"topic", "channel", "nsqd", "quantile"}, itself)
)

var nsqdMetrics = []family[admin.NSQD]{
	gauge("nsqd_start_time_seconds", "When the nsqd started, in seconds since 1970.", ofNSQD, func(n admin.NSQD) float64 { return float64(n.Started.Unix()) }),
	gauge("nsqd_healthy", "0 if the nsqd could not write to its disk, else 1.", ofNSQD, func(n admin.NSQD) float64 { return oneIf(n.Health == "OK") }),
}

var memoryMetrics = []family[*admin.Memory]{
	gauge("nsqd_memory_heap_objects", "Objects on the heap.", ofNSQD, func(m *admin.Memory) float64 { return float64(m.HeapObjects) }),
	gauge("nsqd_memory_heap_idle_bytes", "Heap that holds no object.", ofNSQD, func(m *admin.Memory) float64 { return float64(m.HeapIdle) }),
	gauge("nsqd_memory_heap_in_use_bytes", "Heap that holds objects.", ofNSQD, func(m *admin.Memory) float64 { return float64(m.HeapInUse) }),
	gauge("nsqd_memory_heap_released_bytes", "Idle heap that was returned to the system.", ofNSQD, func(m *admin.Memory) float64 { return float64(m.HeapReleased) }),
	gauge("nsqd_memory_next_gc_bytes", "Size of the heap at which the next garbage collection begins.", ofNSQD, func(m *admin.Memory) float64 { return float64(m.NextGC) }),
	counter("nsqd_memory_gc_runs_total", "Garbage collections.", ofNSQD, func(m *admin.Memory) float64 { return float64(m.GCs) }),
}

var topicMetrics = []family[admin.TopicCounts]{
	counter("nsqd_topic_messages_total", "Messages published.", ofTopic, func(c admin.TopicCounts) float64 { return float64(c.Messages) }),
	counter("nsqd_topic_bytes_total", "Bytes of the bodies of published messages.", ofTopic, func(c admin.TopicCounts) float64 { return float64(c.Bytes) }),
	gauge("nsqd_topic_depth_messages", "Messages that wait to be copied to channels.", ofTopic, func(c admin.TopicCounts) float64 { return float64(c.Depth) }),
	gauge("nsqd_topic_disk_depth_messages", "Messages on disk, of those that wait to be copied to channels.", ofTopic, func(c admin.TopicCounts) float64 { return float64(c.DiskDepth) }),
	gauge("nsqd_topic_paused", "1 if the topic is paused.", ofTopic, func(c admin.TopicCounts) float64 { return oneIf(c.Paused) }),
}

var channelMetrics = []family[admin.ChannelCounts]{
	counter("nsqd_channel_messages_total", "Messages that have come from the topic.", ofChannel, func(c admin.ChannelCounts) float64 { return float64(c.Messages) }),
	counter("nsqd_channel_requeued_messages_total", "Requeues by clients.", ofChannel, func(c admin.ChannelCounts) float64 { return float64(c.Requeued) }),
	counter("nsqd_channel_timed_out_messages_total", "Messages that a client has kept past their msg_timeout.", ofChannel, func(c admin.ChannelCounts) float64 { return float64(c.TimedOut) }),
	gauge("nsqd_channel_depth_messages", "Messages that wait, without those in flight and deferred ones.", ofChannel, func(c admin.ChannelCounts) float64 { return float64(c.Depth) }),
	gauge("nsqd_channel_disk_depth_messages", "Messages on disk, of those that wait.", ofChannel, func(c admin.ChannelCounts) float64 { return float64(c.DiskDepth) }),
	gauge("nsqd_channel_in_flight_messages", "Messages that clients hold.", ofChannel, func(c admin.ChannelCounts) float64 { return float64(c.InFlight) }),
	gauge("nsqd_channel_deferred_messages", "Messages that wait for their delay to pass.", ofChannel, func(c admin.ChannelCounts) float64 { return float64(c.Deferred) }),
	gauge("nsqd_channel_clients", "Connections that have subscribed.", ofChannel, func(c admin.ChannelCounts) float64 { return float64(c.ClientCount) }),
	gauge("nsqd_channel_paused", "1 if the channel is paused.", ofChannel, func(c admin.ChannelCounts) float64 { return oneIf(c.Paused) }),
}

var clientMetrics = []family[clientCounts]{
	gauge("nsqd_client_ready_messages", "RDY: how many messages the client accepts at a time.", ofClient, func(c clientCounts) float64 { return float64(c.rdy) }),
	gauge("nsqd_client_in_flight_messages", "Messages that the client holds.", ofClient, func(c clientCounts) float64 { return float64(c.inFlight) }),
	counter("nsqd_client_messages_total", "Messages sent to the client.", ofClient, func(c clientCounts) float64 { return float64(c.messages) }),
	counter("nsqd_client_finished_messages_total", "Messages that the client has acked.", ofClient, func(c clientCounts) float64 { return float64(c.finished) }),
	counter("nsqd_client_requeued_messages_total", "Messages that the client has requeued.", ofClient, func(c clientCounts) float64 { return float64(c.requeued) }),
}

// descs returns the descriptions of all metrics.
func descs() []*prometheus.Desc {
	all := []*prometheus.Desc{nsqdUp.desc, nsqdInfo.desc, lookupdUp.desc, tombstoned.desc, latency.desc}
	all = appendDescs(all, nsqdMetrics)
	all = appendDescs(all, memoryMetrics)
	all = appendDescs(all, topicMetrics)
	all = appendDescs(all, channelMetrics)
	return appendDescs(all, clientMetrics)
}

func appendDescs[T any](all []*prometheus.Desc, families []family[T]) []*prometheus.Desc {
	for _, f := range families {
		all = append(all, f.desc)
	}
	return all
}

// send sends all metrics of a view.
func send(ch chan<- prometheus.Metric, v *admin.View) {
	for _, l := range v.Lookupds {
		sendLookupd(ch, l)
	}
	for _, n := range v.NSQDs {
		sendNSQD(ch, n)
	}
	for i := range v.Topics {
		t := &v.Topics[i]
		for _, on := range t.NSQDs {
			sendAll(ch, topicMetrics, on.TopicCounts, t.Name, on.NSQD)
		}
		for j := range t.Channels {
			sendChannel(ch, t.Name, &t.Channels[j])
		}
	}
}

func sendLookupd(ch chan<- prometheus.Metric, l admin.Lookupd) {
	lookupdUp.send(ch, oneIf(l.Error == ""), l.Addr)
	// An nsqd that has lost its connection and registered again is listed twice for some minutes.
	type pair struct{ topic, nsqd string }
	sent := make(map[pair]bool)
	for _, r := range l.Registered {
		for _, topic := range r.Tombstoned {
			if p := (pair{topic, r.HTTPAddr()}); !sent[p] {
				sent[p] = true
				tombstoned.send(ch, 1, l.Addr, p.topic, p.nsqd)
			}
		}
	}
}

func sendNSQD(ch chan<- prometheus.Metric, n admin.NSQD) {
	up := n.Error == ""
	nsqdUp.send(ch, oneIf(up), n.Addr)
	if !up {
		return
	}
	nsqdInfo.send(ch, 1, n.Addr, n.Version, n.Broadcast)
	sendAll(ch, nsqdMetrics, n, n.Addr)
	if n.Memory != nil {
		sendAll(ch, memoryMetrics, n.Memory, n.Addr)
	}
}

func sendChannel(ch chan<- prometheus.Metric, topic string, c *admin.Channel) {
	for _, on := range c.NSQDs {
		sendAll(ch, channelMetrics, on.ChannelCounts, topic, c.Name, on.NSQD)
		for _, q := range on.Latency {
			latency.send(ch, q.Seconds, topic, c.Name, on.NSQD, strconv.FormatFloat(q.Quantile, 'g', -1, 64))
		}
	}
	sums := make(map[clientLabels]clientCounts)
	for _, client := range c.Clients {
		labels := clientLabels{client.NSQD, client.ID, client.RemoteAddr}
		sum := sums[labels]
		sum.add(client)
		sums[labels] = sum
	}
	for labels, sum := range sums {
		sendAll(ch, clientMetrics, sum, topic, c.Name, labels.nsqd, labels.client, labels.remoteAddr)
	}
}

// clientLabels are the labels of a client. Clients at a Unix socket may share them.
type clientLabels struct{ nsqd, client, remoteAddr string }

// clientCounts is what nsqd counts for the clients of the same labels.
type clientCounts struct {
	rdy, inFlight                int64
	messages, finished, requeued uint64
}

func (c *clientCounts) add(client admin.Client) {
	c.rdy += client.RDY
	c.inFlight += client.InFlight
	c.messages += client.Messages
	c.finished += client.Finished
	c.requeued += client.Requeued
}
