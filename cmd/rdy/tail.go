package main

import (
	"bytes"
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

// tail prints the messages of topics.
type tail struct {
	source      // without a topic
	topics      []string
	channel     string
	count       int // 0 means no limit
	maxInFlight int // 0 means the default
	delimiter   []byte
	printTopic  bool
	raw         bool
	client      clientFlags
	caution     string // told when tail has begun; empty for none
}

// The defaults of --max-in-flight. A channel that the user names has other consumers,
// which wait for what tail holds.
const (
	ownInFlight   = 200
	namedInFlight = 1
)

func newTail(a *app) *cobra.Command {
	t := &tail{source: source{app: a, told: make(map[string]bool)}, delimiter: []byte("\n")}
	cmd := &cobra.Command{
		Use:     "tail TOPIC... (--nsqd host:port | --lookupd host:port)",
		Short:   "Print the messages of topics as they arrive",
		Long:    tailHelp,
		Example: tailExamples,
		Args:    someTopics,
		RunE:    t.runE,
	}
	f := cmd.Flags()
	f.SortFlags = false
	t.addAddresses(f)
	t.addHTTP(f)
	f.Var((*channelFlag)(&t.channel), "channel", "channel to read from (default a new ephemeral one)")
	f.VarP(intFlag(&t.count, 0, maxMessages), "count", "n", "stop after this many messages, of all topics together; 0 means no limit")
	f.Var(intFlag(&t.maxInFlight, 1, maxMaxInFlight), "max-in-flight", "maximum messages of a topic that tail holds at a time (default 200; with --channel 1)")
	f.Var((*delimiterFlag)(&t.delimiter), "delimiter", `what follows a message; escapes such as \0, \t, \r\n and \x1e are understood`)
	f.BoolVar(&t.printTopic, "print-topic", false, "print the topic before each message (default true for several topics)")
	f.BoolVar(&t.raw, "raw", false, "print control characters as they are, also on a terminal")
	t.outputFlags(f)
	t.client.add(f)
	return cmd
}

const tailHelp = `Print the messages of topics as they arrive, each followed by a newline or by
--delimiter, until Ctrl-C or, with -n, until that many are printed. It also ends when
the program that reads its output ends. Exactly the printed messages are finished; all
others go back to nsqd at once.

tail reads several topics at the same time, and then prints the topic and " | " before each
message; with --print-topic also for a single topic. It writes each message whole.

By default tail reads from a new channel, which nsqd deletes at the end. That channel
receives a copy of every message from now on, so other consumers lose none.

While a topic has no channel, nsqd keeps its messages for the first one. The channel of tail
would take them all, and they would be gone when tail ends. So tail asks the HTTP APIs of
the nsqds that --lookupd lists, and does not begin if such messages wait. Create a channel
for them with "rdy channel create", or read them with --channel NAME. For dead letters,
which often wait like that, use "rdy dead". To take all and keep none, name an ephemeral
channel, such as --channel all#ephemeral.

nsqd does not list its channels over TCP: with --nsqd give --nsqd-http as well. Without it,
or if a daemon does not respond in time, tail begins anyway and says what it does not know.
tail asks once. Later messages of a topic without a channel go to tail alone, and so do
those that wait on an nsqd that appears later.

With --channel tail competes with the other consumers of that channel: what it prints
is finished, and they never see it. It takes one message at a time, unless
--max-in-flight says otherwise. If the output goes to another program, a message is
finished only when that program has taken its line from the pipe, and goes back to
nsqd if the program ends before that. Only on Linux can tail see what a program has
taken, and notice its end at once. On other systems a line counts as printed when it
is in the pipe, and tail notices the end with the next line.

On a terminal control characters of a message are shown as escapes such as \x1b,
except tabs and newlines. Files and pipes get the bytes as they are, and so does a
terminal with --raw.

"rdy pub" with the same --delimiter publishes the same messages again, byte for byte, if
the delimiter does not occur in them. tail reports a message that contains it.

With --json each line is an object with topic, id, attempts, timestamp, nsqd and body, or
body_base64 if the body is not valid UTF-8. A message for which --jq or --template prints
nothing is finished as well, but does not count for -n. The first message at which they
fail goes back to nsqd and ends tail; jq's "fromjson?" does not fail.

nsqd creates the topic if it does not exist.

` + outputHelp + "\n\n" + clientHelp

const tailExamples = `  rdy tail orders --nsqd 127.0.0.1:4150
  rdy tail orders payments --lookupd nsqlookupd:4161 | grep 4711
  rdy tail orders --nsqd nsqd1:4150 --nsqd nsqd2:4150 -n 10 --json
  rdy tail orders --nsqd 127.0.0.1:4150 --nsqd-http 127.0.0.1:4151
  rdy tail orders --lookupd nsqlookupd:4161 --jq '.body | fromjson? | .id'
  rdy tail orders --nsqd 127.0.0.1:4150 --channel audit | grep paid
  rdy tail orders --nsqd a:4150 --delimiter '\0' | rdy pub orders --nsqd b:4150 --delimiter '\0'`

func (t *tail) runE(cmd *cobra.Command, args []string) error {
	if err := t.checkAddresses(cmd); err != nil {
		return err
	}
	given := cmd.Flags().Changed
	if t.json && (given("delimiter") || given("print-topic")) {
		return usage(cmd, "--delimiter and --print-topic have no meaning for JSON: each object has the topic and ends with a newline")
	}
	t.topics = args
	t.printTopic = t.printTopic || len(args) > 1 && !given("print-topic")
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
		own := &ownChannel{sourceAddresses: t.sourceAddresses, timeout: tailAsks, command: "tail", orNamed: true}
		if _, err = own.refuse(cmd.Context(), t.topics...); err != nil {
			return err
		}
		t.caution = own.caution
	}
	p := newPrinter(t.app, t.raw)
	p.limit, p.printTopic, p.delimiter, p.exact = t.count, t.printTopic, t.delimiter, given("delimiter")
	return t.run(cmd.Context(), cfg, level, p, named)
}

