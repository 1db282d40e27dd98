package main

import (
	"time"

	"github.com/spf13/cobra"
)

const (
	maxMessages    = 100_000_000 // as many numbers as numberLen digits make
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

	failRate float64
	work     time.Duration
	keep     bool
	dataDir  string

	tls, snappy, deflate bool
}

func newDemo(a *app) *cobra.Command {
	o := demoOptions{messages: 20_000, size: 200, nsqds: 2, handlers: 16, maxInFlight: 200, failRate: 0.01}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Publish and consume messages on a cluster made for the purpose",
		Long: `Start real nsqds and an nsqlookupd in this process, publish numbered messages to
all nsqds and consume them with handlers that sometimes fail; then say what
became of each message. The exit code is 0 only if none was lost.

  published   messages that an nsqd has confirmed
  handled     different messages of these that a handler has handled
  requeued    failures of a handler; the message comes again
  duplicates  messages handled again after they had been handled
  lost        messages that no handler has handled
  left        after Ctrl-C: messages not yet handled that the nsqds still have
  connection  how the consumer was connected to the nsqds

A message that fails is requeued without delay and without backoff, and never
given up, so that failures do not slow the demo down. It ends when all messages
are handled, or when none was for longer than nsqd takes to deliver a message
again; what is missing then is lost.

With --data-dir the nsqds keep what they have from one demo to the next: a demo
also handles what an interrupted one has left, and counts it as published.

With --keep the cluster stays up after that and the consumer goes on until
Ctrl-C. Messages that you publish to the topic "` + demoTopic + `" are counted, too.`,
		Example: `  rdy demo
  rdy demo --messages 50000 --nsqds 3 --handlers 64 --max-in-flight 300 --json
  rdy demo --work 5ms --fail-rate 0.1
  rdy demo --tls --snappy
  rdy demo --keep
  rdy demo --keep --data-dir data    # Ctrl-C, and again: nothing is lost`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if least := numberLen + runLen; o.dataDir != "" && o.size < least {
				return usage(cmd, "--data-dir takes a --size of at least %d, to tell demos apart, got %d", least, o.size)
			}
			if o.snappy && o.deflate {
				return usage(cmd, "--snappy and --deflate exclude each other")
			}
			return (&demo{app: a, demoOptions: o, giveUpAfter: o.lease() + lateness}).run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(intFlag(&o.messages, 1, maxMessages), "messages", "messages to publish")
	f.Var(intFlag(&o.size, numberLen, maxSize), "size", "bytes of each message")
	f.Var(intFlag(&o.nsqds, 1, maxNSQDs), "nsqds", "number of nsqds")
	f.Var(intFlag(&o.handlers, 1, maxHandlers), "handlers", "handlers at work at the same time")
	f.Var(intFlag(&o.maxInFlight, 1, maxMaxInFlight), "max-in-flight", "messages that may be with the consumer at a time")
	f.Var(floatFlag(&o.failRate, 0, 1), "fail-rate", "share of deliveries that a handler fails, from 0 to 1")
	f.Var(durationFlag(&o.work, 0, maxWork), "work", "time that a handler takes per message")
	f.StringVar(&o.dataDir, "data-dir", "", "`directory` to keep the nsqds' data in; made if it is missing")
	f.BoolVar(&o.tls, "tls", false, "connect with TLS, verified, by a certificate made for the demo")
	f.BoolVar(&o.snappy, "snappy", false, "compress with snappy")
	f.BoolVar(&o.deflate, "deflate", false, "compress with deflate")
	f.BoolVar(&o.keep, "keep", false, "keep the cluster and the consumer running until Ctrl-C")
	return cmd
}

// lease is the message timeout that suits these options: a message may wait for
// its handler behind all others in flight. nsqd allows up to 15 minutes.
func (o demoOptions) lease() time.Duration {
	const margin, most = 30 * time.Second, 15 * time.Minute
	turns := o.maxInFlight/o.handlers + 1
	return min(margin+2*o.work*time.Duration(turns), most)
}
