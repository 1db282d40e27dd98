package main

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/spf13/cobra"
)

func newTopic(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "topic",
		Short: "List, describe and change topics",
		Long:  "List, describe and change the topics of a cluster.",
		Example: `  rdy topic list --lookupd 127.0.0.1:4161
  rdy topic pause orders --lookupd 127.0.0.1:4161`,
	})
	cmd.AddCommand(newTopicList(a), newTopicDescribe(a))
	cmd.AddCommand(topicActions(a)...)
	return cmd
}

func topicActions(a *app) []*cobra.Command {
	topic := func(args []string) names { return names{topic: args[0]} }
	return []*cobra.Command{
		(&action{app: a, verb: "create", past: "created", do: onTopic((*admin.Cluster).CreateTopic)}).command(&cobra.Command{
			Use:   "create TOPIC (--lookupd address | --nsqd-http address)",
			Short: "Create a topic",
			Long: `Register a topic with the nsqlookupds, and create it on the nsqds of --nsqd-http. Any other
nsqd creates the topic with the first message for it.`,
			Example: `  rdy topic create orders --nsqd-http 127.0.0.1:4151
  rdy topic create orders --lookupd 127.0.0.1:4161 --json`,
			Args: oneTopic,
		}, topic),
		(&action{app: a, verb: "delete", past: "deleted", do: onTopic((*admin.Cluster).DeleteTopic), loses: topicLoss}).command(&cobra.Command{
			Use:   "delete TOPIC (--lookupd address | --nsqd-http address)",
			Short: "Delete a topic with its channels and all messages",
			Long: `Delete a topic with its channels and all their messages, first from the nsqlookupds. Stop
its producers and consumers before that: any that still run create it again. To keep the
messages, pause the topic instead. If no nsqd has the topic, the command fails, but the
nsqlookupds forget it.`,
			Example: `  rdy topic delete orders --lookupd 127.0.0.1:4161
  rdy topic delete orders --lookupd 127.0.0.1:4161 --yes --json`,
			Args: oneTopic,
		}, topic),
		(&action{app: a, verb: "empty", past: "emptied", do: onTopic((*admin.Cluster).EmptyTopic), loses: topicDepthLoss}).command(&cobra.Command{
			Use:   "empty TOPIC (--lookupd address | --nsqd-http address)",
			Short: "Delete the messages that wait in a topic",
			Long: `Delete the messages that wait in a topic itself, not yet copied to its channels. Those in
the channels stay; see "rdy channel empty".`,
			Example: `  rdy topic empty orders --lookupd 127.0.0.1:4161
  rdy topic empty orders --nsqd-http 127.0.0.1:4151 --yes`,
			Args: oneTopic,
		}, topic),
		(&action{app: a, verb: "pause", past: "paused", do: onTopic((*admin.Cluster).PauseTopic)}).command(&cobra.Command{
			Use:   "pause TOPIC (--lookupd address | --nsqd-http address)",
			Short: "Keep messages in a topic",
			Long: `Keep the messages of a topic from its channels until "rdy topic unpause". They wait in the
topic. If another nsqd creates the topic later, it is not paused there.`,
			Example: `  rdy topic pause orders --lookupd 127.0.0.1:4161
  rdy topic pause orders --nsqd-http 127.0.0.1:4151 --json`,
			Args: oneTopic,
		}, topic),
		(&action{app: a, verb: "unpause", past: "unpaused", do: onTopic((*admin.Cluster).UnpauseTopic)}).command(&cobra.Command{
			Use:   "unpause TOPIC (--lookupd address | --nsqd-http address)",
			Short: "End the pause of a topic",
			Long:  "End the pause of a topic: its messages go to its channels again.",
			Example: `  rdy topic unpause orders --lookupd 127.0.0.1:4161
  rdy topic unpause orders --nsqd-http 127.0.0.1:4151 --json`,
			Args: oneTopic,
		}, topic),
		newTombstone(a),
	}
}

// onTopic makes a method of Cluster what an action does.
func onTopic(do func(*admin.Cluster, context.Context, string) error) func(*admin.Cluster, context.Context, names) error {
	return func(c *admin.Cluster, ctx context.Context, n names) error { return do(c, ctx, n.topic) }
}

func newTombstone(a *app) *cobra.Command {
	act := &action{app: a, verb: "tombstone", past: "done", loses: tombstoneLoss,
		do: func(c *admin.Cluster, ctx context.Context, n names) error { return c.Tombstone(ctx, n.topic, n.nsqd) }}
	return act.command(&cobra.Command{
		Use:   "tombstone TOPIC NSQD --lookupd address",
		Short: "Take a topic away from one nsqd",
		Long: `Take a topic away from one nsqd, named by the HTTP address that nsqlookupds list: see "rdy
node list". The nsqlookupds hide that nsqd from consumers of the topic, for 45 seconds by
default, and the nsqd deletes the topic with its messages. First stop the programs that
publish to it: they would create the topic again.`,
		Example: `  rdy topic tombstone orders nsqd-1:4151 --lookupd 127.0.0.1:4161
  rdy topic tombstone orders nsqd-1:4151 --lookupd 127.0.0.1:4161 --yes`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage(cmd, "want a topic and an nsqd, got %s", figures.Things(len(args), "argument"))
			}
			if !isHostPort(args[1]) {
				return usage(cmd, "invalid nsqd %q: want host:port, such as 127.0.0.1:4151", args[1])
			}
			if len(act.cluster.lookupds) == 0 && len(act.cluster.nsqds) > 0 {
				return usage(cmd, "--lookupd is missing: nsqlookupds keep the tombstone")
			}
			return oneTopic(cmd, args[:1])
		},
	}, func(args []string) names { return names{topic: args[0], nsqd: args[1]} })
}

