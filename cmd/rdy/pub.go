package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	maxRate     = 10_000_000
	maxBatch    = 100_000
	maxRetryFor = 24 * time.Hour
	maxDefer    = 365 * 24 * time.Hour // the library's limit; nsqd's default is an hour

	// pubHeartbeat is the heartbeat interval. A connection that has been silent
	// for twice as long counts as lost. It is shorter than the library's default
	// because the program that pipes lines in waits as well.
	pubHeartbeat = 5 * time.Second

	modeFailover = "failover"
	modeAll      = "all"
	stdinName    = "-"
)

// pub publishes lines.
type pub struct {
	*app
	topic string
	sourceAddresses
	mode       string
	files      []string
	delimiter  []byte
	jsonLines  bool
	deferFor   time.Duration
	rate       float64 // messages per second; 0 means no limit
	batch      int
	maxMsgSize int
	retryFor   time.Duration
	client     clientFlags
	quiet      bool

	tally *tally
}

const pubHelp = `Publish each line of the files as a message. Without files, or for the file "-",
read standard input. The last line needs no delimiter. Empty lines are skipped,
because nsqd accepts no empty messages.

The topic is the first argument and the files are the others, as in "rdy pub orders
orders.jsonl". With --topic all arguments are files.

Lines are published right away, and in batches under load. A single nsqd receives
them in order; only lines that have to be sent again, after a refusal or a lost
connection, may end up behind later ones. Several nsqds take turns and stand in
for each other; with --mode all each of them receives every line.

With --lookupd the nsqds are those that the nsqlookupds list, whatever their topics. They
take turns, and one that is listed later joins them. --mode all uses those that are listed
at the start, and needs a response from each nsqlookupd. With --lookupd lines keep no order.

pub reads what "rdy tail" prints. Through a pipe from tail, messages stay the same byte for
byte, if both have the same --delimiter and it does not occur in the messages.

A line fails if it is too long, if nsqd refuses it, or if --json-lines is set and
it is not valid JSON. The first ten failures are reported with their line numbers,
and the other lines are still published. If a connection is lost before nsqd has
replied, its lines may or may not be stored. They count as unknown and are not
sent again, because that could publish them twice.

The command stops, and reports at which line, when nothing could be published for
--retry-for, or when nsqd has not replied for that long and for at least 10 seconds.

  published  lines that nsqd has confirmed; with --mode all, that every nsqd has confirmed
  failed     lines that are certainly not stored; with --mode all, not on every nsqd
  unknown    lines that may be stored
  skipped    empty lines

The exit code is 0 only if every line was published. After Ctrl-C the command
completes the publishes under way and exits with code 1, because the remaining
lines were not published.

` + clientHelp

const pubExamples = `  rdy pub orders --nsqd 127.0.0.1:4150 orders.jsonl --json-lines
  tail -F app.log | rdy pub log --nsqd nsqd1:4150 --nsqd nsqd2:4150
  find . -print0 | rdy pub files --lookupd 127.0.0.1:4161 --delimiter '\0'
  seq 1000000 | rdy pub numbers --nsqd 127.0.0.1:4150 --rate 5000 --json
  echo later | rdy pub t --nsqd 127.0.0.1:4150 --defer 5m
  rdy pub --topic t --nsqd nsqd:4150 --set tls_root_ca_file,ca.pem --auth-secret-file secret dump.txt`

func newPub(a *app) *cobra.Command {
	p := &pub{
		app: a, mode: modeFailover, delimiter: []byte("\n"),
		batch: 200, maxMsgSize: maxSize, retryFor: 30 * time.Second,
	}
	cmd := &cobra.Command{
		Use:     "pub TOPIC [FILE...] (--nsqd host:port | --lookupd host:port)",
		Short:   "Publish each line of files or of standard input",
		Long:    pubHelp,
		Example: pubExamples,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.takeArgs(cmd, args); err != nil {
				return err
			}
			if err := p.validate(cmd); err != nil {
				return err
			}
			cfg, err := p.producerConfig()
			if err != nil {
				return usage(cmd, "%w", err)
			}
			if p.json && closedAtStart(p.stdout) {
				return errClosedAtStart
			}
			return p.run(cmd.Context(), cfg)
		},
	}
	p.addFlags(cmd.Flags())
	return cmd
}

func (p *pub) addFlags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.Var((*topicFlag)(&p.topic), "topic", "topic to publish to; all arguments are files then")
	p.addAddresses(f)
	f.Var(oneOfFlag(&p.mode, modeFailover, modeAll), "mode", "with several nsqds: publish each line to one of them (failover) or to all of them (all)")
	f.Var((*delimiterFlag)(&p.delimiter), "delimiter", `what ends a line; escapes such as \0, \t, \r\n and \x1e are understood`)
	f.BoolVar(&p.jsonLines, "json-lines", false, "publish only lines that are valid JSON; the others fail")
	f.Var(durationFlag(&p.deferFor, 0, maxDefer), "defer", "have nsqd deliver each message only after this delay; turns batches off")
	f.Var(floatFlag(&p.rate, maxRate), "rate", "maximum messages per second; 0 means no limit")
	f.Var(intFlag(&p.batch, 1, maxBatch), "batch", "maximum messages in a batch")
	f.Var(intFlag(&p.maxMsgSize, 1, math.MaxInt32), "max-msg-size", "maximum length of a line in bytes; the default is also nsqd's")
	f.Var(durationFlag(&p.retryFor, 0, maxRetryFor), "retry-for", "how long to keep trying while nothing can be published; 0 stops at once")
	p.client.add(f)
	f.BoolVarP(&p.quiet, "quiet", "q", false, "print neither progress nor summary")
	p.outputFlags(f)
}

