package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/spf13/cobra"
)

const (
	maxRate     = 10_000_000
	maxBatch    = 100_000
	maxRetryFor = 24 * time.Hour
	maxDefer    = 365 * 24 * time.Hour // the library's limit; nsqd's own is an hour unless configured

	// pubPulse is the interval of heartbeats with nsqd, and half of how long one
	// that has frozen is waited for. Whoever pipes lines waits, too.
	pubPulse = 5 * time.Second

	modeFailover = "failover"
	modeAll      = "all"
	stdinName    = "-"
)

// pub publishes lines.
type pub struct {
	*app
	topic      string
	nsqds      []string
	mode       string
	files      []string
	delimiter  []byte
	jsonLines  bool
	deferFor   time.Duration
	rate       float64 // messages per second; 0 is as fast as it goes
	batch      int
	maxMsgSize int
	retryFor   time.Duration
	settings   settings
	quiet      bool

	tally *tally
}

func newPub(a *app) *cobra.Command {
	p := &pub{
		app: a, mode: modeFailover, delimiter: []byte("\n"),
		batch: 200, maxMsgSize: maxSize, retryFor: 30 * time.Second,
	}
	cmd := &cobra.Command{
		Use:   "pub --topic name --nsqd host:port [FILE...]",
		Short: "Publish each line of files or of standard input",
		Long: `Publish each line of the files, or of standard input without any or for "-", as a
message. The last line needs no delimiter. Empty lines are skipped: nsqd takes no
empty messages.

What is there is published at once, in batches while more comes than goes. To a
single nsqd the lines go in their order; only what it has to be sent again, after
a refusal or a lost connection, may come behind lines that follow. With several
nsqds they take turns, and stand in for each other; with --mode all each gets every
line.

A line that is too long, no JSON where that is asked for, or refused by nsqd is
told by its number and counted as failed, and the others go on. Where the
connection is lost before nsqd has answered the outcome is unknown: such lines are
not sent again, as that might double them. When nothing could be published for
--retry-for the command stops, and says at which line; so it does when nsqd gives no
answer for so long, and for 10 seconds at least.

  published  lines that nsqd, or with --mode all each nsqd, has confirmed
  failed     lines that are certainly not stored, or not everywhere
  unknown    lines that may be stored
  skipped    empty lines

The exit code is 0 only if every line was published. After Ctrl-C what is under way
is completed, and the code is 1: the rest was not published.`,
		Example: `  rdy pub --topic orders --nsqd 127.0.0.1:4150 orders.jsonl --json-lines
  tail -F app.log | rdy pub --topic log --nsqd nsqd1:4150 --nsqd nsqd2:4150
  find . -print0 | rdy pub --topic files --nsqd 127.0.0.1:4150 --delimiter '\0'
  seq 1000000 | rdy pub --topic numbers --nsqd 127.0.0.1:4150 --rate 5000 --json
  echo later | rdy pub --topic t --nsqd 127.0.0.1:4150 --defer 5m
  rdy pub --topic t --nsqd nsqd:4150 --set tls_root_ca_file,ca.pem --set auth_secret,s3cret dump.txt`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p.files = args
			if len(args) == 0 {
				p.files = []string{stdinName}
			}
			if err := p.check(cmd); err != nil {
				return err
			}
			cfg, err := p.producerConfig()
			if err != nil {
				return usage(cmd, "%w", err)
			}
			return p.run(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var((*topicFlag)(&p.topic), "topic", "topic to publish to")
	f.Var((*addrsFlag)(&p.nsqds), "nsqd", "TCP address of an nsqd; repeat it for more")
	f.Var(oneOfFlag(&p.mode, modeFailover, modeAll), "mode", "with several nsqds: failover publishes a line to one of them, all to each")
	f.Var((*delimiterFlag)(&p.delimiter), "delimiter", `what ends a line; \0, \t, \r\n, \x1e and the like are understood`)
	f.BoolVar(&p.jsonLines, "json-lines", false, "publish only lines that are valid JSON; others fail")
	f.Var(durationFlag(&p.deferFor, 0, maxDefer), "defer", "have nsqd keep each message back for so long; no batches then")
	f.Var(floatFlag(&p.rate, 0, maxRate), "rate", "messages per second at most; 0 is as fast as it goes")
	f.Var(intFlag(&p.batch, 1, maxBatch), "batch", "messages per command at most")
	f.Var(intFlag(&p.maxMsgSize, 1, math.MaxInt32), "max-msg-size", "longest line, in bytes; nsqd's default is the same")
	f.Var(durationFlag(&p.retryFor, 0, maxRetryFor), "retry-for", "how long to try when nothing can be published; 0 stops at once")
	f.Var(&p.settings, "set", settingsUsage)
	f.BoolVarP(&p.quiet, "quiet", "q", false, "show no progress and no summary")
	return cmd
}

// check finds what is wrong before it costs a connection.
func (p *pub) check(cmd *cobra.Command) error {
	switch {
	case p.topic == "":
		return usage(cmd, "--topic is missing")
	case len(p.nsqds) == 0:
		return usage(cmd, "--nsqd is missing: a host:port, such as 127.0.0.1:4150")
	}
	for _, name := range p.files {
		if name == stdinName {
			continue
		}
		info, err := os.Stat(name)
		if err == nil && info.IsDir() {
			err = &fs.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
		}
		if err != nil {
			return usage(cmd, "%w", err)
		}
	}
	return nil
}

// producerConfig is the config for the producers.
func (p *pub) producerConfig() (*nsq.Config, error) {
	log, level := p.logger()
	p.mute(level) // what becomes of the lines is said here
	cfg := p.config(log)
	cfg.HeartbeatInterval, cfg.ReadTimeout, cfg.WriteTimeout = pubPulse, 2*pubPulse, 2*pubPulse
	if err := p.settings.apply(cfg); err != nil {
		return nil, err
	}
	cfg.MaxMsgSize = int32(p.maxMsgSize) // #nosec G115 -- the flag's range
	return cfg, cfg.Validate()
}

// run publishes everything and says what became of it.
func (p *pub) run(ctx context.Context, cfg *nsq.Config) error {
	to, err := p.publishers(cfg)
	if err != nil {
		return err
	}
	start := time.Now()
	p.tally = newTally(logWriter(p.stderr))
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	in := p.read(reading)
	endProgress := p.showProgress(start)
	err = newSender(p, to).run(ctx, in.lines)
	stopReading()
	err = errors.Join(err, in.end())
	endProgress()
	r := p.tally.result(time.Since(start))
	if err != nil {
		err = fmt.Errorf("%w; %d lines were published", err, r.Published)
	} else {
		err = r.err()
	}
	if p.json {
		err = errors.Join(err, p.printJSON(r))
	} else if !p.quiet {
		_, _ = p.stderr.Write(r.table()) // where that fails there is nobody to tell
	}
	return err
}

// publishers are what publishes to the nsqds: one that each line goes to, or
// one for each of them.
func (p *pub) publishers(cfg *nsq.Config) ([]publisher, error) {
	if p.mode == modeFailover && len(p.nsqds) > 1 {
		pool, err := nsq.NewProducerPool(p.nsqds, cfg)
		return []publisher{pool}, err
	}
	var to []publisher
	for _, addr := range p.nsqds {
		producer, err := nsq.NewProducer(addr, cfg)
		if err != nil {
			return nil, err
		}
		to = append(to, producer)
	}
	return to, nil
}

// showProgress shows how far it is until the function it returns is called,
// which waits for that.
func (p *pub) showProgress(start time.Time) (end func()) {
	if p.quiet {
		return func() {}
	}
	total := p.totalBytes()
	var show *progress
	if total > 0 {
		show = newProgress(p.stderr, start, total, bytesBar...)
	} else {
		show = newProgress(p.stderr, start, -1, messagesBar("published")...)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(progressInterval)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				show.lines()
				return
			case now := <-tick.C:
				c := p.tally.now()
				how := int64(c.Published)
				if total > 0 {
					how = c.read
				}
				show.show(now, how, fmt.Sprintf("published %d  failed %d  unknown %d", c.Published, c.Failed, c.Unknown))
			}
		}
	}()
	return func() { close(stop); <-done }
}

// totalBytes is how much there is to read, 0 if that is not known.
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
