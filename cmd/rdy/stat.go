package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/admin"
	"github.com/spf13/cobra"
)

const (
	defaultInterval = 2 * time.Second
	minInterval     = 100 * time.Millisecond
	maxInterval     = time.Hour
	maxReports      = 100_000_000
)

// stat prints what nsqds count of channels.
type stat struct {
	*app
	cluster        clusterFlags
	topic, channel string // empty: all
	interval       time.Duration
	noRates        bool
	watch          bool
	count          int // 0 means no limit

	missing string // the errors of the last poll that were told
}

func newStat(a *app) *cobra.Command {
	s := &stat{app: a, interval: defaultInterval}
	cmd := &cobra.Command{
		Use:   "stat [TOPIC [CHANNEL]] (--lookupd address | --nsqd-http address)",
		Short: "Show depths, counts and rates of channels",
		Long: `Show a table of the channels of a cluster: of all topics, of one topic, or one channel.
Counts are sums over all nsqds, since each has started.

  depth       messages that wait; those in flight and deferred are not among them
  in flight   messages that consumers hold
  deferred    messages that wait for their time
  requeued    how often consumers have given a message back
  timed out   how often consumers have kept one for too long
  in/s        messages that come from the topic
  finished/s  messages that leave the channel; emptying a channel looks the same
  drains in   until the channel is empty, if all goes on like this

A row without channel is what waits in the topic itself. Rates take two polls, so that
the first table comes after --interval. "≥" means that a daemon has not responded:
the figure may be higher.

With --watch there is a new table after each interval, or a new line with --json, until
Ctrl-C or for --count tables. A daemon that does not respond does not end it.

The JSON has the time "at", "interval_seconds", "topics" and "channels", each with its
counts and "rates", and "errors" with the daemons that have not responded. Rates are
missing until there were two polls. "drain_seconds" is null if the channel never drains.

` + clusterHelp + "\n\n" + outputHelp + `

Exit codes: 0 success, 1 if the topic or channel does not exist or a daemon did not
respond; with --watch the last table decides, and Ctrl-C is a success.`,
		Example: `  rdy stat --lookupd 127.0.0.1:4161
  rdy stat orders --nsqd-http 127.0.0.1:4151 --no-rates
  rdy stat orders billing --lookupd 127.0.0.1:4161 --watch --interval 10s
  rdy stat --lookupd 127.0.0.1:4161 --jq '.channels[] | select(.depth > 1000) | .channel'`,
		Args: atMostChannel,
		RunE: func(cmd *cobra.Command, args []string) error {
			if s.count > 0 && !s.watch {
				return usage(cmd, "--count needs --watch")
			}
			t, err := s.cluster.target(cmd)
			if err != nil {
				return err
			}
			defer t.close()
			s.topic, s.channel = topicAndChannel(args)
			return s.run(cmd.Context(), t)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	s.cluster.add(f)
	f.Var(durationFlag(&s.interval, minInterval, maxInterval), "interval", "time between two polls")
	f.BoolVar(&s.noRates, "no-rates", false, "poll only once for a table, and show no rates")
	f.BoolVar(&s.watch, "watch", false, "show a new table after each interval")
	f.VarP(intFlag(&s.count, 0, maxReports), "count", "n", "end --watch after this many tables; 0 means no limit")
	s.outputFlags(f)
	return cmd
}

// atMostChannel accepts no argument, a topic, or a topic and a channel.
func atMostChannel(cmd *cobra.Command, args []string) error {
	if len(args) > 2 {
		return usage(cmd, "want a topic and a channel at most, got %d arguments", len(args))
	}
	return validNames(cmd, args)
}

// validNames checks a topic and a channel, as many as there are.
func validNames(cmd *cobra.Command, args []string) error {
	topic, channel := topicAndChannel(args)
	switch {
	case len(args) > 0 && !nsq.IsValidTopicName(topic):
		return usage(cmd, "invalid topic %q: want %s", topic, nameRule)
	case len(args) > 1 && !nsq.IsValidChannelName(channel):
		return usage(cmd, "invalid channel %q: want %s", channel, nameRule)
	}
	return nil
}

// topicAndChannel returns the first two arguments, empty if missing.
func topicAndChannel(args []string) (topic, channel string) {
	if len(args) > 0 {
		topic = args[0]
	}
	if len(args) > 1 {
		channel = args[1]
	}
	return topic, channel
}

// run prints one report, or with --watch one after each interval.
func (s *stat) run(ctx context.Context, t *target) error {
	var before *admin.View
	now, err := t.poll(ctx, s.topic, s.channel)
	missing := notFound(now, s.topic, s.channel)
	if missing == nil && !s.noRates && sleep(ctx, s.interval) {
		before = now
		now, err = t.poll(ctx, s.topic, s.channel)
	}
	for n := 1; ; n++ {
		if s.watch && ctx.Err() != nil {
			return nil
		}
		if missing != nil && (err == nil || !s.watch) {
			err = errors.Join(missing, err)
			return errors.Join(err, s.report(before, now, err))
		}
		failed := s.report(before, now, errors.Join(missing, err))
		if s.watch && errors.Is(failed, syscall.EPIPE) {
			return nil // the program that reads the tables has had enough
		}
		if failed != nil || !s.watch || n == s.count {
			return errors.Join(failed, incomplete(err))
		}
		s.tellMissing(err)
		if !sleep(ctx, s.interval) {
			return nil
		}
		if !s.noRates {
			before = now
		}
		now, err = t.poll(ctx, s.topic, s.channel)
		missing = nil // the topic was there, or may be on a daemon that did not respond
	}
}

// sleep waits, and reports whether ctx has not ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// tellMissing tells the user which daemons did not respond to a poll of --watch, unless it
// has said the same of the poll before.
func (s *stat) tellMissing(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch text {
	case s.missing:
	case "":
		s.notice("rdy: all daemons respond again")
	default:
		for _, one := range joined(err) {
			s.notice("rdy: figures are missing: %v", one)
		}
	}
	s.missing = text
}

// report prints what was polled. Nothing is printed as text if the topic was not found.
func (s *stat) report(before, now *admin.View, err error) error {
	r := newStatReport(before, now, err)
	if !s.json && s.topic != "" && len(r.Topics) == 0 {
		return nil
	}
	return s.print(r, func() []byte {
		var out bytes.Buffer
		if s.watch {
			fmt.Fprintf(&out, "%s\n", now.At.Local().Format(time.DateTime))
		}
		align(&out, 2, r.rows(!s.noRates, now.Partial()))
		if s.watch {
			out.WriteByte('\n')
		}
		return out.Bytes()
	})
}
