package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync/atomic"

	"github.com/rdyhq/nsq"
)

// rdyLibrary is this project's client.
type rdyLibrary struct {
	recycle bool
	batch   bool                     // publish through a Batcher
	observe func() (observer, error) // nil: no hooks are set
	take    taker                    // nil: by handlers, as the case says
}

// config returns the Config for a case, and what else its Consumer needs to be observed.
func (lib rdyLibrary) config(c Case) (*nsq.Config, observer, error) {
	cfg := nsq.NewConfig()
	cfg.MaxInFlight, cfg.RecycleBodies = max(c.InFlight, 1), lib.recycle
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
	if lib.observe == nil {
		return cfg, observer{}, nil
	}
	o, err := lib.observe()
	cfg.Hooks = append(cfg.Hooks, o.hooks)
	return cfg, o, err
}

func (lib rdyLibrary) consume(c Case, where addresses, handle func(byte, []byte)) (func() bool, error) {
	cfg, watch, err := lib.config(c)
	if err != nil {
		return nil, err
	}
	consumer, err := nsq.NewConsumer(topic, channel, cfg)
	if err != nil {
		return nil, err
	}
	if watch.consumer != nil {
		watch.consumer(consumer)
	}
	consumer.SetLogger(nil, nsq.LogLevelError)
	if lib.take != nil {
		lib.take(consumer, c.Handlers, handle)
	} else {
		consumer.AddConcurrentHandlers(rdyHandler(c.Handler, handle), max(c.Handlers, 1))
	}
	ready := func() bool {
		n := 0
		for _, conn := range consumer.Snapshot().Connections {
			if conn.RDY > 0 || c.InFlight < c.Conns {
				n++
			}
		}
		return n >= c.Conns
	}
	if where.Lookupd != "" {
		return ready, consumer.ConnectToNSQLookupd(where.Lookupd)
	}
	return ready, consumer.Connect(context.Background(), where.NSQDs...)
}

func rdyHandler(how string, handle func(byte, []byte)) nsq.HandlerFunc {
	then := handling(how)
	return func(m *nsq.Message) error {
		handle(m.ID[15], m.Body)
		then(m, m.ID[15])
		return nil
	}
}

func (lib rdyLibrary) publisher(c Case, addr string) (publisher, error) {
	cfg, _, err := lib.config(c)
	if err != nil {
		return nil, err
	}
	p, err := nsq.NewProducer(addr, cfg)
	if err != nil {
		return nil, err
	}
	p.SetLogger(nil, nsq.LogLevelError)
	if lib.batch {
		b, err := nsq.NewBatcher(p, nsq.BatchOptions{})
		if err != nil {
			return nil, err
		}
		return batchingPublisher{rdyPublisher{p}, b}, p.Ping()
	}
	return rdyPublisher{p}, p.Ping()
}

type rdyPublisher struct{ p *nsq.Producer }

func (p rdyPublisher) one(body []byte) error      { return p.p.Publish(topic, body) }
func (p rdyPublisher) many(bodies [][]byte) error { return p.p.MultiPublish(topic, bodies) }

// batchingPublisher publishes single messages through a Batcher.
type batchingPublisher struct {
	rdyPublisher
	b *nsq.Batcher
}

func (p batchingPublisher) one(body []byte) error { return p.b.Publish(topic, body) }

func (p rdyPublisher) stream(body []byte, done func(), stop *atomic.Bool) error {
	results := make(chan *nsq.ProducerTransaction, asyncWindow)
	publish := func() error { return p.p.PublishAsync(topic, body, results) }
	return stream(publish, results, func(t *nsq.ProducerTransaction) error { return t.Error }, done, stop)
}

// asyncWindow is how many asynchronous publishes may be outstanding.
const asyncWindow = 1000

// stream keeps asyncWindow publishes outstanding until stop is set, and then waits
// for the rest.
func stream[T any](publish func() error, results chan T, errorOf func(T) error, done func(), stop *atomic.Bool) error {
	outstanding := 0
	for !stop.Load() || outstanding > 0 {
		for outstanding < asyncWindow && !stop.Load() {
			if err := publish(); err != nil {
				return fmt.Errorf("publishing: %w", err)
			}
			outstanding++
			// Take the results that have arrived, without waiting for more.
			for taken := true; taken && outstanding > 0; {
				select {
				case t := <-results:
					if err := errorOf(t); err != nil {
						return err
					}
					outstanding--
					done()
				default:
					taken = false
				}
			}
		}
		if outstanding > 0 {
			if err := errorOf(<-results); err != nil {
				return err
			}
			outstanding--
			done()
		}
	}
	return nil
}
