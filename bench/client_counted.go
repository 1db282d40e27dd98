package main

import (
	"time"

	"github.com/nsqio/go-nsq"
	"github.com/prometheus/client_golang/prometheus"
)

// counts is what a program that uses go-nsq writes by hand, because go-nsq has no hooks:
// a counter and a histogram, updated for each message that is handled or published.
type counts struct {
	messages *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newCounts(reg prometheus.Registerer) *counts {
	labels := []string{"topic", "result"}
	k := &counts{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "messages_total", Help: "Messages."}, labels),
		seconds:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "message_seconds", Help: "What they took."}, labels),
	}
	reg.MustRegister(k.messages, k.seconds)
	return k
}

// timed calls work, and counts and times it.
func (k *counts) timed(work func() error) error {
	start := time.Now()
	err := work()
	result := "ok"
	if err != nil {
		result = "error"
	}
	k.messages.WithLabelValues(topic, result).Inc()
	k.seconds.WithLabelValues(topic, result).Observe(time.Since(start).Seconds())
	return err
}

func (k *counts) handler(next nsq.HandlerFunc) nsq.HandlerFunc {
	return func(m *nsq.Message) error { return k.timed(func() error { return next(m) }) }
}

// countedPublisher counts the publishes of single messages.
type countedPublisher struct {
	goNSQPublisher
	counts *counts
}

func (p countedPublisher) one(body []byte) error {
	return p.counts.timed(func() error { return p.goNSQPublisher.one(body) })
}
