package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/spf13/cobra"
)

func newNode(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "node",
		Short: "List the nsqds and nsqlookupds, read and change nsqd's flags",
		Long:  "List the nsqds and nsqlookupds of a cluster, read and change the flags of nsqds.",
		Example: `  rdy node list --lookupd 127.0.0.1:4161
  rdy node config log_level debug --nsqd-http 127.0.0.1:4151`,
	})
	cmd.AddCommand(newNodeList(a), newNodeConfig(a))
	return cmd
}

// nodeList is what "rdy node list --json" prints.
type nodeList struct {
	NSQDs    []admin.NSQD    `json:"nsqds"`
	Lookupds []admin.Lookupd `json:"lookupds"`
	Errors   []nodeError     `json:"errors"`
}

func newNodeList(a *app) *cobra.Command {
	l := &look{app: a}
	return l.command(&cobra.Command{
		Use:   "list (--lookupd address | --nsqd-http address)",
		Short: "List the nsqds and nsqlookupds",
		Long: `List the nsqds of a cluster by HTTP address: TCP address, version, health, how many of the
nsqlookupds list it, its topics, the messages in its topics and channels, and how long it
has been up. Then list the nsqlookupds: how many nsqds are registered, and how many of their
topics are tombstoned.

The JSON has "nsqds", "lookupds" with what is "registered", and "errors".`,
		Example: `  rdy node list --lookupd 127.0.0.1:4161
  rdy node list --lookupd 127.0.0.1:4161 --jq '.nsqds[] | select(.health != "OK") | .addr'`,
		Args: noArgs,
	}, func(ctx context.Context, t *target, _ []string) error {
		v, err := t.poll(ctx, "", "")
		r := nodeList{NSQDs: v.NSQDs, Lookupds: v.Lookupds, Errors: nodeErrors(err)}
		if r.NSQDs == nil {
			r.NSQDs = []admin.NSQD{}
		}
		return errors.Join(l.print(r, func() []byte { return nodeTables(v) }), incomplete(err))
	})
}

// nodeTables returns the nsqds and nsqlookupds as text for people.
func nodeTables(v *admin.View) []byte {
	var out bytes.Buffer
	topics, backlog := holdings(v)
	rows := [][]string{{"nsqd", "TCP", "version", "health", "listed by", "topics", "messages", "up for"}}
	for _, n := range v.NSQDs {
		listed := noFigure
		if len(v.Lookupds) > 0 {
			listed = fmt.Sprintf("%d/%d", len(n.Lookupds), len(v.Lookupds))
		}
		if n.Error != "" {
			rows = append(rows, []string{n.Addr, noFigure, noFigure, "missing", listed, noFigure, noFigure, noFigure})
			continue
		}
		rows = append(rows, []string{
			n.Addr, n.TCPAddr(), n.Version, n.Health, listed,
			strconv.Itoa(topics[n.Addr]), figures.Count(backlog[n.Addr]), age(n.Started, v.At),
		})
	}
	align(&out, 4, rows)
	if len(v.Lookupds) == 0 {
		return out.Bytes()
	}
	out.WriteByte('\n')
	rows = [][]string{{"nsqlookupd", "nsqds", "tombstones"}}
	for _, l := range v.Lookupds {
		if l.Error != "" {
			rows = append(rows, []string{l.Addr, "missing", noFigure})
			continue
		}
		tombstones := 0
		for _, r := range l.Registered {
			tombstones += len(r.Tombstoned)
		}
		rows = append(rows, []string{l.Addr, strconv.Itoa(len(l.Registered)), strconv.Itoa(tombstones)})
	}
	align(&out, 1, rows)
	return out.Bytes()
}

// holdings returns how many topics and messages nsqds hold, by address.
func holdings(v *admin.View) (topics map[string]int, messages map[string]int64) {
	topics, messages = make(map[string]int), make(map[string]int64)
	for i := range v.Topics {
		for _, on := range v.Topics[i].NSQDs {
			topics[on.NSQD]++
			messages[on.NSQD] += on.Depth
		}
		for j := range v.Topics[i].Channels {
			for _, on := range v.Topics[i].Channels[j].NSQDs {
				messages[on.NSQD] += on.Backlog()
			}
		}
	}
	return topics, messages
}
