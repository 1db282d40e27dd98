package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	maxBenchDuration    = 24 * time.Hour
	maxBenchConcurrency = 10_000
	maxBenchLatency     = time.Minute // longer ones count as this long
	benchInFlight       = 2000
	benchSize           = 200
	benchDuration       = 10 * time.Second

	// maxBenchBatch is nsqd's default max-body-size.
	maxBenchBatch = 5 << 20
)

const benchHelp = `Measure what a cluster can do: how fast it takes messages (pub), how fast it delivers
them (sub), and how long a message takes from its publisher to its consumer (latency).

pub and latency publish meaningless messages. Without a topic they go to a new ephemeral
one, which nsqd deletes at the end. They go to a topic with other channels only if you name
it.`

func newBench(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "bench",
		Short: "Measure how fast a cluster publishes and delivers",
		Long:  benchHelp,
		Example: `  rdy bench pub --nsqd 127.0.0.1:4150
  rdy bench sub orders --nsqd 127.0.0.1:4150 --nsqd-http 127.0.0.1:4151
  rdy bench latency --nsqd 127.0.0.1:4150 --rate 5000`,
	})
	cmd.AddCommand(newBenchPub(a), newBenchSub(a), newBenchLatency(a))
	return cmd
}

// benchFlags are the flags that the three benchmarks share.
type benchFlags struct {
	source
	throwAway   bool // the topic is new, and nsqd deletes it at the end
	messages    int  // 0 means no limit
	duration    time.Duration
	size        int
	concurrency int
	client      clientFlags
}

// addCommon adds the flags that come first.
func (b *benchFlags) addCommon(f *pflag.FlagSet) {
	f.SortFlags = false
	b.addAddresses(f)
}

// addEnds adds the flags that come last.
func (b *benchFlags) addEnds(f *pflag.FlagSet) {
	b.outputFlags(f)
	b.client.add(f)
}

// benchTopic takes the topic of the arguments, or a new one. It returns an error if the command
// cannot begin.
func (b *benchFlags) benchTopic(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		b.topic, b.throwAway = benchName(), true
	} else if err := oneTopic(cmd, args); err != nil {
		return err
	} else {
		b.topic = args[0]
	}
	if err := b.checkAddresses(cmd); err != nil {
		return err
	}
	if closedAtStart(b.stdout) {
		return errClosedAtStart
	}
	return nil
}

// ownChannel returns the channel that a benchmark makes for itself. command is the name of the
// benchmark, and orNamed says that it has --channel.
func (b *benchFlags) ownChannel(command string, orNamed bool) *ownChannel {
	return &ownChannel{sourceAddresses: b.sourceAddresses, timeout: defaultRequestTimeout, command: command, orNamed: orNamed, strict: true}
}

// benchName returns the name of a new topic or channel that nsqd deletes when it is not used
// any more.
func benchName() string {
	return fmt.Sprintf("rdy_bench_%08x#ephemeral", rand.Uint32()) // #nosec G404 -- a name
}

// benchConfig returns the config of consumers and producers, which options of --set override.
func (b *benchFlags) benchConfig(log *slog.Logger, inFlight int) (*nsq.Config, error) {
	cfg := b.config(log)
	cfg.MaxInFlight = inFlight
	cfg.RecycleBodies = true
	if err := b.client.apply(cfg); err != nil {
		return nil, err
	}
	return cfg, cfg.Validate()
}

// findNSQDs makes the nsqds that nsqlookupds list part of b.nsqds: whether or not they have
// the topic. Then it checks that a client can talk to each of them.
func (b *benchFlags) findNSQDs(ctx context.Context, cfg *nsq.Config) error {
	if len(b.lookupds) > 0 {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		defer transport.CloseIdleConnections()
		cluster := &admin.Cluster{Lookupds: b.lookupds, Client: &http.Client{Transport: transport, Timeout: defaultRequestTimeout}}
		addrs, err := listedNSQDs(ctx, cluster)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case len(addrs)+len(b.nsqds) == 0:
			return fmt.Errorf("cannot find the nsqds: %w", err)
		case err != nil:
			b.notice("rdy: measuring only the nsqds that are known: %s", oneLine(err))
		}
		for _, addr := range addrs {
			if !slices.Contains(b.nsqds, addr) {
				b.nsqds = append(b.nsqds, addr)
			}
		}
		b.lookupds = nil
	}
	for _, addr := range b.nsqds {
		if _, err := nsq.CheckNSQD(ctx, addr, cfg); err != nil {
			return err
		}
	}
	return nil
}

