package main

import "fmt"

// dashboards are the files of the folder dashboards, by name.
var dashboards = map[string]dashboard{
	"consumer.json": build("nsq-consumer", "NSQ consumers and producers",
		"One topic and channel, or several: do consumers keep up, and if not, why not?",
		[]variable{
			choice("topic", "nsq_consumer_max_in_flight_messages"),
			choice("channel", `nsq_consumer_max_in_flight_messages{topic=~"$topic"}`),
			choice("nsqd", "nsq_consumer_ready_messages"),
		},
		[]row{keepingUp, handlers, flow, trouble, publishing}),
	"cluster.json": build("nsq-cluster", "NSQ, all clients",
		"All topics, channels and nsqds, as the clients see them and, with rdy exporter, as nsqds count: which of them deserve a closer look in the dashboard of consumers?",
		[]variable{
			choice("topic", "nsq_consumer_max_in_flight_messages"),
			choice("channel", `nsq_consumer_max_in_flight_messages{topic=~"$topic"}`),
			choice("nsqd", "nsq_consumer_ready_messages"),
		},
		[]row{channels, queues, nsqds, errorsOfAll}),
}

const (
	ofChannel = `{topic=~"$topic",channel=~"$channel"}`
	ofNSQD    = `{topic=~"$topic",channel=~"$channel",nsqd=~"$nsqd"}`
	published = `topic=~"$topic",nsqd=~"$nsqd"`

	byChannel = "{{topic}}/{{channel}}"
)

// rate returns the growth per second of a counter, summed by labels.
func rate(by, series string) string {
	return fmt.Sprintf("sum by (%s) (rate(%s[$__rate_interval]))", by, series)
}

// quantiles returns queries for the quantiles of a histogram, by labels.
func quantiles(name, selector, by, legend string, of ...float64) []query {
	var all []query
	for _, q := range of {
		all = append(all, query{
			fmt.Sprintf("histogram_quantile(%g, %s)", q, rate(by+", le", name+"_bucket"+selector)),
			fmt.Sprintf("%s p%g", legend, q*100),
		})
	}
	return all
}

func gauge(op, by, series string) string { return fmt.Sprintf("%s by (%s) (%s)", op, by, series) }

const channel = "topic, channel"

var keepingUp = row{"Keeping up", []graph{
	{
		"Age of messages", "How old are messages when a handler begins them? A rising age means that consumers fall behind. nsqd's clock and the consumer's must agree.",
		"s", quantiles("nsq_consumer_message_age_seconds", ofChannel, channel, byChannel, .5, .99),
	},
	{
		"Throughput", "Are messages finished as fast as they arrive? Received counts redeliveries, so received minus requeued is about the rate of new messages.",
		"ops", []query{
			{rate(channel, "nsq_consumer_received_messages_total"+ofNSQD), byChannel + " received"},
			{rate(channel, "nsq_consumer_finished_messages_total"+ofNSQD), byChannel + " finished"},
			{rate(channel, "nsq_consumer_requeued_messages_total"+ofNSQD), byChannel + " requeued"},
		},
	},
	{
		"Time since the last message", "How long ago did the last message come? With an empty queue, a long time is harmless.",
		"s", []query{{"time() - " + gauge("max", channel, "nsq_consumer_last_message_timestamp_seconds"+ofChannel), byChannel}},
	},
}}

var handlers = row{"Handlers", []graph{
	{
		"Messages by outcome", "What becomes of messages? Requeued: the handler failed. Buried: it becomes a dead letter. Given up: it was delivered more than max_attempts times.",
		"ops", []query{{rate(channel+", outcome", "nsq_consumer_handled_messages_total"+ofChannel), byChannel + " {{outcome}}"}},
	},
	{
		"Handling time", "How long does a handler take for a message?",
		"s", quantiles("nsq_consumer_handling_seconds", ofChannel, channel, byChannel, .5, .95, .99),
	},
	{
		"Handlers at work", "Are there enough handlers? If all are busy while messages get older, use more.",
		"short", []query{
			{gauge("sum", channel, "nsq_consumer_busy_handlers"+ofChannel), byChannel + " busy"},
			{gauge("sum", channel, "nsq_consumer_handlers"+ofChannel), byChannel + " handlers"},
		},
	},
	{
		"Longest-running handler", "Does a handler hang? After msg_timeout, nsqd delivers its message again, unless the message is touched.",
		"s", []query{{gauge("max", channel, "nsq_consumer_oldest_handling_seconds"+ofChannel), byChannel}},
	},
}}

