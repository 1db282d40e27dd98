package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/spf13/cobra"
)

func newChannel(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "channel",
		Short: "List, describe and change channels",
		Long:  "List, describe and change the channels of a topic.",
		Example: `  rdy channel list orders --lookupd 127.0.0.1:4161
  rdy channel empty orders billing --lookupd 127.0.0.1:4161`,
	})
	cmd.AddCommand(newChannelList(a), newChannelDescribe(a))
	cmd.AddCommand(channelActions(a)...)
	return cmd
}

func channelActions(a *app) []*cobra.Command {
	channel := func(args []string) names { return names{topic: args[0], channel: args[1]} }
	return []*cobra.Command{
		(&action{app: a, verb: "create", past: "created", do: onChannel((*admin.Cluster).CreateChannel)}).command(&cobra.Command{
			Use:   "create TOPIC CHANNEL (--lookupd address | --nsqd-http address)",
			Short: "Create a channel",
			Long: `Register a channel with the nsqlookupds, and create it on every nsqd that has the topic. It
gets a copy of each message published from then on.`,
			Example: `  rdy channel create orders billing --lookupd 127.0.0.1:4161
  rdy channel create orders billing --nsqd-http 127.0.0.1:4151 --json`,
			Args: oneChannel,
		}, channel),
		(&action{app: a, verb: "delete", past: "deleted", do: onChannel((*admin.Cluster).DeleteChannel), loses: channelLoss}).command(&cobra.Command{
			Use:   "delete TOPIC CHANNEL (--lookupd address | --nsqd-http address)",
			Short: "Delete a channel with all its messages",
			Long: `Delete a channel with all its messages, first from the nsqlookupds. Stop its consumers
before that: any that still run create it again. To keep the messages, pause the channel
instead. If no nsqd has the channel, the command fails, but the nsqlookupds forget it.`,
			Example: `  rdy channel delete orders billing --lookupd 127.0.0.1:4161
  rdy channel delete orders billing --lookupd 127.0.0.1:4161 --yes --json`,
			Args: oneChannel,
		}, channel),
		(&action{app: a, verb: "empty", past: "emptied", do: onChannel((*admin.Cluster).EmptyChannel), loses: channelBacklogLoss}).command(&cobra.Command{
			Use:   "empty TOPIC CHANNEL (--lookupd address | --nsqd-http address)",
			Short: "Delete all messages of a channel",
			Long: `Delete all messages of a channel: waiting, deferred and in flight. Other channels of the
topic keep theirs.`,
			Example: `  rdy channel empty orders billing --lookupd 127.0.0.1:4161
  rdy channel empty orders billing --nsqd-http 127.0.0.1:4151 --yes`,
			Args: oneChannel,
		}, channel),
		(&action{app: a, verb: "pause", past: "paused", do: onChannel((*admin.Cluster).PauseChannel)}).command(&cobra.Command{
			Use:   "pause TOPIC CHANNEL (--lookupd address | --nsqd-http address)",
			Short: "Keep messages from the consumers of a channel",
			Long: `Keep messages from the consumers of a channel until "rdy channel unpause". They wait in the
channel.`,
			Example: `  rdy channel pause orders billing --lookupd 127.0.0.1:4161
  rdy channel pause orders billing --nsqd-http 127.0.0.1:4151 --json`,
			Args: oneChannel,
		}, channel),
		(&action{app: a, verb: "unpause", past: "unpaused", do: onChannel((*admin.Cluster).UnpauseChannel)}).command(&cobra.Command{
			Use:   "unpause TOPIC CHANNEL (--lookupd address | --nsqd-http address)",
			Short: "End the pause of a channel",
			Long:  "End the pause of a channel: its messages go to its consumers again.",
			Example: `  rdy channel unpause orders billing --lookupd 127.0.0.1:4161
  rdy channel unpause orders billing --nsqd-http 127.0.0.1:4151 --json`,
			Args: oneChannel,
		}, channel),
	}
}

// onChannel makes a method of Cluster what an action does.
func onChannel(do func(*admin.Cluster, context.Context, string, string) error) func(*admin.Cluster, context.Context, names) error {
	return func(c *admin.Cluster, ctx context.Context, n names) error { return do(c, ctx, n.topic, n.channel) }
}

// oneChannel accepts a topic and a channel.
func oneChannel(cmd *cobra.Command, args []string) error {
	if len(args) != 2 {
		return usage(cmd, "want a topic and a channel, got %s", figures.Things(len(args), "argument"))
	}
	return validNames(cmd, args)
}

