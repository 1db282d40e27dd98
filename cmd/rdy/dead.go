package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/letters"
	"github.com/spf13/cobra"
)

const (
	// deadChannel is the channel that is created in a topic of dead letters without one.
	deadChannel = "rdy-dead"

	deadTopicSuffix = ".dead" // of the names that DeadLetterPolicy gives
)

// deadHelp is about what all commands that read dead letters do.
const deadHelp = `NSQ cannot show a message without delivering it. So each look takes the letters and requeues
them: each gains an attempt and may change its place. Only "replay", once nsqd has confirmed
the publish, and "drop" remove a letter from its channel. If rdy is killed, nsqd delivers
the letters again when their leases end, after a minute by default. A look at more letters
than nsqd's max-rdy-count, 2500 by default, requeues some before it ends, and takes some
seconds longer.

Letters wait in the topic while it has no channel, and cannot be read there. The first
command that reads them creates the channel ` + deadChannel + `, and says so. From then on
all letters wait in that channel, and a channel created after it gets only later ones. If
a topic has other channels but not this one, name one with --channel. A look leaves out
letters that are deferred or that another consumer holds.

rdy reads the letters over TCP: on the host of --nsqd-http, or at the address that
nsqlookupds list, with the TCP port that nsqd names.`

func newDead(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "dead",
		Short: "List, show, replay and drop dead letters",
		Long: `List, show, replay and drop dead letters: messages that a consumer could not handle, which
a DeadLetterPolicy or --dead-letter of another command has put into a topic of their own.`,
		Example: `  rdy dead list --lookupd 127.0.0.1:4161
  rdy dead list orders.billing.dead --lookupd 127.0.0.1:4161
  rdy dead replay orders.billing.dead --all --lookupd 127.0.0.1:4161`,
	})
	cmd.AddCommand(newDeadList(a), newDeadShow(a), newDeadReplay(a), newDeadDrop(a))
	return cmd
}

// dead is what the commands that read dead letters share.
type dead struct {
	*app
	cluster clusterFlags
	client  clientFlags
	channel string
}

// command completes a command, whose help and arguments are given. do does the work.
func (d *dead) command(cmd *cobra.Command, help []string, do func(cmd *cobra.Command, t *target, args []string) error) *cobra.Command {
	cmd.Long = strings.Join(append(append([]string{cmd.Long}, help...), clusterHelp, outputHelp, clientHelp), "\n\n")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t, err := d.cluster.target(cmd)
		if err != nil {
			return err
		}
		defer t.close()
		if strings.HasSuffix(d.channel, "#ephemeral") {
			return usage(cmd, "--channel %s: nsqd may delete an ephemeral channel with all its letters once rdy has read them", d.channel)
		}
		if closedAtStart(d.stdout) {
			return errClosedAtStart
		}
		return do(cmd, t, args)
	}
	f := cmd.Flags()
	d.cluster.add(f)
	f.Var((*channelFlag)(&d.channel), "channel", "channel with the letters (default "+deadChannel+")")
	d.client.add(f)
	d.outputFlags(f)
	return cmd
}

// clientConfig returns the config of the consumers and producers.
func (d *dead) clientConfig(cmd *cobra.Command) (*nsq.Config, error) {
	log, level := d.logger()
	d.mute(level) // the command itself reports what fails
	cfg := d.config(log)
	err := d.client.apply(cfg)
	if err == nil {
		err = cfg.Validate()
	}
	if err != nil {
		return nil, usage(cmd, "%w", err)
	}
	return cfg, nil
}

// deadLetters are the letters of a topic, and where they wait.
type deadLetters struct {
	topic, channel string
	queues         []letters.Queue // of the nsqds that have any
	counts         *admin.Topic
	missing        error // of daemons that have not responded
}

// count returns how many letters wait.
func (l *deadLetters) count() (n int64) {
	for _, q := range l.queues {
		n += q.Waiting
	}
	return n
}

