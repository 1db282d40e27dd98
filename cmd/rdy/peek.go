package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/letters"
	"github.com/spf13/cobra"
)

const (
	defaultPeekCount = 10
	defaultPeekFor   = 10 * time.Second
	minPeekFor       = 100 * time.Millisecond
	maxPeekFor       = 10 * time.Minute // nsqd accepts a msg_timeout of 15 minutes
)

// peek prints messages and leaves them where they are.
type peek struct {
	*app
	nsqds          addrsFlag // TCP addresses, for new messages
	cluster        clusterFlags
	topic, channel string
	backlog        bool
	dataDir        string
	count          int           // 0 means no limit
	timeLimit      time.Duration // not for files
	yes            bool
	raw            bool
	client         clientFlags
}

func newPeek(a *app) *cobra.Command {
	p := &peek{app: a, count: defaultPeekCount, timeLimit: defaultPeekFor}
	cmd := &cobra.Command{
		Use:   "peek [TOPIC [CHANNEL]] (--nsqd host:port | --lookupd address | --nsqd-http address | --data-dir directory)",
		Short: "Look at messages without taking them",
		Long: `Print a few messages, 10 unless -n says otherwise, and leave them to the consumers.
There are three places to look at.

peek TOPIC prints new messages, as rdy tail does: from a new channel that gets a copy of
every message from now on, and that nsqd deletes at the end. Other consumers lose nothing,
and peek does not see messages that already wait. It ends after -n messages or, unlike tail,
after --for. nsqd creates the topic if it does not exist.

While a topic has no channel, nsqd keeps its messages for the first one. The channel of peek
would take them all, and they would be gone when peek ends. So peek asks the HTTP APIs of
the nsqds, and does not begin if such messages wait, or if it cannot tell. With --nsqd give
the HTTP address of each by --nsqd-http; with --nsqd-http alone peek finds the TCP addresses
there. To see such messages create a channel for them with "rdy channel create", or use
--data-dir or, for dead letters, "rdy dead". peek asks once. Later messages of a topic
without a channel go to peek alone, and so do those that wait on an nsqd that appears later.

peek TOPIC CHANNEL --backlog prints messages that wait in a channel. NSQ cannot show them,
so peek takes them and requeues them. It never finishes one. Each message loses its place in
the queue and an attempt, so that consumers with a max_attempts give up earlier, and counts
as requeued. peek holds the messages until it has -n of them, at most 1,000, or until none
comes for a second. Then it requeues them without a delay, in the order in which they came,
and only then prints them. So each loses one attempt, none comes twice, and a slow reader of
the output does not keep them from consumers. Ctrl-C requeues as well. If peek dies, nsqd
delivers the messages again 15 seconds after --for.

The command first says what it will do. On a terminal it then asks you to type the name of
the channel. Without a terminal it needs --yes. Subscribing to a channel that does not exist
would create it. So peek asks the HTTP APIs for the channel first, and finds the TCP
addresses there: give --lookupd or --nsqd-http, not --nsqd.

peek [TOPIC [CHANNEL]] --data-dir reads the files in nsqd's --data-path: the queue of a
topic or of a channel. It changes nothing, and nsqd may be running or not. Messages that a
running nsqd holds in memory are not in the files: most of them, unless there are more than
--mem-queue-size. A stopped nsqd has written all of them there, except those of ephemeral
topics and channels. nsqd notes where a queue begins and ends every 2 seconds or 2,500
messages, so peek may show messages that consumers have just got. Without a topic it lists
the queues: "on disk" is how many messages nsqd has noted, "bad files" are those that nsqd
could not read and has put aside. On Windows an open file cannot be deleted: stop nsqd
first.

On a terminal control characters of a message are shown as escapes such as \x1b,
except tabs and newlines, unless --raw is given. With --json each line is an object with
topic, id, attempts, timestamp, body, or body_base64 if the body is not valid UTF-8, and
nsqd, except from files. The list of queues has "queues" with "topic", "channel", "depth",
which is null if nsqd has noted none, "bytes", "bad_files" and "error". A message for which
--jq or --template prints nothing does not count for -n, except with --backlog.

` + outputHelp + "\n\n" + clientHelp + `

Exit codes: 0 success, also if there was no message, and after Ctrl-C; 1 if nothing could
be read, a file is damaged, or a daemon did not respond.`,
		Example: `  rdy peek orders --nsqd-http 127.0.0.1:4151
  rdy peek orders --lookupd 127.0.0.1:4161 -n 1 --for 1m --json
  rdy peek orders billing --backlog --lookupd 127.0.0.1:4161
  rdy peek --data-dir /var/lib/nsq
  rdy peek orders billing --data-dir /var/lib/nsq -n 0 --jq .id`,
		Args: func(cmd *cobra.Command, args []string) error {
			p.topic, p.channel = topicAndChannel(args)
			return atMostChannel(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return p.run(cmd) },
	}
	p.flags(cmd)
	return cmd
}

// run looks where the flags and arguments say.
func (p *peek) run(cmd *cobra.Command) error {
	if err := p.check(cmd); err != nil {
		return err
	}
	if closedAtStart(p.stdout) {
		return errClosedAtStart
	}
	switch {
	case p.dataDir != "":
		return p.readDisk(cmd.Context())
	case p.backlog:
		return p.readBacklog(cmd)
	}
	return p.readNew(cmd)
}

func (p *peek) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(&p.nsqds, "nsqd", "TCP address of an nsqd, for new messages; repeat the flag for more")
	fromProfile(f, "nsqd")
	p.cluster.add(f)
	f.BoolVar(&p.backlog, "backlog", false, "look at what waits in the channel: take messages and requeue them")
	f.StringVar(&p.dataDir, "data-dir", "", "look at the disk queues in this `directory` of an nsqd")
	f.VarP(intFlag(&p.count, 0, maxMessages), "count", "n", "stop after this many messages; 0 means no limit, but not with --backlog")
	f.Var(durationFlag(&p.timeLimit, minPeekFor, maxPeekFor), "for", "stop after this time")
	f.BoolVar(&p.yes, "yes", false, "do not ask before --backlog")
	f.BoolVar(&p.raw, "raw", false, "print control characters as they are, also on a terminal")
	p.outputFlags(f)
	p.client.add(f)
}