// takeArgs takes the topic, unless --topic names it, and the files.
func (p *pub) takeArgs(cmd *cobra.Command, args []string) error {
	if p.topic == "" {
		if len(args) == 0 {
			return usage(cmd, "the topic is missing")
		}
		p.topic, args = args[0], args[1:]
		// Who names a file alone means it as the input, and would publish something else.
		if info, err := os.Stat(p.topic); len(args) == 0 && err == nil && info.Mode().IsRegular() {
			return usage(cmd, "%s is a file: name the topic before it, or write --topic if it is the topic", p.topic)
		}
		if !nsq.IsValidTopicName(p.topic) {
			return usage(cmd, "invalid topic %q: want %s", p.topic, nameRule)
		}
	}
	p.files = args
	if len(args) == 0 {
		p.files = []string{stdinName}
	}
	return nil
}

// validate checks the flags and files before anything is dialled.
func (p *pub) validate(cmd *cobra.Command) error {
	if err := p.checkAddresses(cmd); err != nil {
		return err
	}
	if len(p.nsqds) > 0 && len(p.lookupds) > 0 {
		return usage(cmd, "--nsqd and --lookupd exclude each other")
	}
	for _, name := range p.files {
		if name == stdinName {
			continue
		}
		info, err := os.Stat(name)
		if err == nil && info.IsDir() {
			err = &fs.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
		}
		if errors.Is(err, fs.ErrNotExist) && cmd.Flags().Changed("topic") {
			return usage(cmd, "%w; with --topic all arguments are files", err)
		}
		if err != nil {
			return usage(cmd, "%w", err)
		}
	}
	return nil
}

// producerConfig returns the config of the producers.
func (p *pub) producerConfig() (*nsq.Config, error) {
	log, level := p.logger()
	p.mute(level) // the command itself reports what fails
	cfg := p.config(log)
	cfg.LookupdPollInterval = pollInterval
	cfg.HeartbeatInterval, cfg.ReadTimeout, cfg.WriteTimeout = pubHeartbeat, 2*pubHeartbeat, 2*pubHeartbeat
	if err := p.client.apply(cfg); err != nil {
		return nil, err
	}
	cfg.MaxMsgSize = int32(p.maxMsgSize) // #nosec G115 -- the flag's range
	return cfg, cfg.Validate()
}

// run publishes all lines and prints the summary.
func (p *pub) run(ctx context.Context, cfg *nsq.Config) error {
	start := time.Now()
	p.tally = newTally(logWriter(p.stderr))
	to, err := p.publishers(ctx, cfg)
	if err != nil {
		if p.json {
			err = errors.Join(err, p.printJSON(p.tally.result(time.Since(start))))
		}
		return err
	}
	start = time.Now()
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	in := p.startReading(reading)
	endProgress := p.showProgress(start)
	err = newSender(p, to).run(ctx, in.lines)
	stopReading()
	err = errors.Join(err, in.stop())
	endProgress()
	r := p.tally.result(time.Since(start))
	if err != nil {
		err = fmt.Errorf("%w; %s %s published", err, figures.Things(r.Published, "line"), figures.Verb(r.Published, "was", "were"))
	} else {
		err = r.err()
	}
	if p.json {
		err = errors.Join(err, p.printJSON(r))
	} else if !p.quiet {
		_, _ = p.stderr.Write(r.table()) // an error has nowhere to go
	}
	return err
}

// publishers returns the publishers that every line goes to: a pool of all nsqds,
// or a Producer for each.
func (p *pub) publishers(ctx context.Context, cfg *nsq.Config) ([]publisher, error) {
	addrs := p.nsqds
	if len(p.lookupds) > 0 {
		var err error
		if addrs, err = p.awaitListed(ctx); err != nil {
			return nil, err
		}
	}
	switch {
	case p.mode == modeFailover && len(p.lookupds) > 0:
		pool, err := nsq.NewDiscoveredProducerPool(p.lookupds, cfg)
		return []publisher{pool}, err
	case p.mode == modeFailover && len(addrs) > 1:
		pool, err := nsq.NewProducerPool(addrs, cfg)
		return []publisher{pool}, err
	}
	var to []publisher
	for _, addr := range addrs {
		producer, err := nsq.NewProducer(addr, cfg)
		if err != nil {
			return nil, err
		}
		to = append(to, producer)
	}
	return to, nil
}

// showProgress shows progress until the returned function is called. That waits
// until the last line is written.
func (p *pub) showProgress(start time.Time) (end func()) {
	if p.quiet || p.typed() {
		return func() {}
	}
	total := p.totalBytes()
	var show *progress
	if total > 0 {
		show = newProgress(p.stderr, start, total, bytesBar...)
	} else {
		show = newProgress(p.stderr, start, -1, messagesBar("published")...)
	}
	return show.run(func() (int64, string) {
		c := p.tally.now()
		completed := int64(c.Published)
		if total > 0 {
			completed = c.read
		}
		return completed, fmt.Sprintf("published %d  failed %d  unknown %d", c.Published, c.Failed, c.Unknown)
	})
}

// typed reports whether lines come from a terminal. Progress would mix with what is
// typed there.
func (p *pub) typed() bool {
	return slices.Contains(p.files, stdinName) && isTerminal(p.stdin)
}

// totalBytes returns the size of the input, or 0 if it is not known.
func (p *pub) totalBytes() int64 {
	var sum int64
	for _, name := range p.files {
		info, err := p.stat(name)
		if err != nil || !info.Mode().IsRegular() {
			return 0
		}
		sum += info.Size()
	}
	return sum
}

func (p *pub) stat(name string) (fs.FileInfo, error) {
	if name != stdinName {
		return os.Stat(name)
	}
	f, ok := p.stdin.(*os.File)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return f.Stat()
}