// find returns the letters of a topic. The error says why none would come.
func (d *dead) find(ctx context.Context, t *target, topic string) (*deadLetters, error) {
	v, err := t.poll(ctx, topic, "")
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if missing := notFound(v, topic, ""); missing != nil {
		return nil, errors.Join(missing, err)
	}
	kept := v.Topic(topic)
	found := &deadLetters{topic: topic, channel: cmp.Or(d.channel, deadChannel), counts: kept, missing: err}
	if names := channelNames(kept); len(names) > 0 && !slices.Contains(names, found.channel) {
		return nil, fmt.Errorf("the letters of topic %s are in %s %s: name one with --channel",
			topic, figures.Verb(len(names), "the channel", "the channels"), list(names))
	}
	for _, n := range v.NSQDs {
		q := letters.Queue{Topic: topic, Channel: found.channel, Waiting: waitingOn(kept, found.channel, n.Addr)}
		if q.Waiting == 0 {
			continue
		}
		if q.Addr = deadAddr(n, t.NSQDs); q.Addr == "" {
			return nil, fmt.Errorf("nsqd %s has letters, but listens on a Unix socket only", n.Addr)
		}
		found.queues = append(found.queues, q)
	}
	return found, found.paused()
}

// paused returns an error if a pause keeps the letters back.
func (l *deadLetters) paused() error {
	if l.counts.Paused && l.counts.Depth > 0 {
		return fmt.Errorf("topic %s is paused: rdy topic unpause %s lets its letters into the channel", l.topic, l.topic)
	}
	if c := l.counts.Channel(l.channel); c != nil && c.Paused {
		return fmt.Errorf("channel %s of topic %s is paused: rdy channel unpause %s %s lets its letters be read", l.channel, l.topic, l.topic, l.channel)
	}
	return nil
}

// failed returns the error of a command that has read no letter. With --json it prints the
// result, which has the error: what reads that gets no empty input.
func (d *dead) failed(result any, err error) error {
	if d.json {
		err = errors.Join(d.printJSON(result), err)
	}
	return err
}

// tell says what reading the letters changes, and what it leaves out.
func (d *dead) tell(l *deadLetters) {
	c := l.counts.Channel(l.channel)
	if c == nil {
		if len(l.queues) > 0 {
			d.notice("rdy: creating channel %s of topic %s: from now on all letters wait there", l.channel, l.topic)
		}
		return
	}
	if n := c.InFlight + c.Deferred; n > 0 {
		d.notice("rdy: not looked at: %s %s in flight or deferred in channel %s", figures.Count(n), figures.Noun(n, "letter"), l.channel)
	}
	if c.ClientCount > 0 {
		d.notice("rdy: %s of channel %s %s letters at the same time", figures.Things(c.ClientCount, "client"), l.channel,
			figures.Verb(c.ClientCount, "takes", "take"))
	}
}

// waitingOn returns how many letters wait on an nsqd for a channel, which need not exist yet.
func waitingOn(t *admin.Topic, channel, nsqd string) (n int64) {
	for _, on := range t.NSQDs {
		if on.NSQD == nsqd {
			n = on.Depth
		}
	}
	if c := t.Channel(channel); c != nil {
		for _, on := range c.NSQDs {
			if on.NSQD == nsqd {
				n += on.Depth
			}
		}
	}
	return n
}

func channelNames(t *admin.Topic) (names []string) {
	if t != nil {
		for i := range t.Channels {
			names = append(names, t.Channels[i].Name)
		}
	}
	return names
}

// deadAddr returns the address for clients of an nsqd, empty if there is none. The host of an
// nsqd that the user has named is the user's: what the nsqd broadcasts may be out of reach.
func deadAddr(n admin.NSQD, named []string) string {
	addr := n.TCPAddr()
	if addr == "" || !slices.Contains(named, n.Addr) {
		return addr
	}
	hostPort := n.Addr
	if _, rest, isURL := strings.Cut(hostPort, "://"); isURL {
		hostPort, _, _ = strings.Cut(rest, "/")
	}
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return addr
	}
	return net.JoinHostPort(host, strconv.Itoa(n.TCPPort))
}