var flow = row{"Flow", []graph{
	{
		"In flight", "Is max_in_flight used up? If so, more handlers help only with a higher max_in_flight.",
		"short", []query{
			{gauge("sum", channel, "nsq_consumer_in_flight_messages"+ofNSQD), byChannel + " in flight"},
			{gauge("sum", channel, "nsq_consumer_ready_messages"+ofNSQD), byChannel + " RDY"},
			{gauge("sum", channel, "nsq_consumer_max_in_flight_messages"+ofChannel), byChannel + " max_in_flight"},
		},
	},
	{
		"RDY by nsqd", "How many messages may each nsqd have in flight?",
		"short", []query{{gauge("sum", channel+", nsqd", "nsq_consumer_ready_messages"+ofNSQD), byChannel + " {{nsqd}}"}},
	},
	{
		"Wait for a handler", "How long do received messages wait for a handler? If it is a large part of msg_timeout, max_in_flight is too high.",
		"s", quantiles("nsq_consumer_wait_seconds", ofChannel, channel, byChannel, .5, .99),
	},
	{
		"Waiting messages", "How many received messages wait for a handler?",
		"short", []query{{gauge("sum", channel, "nsq_consumer_queued_messages"+ofChannel), byChannel}},
	},
	{
		"Backoff and pause", "Do consumers back off? Level 0 is no backoff. With the default strategy, each level doubles the pause.",
		"short", []query{
			{gauge("max", channel, "nsq_consumer_backoff_level"+ofChannel), byChannel + " backoff level"},
			{gauge("max", channel, "nsq_consumer_paused"+ofChannel), byChannel + " paused"},
		},
	},
	{
		"Connections", "How many nsqds are connected, and how many are not?",
		"short", []query{{gauge("sum", channel+", state", "nsq_consumer_connections"+ofChannel), byChannel + " {{state}}"}},
	},
}}

var trouble = row{"Trouble", []graph{
	{
		"Abandoned messages", "How many messages does nsqd deliver again although they were not requeued, and why?",
		"ops", []query{{rate(channel+", reason", "nsq_consumer_abandoned_messages_total"+ofChannel), byChannel + " {{reason}}"}},
	},
	{
		"Dead letters", "How many messages could not be handled and were stored as dead letters? Result error: the dead letter could not be stored, and the message was requeued.",
		"ops", []query{{rate(channel+", result", "nsq_consumer_dead_letters_total"+ofChannel), byChannel + " {{result}}"}},
	},
	{
		"Expired and lost", "Do leases end too early? Expired messages waited too long for a handler. Lost ones were not acked before their lease or connection ended. nsqd delivers both again.",
		"ops", []query{
			{rate(channel, "nsq_consumer_expired_messages_total"+ofNSQD), byChannel + " expired"},
			{rate(channel, "nsq_consumer_lost_messages_total"+ofNSQD), byChannel + " lost"},
		},
	},
	{
		"Refused and unsent", "How many FINs, REQs and TOUCHes did nsqd refuse, and how many FINs and REQs were not sent before their connection ended?",
		"ops", []query{
			{rate(channel, "nsq_consumer_refused_answers_total"+ofNSQD), byChannel + " refused"},
			{rate(channel, "nsq_consumer_unsent_answers_total"+ofNSQD), byChannel + " unsent"},
		},
	},
	{
		"Dials", "Do consumers reconnect often, or fail to connect?",
		"ops", []query{{rate("nsqd, result", "nsq_consumer_connects_total"+ofNSQD), "{{nsqd}} {{result}}"}},
	},
	{
		"Lookups", "Do nsqlookupds respond?",
		"ops", []query{{rate("lookupd, result", "nsq_lookup_requests_total"), "{{lookupd}} {{result}}"}},
	},
	{
		"Lookup time", "How long do nsqlookupds take to respond?",
		"s", quantiles("nsq_lookup_request_seconds", "", "lookupd", "{{lookupd}}", .5, .99),
	},
}}