// look is a command that reads a cluster.
type look struct {
	*app
	cluster clusterFlags
}

// command completes the command of a look, whose help is given. show reads the cluster and
// prints; it gets the arguments.
func (l *look) command(cmd *cobra.Command, show func(ctx context.Context, t *target, args []string) error) *cobra.Command {
	cmd.Long += "\n\n" + clusterHelp + "\n\n" + outputHelp
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t, err := l.cluster.target(cmd)
		if err != nil {
			return err
		}
		defer t.close()
		if closedAtStart(l.stdout) {
			return errClosedAtStart
		}
		return show(cmd.Context(), t, args)
	}
	f := cmd.Flags()
	f.SortFlags = false
	l.cluster.add(f)
	l.outputFlags(f)
	return cmd
}

// topicList is what "rdy topic list --json" prints.
type topicList struct {
	Topics []admin.Topic `json:"topics"`
	Errors []nodeError   `json:"errors"`
}

func newTopicList(a *app) *cobra.Command {
	l := &look{app: a}
	return l.command(&cobra.Command{
		Use:   "list (--lookupd address | --nsqd-http address)",
		Short: "List the topics",
		Long: `List the topics of nsqds: the messages that wait in the topic itself, the channels, the
messages in these, and the messages published since the nsqds started. The JSON has
"topics", each as "rdy topic describe" prints it, and "errors".`,
		Example: `  rdy topic list --lookupd 127.0.0.1:4161
  rdy topic list --lookupd 127.0.0.1:4161 --jq '.topics[].topic'`,
		Args: noArgs,
	}, func(ctx context.Context, t *target, _ []string) error {
		v, err := t.poll(ctx, "", "")
		r := topicList{v.Topics, nodeErrors(err)}
		return errors.Join(l.print(r, func() []byte { return topicTable(v) }), incomplete(err))
	})
}

func topicTable(v *admin.View) []byte {
	partial := v.Partial()
	rows := [][]string{{"topic", "depth", "channels", "in channels", "published", "nsqds", "paused"}}
	for i := range v.Topics {
		t := &v.Topics[i]
		backlog := int64(0)
		for j := range t.Channels {
			backlog += t.Channels[j].Backlog()
		}
		rows = append(rows, []string{
			t.Name, atLeast(t.Depth, partial), strconv.Itoa(len(t.Channels)), atLeast(backlog, partial),
			atLeast(int64(t.Messages), partial), // #nosec G115 -- a count from 0
			strconv.Itoa(len(t.NSQDs)), yes(t.Paused),
		})
	}
	var out bytes.Buffer
	align(&out, 1, rows)
	return out.Bytes()
}

// topicDescription is what "rdy topic describe --json" prints.
type topicDescription struct {
	admin.Topic
	Errors []nodeError `json:"errors"`
}

func newTopicDescribe(a *app) *cobra.Command {
	l := &look{app: a}
	return l.command(&cobra.Command{
		Use:   "describe TOPIC (--lookupd address | --nsqd-http address)",
		Short: "Show a topic on each nsqd, and its channels",
		Long: `Show the counts of a topic on each nsqd, and the sums of its channels. The JSON has "topic",
the sums, "nsqds", "channels" with their "nsqds" and "clients", and "errors".`,
		Example: `  rdy topic describe orders --lookupd 127.0.0.1:4161
  rdy topic describe orders --nsqd-http 127.0.0.1:4151 --json`,
		Args: oneTopic,
	}, func(ctx context.Context, t *target, args []string) error {
		v, err := t.poll(ctx, args[0], "")
		missing := notFound(v, args[0], "")
		r := topicDescription{Errors: nodeErrors(errors.Join(missing, err))}
		if found := v.Topic(args[0]); found != nil {
			r.Topic = *found
		} else {
			r.Topic = admin.Topic{Name: args[0], NSQDs: []admin.TopicOn{}, Channels: []admin.Channel{}}
		}
		shown := l.print(r, func() []byte {
			if missing != nil {
				return nil
			}
			return r.table(v.Partial())
		})
		return errors.Join(shown, missing, incomplete(err))
	})
}

// table returns the description as text for people.
func (d *topicDescription) table(partial bool) []byte {
	rows := [][]string{{"nsqd", "depth", "on disk", "published", "bytes", "paused"}}
	row := func(name string, c admin.TopicCounts, partial bool) []string {
		return []string{
			name, atLeast(c.Depth, partial), atLeast(c.DiskDepth, partial),
			atLeast(int64(c.Messages), partial), atLeast(int64(c.Bytes), partial), // #nosec G115 -- counts from 0
			yes(c.Paused),
		}
	}
	for _, on := range d.NSQDs {
		rows = append(rows, row(on.NSQD, on.TopicCounts, false))
	}
	rows = append(rows, row("all", d.TopicCounts, partial))
	var out bytes.Buffer
	align(&out, 1, rows)
	out.WriteByte('\n')
	out.Write(channelTable(d.Channels, partial))
	return out.Bytes()
}

// age returns how long ago something was, for people.
func age(since, now time.Time) string {
	if since.Unix() <= 0 {
		return noFigure
	}
	return figures.Duration(now.Sub(since))
}
