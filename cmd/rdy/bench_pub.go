package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// benchPub measures how fast nsqds take messages.
type benchPub struct {
	benchFlags
	batch int
	rate  float64 // messages per second; 0 means no limit
}

// benchPubResult is what --json prints.
type benchPubResult struct {
	benchSpeed
	Size        int              `json:"size"`
	Batch       int              `json:"batch"`
	Concurrency int              `json:"concurrency"`
	Publish     benchPercentiles `json:"publish"` // from a publish, or from when it was due, to nsqd's reply
}

func newBenchPub(a *app) *cobra.Command {
	b := &benchPub{
		benchFlags: benchFlags{source: source{app: a}, duration: benchDuration, size: benchSize, concurrency: 4},
		batch:      100,
	}
	cmd := &cobra.Command{
		Use:   "pub [TOPIC] (--nsqd host:port | --lookupd host:port)",
		Short: "Measure how fast nsqds take messages",
		Long: `Publish messages as fast as nsqds confirm them, or at --rate, and report how many they
confirmed in what time, and how long a publish took. It ends after --duration, after -n
messages, or with Ctrl-C. The nsqds take turns.

` + benchUsage + `
An ephemeral topic shows the speed of nsqd's memory: beyond 10,000 messages, its
mem-queue-size, nsqd drops them. To measure the disk as well, name a topic.

With --rate a publish is timed from when it was due. So if nsqd pauses, that shows in all
publishes that it holds up, not only in those under way.

If a publish fails, the benchmark ends with exit code 1 and reports what nsqd has confirmed.

` + outputHelp + `

The JSON has messages, bytes, seconds, messages_per_second, bytes_per_second, topic, nsqds,
size, batch, concurrency and publish, which has count, mean_ms, p50_ms, p90_ms, p99_ms,
p999_ms, p9999_ms and max_ms.

` + clientHelp,
		Example: `  rdy bench pub --nsqd 127.0.0.1:4150
  rdy bench pub --lookupd nsqlookupd:4161 --batch 1 --concurrency 64 --size 1000 -n 1000000
  rdy bench pub load.test --nsqd 127.0.0.1:4150 --rate 20000 --duration 1m --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := b.validate(cmd, args); err != nil {
				return err
			}
			log, level := b.logger()
			b.mute(level) // the command itself reports what fails
			cfg, err := b.benchConfig(log, 0)
			if err != nil {
				return usage(cmd, "%w", err)
			}
			return b.run(cmd.Context(), cfg)
		},
	}
	b.addFlags(cmd.Flags())
	return cmd
}

func (b *benchPub) addFlags(f *pflag.FlagSet) {
	b.addCommon(f)
	f.VarP(intFlag(&b.messages, 0, maxMessages), "count", "n", "stop after this many messages; 0 means no limit")
	f.Var(durationFlag(&b.duration, 0, maxBenchDuration), "duration", "stop after this time; 0, and the default with -n, means no limit")
	f.Var(intFlag(&b.size, 1, maxSize), "size", "bytes of a message")
	f.Var(intFlag(&b.batch, 1, maxBatch), "batch", "messages to publish together; with 1 each is published by itself")
	f.Var(intFlag(&b.concurrency, 1, maxBenchConcurrency), "concurrency", "publishes under way at a time")
	f.Var(floatFlag(&b.rate, maxRate), "rate", "messages per second; 0 means as many as possible")
	b.addEnds(f)
}

func (b *benchPub) validate(cmd *cobra.Command, args []string) error {
	if err := b.benchTopic(cmd, args); err != nil {
		return err
	}
	if b.messages > 0 && !cmd.Flags().Changed("duration") {
		b.duration = 0
	}
	if b.batch > 1 && b.batch*(b.size+4)+4 > maxBenchBatch {
		return usage(cmd, "--batch %d of --size %d exceeds 5 MiB, nsqd's default max-body-size", b.batch, b.size)
	}
	return nil
}

// run publishes, and prints the result.
func (b *benchPub) run(ctx context.Context, cfg *nsq.Config) error {
	if err := b.findNSQDs(ctx, cfg); err != nil {
		return err
	}
	if b.throwAway { // as long as it has a channel with a client, it exists
		leave, err := b.subscribe(ctx, cfg, nsq.HandlerFunc(func(*nsq.Message) error { return nil }))
		if err != nil {
			return err
		}
		defer leave()
	}
	pool, err := nsq.NewProducerPool(b.nsqds, cfg)
	if err != nil {
		return err
	}
	defer pool.Stop()
	p := &benchPublisher{benchPub: b, pool: pool, times: newBenchTimes(), start: time.Now()}
	endProgress := newProgress(b.stderr, p.start, b.total(), messagesBar("published")...).run(func() (int64, string) {
		n := p.confirmed.Load()
		return n, fmt.Sprintf("published %d", n)
	})
	failed := p.publishAll(ctx)
	took := time.Since(p.start)
	endProgress()
	n := int(p.confirmed.Load())
	r := &benchPubResult{
		benchSpeed: newBenchSpeed(&b.benchFlags, n, int64(n)*int64(b.size), took),
		Size:       b.size, Batch: b.batch, Concurrency: b.concurrency, Publish: p.times.percentiles(),
	}
	if err := b.print(r, r.table); err != nil {
		return err
	}
	return failed
}

// table returns the result as text for people.
func (r *benchPubResult) table() []byte {
	rows := append(r.rows(),
		[]string{"size", strconv.Itoa(r.Size)}, []string{"batch", strconv.Itoa(r.Batch)}, []string{"concurrency", strconv.Itoa(r.Concurrency)})
	return benchTable(rows, [][]string{r.Publish.row("publish")})
}

// benchPublisher is a benchPub at work.
type benchPublisher struct {
	*benchPub
	pool      *nsq.ProducerPool
	times     *benchTimes
	start     time.Time
	taken     atomic.Int64 // messages that a goroutine has begun to publish
	confirmed atomic.Int64
}

// publishAll publishes on all goroutines until the end. It returns the first error.
func (p *benchPublisher) publishAll(ctx context.Context) error {
	ctx, cancel := p.endAfter(ctx)
	defer cancel()
	return benchTogether(ctx, p.concurrency, p.publish)
}

// publish publishes batches until the end. What is under way then is still confirmed.
func (p *benchPublisher) publish(ctx context.Context) error {
	body := benchBody(p.size)
	bodies := make([][]byte, p.batch)
	for i := range bodies {
		bodies[i] = body
	}
	for {
		last := p.taken.Add(int64(p.batch))
		first := last - int64(p.batch)
		n := p.batch
		if p.messages > 0 {
			n = int(min(last, int64(p.messages)) - first)
		}
		begun := time.Now()
		if p.rate > 0 {
			begun = p.start.Add(benchDue(first, p.rate))
		}
		if n <= 0 || !benchSleep(ctx, begun) {
			return nil
		}
		if err := benchPublish(ctx, p.pool, p.topic, bodies[:n]); err != nil {
			return err
		}
		p.times.add(time.Since(begun))
		p.confirmed.Add(int64(n))
	}
}

// benchTogether calls publish on n goroutines and waits for all. It returns the first error, with
// which it ends the others.
func benchTogether(ctx context.Context, n int, publish func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var first error
	var once sync.Once
	var publishers sync.WaitGroup
	for range n {
		publishers.Go(func() {
			if err := publish(ctx); err != nil {
				once.Do(func() { first = err })
				cancel()
			}
		})
	}
	publishers.Wait()
	return first
}

// benchDue returns when a message is due, after the start, if n were due before it.
func benchDue(n int64, rate float64) time.Duration {
	return time.Duration(float64(n) / rate * float64(time.Second))
}

// benchSleep waits until a time, and reports whether ctx has not ended.
func benchSleep(ctx context.Context, until time.Time) bool {
	if left := time.Until(until); left > 0 {
		timer := time.NewTimer(left)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

// benchPublish publishes messages and waits for nsqd's reply, also after ctx has ended.
func benchPublish(ctx context.Context, pool *nsq.ProducerPool, topic string, bodies [][]byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	if len(bodies) == 1 {
		return pool.PublishContext(ctx, topic, bodies[0])
	}
	return pool.MultiPublishContext(ctx, topic, bodies)
}
