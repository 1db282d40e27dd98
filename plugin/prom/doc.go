// Package nsqprom exports metrics of Consumers, Producers and ProducerPools of package
// nsq to Prometheus.
//
// One Metrics serves all of a process. Set its hooks in every Config, and add each
// Consumer, Producer and pool, which scrapes then read:
//
//	metrics, err := nsqprom.New(prometheus.DefaultRegisterer)
//	...
//	config.Hooks = append(config.Hooks, metrics.Hooks())
//	consumer, err := nsq.NewConsumer("orders", "billing", config)
//	...
//	metrics.Consumer(consumer)
//
// README.md of this package lists the metrics. Its folder dashboards has dashboards for
// Grafana, and rules.yml has alerts.
//
// # Series
//
// Consumers with the same labels are summed; of backoff_level, oldest_handling_seconds,
// paused and last_message_timestamp_seconds the highest counts. When the last of them has
// stopped, their series are no longer exported. When another one follows, they continue
// where they ended, so that no counter falls. The series of an nsqd are exported while a
// Consumer with these labels is connected to it or tries to connect, and those of
// publishes while a Producer or pool that was added uses the nsqd. What was never added,
// and is known from hooks only, is exported for good.
//
// Scrapes read the counts by nsqd. What a Consumer counts after the last scrape, before it
// stops or lets go of the nsqd, is not exported, unless [PerNSQD] is false. What hooks count
// is complete: handled messages, publishes, dials and lookups.
//
// A series that is not exported is kept for its successor. So a process that makes
// endless new topics or channels needs a [TopicLabel] that folds them. The default folds
// ephemeral ones.
package nsqprom