var publishing = row{"Publishing", []graph{
	{
		"Published messages", "How many messages are published, and with which result? Unknown: nsqd did not reply and may have stored them.",
		"ops", []query{{rate("topic, result", "nsq_producer_published_messages_total{"+published+"}"), "{{topic}} {{result}}"}},
	},
	{
		"Published bytes", "How much is published?",
		"Bps", []query{{rate("topic", `nsq_producer_published_bytes_total{`+published+`,result="ok"}`), "{{topic}}"}},
	},
	{
		"Publish time", "How long do publishes take, until nsqd's reply?",
		"s", quantiles("nsq_producer_publish_seconds", `{topic=~"$topic"}`, "topic", "{{topic}}", .5, .95, .99),
	},
	{
		"Pending publishes", "How many publish commands wait to be sent or for nsqd's reply?",
		"short", []query{{gauge("sum", "nsqd", `nsq_producer_pending_publishes{nsqd=~"$nsqd"}`), "{{nsqd}}"}},
	},
	{
		"Pending bytes", "How large are pending publishes? Further publishes wait when it would be more than 16 MiB.",
		"bytes", []query{{gauge("sum", "nsqd", `nsq_producer_pending_bytes{nsqd=~"$nsqd"}`), "{{nsqd}}"}},
	},
	{
		"Healthy nsqds of pools", "Which nsqds do pools pass over? 0: at least one pool passes the nsqd over.",
		"short", []query{{gauge("min", "nsqd", `nsq_producer_nsqd_healthy{nsqd=~"$nsqd"}`), "{{nsqd}}"}},
	},
}}

var channels = row{"Topics and channels", []graph{
	{
		"Published by topic", "How many messages are published to each topic?",
		"ops", []query{{rate("topic", `nsq_producer_published_messages_total{`+published+`,result="ok"}`), "{{topic}}"}},
	},
	{
		"Finished by channel", "How many messages does each channel finish?",
		"ops", []query{{rate(channel, "nsq_consumer_finished_messages_total"+ofNSQD), byChannel}},
	},
	{
		"Age by channel", "Which channels fall behind? The median age of messages when a handler begins them.",
		"s", quantiles("nsq_consumer_message_age_seconds", ofChannel, channel, byChannel, .5),
	},
	{
		"Busy handlers", "Which channels are short of handlers? 100 %: all handlers are at work.",
		"percentunit", []query{{
			gauge("sum", channel, "nsq_consumer_busy_handlers"+ofChannel) + " / " + gauge("sum", channel, "nsq_consumer_handlers"+ofChannel), byChannel,
		}},
	},
	{
		"Processes", "How many processes consume each channel?",
		"short", []query{{gauge("count", channel, "nsq_consumer_handlers"+ofChannel), byChannel}},
	},
	{
		"Backoff", "In which channels do handlers fail so often that consumers back off?",
		"short", []query{{gauge("max", channel, "nsq_consumer_backoff_level"+ofChannel), byChannel}},
	},
}}

