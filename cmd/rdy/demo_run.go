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
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

const (
	// redeliverySlack is how long after the end of a lease nsqd may take to
	// deliver the message again: it notices a new channel only every 5 s.
	redeliverySlack = 15 * time.Second

	publishTimeout = 10 * time.Second // for a batch
	batchBytes     = 256 << 10
	batchMessages  = 500

	// statsSettle is how long nsqds may take until their statistics include
	// requeued messages. statsTimeout is how long they may take to respond.
	statsSettle   = 500 * time.Millisecond
	statsInterval = 10 * time.Millisecond
	statsTimeout  = 10 * time.Second
)

// demo is one run of "rdy demo".
type demo struct {
	*app
	demoOptions
	giveUpAfter time.Duration // the demo ends after this long without a handled message

	log     *slog.Logger
	roots   *x509.CertPool // nil without TLS
	cluster *broker.Broker
	ledger  *ledger
	metrics *metricsServer // nil without --metrics
}

func (d *demo) run(ctx context.Context) (err error) {
	if d.metricsAddr != "" {
		if d.metrics, err = serveMetrics(d.metricsAddr); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.metrics.stop()) }()
		d.notice("metrics     %s", d.metrics.url)
	}
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
	if err := d.countLeftovers(ctx); err != nil {
		return err
	}
	r, err := d.measure(ctx)
	if r == nil {
		return err
	}
	return errors.Join(err, d.report(r))
}

// report prints the result. It returns an error if messages were lost.
func (d *demo) report(r *demoResult) (err error) {
	if d.json {
		err = d.printJSON(r)
	} else {
		_, err = d.stdout.Write(r.table())
	}
	if err == nil && r.Lost > 0 {
		err = fmt.Errorf("%d of %s %s lost", r.Lost, figures.Things(r.Published, "message"), figures.Verb(r.Lost, "was", "were"))
	}
	return err
}

// runLen is the length of a run name.
const runLen = 8

// runName returns a name that tells this demo's messages from other demos'.
func runName() string { return fmt.Sprintf("%0*x", runLen, rand.Uint32()) } // #nosec G404 -- a label

// countLeftovers counts the messages that the nsqds have from earlier demos.
func (d *demo) countLeftovers(ctx context.Context) error {
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
		d.ledger.recordFound(n.TCPAddr, held)
	}
	return nil
}

// addrs returns the nsqds' TCP addresses.
func (d *demo) addrs() []string {
	var addrs []string
	for _, n := range d.cluster.NSQDs() {
		addrs = append(addrs, n.TCPAddr)
	}
	return addrs
}

// measure publishes and consumes until all messages are handled, no message has
// been handled for too long, or parent ends. It returns after the consumer has
// stopped. The result is nil only if nothing was consumed; an error goes with the
// result of what was done until then.
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
	connection := describeConnection(consumer)
	d.watch(ctx, start)
	stop()
	publishers.Wait()
	<-consumer.StopChan
	published := errors.Join(errs...)
	r, err := d.result(context.WithoutCancel(parent), parent.Err() != nil || published != nil, start, connection)
	return r, errors.Join(published, err)
}

