// Package nsqprom exports metrics of Consumers, Producers and ProducerPools of package
// nsq to Prometheus.
//
// One [Metrics] serves a whole process. Set its hooks in every Config, and add each Consumer,
// Producer and pool, so that scrapes read them:
//
//	metrics, err := nsqprom.New(prometheus.DefaultRegisterer)
//	...
//	config.Hooks = append(config.Hooks, metrics.Hooks())
//	consumer, err := nsq.NewConsumer("orders", "billing", config)
//	...
//	metrics.Consumer(consumer)
//
// The README of this package lists the metrics. Its folder dashboards has dashboards for
// Grafana, and rules.yml has alerts.
//
// # Series
//
// Consumers with the same labels are summed, except that backoff_level,
// oldest_handling_seconds, paused and last_message_timestamp_seconds show the highest value.
// When the last of these Consumers has stopped, their series are no longer exported. When
// another one is added, the counters continue where they ended, so no counter falls.
//
// The series of an nsqd are exported while a Consumer with these labels is connected to it or
// tries to connect. The series of publishes to an nsqd are exported while a Producer or pool
// that was added uses it. If only hooks know of a client, because it was never added, its
// series are exported until the process ends.
//
// Scrapes read the counts by nsqd. What a Consumer counts between the last scrape and its
// stop, or the moment when it lets go of an nsqd, is not exported, unless [PerNSQD] is false.
// What hooks count is complete: handled messages, publishes, dials and lookups.
//
// A series that is no longer exported is kept in memory for its successor. So a process that
// uses ever new topics or channels needs a [TopicLabel] that folds their names. The default
// folds those of ephemeral ones.
package nsqprom
