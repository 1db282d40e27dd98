package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/visible"
	"github.com/spf13/cobra"
)

// tail prints the messages of a topic.
type tail struct {
	source
	channel     string
	count       int // 0 means no limit
	maxInFlight int // 0 means the default
	printTopic  bool
	raw         bool
	client      clientFlags

	printed int // messages; set at the end of run
}

// The defaults of --max-in-flight. A channel that the user names has other consumers,
// which wait for what tail holds.
const (
	ownInFlight   = 200
	namedInFlight = 1
)

func newTail(a *app) *cobra.Command {
	t := &tail{source: source{app: a}}
	cmd := &cobra.Command{
		Use:   "tail TOPIC (--nsqd host:port | --lookupd host:port)",
		Short: "Print the messages of a topic as they arrive",
		Long: `Print the messages of a topic as they arrive, each followed by a newline, until
Ctrl-C or, with -n, until that many are printed. It also ends when the program that
reads its output ends. Exactly the printed messages are finished; all others go back
to nsqd at once.

By default tail reads from a new channel, which nsqd deletes at the end. That
channel receives a copy of every message from now on, so other consumers lose
none.

With --channel tail competes with the other consumers of that channel: what it prints
is finished, and they never see it. It takes one message at a time, unless
--max-in-flight says otherwise. If the output goes to another program, a message is
finished only when that program has taken its line from the pipe, and goes back to
nsqd if the program ends before that. Only Linux tells what a program has taken, and
at once that it has ended. On other systems a line counts as printed when it is in
the pipe, and the end shows with the next line.

On a terminal control characters of a message are shown as escapes such as \x1b,
except tabs and newlines. Files and pipes get the bytes as they are, and so does a
terminal with --raw.

With --json each line is an object with id, attempts, timestamp, nsqd and body, or
body_base64 if the body is not valid UTF-8. A message of which --jq or --template make
nothing is finished as well, but does not count for -n. The first message at which they
fail goes back to nsqd and ends tail; jq's "fromjson?" does not fail.

nsqd creates the topic if it does not exist.

` + outputHelp + "\n\n" + clientHelp,
		Example: `  rdy tail orders --nsqd 127.0.0.1:4150
  rdy tail orders --nsqd nsqd1:4150 --nsqd nsqd2:4150 -n 10 --json
  rdy tail orders --lookupd nsqlookupd:4161
  rdy tail orders --lookupd nsqlookupd:4161 --jq '.body | fromjson? | .id'
  rdy tail orders --nsqd 127.0.0.1:4150 --channel audit | grep paid`,
		Args: oneTopic,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.checkAddresses(cmd); err != nil {
				return err
			}
			t.topic = args[0]
			if closedAtStart(t.stdout) {
				return errClosedAtStart
			}
			log, level := t.logger()
			cfg, err := t.consumerConfig(log)
			if err != nil {
				return usage(cmd, "%w", err)
			}
			named := t.channel != ""
			if named {
				t.notice("rdy: what is printed here is finished: other consumers of channel %s never get it; tail holds at most %s",
					t.channel, figures.Things(cfg.MaxInFlight, "message"))
			} else {
				t.channel = fmt.Sprintf("tail%08x#ephemeral", rand.Uint32()) // #nosec G404 -- a name
			}
			return t.run(cmd.Context(), cfg, level, named)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	t.addAddresses(f)
	f.Var((*channelFlag)(&t.channel), "channel", "channel to read from (default a new ephemeral one)")
	f.VarP(intFlag(&t.count, 0, maxMessages), "count", "n", "stop after this many messages; 0 means no limit")
	f.Var(intFlag(&t.maxInFlight, 1, maxMaxInFlight), "max-in-flight", "maximum messages that tail holds at a time (default 200; with --channel 1)")
	f.BoolVar(&t.printTopic, "print-topic", false, "begin each line with the topic and \" | \", unless --json is set")
	f.BoolVar(&t.raw, "raw", false, "print control characters as they are, also on a terminal")
	t.outputFlags(f)
	t.client.add(f)
	return cmd
}

func oneTopic(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) != 1:
		return usage(cmd, "want one topic, got %d", len(args))
	case !nsq.IsValidTopicName(args[0]):
		return usage(cmd, "invalid topic %q: want %s", args[0], nameRule)
	}
	return nil
}

// consumerConfig returns the config of the consumer. Options that --set names override
// tail's own defaults, and other flags override both.
func (t *tail) consumerConfig(log *slog.Logger) (*nsq.Config, error) {
	cfg := t.config(log)
	cfg.LookupdPollInterval = pollInterval
	cfg.MaxInFlight = ownInFlight
	if t.channel != "" {
		cfg.MaxInFlight = namedInFlight
	}
	if err := t.client.apply(cfg); err != nil {
		return nil, err
	}
	cfg.MaxInFlight = cmp.Or(t.maxInFlight, cfg.MaxInFlight)
	if t.count > 0 { // fetch no more than needed, from any nsqd
		cfg.MaxInFlight = min(cfg.MaxInFlight, t.count)
	}
	return cfg, cfg.Validate()
}