// consume starts a consumer that stops when ctx ends.
func (d *demo) consume(ctx context.Context) (*nsq.Consumer, error) {
	cfg := d.clientConfig()
	cfg.MaxInFlight = d.maxInFlight
	cfg.MsgTimeout = d.lease()
	cfg.DefaultRequeueDelay = 0
	cfg.MaxBackoffDuration = 0
	consumer, err := nsq.NewConsumer(demoTopic, demoChannel, cfg)
	if err != nil {
		return nil, err
	}
	if d.metrics != nil {
		d.metrics.Consumer(consumer)
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

// clientConfig returns a config that connects as the flags ask.
func (d *demo) clientConfig() *nsq.Config {
	cfg := d.config(d.log)
	cfg.Snappy, cfg.Deflate = d.snappy, d.deflate
	if d.roots != nil {
		cfg.TlsV1, cfg.TlsConfig = true, &tls.Config{RootCAs: d.roots, MinVersion: tls.VersionTLS12}
	}
	if d.metrics != nil {
		cfg.Hooks = append(cfg.Hooks, d.metrics.Hooks())
	}
	return cfg
}

// describeConnection returns the encryption and compression of a consumer's
// first connection, in words.
func describeConnection(c *nsq.Consumer) string {
	conns := c.Snapshot().Connections
	if len(conns) == 0 {
		return "none"
	}
	description := cmp.Or(conns[0].TLS, "plain")
	if conns[0].Compression != "" {
		description += ", " + conns[0].Compression
	}
	return description
}

// handler returns the handler. Once ctx has ended it requeues every message.
func (d *demo) handler(ctx context.Context) nsq.HandlerFunc {
	return func(m *nsq.Message) error {
		switch {
		case !d.simulateWork(ctx):
			m.RequeueWithoutBackoff(0)
		case rand.Float64() < d.failRate: // #nosec G404 -- chance
			d.ledger.recordFailure(m)
			// Returning an error would do the same, but log every message.
			m.RequeueWithoutBackoff(0)
		default:
			d.ledger.recordSuccess(m)
		}
		return nil
	}
}

// simulateWork takes the time that --work asks for. It reports false if ctx ended
// before that.
func (d *demo) simulateWork(ctx context.Context) bool {
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

// publish publishes the i-th nsqd's share of the messages, until ctx ends. It
// still completes the batch under way, so that the ledger knows what was
// published.
func (d *demo) publish(ctx context.Context, addr string, i int) error {
	producer, err := nsq.NewProducer(addr, d.clientConfig())
	if err != nil {
		return err
	}
	defer producer.Stop()
	if d.metrics != nil {
		d.metrics.Producer(producer)
		defer func() { <-ctx.Done() }() // a producer's metrics end when it stops
	}
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
		d.ledger.recordPublished(addr, len(batch))
	}
	return nil
}

// watch shows progress. It returns when
//   - ctx ends,
//   - all messages are handled, unless --keep is set, or
//   - no message was handled for giveUpAfter, unless all were handled before.
func (d *demo) watch(ctx context.Context, start time.Time) {
	p := newProgress(d.stderr, start, int64(d.messages), messagesBar("handled")...)
	defer p.clearBar()
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
			p.clearBar()
			d.printInstructions()
		case now.Sub(start) > d.giveUpAfter && now.Sub(t.last) > d.giveUpAfter:
			return
		}
	}
}

// printInstructions tells the user how to use the cluster that --keep keeps.
func (d *demo) printInstructions() {
	d.notice("%s %s handled. The consumer keeps running.", figures.Things(d.messages, "message"), figures.Verb(d.messages, "is", "are"))
	d.notice("")
	_ = printAddresses(d.stderr, d.cluster, demoTopic)
}

// result returns what became of the messages. If the demo was cut short, messages
// that the nsqds still have count as left, not as lost. If the nsqds do not say how many
// they have, all unhandled messages count as left, and there is an error.
func (d *demo) result(ctx context.Context, cutShort bool, start time.Time, connection string) (*demoResult, error) {
	t := d.ledger.totals()
	r := &demoResult{
		Found: t.found, Published: t.published, Handled: t.handled, Requeued: t.requeued, Duplicates: t.duplicates,
		Connection: connection,
	}
	for _, addr := range d.addrs() {
		r.NSQDs = append(r.NSQDs, d.ledger.account(addr))
	}
	if t.handled > 0 {
		r.Seconds = t.last.Sub(start).Seconds()
		r.Rate = float64(t.handled) / r.Seconds
	}
	unhandled := max(t.published-t.handled, 0) // a publish may have failed, and its messages be stored
	if unhandled == 0 || !cutShort {
		r.Lost = unhandled
		return r, nil
	}
	held, err := d.countHeld(ctx, unhandled)
	if err != nil {
		r.Left = unhandled
		return r, fmt.Errorf("cannot tell whether the nsqds still have what is left: %w", err)
	}
	r.Left, r.Lost = held, unhandled-held
	return r, nil
}

// countHeld returns how many of the unhandled messages the nsqds have. It asks
// until they have all of them or statsSettle has passed.
func (d *demo) countHeld(ctx context.Context, unhandled int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, statsTimeout)
	defer cancel()
	for settled := time.After(statsSettle); ; {
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
		case <-settled:
			return held, nil
		case <-time.After(statsInterval):
		}
	}
}