// channelTable returns a table of the channels of a topic.
func channelTable(channels []admin.Channel, partial bool) []byte {
	rows := [][]string{{"channel", "depth", "in flight", "deferred", "requeued", "timed out", "clients", "paused"}}
	for i := range channels {
		rows = append(rows, append([]string{channels[i].Name}, channelCells(channels[i].ChannelCounts, partial)...))
	}
	var out bytes.Buffer
	align(&out, 1, rows)
	return out.Bytes()
}

// channelList is what "rdy channel list --json" prints.
type channelList struct {
	Topic    string          `json:"topic"`
	Channels []admin.Channel `json:"channels"`
	Errors   []nodeError     `json:"errors"`
}

func newChannelList(a *app) *cobra.Command {
	l := &look{app: a}
	return l.command(&cobra.Command{
		Use:   "list TOPIC (--lookupd address | --nsqd-http address)",
		Short: "List the channels of a topic",
		Long: `List the channels of a topic with their sums over all nsqds; "rdy stat" adds rates. The
JSON has "topic", "channels", each as "rdy channel describe" prints it, and "errors".`,
		Example: `  rdy channel list orders --lookupd 127.0.0.1:4161
  rdy channel list orders --lookupd 127.0.0.1:4161 --jq '.channels[].channel'`,
		Args: oneTopic,
	}, func(ctx context.Context, t *target, args []string) error {
		v, err := t.poll(ctx, args[0], "")
		missing := notFound(v, args[0], "")
		r := channelList{Topic: args[0], Channels: []admin.Channel{}, Errors: nodeErrors(errors.Join(missing, err))}
		if found := v.Topic(args[0]); found != nil {
			r.Channels = found.Channels
		}
		shown := l.print(r, func() []byte {
			if missing != nil {
				return nil
			}
			return channelTable(r.Channels, v.Partial())
		})
		return errors.Join(shown, missing, incomplete(err))
	})
}

// channelDescription is what "rdy channel describe --json" prints.
type channelDescription struct {
	Topic string `json:"topic"`
	admin.Channel
	Errors []nodeError `json:"errors"`
}

func newChannelDescribe(a *app) *cobra.Command {
	l := &look{app: a}
	return l.command(&cobra.Command{
		Use:   "describe TOPIC CHANNEL (--lookupd address | --nsqd-http address)",
		Short: "Show a channel on each nsqd, and its clients",
		Long: `Show the counts of a channel on each nsqd, and its clients. For each client: the messages in
flight, how many it accepts at a time (RDY), and how many it has finished and requeued since
it connected. The JSON has "topic", "channel", the sums, "nsqds", "clients" and "errors".`,
		Example: `  rdy channel describe orders billing --lookupd 127.0.0.1:4161
  rdy channel describe orders billing --lookupd 127.0.0.1:4161 --jq '.clients[] | select(.rdy == 0) | .hostname'`,
		Args: oneChannel,
	}, func(ctx context.Context, t *target, args []string) error {
		v, err := t.poll(ctx, args[0], args[1])
		missing := notFound(v, args[0], args[1])
		r := channelDescription{Topic: args[0], Errors: nodeErrors(errors.Join(missing, err))}
		if missing == nil {
			r.Channel = *v.Topic(args[0]).Channel(args[1])
		} else {
			r.Channel = admin.Channel{Name: args[1], NSQDs: []admin.ChannelOn{}}
		}
		shown := l.print(r, func() []byte {
			if missing != nil {
				return nil
			}
			return r.table(v.Partial(), v.At)
		})
		return errors.Join(shown, missing, incomplete(err))
	})
}

// table returns the description as text for people.
func (d *channelDescription) table(partial bool, now time.Time) []byte {
	rows := [][]string{{"nsqd", "depth", "in flight", "deferred", "requeued", "timed out", "clients", "paused"}}
	for _, on := range d.NSQDs {
		rows = append(rows, append([]string{on.NSQD}, channelCells(on.ChannelCounts, false)...))
	}
	rows = append(rows, append([]string{"all"}, channelCells(d.ChannelCounts, partial)...))
	var out bytes.Buffer
	align(&out, 1, rows)
	if len(d.Clients) == 0 {
		return out.Bytes()
	}
	out.WriteByte('\n')
	rows = [][]string{{"client", "host", "nsqd", "user agent", "in flight/RDY", "finished", "requeued", "connected"}}
	for _, c := range d.Clients {
		rows = append(rows, []string{
			c.ID, c.Hostname, c.NSQD, c.UserAgent, fmt.Sprintf("%s/%s", figures.Count(c.InFlight), figures.Count(c.RDY)),
			figures.Count(int64(c.Finished)), figures.Count(int64(c.Requeued)), age(c.Connected, now), // #nosec G115 -- counts from 0
		})
	}
	align(&out, 4, rows)
	return out.Bytes()
}
