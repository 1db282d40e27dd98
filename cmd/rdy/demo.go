package main

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	maxMessages    = 100_000_000 // the numbers that fit into numberLen digits
	maxSize        = 1 << 20     // nsqd's default max-msg-size
	maxHandlers    = 100_000
	maxMaxInFlight = 1_000_000
	maxWork        = time.Minute

	demoTopic   = "demo"
	demoChannel = "demo"
)

// demoOptions are the flags of "rdy demo".
type demoOptions struct {
	messages, size, nsqds, handlers, maxInFlight int

	failRate    float64
	work        time.Duration
	keep        bool
	dataDir     string
	metricsAddr string // address to serve metrics at; empty for none

	tls, snappy, deflate bool

	ui bool
}

const demoHelp = `Start real nsqds and an nsqlookupd in this process, publish numbered messages to
all nsqds, consume them with handlers that sometimes fail, and report what became
of the messages. The exit code is 0 only if no message was lost.

  found       with --data-dir: messages that the nsqds had from earlier demos
  published   messages that an nsqd has confirmed, those found included
  handled     distinct published messages that a handler has handled
  requeued    deliveries that a handler failed; nsqd delivers the message again
  duplicates  deliveries of messages that had already been handled
  lost        messages that no handler has handled
  left        after Ctrl-C or an error: unhandled messages that the nsqds still have
  connection  how the consumer was connected to the nsqds

When a handler fails, its message is requeued without delay and without backoff, so
that failures do not slow the demo down. The consumer never gives a message up. The
demo ends when all messages are handled. It also ends when no message was handled
for longer than nsqd takes to redeliver one; messages still missing then are lost.

With --data-dir the nsqds keep their messages from one demo to the next: a demo
also handles the messages that an interrupted one left, and counts them as published.

With --keep the cluster and the consumer keep running afterwards, until Ctrl-C.
Messages that you publish to the topic "` + demoTopic + `" are counted as well.

With --metrics ADDR, Prometheus can scrape the metrics of the consumer and the
producers from http://ADDR/metrics until the demo ends.

With --ui the demo is a different one. It starts a cluster with a few invented topics
under a steady load, serves the page of "rdy ui" for it, and prints the address. Every
half minute it causes a fault: handlers hang, an nsqd is stopped, a channel is paused,
deliveries fail, a producer is twice as fast, consumers leave. A line announces each
fault, which lasts 20 s and shows on the page. Ctrl-C ends the demo. The only other
flag that goes with --ui is --nsqds.`

const demoExamples = `  rdy demo
  rdy demo --messages 50000 --nsqds 3 --handlers 64 --max-in-flight 300 --json
  rdy demo --work 5ms --fail-rate 0.1
  rdy demo --tls --snappy
  rdy demo --keep --metrics 127.0.0.1:2112
  rdy demo --ui
  rdy demo --keep --data-dir data    # press Ctrl-C and run it again: nothing is lost`

func newDemo(a *app) *cobra.Command {
	o := demoOptions{messages: 20_000, size: 200, nsqds: 2, handlers: 16, maxInFlight: 200, failRate: 0.01}
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Publish and consume messages on a temporary cluster",
		Long:    demoHelp,
		Example: demoExamples,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.ui {
				if err := checkDemoPage(cmd, o.nsqds); err != nil {
					return err
				}
				return (&demoPage{app: a, nsqds: o.nsqds, poll: demoPagePoll, every: demoPageEvery, lasts: demoPageLasts}).run(cmd.Context())
			}
			if least := numberLen + runLen; o.dataDir != "" && o.size < least {
				return usage(cmd, "--data-dir needs a --size of at least %d so that demos can be told apart, got %d", least, o.size)
			}
			if o.snappy && o.deflate {
				return usage(cmd, "--snappy and --deflate cannot be combined")
			}
			return (&demo{app: a, demoOptions: o, giveUpAfter: o.lease() + redeliverySlack}).run(cmd.Context())
		},
	}
	o.addFlags(cmd.Flags())
	a.outputFlags(cmd.Flags())
	return cmd
}

func (o *demoOptions) addFlags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.Var(intFlag(&o.messages, 1, maxMessages), "messages", "number of messages to publish")
	f.Var(intFlag(&o.size, numberLen, maxSize), "size", "size of each message in bytes")
	f.Var(intFlag(&o.nsqds, 1, maxNSQDs), "nsqds", "number of nsqds")
	f.Var(intFlag(&o.handlers, 1, maxHandlers), "handlers", "number of concurrent handlers")
	f.Var(intFlag(&o.maxInFlight, 1, maxMaxInFlight), "max-in-flight", "maximum messages that the consumer holds at a time")
	f.Var(floatFlag(&o.failRate, 1), "fail-rate", "share of deliveries that handlers fail, from 0 to 1")
	f.Var(durationFlag(&o.work, 0, maxWork), "work", "time that a handler takes for each message")
	f.StringVar(&o.dataDir, "data-dir", "", dataDirUsage)
	f.BoolVar(&o.tls, "tls", false, "use TLS, verified against a certificate made for the demo")
	f.BoolVar(&o.snappy, "snappy", false, "compress with snappy")
	f.BoolVar(&o.deflate, "deflate", false, "compress with deflate")
	f.StringVar(&o.metricsAddr, "metrics", "", "`address` at which to serve metrics for Prometheus, such as 127.0.0.1:2112; port 0 picks a free one")
	f.BoolVar(&o.keep, "keep", false, "keep the cluster and the consumer running until Ctrl-C")
	f.BoolVar(&o.ui, "ui", false, "serve the page of \"rdy ui\" for a cluster with faults on purpose, until Ctrl-C")
}

// lease returns the message timeout for these options. It is long enough for a
// message that waits behind all others in flight. nsqd allows at most 15 minutes.
func (o demoOptions) lease() time.Duration {
	const margin, most = 30 * time.Second, 15 * time.Minute
	turns := o.maxInFlight/o.handlers + 1
	return min(margin+2*o.work*time.Duration(turns), most)
}
