package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// benchSub measures how fast nsqds deliver messages.
type benchSub struct {
	benchFlags
	channel     string // empty for one of its own
	idle        time.Duration
	maxInFlight int
}

const (
	benchIdle = 3 * time.Second
	benchTick = 50 * time.Millisecond
)

// benchSubResult is what --json prints.
type benchSubResult struct {
	benchSpeed
	Channel     string `json:"channel"`
	Redelivered int    `json:"redelivered"`
	Concurrency int    `json:"concurrency"`
	MaxInFlight int    `json:"max_in_flight"`
}

func newBenchSub(a *app) *cobra.Command {
	b := &benchSub{
		benchFlags:  benchFlags{source: source{app: a}, duration: benchDuration, concurrency: 4},
		maxInFlight: benchInFlight,
	}
	cmd := &cobra.Command{
		Use:   "sub TOPIC (--nsqd host:port | --lookupd host:port)",
		Short: "Measure how fast nsqds deliver messages",
		Long: `Consume the messages of a topic as fast as nsqds deliver them, with handlers that do
nothing, and report how many came in what time: from the first message to the last. It ends
after --duration, after -n messages, when no message has come for --idle, or with Ctrl-C.

By default sub reads from a new channel, which nsqd deletes at the end. That channel
receives a copy of every message from now on, so other consumers lose none. Run "rdy bench
pub TOPIC" at the same time. nsqd keeps 10,000 messages of such a channel, its
mem-queue-size, and drops what comes faster than it can deliver.

While a topic has no channel, nsqd keeps its messages for the first one. The channel of sub
would take them all, and they would be gone when sub ends. So sub asks the HTTP APIs of the
nsqds, and does not begin if such messages wait, or if it cannot tell. With --nsqd give the
HTTP address of each by --nsqd-http. sub asks once. Later messages of a topic without a
channel go to sub alone. To drain waiting messages, name a channel.

With --channel sub drains that channel: what it counts is finished, and the other consumers
of the channel never see it. With -n exactly that many are finished; others that nsqd has sent
by then go back. It then ends when no message has come for 3 seconds, unless --idle says
otherwise.

` + outputHelp + `

The JSON has messages, bytes, seconds, messages_per_second, bytes_per_second, topic, nsqds,
channel, redelivered, concurrency and max_in_flight.

` + clientHelp,
		Example: `  rdy bench sub load.test --nsqd 127.0.0.1:4150 --nsqd-http 127.0.0.1:4151
  rdy bench sub load.test --lookupd nsqlookupd:4161 --channel drain --max-in-flight 2500 -n 1000000 --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := b.validate(cmd, args); err != nil {
				return err
			}
			log, level := b.logger()
			cfg, err := b.benchConfig(log, b.maxInFlight)
			if err != nil {
				return usage(cmd, "%w", err)
			}
			return b.run(cmd.Context(), cfg, level)
		},
	}
	b.addFlags(cmd.Flags())
	return cmd
}

func (b *benchSub) addFlags(f *pflag.FlagSet) {
	b.addCommon(f)
	b.addHTTP(f)
	f.Var((*channelFlag)(&b.channel), "channel", "channel to drain (default a new ephemeral one)")
	f.VarP(intFlag(&b.messages, 0, maxMessages), "count", "n", "stop after this many messages; 0 means no limit")
	f.Var(durationFlag(&b.duration, 0, maxBenchDuration), "duration", "stop after this time; 0, and the default with -n or --channel, means no limit")
	f.Var(durationFlag(&b.idle, 0, maxBenchDuration), "idle", "stop when no message has come for this time; 0 means never (default 3s with --channel)")
	f.Var(intFlag(&b.concurrency, 1, maxBenchConcurrency), "concurrency", "goroutines that handle messages")
	f.Var(intFlag(&b.maxInFlight, 1, maxMaxInFlight), "max-in-flight", "maximum messages that are held at a time")
	b.addEnds(f)
}

func (b *benchSub) validate(cmd *cobra.Command, args []string) error {
	if err := oneTopic(cmd, args); err != nil {
		return err
	}
	if err := b.benchTopic(cmd, args); err != nil {
		return err
	}
	if (b.messages > 0 || b.channel != "") && !cmd.Flags().Changed("duration") {
		b.duration = 0
	}
	if b.channel != "" && !cmd.Flags().Changed("idle") {
		b.idle = benchIdle
	}
	if b.channel == "" {
		return b.ownChannel("bench sub", true).usage(cmd)
	}
	return nil
}

// run consumes, and prints the result.
func (b *benchSub) run(ctx context.Context, cfg *nsq.Config, level *slog.LevelVar) error {
	if b.channel == "" {
		b.channel = benchName()
		if _, err := b.ownChannel("bench sub", true).refuse(ctx, b.topic); err != nil {
			return err
		}
	} else {
		b.notice("rdy: what is received from channel %s is finished: its other consumers never get it", b.channel)
	}
	b.maxInFlight = cfg.MaxInFlight // --set may have changed it
	consumer, err := nsq.NewConsumer(b.topic, b.channel, cfg)
	if err != nil {
		return err
	}
	ctx, cancel := b.endAfter(ctx)
	defer cancel()
	s := &benchSubscriber{limit: int64(b.messages), end: cancel}
	consumer.AddConcurrentHandlers(s, b.concurrency)
	start := time.Now()
	if err := b.connect(ctx, consumer, level); err != nil {
		consumer.Stop()
		<-consumer.StopChan
		return err
	}
	endProgress := newProgress(b.stderr, start, b.total(), messagesBar("received")...).run(func() (int64, string) {
		n := s.messages.Load()
		return n, fmt.Sprintf("received %d", n)
	})
	s.await(ctx, b.idle)
	nsqds := len(consumer.Snapshot().Connections)
	stopped := consumer.Run(ctx) // stops it
	endProgress()
	r := &benchSubResult{
		benchSpeed: newBenchSpeed(&b.benchFlags, int(s.messages.Load()), s.bytes.Load(), s.took()),
		Channel:    b.channel, Redelivered: int(s.redelivered.Load()), Concurrency: b.concurrency, MaxInFlight: b.maxInFlight,
	}
	r.NSQDCount = nsqds
	if err := b.print(r, r.table); err != nil {
		return err
	}
	return stopped
}

// table returns the result as text for people.
func (r *benchSubResult) table() []byte {
	return benchTable(append(r.rows(), []string{"channel", r.Channel}, []string{"redelivered", strconv.Itoa(r.Redelivered)},
		[]string{"concurrency", strconv.Itoa(r.Concurrency)}, []string{"max-in-flight", strconv.Itoa(r.MaxInFlight)}), nil)
}

// benchSubscriber is the handler of benchSub.
type benchSubscriber struct {
	limit int64 // 0 means no limit
	end   func()
	begun atomic.Int64 // messages that a handler has got, also those beyond the limit

	messages, bytes, redelivered atomic.Int64
	first, last                  atomic.Int64 // when messages came, in nanoseconds since 1970; 0 before the first
}

// HandleMessage counts a message. Those beyond the limit go back: to finish them would take
// more from a channel than was asked for.
func (s *benchSubscriber) HandleMessage(m *nsq.Message) error {
	if s.begun.Add(1) > s.limit && s.limit > 0 {
		m.RequeueWithoutBackoff(0)
		return nil
	}
	now := time.Now().UnixNano()
	s.first.CompareAndSwap(0, now)
	s.last.Store(now)
	s.bytes.Add(int64(len(m.Body)))
	if m.Attempts > 1 {
		s.redelivered.Add(1)
	}
	if s.messages.Add(1) == s.limit {
		s.end()
	}
	return nil
}

// await waits until ctx ends, or until no message has come for a time, unless that is 0. Then
// it ends ctx.
func (s *benchSubscriber) await(ctx context.Context, idle time.Duration) {
	defer s.end()
	if idle == 0 {
		<-ctx.Done()
		return
	}
	since := time.Now()
	tick := time.NewTicker(benchTick)
	defer tick.Stop()
	for seen := int64(0); ; {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if n := s.messages.Load(); n != seen {
				seen, since = n, now
			} else if now.Sub(since) >= idle {
				return
			}
		}
	}
}

// took returns the time from the first message to the last.
func (s *benchSubscriber) took() time.Duration { return time.Duration(s.last.Load() - s.first.Load()) }
