package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nsqio/nsq/nsqd"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/broker"
)

const (
	// lateness is how much later than a lease's end nsqd may deliver a message
	// again: it looks at a new channel only every 5 s.
	lateness = 15 * time.Second

	publishTimeout = 10 * time.Second // of a batch
	batchBytes     = 256 << 10
	batchMessages  = 500

	// settleTimeout is how long nsqds may take to show in their statistics what
	// they were given back.
	settleTimeout  = 500 * time.Millisecond
	settleInterval = 10 * time.Millisecond
)

// demo is "rdy demo" at work.
type demo struct {
	*app
	demoOptions
	giveUpAfter time.Duration // without a message handled

	log     *slog.Logger
	roots   *x509.CertPool // nil without TLS
	cluster *broker.Broker
	ledger  *ledger
}

func (d *demo) run(ctx context.Context) (err error) {
	options := broker.Options{NSQDs: d.nsqds, Lookupds: 1, DataDir: d.dataDir}
	if d.tls {
		cert, certErr := newCertificate()
		if certErr != nil {
			return certErr
		}
		defer func() { err = errors.Join(err, cert.remove()) }()
		d.roots = cert.roots
		options.Configure = func(_ int, o *nsqd.Options) { o.TLSCert, o.TLSKey = cert.certFile, cert.keyFile }
	}
	cluster, stop, err := d.startBroker(ctx, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	d.cluster = cluster
	d.log, _ = d.logger()
	d.ledger = newLedger(newBodies(d.messages, d.size, runName()), d.addrs())
	if err := d.find(ctx); err != nil {
		return err
	}
	r, err := d.measure(ctx)
	if err != nil {
		return err
	}
	if d.json {
		err = d.printJSON(r)
	} else {
		_, err = d.stdout.Write(r.table())
	}
	if err == nil && r.Lost > 0 {
		err = fmt.Errorf("%d of %d messages were lost", r.Lost, r.Published)
	}
	return err
}

// runLen is the length of a run's name.
const runLen = 8

// runName is a name that no other demo has.
func runName() string { return fmt.Sprintf("%0*x", runLen, rand.Uint32()) } // #nosec G404 -- a label

// find counts what the nsqds have from before.
func (d *demo) find(ctx context.Context) error {
	if d.dataDir == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	for _, n := range d.cluster.NSQDs() {
		held, err := depth(ctx, n.HTTPAddr, demoTopic, demoChannel)
		if err != nil {
			return err
		}
		d.ledger.found(n.TCPAddr, held)
	}
	return nil
}

// addrs are the nsqds' TCP addresses.
func (d *demo) addrs() []string {
	var addrs []string
	for _, n := range d.cluster.NSQDs() {
		addrs = append(addrs, n.TCPAddr)
	}
	return addrs
}

// measure publishes and consumes until everything is handled, nothing is handled
// any more, or parent ends. The consumer has stopped when it returns.
func (d *demo) measure(parent context.Context) (*demoResult, error) {
	ctx, stop := context.WithCancel(parent)
	defer stop()
	consumer, err := d.consume(ctx)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	var publishers sync.WaitGroup
	errs := make([]error, d.nsqds)
	for i, addr := range d.addrs() {
		publishers.Go(func() {
			if errs[i] = d.publish(ctx, addr, i); errs[i] != nil {
				stop()
			}
		})
	}
	how := connection(consumer)
	d.watch(ctx, start)
	stop()
	publishers.Wait()
	<-consumer.StopChan
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return d.result(parent, start, how)
}

// consume starts a consumer that stops when ctx ends.
func (d *demo) consume(ctx context.Context) (*nsq.Consumer, error) {
	cfg := d.transport()
	cfg.MaxInFlight = d.maxInFlight
	cfg.MsgTimeout = d.lease()
	cfg.DefaultRequeueDelay = 0
	cfg.MaxBackoffDuration = 0
	consumer, err := nsq.NewConsumer(demoTopic, demoChannel, cfg)
	if err != nil {
		return nil, err
	}
	consumer.AddConcurrentHandlers(d.handler(ctx), d.handlers)
	context.AfterFunc(ctx, consumer.Stop)
	if err := consumer.ConnectToNSQDs(d.addrs()); err != nil {
		consumer.Stop()
		<-consumer.StopChan
		return nil, err
	}
	return consumer, nil
}

// transport is a config that connects as the flags say.
func (d *demo) transport() *nsq.Config {
	cfg := d.config(d.log)
	cfg.Snappy, cfg.Deflate = d.snappy, d.deflate
	if d.roots != nil {
		cfg.TlsV1, cfg.TlsConfig = true, &tls.Config{RootCAs: d.roots, MinVersion: tls.VersionTLS12}
	}
	return cfg
}

// connection says how a consumer is connected.
func connection(c *nsq.Consumer) string {
	conns := c.Snapshot().Connections
	if len(conns) == 0 {
		return "none"
	}
	how := cmp.Or(conns[0].TLS, "plain")
	if conns[0].Compression != "" {
		how += ", " + conns[0].Compression
	}
	return how
}

// handler returns the handler, which gives messages back once ctx has ended.
func (d *demo) handler(ctx context.Context) nsq.HandlerFunc {
	return func(m *nsq.Message) error {
		switch {
		case !d.pretend(ctx):
			m.RequeueWithoutBackoff(0)
		case rand.Float64() < d.failRate: // #nosec G404 -- chance
			d.ledger.failed(m)
			// An error would do the same, and be logged for every message.
			m.RequeueWithoutBackoff(0)
		default:
			d.ledger.succeeded(m)
		}
		return nil
	}
}

// pretend to work. It reports false if ctx ended meanwhile.
func (d *demo) pretend(ctx context.Context) bool {
	if d.work == 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d.work)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// publish publishes the share of the i-th nsqd, until ctx ends. A batch that was
// begun is completed, so that it is known what was published.
func (d *demo) publish(ctx context.Context, addr string, i int) error {
	producer, err := nsq.NewProducer(addr, d.transport())
	if err != nil {
		return err
	}
	defer producer.Stop()
	next, end := d.messages*i/d.nsqds, d.messages*(i+1)/d.nsqds
	batch := make([][]byte, 0, min(batchMessages, max(batchBytes/d.size, 1)))
	for next < end && ctx.Err() == nil {
		batch = batch[:0]
		for ; next < end && len(batch) < cap(batch); next++ {
			batch = append(batch, d.ledger.bodies.body(next))
		}
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
		err := producer.MultiPublishContext(bounded, demoTopic, batch)
		cancel()
		if err != nil {
			return err
		}
		d.ledger.published(addr, len(batch))
	}
	return nil
}

// watch shows the progress. It returns when all messages are handled, unless
// they are to keep coming, when none was for too long, and when ctx ends.
func (d *demo) watch(ctx context.Context, start time.Time) {
	p := newProgress(d.stderr, start, int64(d.messages), messagesBar("handled")...)
	defer p.lines()
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for complete := false; ; {
		var now time.Time
		select {
		case <-ctx.Done():
			return
		case now = <-tick.C:
		}
		t := d.ledger.totals()
		p.show(now, int64(t.handled), t.String())
		switch {
		case complete:
		case t.missing == 0 && !d.keep:
			return
		case t.missing == 0:
			complete = true
			p.lines()
			d.invite()
		case now.Sub(start) > d.giveUpAfter && now.Sub(t.last) > d.giveUpAfter:
			return
		}
	}
}

// invite tells the user what can be done with the cluster.
func (d *demo) invite() {
	d.say("All %d messages are handled; the consumer goes on.\n", d.messages)
	_ = printAddresses(d.stderr, d.cluster, demoTopic)
}

// result says what became of the messages. What nsqds still have after an
// interruption is left, not lost.
func (d *demo) result(ctx context.Context, start time.Time, how string) (*demoResult, error) {
	t := d.ledger.totals()
	r := &demoResult{
		Found: t.found, Published: t.published, Handled: t.handled, Requeued: t.requeued, Duplicates: t.duplicates,
		Connection: how,
	}
	for _, addr := range d.addrs() {
		r.NSQDs = append(r.NSQDs, d.ledger.account(addr))
	}
	if t.handled > 0 {
		r.Seconds = t.last.Sub(start).Seconds()
		r.Rate = float64(t.handled) / r.Seconds
	}
	r.Lost = t.published - t.handled
	if r.Lost > 0 && ctx.Err() != nil {
		left, err := d.left(context.WithoutCancel(ctx), r.Lost)
		if err != nil {
			return nil, err
		}
		r.Left, r.Lost = left, r.Lost-left
	}
	return r, nil
}

// left says how many of the messages that were not handled the nsqds have.
func (d *demo) left(ctx context.Context, unhandled int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for {
		held := 0
		for _, n := range d.cluster.NSQDs() {
			has, err := depth(ctx, n.HTTPAddr, demoTopic, demoChannel)
			if err != nil {
				return 0, err
			}
			held += has
		}
		if held >= unhandled {
			return unhandled, nil
		}
		select {
		case <-ctx.Done():
			return held, nil
		case <-time.After(settleInterval):
		}
	}
}
