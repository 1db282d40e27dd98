package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/rdyhq/nsq"
	"github.com/spf13/cobra"
)

// tailPollInterval is the time between two polls of nsqlookupds: somebody waits
// for the nsqds that have just got the topic.
const tailPollInterval = 5 * time.Second

// tail prints the messages of a topic.
type tail struct {
	*app
	topic, channel string
	nsqds          []string
	lookupds       []string
	count          int // 0 is all there ever are
	maxInFlight    int
	settings       settings
}

func newTail(a *app) *cobra.Command {
	t := &tail{app: a, maxInFlight: 200}
	cmd := &cobra.Command{
		Use:   "tail TOPIC (--nsqd host:port | --lookupd host:port)",
		Short: "Print the messages of a topic as they come",
		Long: `Print the messages of a topic as they come, each followed by a newline, until
Ctrl-C or, with -n, until so many are printed. Exactly those that were printed
are finished; the others go back to nsqd at once.

The default channel is a new one that nsqd deletes at the end: it gets a copy of
every message from now on, and takes none from anybody else. With --channel the
messages of that channel are taken from its other consumers, for good.

With --json a line is an object with id, attempts, timestamp, nsqd and body, or
body_base64 where the body is not UTF-8.

nsqd creates a topic that it does not have.`,
		Example: `  rdy tail orders --nsqd 127.0.0.1:4150
  rdy tail orders --nsqd nsqd1:4150 --nsqd nsqd2:4150 -n 10 --json
  rdy tail orders --lookupd nsqlookupd:4161
  rdy tail orders --nsqd 127.0.0.1:4150 --channel audit | grep paid`,
		Args: oneTopic,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(t.nsqds)+len(t.lookupds) == 0 {
				return usage(cmd, "--nsqd or --lookupd is missing: a host:port, such as 127.0.0.1:4150")
			}
			t.topic = args[0]
			if t.channel == "" {
				t.channel = fmt.Sprintf("tail%08x#ephemeral", rand.Uint32()) // #nosec G404 -- a name
			}
			return t.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var((*addrsFlag)(&t.nsqds), "nsqd", "TCP address of an nsqd; repeat it for more")
	f.Var((*addrsFlag)(&t.lookupds), "lookupd", "HTTP address of an nsqlookupd that knows the nsqds; repeat it for more")
	f.Var((*channelFlag)(&t.channel), "channel", "channel to read (default a new ephemeral one)")
	f.VarP(intFlag(&t.count, 0, maxMessages), "count", "n", "stop after so many messages; 0 is never")
	f.Var(intFlag(&t.maxInFlight, 1, maxMaxInFlight), "max-in-flight", "messages taken ahead of printing")
	f.Var(&t.settings, "set", settingsUsage)
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

func (t *tail) run(ctx context.Context) error {
	log, level := t.logger()
	cfg := t.config(log)
	if err := t.settings.apply(cfg); err != nil {
		return err
	}
	cfg.MaxInFlight = t.maxInFlight
	cfg.LookupdPollInterval = tailPollInterval
	if t.count > 0 { // take no more than that, but from wherever it comes
		cfg.MaxInFlight = min(t.maxInFlight, t.count)
	}
	consumer, err := nsq.NewConsumer(t.topic, t.channel, cfg)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	// One handler: lines come one after the other, whichever nsqds they are from.
	consumer.AddHandler(&printer{w: t.stdout, json: t.json, limit: t.count, end: func(reason error) {
		end(reason)
		for _, conn := range consumer.Snapshot().Connections {
			// When this returns the nsqd sends nothing any more, so that what is
			// given back from here on does not come straight back.
			_ = consumer.DisconnectFromNSQD(conn.Addr)
		}
	}})
	context.AfterFunc(ctx, consumer.Stop)
	if err = t.connect(ctx, consumer, level); err == nil {
		<-ctx.Done()
	}
	end(nil)
	<-consumer.StopChan
	if failed, ok := errors.AsType[*writeError](context.Cause(ctx)); ok && !errors.Is(failed, syscall.EPIPE) {
		return failed
	}
	return err // nil after EPIPE, too: who reads the lines has read enough
}

// connect connects to all nsqds. Without nsqlookupds it takes one; it says which
// ones are missing, and the consumer keeps trying those.
func (t *tail) connect(ctx context.Context, consumer *nsq.Consumer, level *slog.LevelVar) error {
	t.mute(level) // what fails is said below
	err := consumer.ConnectToNSQDs(t.nsqds)
	if len(t.lookupds) > 0 {
		level.Set(t.level)
		err = errors.Join(err, consumer.ConnectToNSQLookupds(t.lookupds))
	}
	if ctx.Err() != nil {
		return nil // the end came first
	}
	found := consumer.Stats().Connections
	if found == 0 && len(t.lookupds) > 0 {
		t.say("rdy: no nsqd has the topic %s yet, waiting", t.topic)
	}
	if err != nil && found == 0 && len(t.lookupds) == 0 {
		return fmt.Errorf("no nsqd to read from: %w", err)
	}
	level.Set(t.level)
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			t.say("rdy: still trying: %s", strings.TrimSpace(line))
		}
	}
	return nil
}

// printer is the handler of a tail. A message is finished when its line is
// written, and only then.
type printer struct {
	w     io.Writer
	json  bool
	limit int         // of messages; 0 is none
	end   func(error) // is called when no more can be printed, with a *writeError if that is why

	printed int
	ended   bool
}

// HandleMessage prints a message.
func (p *printer) HandleMessage(m *nsq.Message) error {
	if p.ended {
		m.RequeueWithoutBackoff(0)
		return nil
	}
	line, err := p.line(m)
	if err == nil {
		_, err = p.w.Write(line)
	}
	if err != nil {
		p.ended = true
		p.end(&writeError{err})
		m.RequeueWithoutBackoff(0)
		return nil
	}
	if p.printed++; p.printed == p.limit {
		p.ended = true
		p.end(nil)
	}
	return nil
}

// writeError says that a line could not be printed.
type writeError struct{ err error }

func (e *writeError) Error() string { return "standard output: " + e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// tailLine is a message as "rdy tail --json" prints it.
type tailLine struct {
	ID         string    `json:"id"`
	Attempts   uint16    `json:"attempts"`
	Timestamp  time.Time `json:"timestamp"`
	NSQD       string    `json:"nsqd"`
	Body       string    `json:"body,omitempty"`
	BodyBase64 []byte    `json:"body_base64,omitempty"`
}

func (p *printer) line(m *nsq.Message) ([]byte, error) {
	if !p.json {
		return append(slices.Clip(m.Body), '\n'), nil
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
	return jsonLine(l)
}