// someTopics accepts one topic or more.
func someTopics(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usage(cmd, "want one topic or more, got 0")
	}
	for i, topic := range args {
		if err := oneTopic(cmd, args[i:i+1]); err != nil {
			return err
		}
		if slices.Contains(args[:i], topic) {
			return usage(cmd, "duplicate topic %s", topic)
		}
	}
	return nil
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
func (t *tail) run(ctx context.Context, cfg *nsq.Config, level *slog.LevelVar, p *printer, named bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	consumers := make([]*nsq.Consumer, len(t.topics))
	for i, topic := range t.topics {
		var err error
		if consumers[i], err = nsq.NewConsumer(topic, t.channel, cfg); err != nil {
			stopAll(consumers[:i])
			return err
		}
	}
	p.end = func(reason error) {
		cancel(reason)
		for _, consumer := range consumers {
			disconnect(consumer)
		}
	}
	if r := readerOf(t.stdout); r != nil {
		endWatch, err := r.watch(func() { p.end(&printError{"standard output", syscall.EPIPE}) })
		if err != nil {
			stopAll(consumers)
			return err
		}
		defer endWatch()
		if named {
			p.taken = func() bool { return r.awaitTaken(ctx) }
		}
	}
	// A single handler of each topic, and the printer's turn, print one line at a time.
	for _, consumer := range consumers {
		consumer.AddHandler(p)
		context.AfterFunc(ctx, consumer.Stop)
	}
	err := t.connectAll(ctx, consumers, level)
	if err == nil {
		<-ctx.Done()
	}
	cancel(nil)
	stopAll(consumers)
	if failed, ok := errors.AsType[*printError](context.Cause(ctx)); ok && !errors.Is(failed, syscall.EPIPE) {
		return failed
	}
	return err // EPIPE is not a failure: the program that reads the lines has had enough
}

