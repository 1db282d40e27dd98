package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/letters"
	"github.com/spf13/cobra"
)

// deadHelp is about what all commands that read dead letters do.
const deadHelp = `NSQ cannot show a message without delivering it. So each look takes the letters and requeues
them: each gains an attempt and may change its place. Only "replay", once nsqd has confirmed
the publish, and "drop" remove a letter from its channel. If rdy is killed, nsqd delivers
the letters again when their leases end, after a minute by default. A look at more letters
than nsqd's max-rdy-count, 2500 by default, requeues some before it ends, and takes some
seconds longer.

Letters wait in the topic while it has no channel, and cannot be read there. The first
command that reads them creates the channel ` + letters.DefaultChannel + `, and says so. From then on
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
	f.Var((*channelFlag)(&d.channel), "channel", "channel with the letters (default "+letters.DefaultChannel+")")
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

// deadLetters are the letters of a topic.
type deadLetters struct {
	*letters.Found
	missing error // of daemons that have not responded
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
	found, findErr := letters.Find(v, topic, cmp.Or(d.channel, letters.DefaultChannel), t.NSQDs)
	if _, ok := errors.AsType[*letters.ChannelError](findErr); ok {
		findErr = fmt.Errorf("%w: name one with --channel", findErr)
	}
	return &deadLetters{found, err}, findErr
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
	if l.Creates() {
		d.notice("rdy: creating channel %s of topic %s: from now on all letters wait there", l.Channel, l.Topic)
	}
	c := l.Counts.Channel(l.Channel)
	if c == nil {
		return
	}
	if n := c.InFlight + c.Deferred; n > 0 {
		d.notice("rdy: not looked at: %s %s in flight or deferred in channel %s", figures.Count(n), figures.Noun(n, "letter"), l.Channel)
	}
	if c.ClientCount > 0 {
		d.notice("rdy: %s of channel %s %s letters at the same time", figures.Things(c.ClientCount, "client"), l.Channel,
			figures.Verb(c.ClientCount, "takes", "take"))
	}
}
