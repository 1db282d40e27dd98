package main

import "fmt"

// dashboards are the files of the folder dashboards, by name.
var dashboards = map[string]dashboard{
	"consumer.json": build("nsq-consumer", "NSQ consumers and producers",
		"One topic and channel, or some of them: do consumers keep up, and if not, why.",
		[]variable{
			choice("topic", "nsq_consumer_max_in_flight_messages"),
			choice("channel", `nsq_consumer_max_in_flight_messages{topic=~"$topic"}`),
			choice("nsqd", "nsq_consumer_ready_messages"),
		},
		[]row{keepingUp, handlers, flow, trouble, publishing}),
	"cluster.json": build("nsq-cluster", "NSQ, all clients",
		"All topics, channels and nsqds as the clients see them: which of them needs a look at the dashboard of consumers.",
		[]variable{
			choice("topic", "nsq_consumer_max_in_flight_messages"),
			choice("channel", `nsq_consumer_max_in_flight_messages{topic=~"$topic"}`),
			choice("nsqd", "nsq_consumer_ready_messages"),
		},
		[]row{channels, nsqds, errorsOfAll}),
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

var keepingUp = row{"Is it keeping up", []graph{
	{
		"Age of messages", "How old are messages when a handler begins them? A rising age means that consumers fall behind. nsqd's clock and the consumer's must agree.",
		"s", quantiles("nsq_consumer_message_age_seconds", ofChannel, channel, byChannel, .5, .99),
	},
	{
		"In and out", "Do as many messages leave as arrive? Received counts redeliveries, so received minus requeued is what is new.",
		"ops", []query{
			{rate(channel, "nsq_consumer_received_messages_total"+ofNSQD), byChannel + " received"},
			{rate(channel, "nsq_consumer_finished_messages_total"+ofNSQD), byChannel + " finished"},
			{rate(channel, "nsq_consumer_requeued_messages_total"+ofNSQD), byChannel + " requeued"},
		},
	},
	{
		"Since the last message", "For how long has no message come? With an empty queue that is harmless.",
		"s", []query{{"time() - " + gauge("max", channel, "nsq_consumer_last_message_timestamp_seconds"+ofChannel), byChannel}},
	},
}}

var handlers = row{"Handlers", []graph{
	{
		"Messages by outcome", "What becomes of messages? Requeued: the handler failed. Given up: it failed too often.",
		"ops", []query{{rate(channel+", outcome", "nsq_consumer_handled_messages_total"+ofChannel), byChannel + " {{outcome}}"}},
	},
	{
		"What handlers take", "How long does a handler take for a message?",
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
		"Longest at work", "Does a handler hang? Over msg_timeout, nsqd delivers its message again unless it is touched.",
		"s", []query{{gauge("max", channel, "nsq_consumer_oldest_handling_seconds"+ofChannel), byChannel}},
	},
}}

var flow = row{"Flow", []graph{
	{
		"In flight", "Is max_in_flight used up? Then more handlers do not help without a higher max_in_flight.",
		"short", []query{
			{gauge("sum", channel, "nsq_consumer_in_flight_messages"+ofNSQD), byChannel + " in flight"},
			{gauge("sum", channel, "nsq_consumer_ready_messages"+ofNSQD), byChannel + " RDY"},
			{gauge("sum", channel, "nsq_consumer_max_in_flight_messages"+ofChannel), byChannel + " max_in_flight"},
		},
	},
	{
		"RDY by nsqd", "Which nsqds may send, and how much?",
		"short", []query{{gauge("sum", channel+", nsqd", "nsq_consumer_ready_messages"+ofNSQD), byChannel + " {{nsqd}}"}},
	},
	{
		"Wait for a handler", "How long do received messages wait for a handler? Much of msg_timeout means that max_in_flight is too high.",
		"s", quantiles("nsq_consumer_wait_seconds", ofChannel, channel, byChannel, .5, .99),
	},
	{
		"Waiting messages", "How many received messages wait for a handler?",
		"short", []query{{gauge("sum", channel, "nsq_consumer_queued_messages"+ofChannel), byChannel}},
	},
	{
		"Backoff and pause", "Do consumers hold back? Level 0 is no backoff; each level about doubles the pause.",
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
		"Abandoned messages", "Which messages does nsqd deliver again though nothing asked it to, and why?",
		"ops", []query{{rate(channel+", reason", "nsq_consumer_abandoned_messages_total"+ofChannel), byChannel + " {{reason}}"}},
	},
	{
		"Expired and lost", "Expired messages waited too long for a handler; lost ones were begun, but not acked in time. Both come again.",
		"ops", []query{
			{rate(channel, "nsq_consumer_expired_messages_total"+ofNSQD), byChannel + " expired"},
			{rate(channel, "nsq_consumer_lost_messages_total"+ofNSQD), byChannel + " lost"},
		},
	},
	{
		"Refused and unsent", "Which FINs, REQs and TOUCHes did nsqd refuse, and which were not sent before a connection ended?",
		"ops", []query{
			{rate(channel, "nsq_consumer_refused_answers_total"+ofNSQD), byChannel + " refused"},
			{rate(channel, "nsq_consumer_unsent_answers_total"+ofNSQD), byChannel + " unsent"},
		},
	},
	{
		"Dials", "Do consumers reconnect often, or fail to?",
		"ops", []query{{rate("nsqd, result", "nsq_consumer_connects_total"+ofNSQD), "{{nsqd}} {{result}}"}},
	},
	{
		"Lookups", "Do nsqlookupds respond?",
		"ops", []query{{rate("lookupd, result", "nsq_lookup_requests_total"), "{{lookupd}} {{result}}"}},
	},
	{
		"What lookups take", "How long do nsqlookupds take to respond?",
		"s", quantiles("nsq_lookup_request_seconds", "", "lookupd", "{{lookupd}}", .5, .99),
	},
}}

var publishing = row{"Publishing", []graph{
	{
		"Published messages", "How many messages are published, and with which result? Unknown: nsqd's reply did not come.",
		"ops", []query{{rate("topic, result", "nsq_producer_published_messages_total{"+published+"}"), "{{topic}} {{result}}"}},
	},
	{
		"Published bytes", "How much is published?",
		"Bps", []query{{rate("topic", `nsq_producer_published_bytes_total{`+published+`,result="ok"}`), "{{topic}}"}},
	},
	{
		"What publishes take", "How long does a publish wait for nsqd's reply?",
		"s", quantiles("nsq_producer_publish_seconds", `{topic=~"$topic"}`, "topic", "{{topic}}", .5, .95, .99),
	},
	{
		"Pending publishes", "How many publish commands wait to be sent or for nsqd's reply?",
		"short", []query{{gauge("sum", "nsqd", `nsq_producer_pending_publishes{nsqd=~"$nsqd"}`), "{{nsqd}}"}},
	},
	{
		"Pending bytes", "How much of the 16 MiB do they take, for which further publishes wait?",
		"bytes", []query{{gauge("sum", "nsqd", `nsq_producer_pending_bytes{nsqd=~"$nsqd"}`), "{{nsqd}}"}},
	},
	{
		"Healthy nsqds of pools", "Which nsqds do pools pass over? 0 means that at least one pool does.",
		"short", []query{{gauge("min", "nsqd", `nsq_producer_nsqd_healthy{nsqd=~"$nsqd"}`), "{{nsqd}}"}},
	},
}}

var channels = row{"Topics and channels", []graph{
	{
		"Published by topic", "How much is published to each topic?",
		"ops", []query{{rate("topic", `nsq_producer_published_messages_total{`+published+`,result="ok"}`), "{{topic}}"}},
	},
	{
		"Finished by channel", "How much does each channel get done?",
		"ops", []query{{rate(channel, "nsq_consumer_finished_messages_total"+ofNSQD), byChannel}},
	},
	{
		"Age by channel", "Which channels fall behind? The median age of messages when a handler begins them.",
		"s", quantiles("nsq_consumer_message_age_seconds", ofChannel, channel, byChannel, .5),
	},
	{
		"Busy handlers", "Which channels are short of handlers? 1: all are at work.",
		"percentunit", []query{{
			gauge("sum", channel, "nsq_consumer_busy_handlers"+ofChannel) + " / " + gauge("sum", channel, "nsq_consumer_handlers"+ofChannel), byChannel,
		}},
	},
	{
		"Processes", "How many processes consume each channel?",
		"short", []query{{gauge("count", channel, "nsq_consumer_handlers"+ofChannel), byChannel}},
	},
	{
		"Backoff", "Which channels fail so often that consumers hold back?",
		"short", []query{{gauge("max", channel, "nsq_consumer_backoff_level"+ofChannel), byChannel}},
	},
}}

var nsqds = row{"nsqds", []graph{
	{
		"Received by nsqd", "Is the load spread evenly over nsqds?",
		"ops", []query{{rate("nsqd", "nsq_consumer_received_messages_total"+ofNSQD), "{{nsqd}}"}},
	},
	{
		"Published by nsqd", "Is the load of publishes spread evenly?",
		"ops", []query{{rate("nsqd", `nsq_producer_published_messages_total{`+published+`,result="ok"}`), "{{nsqd}}"}},
	},
	{
		"In flight by nsqd", "Where are messages in flight?",
		"short", []query{{gauge("sum", "nsqd", "nsq_consumer_in_flight_messages"+ofNSQD), "{{nsqd}}"}},
	},
}}

var errorsOfAll = row{"Trouble", []graph{
	{
		"Failures by channel", "Whose handlers fail? The share of handled messages that were requeued or given up.",
		"percentunit", []query{{
			rate(channel, `nsq_consumer_handled_messages_total{topic=~"$topic",channel=~"$channel",outcome=~"requeued|given_up"}`) + " / " +
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
		"Failed publishes by nsqd", "Which nsqds do not take messages?",
		"ops", []query{{rate("nsqd, result", `nsq_producer_published_messages_total{`+published+`,result!="ok"}`), "{{nsqd}} {{result}}"}},
	},
}}
