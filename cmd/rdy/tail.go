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

// tailPollInterval is the time between two polls of nsqlookupds. It is short
// because a user is waiting for nsqds that have only just got the topic.
const tailPollInterval = 5 * time.Second

// tail prints the messages of a topic.
type tail struct {
	*app
	topic, channel string
	nsqds          []string
	lookupds       []string
	count          int // 0 means no limit
	maxInFlight    int
	client         clientFlags
}

func newTail(a *app) *cobra.Command {
	t := &tail{app: a, maxInFlight: 200}
	cmd := &cobra.Command{
		Use:   "tail TOPIC (--nsqd host:port | --lookupd host:port)",
		Short: "Print the messages of a topic as they arrive",
		Long: `Print the messages of a topic as they arrive, each followed by a newline, until
Ctrl-C or, with -n, until that many are printed. Exactly the printed messages are
finished; all others go back to nsqd at once.

By default tail reads from a new channel, which nsqd deletes at the end. That
channel receives a copy of every message from now on, so other consumers lose
none. With --channel tail competes with the other consumers of that channel: what
it prints is finished, and they never see it.

With --json each line is an object with id, attempts, timestamp, nsqd and body, or
body_base64 if the body is not valid UTF-8.

nsqd creates the topic if it does not exist.

` + clientHelp,
		Example: `  rdy tail orders --nsqd 127.0.0.1:4150
  rdy tail orders --nsqd nsqd1:4150 --nsqd nsqd2:4150 -n 10 --json
  rdy tail orders --lookupd nsqlookupd:4161
  rdy tail orders --nsqd 127.0.0.1:4150 --channel audit | grep paid`,
		Args: oneTopic,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(t.nsqds)+len(t.lookupds) == 0 {
				return usage(cmd, "--nsqd or --lookupd is missing; give an address such as 127.0.0.1:4150")
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
	f.Var((*addrsFlag)(&t.nsqds), "nsqd", "TCP address of an nsqd; repeat the flag for more")
	f.Var((*addrsFlag)(&t.lookupds), "lookupd", "HTTP address of an nsqlookupd that lists the nsqds; repeat the flag for more")
	f.Var((*channelFlag)(&t.channel), "channel", "channel to read from (default a new ephemeral one)")
	f.VarP(intFlag(&t.count, 0, maxMessages), "count", "n", "stop after this many messages; 0 means no limit")
	f.Var(intFlag(&t.maxInFlight, 1, maxMaxInFlight), "max-in-flight", "maximum messages fetched ahead of printing")
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

func (t *tail) run(ctx context.Context) error {
	log, level := t.logger()
	cfg := t.config(log)
	if err := t.client.apply(cfg); err != nil {
		return err
	}
	cfg.MaxInFlight = t.maxInFlight
	cfg.LookupdPollInterval = tailPollInterval
	if t.count > 0 { // fetch no more than needed, from any nsqd
		cfg.MaxInFlight = min(t.maxInFlight, t.count)
	}
	consumer, err := nsq.NewConsumer(t.topic, t.channel, cfg)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	// A single handler prints one line at a time, whichever nsqd it is from.
	consumer.AddHandler(&printer{w: t.stdout, json: t.json, limit: t.count, end: func(reason error) {
		end(reason)
		for _, conn := range consumer.Snapshot().Connections {
			// Once this returns, the nsqd sends no more messages. What the printer
			// requeues from now on therefore does not come straight back.
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
	return err // EPIPE is not a failure: the program that reads the lines has had enough
}

// connect connects to the nsqds. Without nsqlookupds at least one of them has to
// be reachable. connect reports the others, and the consumer keeps dialling them.
func (t *tail) connect(ctx context.Context, consumer *nsq.Consumer, level *slog.LevelVar) error {
	t.mute(level) // failures are reported below
	err := withAddresses(consumer, consumer.ConnectToNSQDs(t.nsqds))
	if len(t.lookupds) > 0 {
		level.Set(t.level)
		err = errors.Join(err, consumer.ConnectToNSQLookupds(t.lookupds))
	}
	if ctx.Err() != nil {
		return nil // interrupted while connecting
	}
	found := consumer.Stats().Connections
	if found == 0 && len(t.lookupds) > 0 {
		t.notice("rdy: no nsqd has the topic %s yet; waiting", t.topic)
	}
	if err != nil && found == 0 && len(t.lookupds) == 0 {
		return fmt.Errorf("no nsqd is reachable: %w", err)
	}
	level.Set(t.level)
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			t.notice("rdy: still trying: %s", strings.TrimSpace(line))
		}
	}
	return nil
}

// withAddresses returns the reasons why nsqds are not connected, each with its address,
// which a single error of ConnectToNSQDs need not name.
func withAddresses(consumer *nsq.Consumer, err error) error {
	var failed []error
	for _, conn := range consumer.Snapshot().Connections {
		if conn.LastError != nil {
			failed = append(failed, conn.LastError)
		}
	}
	if err == nil || len(failed) == 0 {
		return err
	}
	return errors.Join(failed...)
}

// printer is the handler of tail. It finishes a message after it has written its
// line, and requeues it otherwise.
type printer struct {
	w     io.Writer
	json  bool
	limit int         // maximum messages; 0 means no limit
	end   func(error) // called once, after the last line; the error is nil or a *writeError

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

// writeError reports that a line could not be printed.
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