// run prints messages. named is true if the user named the channel: then no message may
// be lost on its way to the reader of standard output.
func (t *tail) run(ctx context.Context, cfg *nsq.Config, level *slog.LevelVar, named bool) error {
	consumer, err := nsq.NewConsumer(t.topic, t.channel, cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	end := func(reason error) {
		cancel(reason)
		for _, conn := range consumer.Snapshot().Connections {
			// Once this returns, the nsqd sends no more messages. What the printer
			// requeues from now on therefore does not come straight back.
			_ = consumer.DisconnectFromNSQD(conn.Addr)
		}
	}
	p := &printer{app: t.app, visible: isTerminal(t.stdout) && !t.raw, limit: t.count, end: end}
	if t.printTopic {
		p.prefix = t.topic + " | "
	}
	if r := readerOf(t.stdout); r != nil {
		endWatch, err := r.watch(func() { end(&printError{"standard output", syscall.EPIPE}) })
		if err != nil {
			return err
		}
		defer endWatch()
		if named {
			p.taken = func() bool { return r.awaitTaken(ctx) }
		}
	}
	// A single handler prints one line at a time, whichever nsqd it is from.
	consumer.AddHandler(p)
	context.AfterFunc(ctx, consumer.Stop)
	if err = t.connect(ctx, consumer, level); err == nil {
		<-ctx.Done()
	}
	cancel(nil)
	<-consumer.StopChan
	t.printed = p.printed
	if failed, ok := errors.AsType[*printError](context.Cause(ctx)); ok && !errors.Is(failed, syscall.EPIPE) {
		return failed
	}
	return err // EPIPE is not a failure: the program that reads the lines has had enough
}

// printer is the handler of tail. It finishes a message after its line was written
// and taken, and requeues it otherwise.
type printer struct {
	*app
	prefix  string      // of each line that is not JSON
	visible bool        // control characters are written as escapes
	limit   int         // maximum messages; 0 means no limit
	taken   func() bool // waits until the reader has the line, and reports whether it has; nil if that does not matter
	end     func(error) // called once, after the last line; the error is nil or a *printError

	printed int
	ended   bool // end was called
}

// HandleMessage prints a message. After the end it requeues it.
func (p *printer) HandleMessage(m *nsq.Message) error {
	if p.ended {
		m.RequeueWithoutBackoff(0)
		return nil
	}
	line, err := p.line(m)
	if err != nil {
		p.fail(m, &printError{"message " + string(m.ID[:]), err})
		return nil
	}
	if len(line) == 0 {
		return nil // --jq or --template has dropped the message
	}
	_, err = p.stdout.Write(line)
	if err == nil && p.taken != nil && !p.taken() {
		err = syscall.EPIPE
	}
	if err != nil {
		p.fail(m, &printError{"standard output", err})
		return nil
	}
	if p.printed++; p.printed == p.limit {
		p.ended = true
		p.end(nil)
	}
	return nil
}

// fail ends tail, and gives the message back that could not be printed.
func (p *printer) fail(m *nsq.Message, err error) {
	p.ended = true
	p.end(err)
	m.RequeueWithoutBackoff(0)
}

// printError reports that a message could not be printed.
type printError struct {
	what string // failed: standard output, or a message
	err  error
}

func (e *printError) Error() string { return e.what + ": " + e.err.Error() }
func (e *printError) Unwrap() error { return e.err }

// tailLine is a message as "rdy tail --json" prints it.
type tailLine struct {
	ID         string    `json:"id"`
	Attempts   uint16    `json:"attempts"`
	Timestamp  time.Time `json:"timestamp"`
	NSQD       string    `json:"nsqd,omitempty"` // empty for a message that was read from a file
	Body       string    `json:"body,omitempty"`
	BodyBase64 []byte    `json:"body_base64,omitempty"`
}

func (p *printer) line(m *nsq.Message) ([]byte, error) {
	if !p.json {
		body := m.Body
		if p.visible {
			body = visible.Escape(body, "\t\n")
		}
		return slices.Concat([]byte(p.prefix), body, []byte("\n")), nil
	}
	l := tailLine{
		ID: string(m.ID[:]), Attempts: m.Attempts,
		Timestamp: time.Unix(0, m.Timestamp).UTC(), NSQD: m.NSQDAddress,
	}
	if utf8.Valid(m.Body) {
		l.Body = string(m.Body)
	} else {
		l.BodyBase64 = m.Body
	}
	line, err := jsonLine(l)
	keep := "\n"
	if err == nil && p.shapes() {
		line, err = p.shape(line)
		keep = "\t\n"
	}
	if p.visible {
		line = visible.Escape(line, keep)
	}
	return line, err
}