// check returns an error if the arguments and flags do not belong together.
func (p *peek) check(cmd *cobra.Command) error {
	given := func(name string) bool { return cmd.Flags().Changed(name) }
	stray := func(where string, names ...string) error {
		for _, name := range names {
			if given(name) {
				return usage(cmd, "--%s has no meaning with %s", name, where)
			}
		}
		return nil
	}
	switch {
	case given("data-dir") && p.dataDir == "":
		return usage(cmd, "--data-dir is empty; give the directory of an nsqd's files")
	case p.dataDir != "":
		return stray("--data-dir", "backlog", "nsqd", "lookupd", "nsqd-http", "timeout", "for", "yes", settingsName, "auth-secret-file")
	case p.topic == "":
		return usage(cmd, "want a topic, or --data-dir")
	case p.backlog && p.channel == "":
		return usage(cmd, "--backlog needs a channel after the topic")
	case p.backlog && (p.count < 1 || p.count > maxPeekHeld):
		return usage(cmd, "-n %d: with --backlog want 1 to %d messages, which peek holds at the same time", p.count, maxPeekHeld)
	case p.backlog && !p.yes && !isTerminal(p.stdin):
		return usage(cmd, "each message will cost an attempt, and there is no terminal to ask on: --yes is needed")
	case p.backlog:
		return stray("--backlog; it finds the nsqds by --lookupd or --nsqd-http", "nsqd")
	case p.channel != "":
		return usage(cmd, "to look at channel %s give --backlog, which takes its messages and requeues them, or --data-dir", p.channel)
	case len(p.nsqds)+len(p.cluster.lookupds)+len(p.cluster.nsqds) == 0:
		return usage(cmd, "--nsqd-http or --lookupd is missing; give an address such as --nsqd-http 127.0.0.1:4151")
	}
	if err := stray("new messages", "yes"); err != nil {
		return err
	}
	return p.ownChannel().usage(cmd)
}

// ownChannel is what reads new messages.
func (p *peek) ownChannel() *ownChannel {
	from := sourceAddresses{nsqds: p.nsqds, lookupds: p.cluster.lookupds, nsqdHTTPs: p.cluster.nsqds}
	return &ownChannel{sourceAddresses: from, timeout: p.cluster.timeout, command: "peek", strict: true}
}

// readNew prints messages that are published from now on.
func (p *peek) readNew(cmd *cobra.Command) error {
	own := p.ownChannel()
	t := &tail{source: source{app: p.app, sourceAddresses: own.sourceAddresses, told: make(map[string]bool)}, topics: []string{p.topic}, count: p.count, client: p.client}
	log, level := t.logger()
	cfg, err := t.consumerConfig(log)
	if err != nil {
		return usage(cmd, "%w", err)
	}
	t.channel = fmt.Sprintf("peek%08x#ephemeral", rand.Uint32()) // #nosec G404 -- a name
	v, err := own.refuse(cmd.Context(), p.topic)
	if err != nil || v == nil { // or interrupted
		return err
	}
	if len(p.nsqds)+len(p.cluster.lookupds) == 0 {
		if t.nsqds, err = p.tcpAddrs(v); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), p.timeLimit)
	defer cancel()
	out := newPrinter(p.app, p.raw)
	out.limit = p.count
	err = t.run(ctx, cfg, level, out, false)
	if err == nil && out.printed == 0 && cmd.Context().Err() == nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		p.notice("rdy: no new message of topic %s in %v; what already waits is not among them", p.topic, p.timeLimit)
	}
	return err
}

// tcpAddrs returns the addresses of nsqds for clients.
func (p *peek) tcpAddrs(v *admin.View) (addrs []string, err error) {
	for _, n := range v.NSQDs {
		addr := letters.ClientAddr(n, p.cluster.nsqds)
		if addr == "" {
			return nil, fmt.Errorf("nsqd %s listens on a Unix socket only", n.Addr)
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

// peekPrinter prints messages that peek has already given back, or has not taken.
type peekPrinter struct {
	*printer
}

func (p *peek) printer() *peekPrinter {
	out := newPrinter(p.app, p.raw)
	out.topic = p.topic
	return &peekPrinter{out}
}

// print prints a message, and reports whether there is something of it to print. done is true
// if the reader of the output has had enough.
func (p *peekPrinter) print(m *nsq.Message) (printed, done bool, err error) {
	line, err := p.line(m)
	if err != nil {
		return false, false, &printError{"message " + strings.ToValidUTF8(string(m.ID[:]), "?"), err}
	}
	if len(line) == 0 {
		return false, false, nil
	}
	_, err = p.stdout.Write(line)
	if errors.Is(err, syscall.EPIPE) {
		return false, true, nil
	}
	if err != nil {
		return false, false, &printError{"standard output", err}
	}
	return true, false, nil
}