// queues is what nsqds count. Its metrics are those of rdy exporter. They name an nsqd by the
// address of its HTTP API, unlike those of clients, so the variable nsqd does not apply.
var queues = row{"Queues (needs rdy exporter)", []graph{
	{
		"Depth by channel", "Where do messages wait? Those in flight and deferred are not among them.",
		"short", []query{{gauge("sum", channel, "nsqd_channel_depth_messages"+ofChannel), byChannel}},
	},
	{
		"Coming in, and growth", "Do channels keep up? A depth that grows means that less is finished than comes in.",
		"ops", []query{
			{rate(channel, "nsqd_channel_messages_total"+ofChannel), byChannel + " in"},
			{fmt.Sprintf("sum by (%s) (deriv(nsqd_channel_depth_messages%s[$__rate_interval]))", channel, ofChannel), byChannel + " growth"},
		},
	},
	{
		"In flight and deferred", "How many messages do clients hold, and how many wait for their delay to pass?",
		"short", []query{
			{gauge("sum", channel, "nsqd_channel_in_flight_messages"+ofChannel), byChannel + " in flight"},
			{gauge("sum", channel, "nsqd_channel_deferred_messages"+ofChannel), byChannel + " deferred"},
		},
	},
	{
		"Requeued and timed out", "In which channels do clients fail? Timed out: a client has kept a message past its msg_timeout.",
		"ops", []query{
			{rate(channel, "nsqd_channel_requeued_messages_total"+ofChannel), byChannel + " requeued"},
			{rate(channel, "nsqd_channel_timed_out_messages_total"+ofChannel), byChannel + " timed out"},
		},
	},
	{
		"Clients by channel", "Which channels has everyone left? With no client, messages wait for ever.",
		"short", []query{{gauge("sum", channel, "nsqd_channel_clients"+ofChannel), byChannel}},
	},
	{
		"On disk", "Which nsqds have more messages than their memory queues hold?",
		"short", []query{{
			gauge("sum", "nsqd", `nsqd_channel_disk_depth_messages{topic=~"$topic"}`) + " + " +
				gauge("sum", "nsqd", `nsqd_topic_disk_depth_messages{topic=~"$topic"}`), "{{nsqd}}",
		}},
	},
	{
		"Waiting in topics", "Which topics are paused or have no channel? Their messages wait in the topic itself.",
		"short", []query{{gauge("sum", "topic", `nsqd_topic_depth_messages{topic=~"$topic"}`), "{{topic}}"}},
	},
	{
		"Memory of nsqds", "How large are the heaps of nsqds?",
		"bytes", []query{{gauge("max", "nsqd", "nsqd_memory_heap_in_use_bytes"), "{{nsqd}}"}},
	},
	{
		"Daemons that respond", "Which nsqds and nsqlookupds do not respond? 0: its other series are missing.",
		"short", []query{
			{gauge("min", "nsqd", "nsqd_up"), "nsqd {{nsqd}}"},
			{gauge("min", "lookupd", "nsqlookupd_up"), "nsqlookupd {{lookupd}}"},
		},
	},
}}

var nsqds = row{"nsqds", []graph{
	{
		"Received by nsqd", "Is the load of consumers spread evenly over nsqds?",
		"ops", []query{{rate("nsqd", "nsq_consumer_received_messages_total"+ofNSQD), "{{nsqd}}"}},
	},
	{
		"Published by nsqd", "Is the load of publishes spread evenly over nsqds?",
		"ops", []query{{rate("nsqd", `nsq_producer_published_messages_total{`+published+`,result="ok"}`), "{{nsqd}}"}},
	},
	{
		"In flight by nsqd", "Where are messages in flight?",
		"short", []query{{gauge("sum", "nsqd", "nsq_consumer_in_flight_messages"+ofNSQD), "{{nsqd}}"}},
	},
}}

var errorsOfAll = row{"Trouble", []graph{
	{
		"Failures by channel", "In which channels do handlers fail? The share of handled messages that were requeued, buried or given up.",
		"percentunit", []query{{
			rate(channel, `nsq_consumer_handled_messages_total{topic=~"$topic",channel=~"$channel",outcome=~"requeued|buried|given_up"}`) + " / " +
				rate(channel, "nsq_consumer_handled_messages_total"+ofChannel), byChannel,
		}},
	},
	{
		"Lost and expired by nsqd", "At which nsqds do leases or connections end too early?",
		"ops", []query{
			{rate("nsqd", "nsq_consumer_lost_messages_total"+ofNSQD), "{{nsqd}} lost"},
			{rate("nsqd", "nsq_consumer_expired_messages_total"+ofNSQD), "{{nsqd}} expired"},
		},
	},
	{
		"Failed publishes by nsqd", "Which nsqds do not accept messages?",
		"ops", []query{{rate("nsqd, result", `nsq_producer_published_messages_total{`+published+`,result!="ok"}`), "{{nsqd}} {{result}}"}},
	},
}}
