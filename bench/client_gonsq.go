package main

import (
	"crypto/tls"
	"sync/atomic"

	"github.com/nsqio/go-nsq"
)

// goNSQLibrary is the real go-nsq.
type goNSQLibrary struct {
	counts *counts // nil: nothing is counted
}

func (goNSQLibrary) config(c Case) *nsq.Config {
	cfg := nsq.NewConfig()
	cfg.MaxInFlight = max(c.InFlight, 1)
	cfg.LookupdPollJitter = 0
	if c.Unbuffer {
		cfg.OutputBufferSize = -1
	}
	switch c.Transport {
	case "tls":
		cfg.TlsV1, cfg.TlsConfig = true, &tls.Config{InsecureSkipVerify: true} // #nosec G402 -- the server is this program
	case "snappy":
		cfg.Snappy = true
	case "deflate":
		cfg.Deflate = true
	}
	return cfg
}

func (lib goNSQLibrary) consume(c Case, where addresses, handle func(byte, []byte)) (func() bool, error) {
	consumer, err := nsq.NewConsumer(topic, channel, lib.config(c))
	if err != nil {
		return nil, err
	}
	consumer.SetLogger(nil, nsq.LogLevelError)
	handler := goNSQHandler(c.Handler, handle)
	if lib.counts != nil {
		handler = lib.counts.handler(handler)
	}
	consumer.AddConcurrentHandlers(handler, max(c.Handlers, 1))
	ready := func() bool { return consumer.Stats().Connections >= c.Conns }
	if where.Lookupd != "" {
		return ready, consumer.ConnectToNSQLookupd(where.Lookupd)
	}
	return ready, consumer.ConnectToNSQDs(where.NSQDs)
}

func goNSQHandler(how string, handle func(byte, []byte)) nsq.HandlerFunc {
	then := handling(how)
	return func(m *nsq.Message) error {
		handle(m.ID[15], m.Body)
		then(m, m.ID[15])
		return nil
	}
}

func (lib goNSQLibrary) publisher(c Case, addr string) (publisher, error) {
	p, err := nsq.NewProducer(addr, lib.config(c))
	if err != nil {
		return nil, err
	}
	p.SetLogger(nil, nsq.LogLevelError)
	if lib.counts != nil {
		return countedPublisher{goNSQPublisher{p}, lib.counts}, p.Ping()
	}
	return goNSQPublisher{p}, p.Ping()
}

type goNSQPublisher struct{ p *nsq.Producer }

func (p goNSQPublisher) one(body []byte) error      { return p.p.Publish(topic, body) }
func (p goNSQPublisher) many(bodies [][]byte) error { return p.p.MultiPublish(topic, bodies) }

func (p goNSQPublisher) stream(body []byte, done func(), stop *atomic.Bool) error {
	results := make(chan *nsq.ProducerTransaction, asyncWindow)
	publish := func() error { return p.p.PublishAsync(topic, body, results) }
	return stream(publish, results, func(t *nsq.ProducerTransaction) error { return t.Error }, done, stop)
}