// connectAll connects the consumers of all topics.
func (t *tail) connectAll(ctx context.Context, consumers []*nsq.Consumer, level *slog.LevelVar) error {
	for i, consumer := range consumers {
		t.topic = t.topics[i]
		if err := t.connect(ctx, consumer, level); err != nil {
			return err
		}
	}
	if t.caution != "" && ctx.Err() == nil {
		t.notice("rdy: %s", t.caution)
	}
	return nil
}

// disconnect makes nsqds send a consumer no more messages. What its handler requeues from then
// on therefore does not come straight back.
func disconnect(consumer *nsq.Consumer) {
	for _, conn := range consumer.Snapshot().Connections {
		_ = consumer.DisconnectFromNSQD(conn.Addr)
	}
}

// stopAll stops consumers and waits until they have stopped.
func stopAll(consumers []*nsq.Consumer) {
	for _, consumer := range consumers {
		consumer.Stop()
	}
	for _, consumer := range consumers {
		<-consumer.StopChan
	}
}

// printer is the handler of tail. It finishes a message after its line was written
// and taken, and requeues it otherwise.
type printer struct {
	*app
	visible    bool   // control characters are written as escapes
	printTopic bool   // the topic is written before a body
	topic      string // of messages from files, which do not name it
	delimiter  []byte
	exact      bool        // the user has asked for the delimiter, and hears of messages that contain it
	limit      int         // maximum messages; 0 means no limit
	taken      func() bool // waits until the reader has the line, and reports whether it has; nil if that does not matter
	end        func(error) // ends tail, after the last line; the error is nil or a *printError

	turn chan struct{} // holds an element while a message is printed: handlers of several topics take turns

	// Belong to the handler whose turn it is:

	printed int
	ended   bool // no further message is printed
	cut     bool // a message that contains the delimiter was reported
}

// newPrinter returns a printer of lines. Without raw it escapes control characters on a terminal.
func newPrinter(a *app, raw bool) *printer {
	return &printer{app: a, visible: isTerminal(a.stdout) && !raw, delimiter: []byte("\n"), turn: make(chan struct{}, 1)}
}

// HandleMessage prints a message when it is its turn. After the end it requeues it.
func (p *printer) HandleMessage(m *nsq.Message) error {
	select {
	case p.turn <- struct{}{}:
	case <-m.Context().Done():
		m.RequeueWithoutBackoff(0)
		return nil
	}
	defer func() { <-p.turn }()
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
	Topic      string    `json:"topic"`
	ID         string    `json:"id"`
	Attempts   uint16    `json:"attempts"`
	Timestamp  time.Time `json:"timestamp"`
	NSQD       string    `json:"nsqd,omitempty"` // empty for a message that was read from a file
	Body       string    `json:"body,omitempty"`
	BodyBase64 []byte    `json:"body_base64,omitempty"`
}

func (p *printer) line(m *nsq.Message) ([]byte, error) {
	if !p.json {
		return p.plain(m), nil
	}
	l := tailLine{
		Topic: cmp.Or(m.Topic(), p.topic), ID: string(m.ID[:]), Attempts: m.Attempts,
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

// plain returns the line of a message without --json.
func (p *printer) plain(m *nsq.Message) []byte {
	body := m.Body
	if p.visible {
		body = visible.Escape(body, "\t\n")
	}
	var line []byte
	if p.printTopic {
		line = append(line, m.Topic()+" | "...)
	}
	line = append(append(line, body...), p.delimiter...)
	if p.exact && !p.cut && bytes.Index(line, p.delimiter) < len(line)-len(p.delimiter) {
		p.cut = true
		p.notice("rdy: message %s contains the delimiter: a reader cannot tell where it ends; further ones are not reported", m.ID[:])
	}
	return line
}
