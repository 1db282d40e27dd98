package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	// benchStamp is the number of bytes at the beginning of a message: the number of the run,
	// and when the message was due.
	benchStamp = 16
	// benchPatience is how long messages may stay away after the last publish.
	benchPatience = 5 * time.Second
)

// benchLatency measures how long messages take from a publisher to a consumer.
type benchLatency struct {
	benchFlags
	rate   float64
	warmup time.Duration
}

// benchLatencyResult is what --json prints.
type benchLatencyResult struct {
	benchSpeed
	Size    int              `json:"size"`
	Asked   float64          `json:"rate"`    // messages per second that were due
	Missing int              `json:"missing"` // messages that nsqd has confirmed and that have not come
	Latency benchPercentiles `json:"latency"` // from when a message was due to the call of the handler
	Publish benchPercentiles `json:"publish"` // from the publish to nsqd's reply
	Late    benchPercentiles `json:"late"`    // from when a message was due to its publish
}

func newBenchLatency(a *app) *cobra.Command {
	b := &benchLatency{
		benchFlags: benchFlags{source: source{app: a}, duration: benchDuration, size: benchSize, concurrency: 64},
		rate:       1000, warmup: time.Second,
	}
	cmd := &cobra.Command{
		Use:   "latency [TOPIC] (--nsqd host:port | --lookupd host:port)",
		Short: "Measure how long messages take from publisher to consumer",
		Long: `Publish messages at a steady rate, consume them in the same process from a new channel,
and report how long they took. It ends after --duration or with Ctrl-C.

` + benchUsage + `

While a topic has no channel, nsqd keeps its messages for the first one. In a topic that you
name, the new channel would take them all, and they would be gone at the end. So latency
asks the HTTP APIs of the nsqds, and does not begin if such messages wait, or if it cannot
tell. With TOPIC and --nsqd give the HTTP address of each by --nsqd-http.

  latency  from when a message was due to the call of its handler
  publish  from its publish to nsqd's reply
  late     from when it was due to its publish, which is part of latency

Only the rate decides when a message is due. If nsqd pauses, the messages that have to wait
for it count with all of their wait, even those not sent yet. So the percentiles are what a
program sees that publishes at that rate. If late is large, the rate is more than nsqd or
this machine can do, or --concurrency is too low.

At a low rate most of the latency is nsqd's output buffer: it holds messages until it has
16 KiB of them, for at most 250 ms. --set output_buffer_timeout,25ms shortens that.

If a publish fails, or a message has not come 5 s after the last one, the exit code is 1.

` + outputHelp + `

The JSON has messages, bytes, seconds, messages_per_second, bytes_per_second, topic, nsqds,
size, rate, missing, and latency, publish and late. Each of these has count, mean_ms, p50_ms,
p90_ms, p99_ms, p999_ms, p9999_ms and max_ms.

` + clientHelp,
		Example: `  rdy bench latency --nsqd 127.0.0.1:4150
  rdy bench latency --lookupd nsqlookupd:4161 --rate 5000 --duration 1m --set output_buffer_timeout,25ms --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := b.benchTopic(cmd, args); err != nil {
				return err
			}
			own := b.ownChannel("bench latency", false)
			if !b.throwAway {
				if err := own.usage(cmd); err != nil {
					return err
				}
			}
			log, level := b.logger()
			b.mute(level) // the command itself reports what fails
			cfg, err := b.benchConfig(log, benchInFlight)
			if err != nil {
				return usage(cmd, "%w", err)
			}
			if !b.throwAway {
				if _, err := own.refuse(cmd.Context(), b.topic); err != nil {
					return err
				}
			}
			return b.run(cmd.Context(), cfg)
		},
	}
	b.addFlags(cmd.Flags())
	return cmd
}

func (b *benchLatency) addFlags(f *pflag.FlagSet) {
	b.addCommon(f)
	b.addHTTP(f)
	f.Var(&ranged[float64]{
		p: &b.rate, min: 0.1, max: maxRate, kind: "float", want: "a number",
		parse: func(s string) (float64, error) { return strconv.ParseFloat(s, 64) },
	}, "rate", "messages per second")
	f.Var(durationFlag(&b.duration, time.Millisecond, maxBenchDuration), "duration", "how long to measure")
	f.Var(durationFlag(&b.warmup, 0, maxBenchDuration), "warmup", "how long to publish before that")
	f.Var(intFlag(&b.size, benchStamp, maxSize), "size", "bytes of a message")
	f.Var(intFlag(&b.concurrency, 1, maxBenchConcurrency), "concurrency", "publishes under way at a time, and goroutines that handle messages")
	b.addEnds(f)
}

// run publishes and consumes, and prints the result.
func (b *benchLatency) run(ctx context.Context, cfg *nsq.Config) error {
	if err := b.findNSQDs(ctx, cfg); err != nil {
		return err
	}
	p := &benchProbe{
		benchLatency: b, run: rand.Uint64(), // #nosec G404 -- a name
		latency: newBenchTimes(), reply: newBenchTimes(), late: newBenchTimes(), came: make(chan struct{}, 1),
	}
	leave, err := b.subscribe(ctx, cfg, p)
	if err != nil {
		return err
	}
	defer leave()
	if p.pool, err = nsq.NewProducerPool(b.nsqds, cfg); err != nil {
		return err
	}
	defer p.pool.Stop()
	p.start = time.Now()
	endProgress := newProgress(b.stderr, p.start, -1, messagesBar("received")...).run(func() (int64, string) {
		n := p.received.Load()
		return n, fmt.Sprintf("published %d  received %d", p.confirmed.Load(), n)
	})
	failed := p.publishAll(ctx)
	took := time.Since(p.start)
	p.awaitRest()
	endProgress()
	r := p.result(took)
	if err := b.print(r, r.table); err != nil {
		return err
	}
	if failed == nil && r.Missing > 0 {
		failed = fmt.Errorf("%s %s not come within %v", figures.Things(r.Missing, "message"), figures.Verb(r.Missing, "has", "have"), benchPatience)
	}
	return failed
}

// benchProbe is a benchLatency at work.
type benchProbe struct {
	*benchLatency
	run   uint64 // number of the run: messages of others may come from a topic that was named
	pool  *nsq.ProducerPool
	start time.Time
	came  chan struct{} // receives when a message has come

	latency, reply, late      *benchTimes
	next, confirmed, received atomic.Int64
}

// publishAll publishes until the end, and returns the first error.
func (p *benchProbe) publishAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.warmup+p.duration)
	defer cancel()
	return benchTogether(ctx, p.concurrency, p.publish)
}

// publish publishes messages, each at its time, until ctx ends.
func (p *benchProbe) publish(ctx context.Context) error {
	body := benchBody(p.size)
	binary.BigEndian.PutUint64(body, p.run)
	for {
		due := benchDue(p.next.Add(1)-1, p.rate)
		if due >= p.warmup+p.duration || !benchSleep(ctx, p.start.Add(due)) {
			return nil
		}
		binary.BigEndian.PutUint64(body[8:], uint64(due)) // #nosec G115 -- positive
		begun := time.Since(p.start)
		if err := benchPublish(ctx, p.pool, p.topic, [][]byte{body}); err != nil {
			return err
		}
		p.confirmed.Add(1)
		if due >= p.warmup {
			p.reply.add(time.Since(p.start) - begun)
			p.late.add(begun - due)
		}
	}
}

// HandleMessage notes how long a message took.
func (p *benchProbe) HandleMessage(m *nsq.Message) error {
	if len(m.Body) < benchStamp || binary.BigEndian.Uint64(m.Body) != p.run {
		return nil // of somebody else
	}
	due := time.Duration(binary.BigEndian.Uint64(m.Body[8:])) // #nosec G115 -- as publish wrote it
	if due >= p.warmup {
		p.latency.add(time.Since(p.start) - due)
	}
	p.received.Add(1)
	select {
	case p.came <- struct{}{}:
	default:
	}
	return nil
}

// awaitRest waits until all messages have come, or none has come for benchPatience.
func (p *benchProbe) awaitRest() {
	patience := time.NewTimer(benchPatience)
	defer patience.Stop()
	for p.received.Load() < p.confirmed.Load() {
		select {
		case <-p.came:
			patience.Reset(benchPatience)
		case <-patience.C:
			return
		}
	}
}

func (p *benchProbe) result(took time.Duration) *benchLatencyResult {
	n := int(p.confirmed.Load())
	return &benchLatencyResult{
		benchSpeed: newBenchSpeed(&p.benchFlags, n, int64(n)*int64(p.size), took),
		Size:       p.size, Asked: p.rate, Missing: max(0, n-int(p.received.Load())),
		Latency: p.latency.percentiles(), Publish: p.reply.percentiles(), Late: p.late.percentiles(),
	}
}

// table returns the result as text for people.
func (r *benchLatencyResult) table() []byte {
	rows := append(r.rows(), []string{"size", strconv.Itoa(r.Size)}, []string{"rate", fmt.Sprint(r.Asked)}, []string{"missing", strconv.Itoa(r.Missing)})
	return benchTable(rows, [][]string{r.Latency.row("latency"), r.Publish.row("publish"), r.Late.row("late")})
}