// subscribe connects a consumer with a channel of its own. nsqd deletes the channel when the
// consumer has stopped, and with it a topic that is thrown away.
func (b *benchFlags) subscribe(ctx context.Context, cfg *nsq.Config, h nsq.Handler) (stop func(), err error) {
	consumer, err := nsq.NewConsumer(b.topic, benchName(), cfg)
	if err != nil {
		return nil, err
	}
	consumer.AddConcurrentHandlers(h, max(b.concurrency, 1))
	stop = func() {
		consumer.Stop()
		<-consumer.StopChan
	}
	if err := consumer.Connect(ctx, b.nsqds...); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// endAfter returns a context that also ends after the duration, if there is one.
func (b *benchFlags) endAfter(ctx context.Context) (context.Context, context.CancelFunc) {
	if b.duration == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, b.duration)
}

// total returns the number of messages for the progress, -1 if it is not known.
func (b *benchFlags) total() int64 {
	if b.messages == 0 {
		return -1
	}
	return int64(b.messages)
}

// benchSpeed is how much was published or consumed, and how fast.
type benchSpeed struct {
	Messages  int     `json:"messages"`
	Bytes     int64   `json:"bytes"` // of their bodies
	Seconds   float64 `json:"seconds"`
	Rate      float64 `json:"messages_per_second"`
	ByteRate  float64 `json:"bytes_per_second"`
	Topic     string  `json:"topic"`
	NSQDCount int     `json:"nsqds"`
}

func newBenchSpeed(b *benchFlags, messages int, bytes int64, took time.Duration) benchSpeed {
	s := benchSpeed{Messages: messages, Bytes: bytes, Seconds: took.Seconds(), Topic: b.topic, NSQDCount: len(b.nsqds)}
	if took > 0 {
		s.Rate, s.ByteRate = float64(messages)/took.Seconds(), float64(bytes)/took.Seconds()
	}
	return s
}

// rows returns the rows of a table.
func (s *benchSpeed) rows() [][]string {
	return [][]string{
		{"topic", s.Topic},
		{"nsqds", strconv.Itoa(s.NSQDCount)},
		{"messages", figures.Count(int64(s.Messages))},
		{"seconds", fmt.Sprintf("%.2f", s.Seconds)},
		{"messages/s", figures.Rate(s.Rate)},
		{"MB/s", fmt.Sprintf("%.1f", s.ByteRate/1e6)},
	}
}

// benchTimes counts durations. Any goroutine may call its methods.
type benchTimes struct {
	mu sync.Mutex // guards h
	h  *hdrhistogram.Histogram
}

func newBenchTimes() *benchTimes {
	return &benchTimes{h: hdrhistogram.New(1, int64(maxBenchLatency), 3)}
}

func (t *benchTimes) add(d time.Duration) {
	d = min(max(d, 1), maxBenchLatency)
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.h.RecordValue(int64(d)) // which is in its range
}

// benchPercentiles are durations in milliseconds.
type benchPercentiles struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean_ms"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	P9999 float64 `json:"p9999_ms"`
	Max   float64 `json:"max_ms"`
}

func (t *benchTimes) percentiles() benchPercentiles {
	t.mu.Lock()
	defer t.mu.Unlock()
	ms := func(ns float64) float64 { return ns / float64(time.Millisecond) }
	at := func(q float64) float64 { return ms(float64(t.h.ValueAtQuantile(q))) }
	return benchPercentiles{
		Count: t.h.TotalCount(), Mean: ms(t.h.Mean()), P50: at(50), P90: at(90), P99: at(99),
		P999: at(99.9), P9999: at(99.99), Max: ms(float64(t.h.Max())),
	}
}

// benchTimesHead is the first row of a table of percentiles.
func benchTimesHead() []string {
	return []string{"", "mean", "50 %", "90 %", "99 %", "99.9 %", "99.99 %", "max"}
}

// row returns a row of that table.
func (p *benchPercentiles) row(name string) []string {
	row := []string{name}
	for _, ms := range []float64{p.Mean, p.P50, p.P90, p.P99, p.P999, p.P9999, p.Max} {
		row = append(row, benchMS(ms))
	}
	return row
}

// benchMS returns milliseconds with three digits.
func benchMS(ms float64) string {
	switch {
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}

// benchTable returns rows of names and values, and below them percentiles if there are any.
func benchTable(rows, times [][]string) []byte {
	var out bytes.Buffer
	align(&out, 2, rows)
	if len(times) > 0 {
		out.WriteByte('\n')
		align(&out, 1, append([][]string{benchTimesHead()}, times...))
	}
	return out.Bytes()
}

// benchBody returns random bytes, which do not shrink if a connection compresses.
func benchBody(size int) []byte {
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(rand.Uint32()) // #nosec G404 G115 -- no secret
	}
	return body
}

// benchUsage says what becomes of the messages.
const benchUsage = `Without TOPIC the messages go to a new ephemeral one with an ephemeral channel, and nsqd
deletes both at the end. Messages to a topic that you name stay there, for all its channels.`
