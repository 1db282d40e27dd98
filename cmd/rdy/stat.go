package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
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
	missing        missingDaemons
}

func newStat(a *app) *cobra.Command {
	s := &stat{app: a, interval: defaultInterval, missing: missingDaemons{app: a}}
	cmd := &cobra.Command{
		Use:   "stat [TOPIC [CHANNEL]] (--lookupd address | --nsqd-http address)",
		Short: "Show depths, counts and rates of channels",
		Long: `Show a table of the channels of a cluster: of all topics, of one topic, or one channel.
Counts are sums over all nsqds, each since it started.

  depth       messages that wait, without those in flight or deferred
  in flight   messages that consumers hold
  deferred    messages that wait for their delay to pass
  requeued    how often consumers have requeued a message
  timed out   how often consumers have held a message past its timeout
  in/s        messages that come from the topic
  finished/s  messages that leave the channel, also when it is emptied
  drains in   time until the channel is empty, at these rates

A row without a channel shows what waits in the topic itself. Rates need two polls, so
the first table appears after --interval. A channel has no rates, shown as "–", until
each of its nsqds has responded twice in a row. "≥" means that a daemon has not
responded: the figure may be higher.

With --watch a new table, or a new line with --json, appears after each interval, until
Ctrl-C or for --count tables. It goes on when a daemon does not respond.

The JSON has the time "at", "interval_seconds", "topics" and "channels", each with its
counts and, if known, "rates", and "errors" with the daemons that did not respond.
"drain_seconds" is null if the channel never drains.

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
			if closedAtStart(s.stdout) {
				return errClosedAtStart
			}
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
		return usage(cmd, "want at most a topic and a channel, got %d arguments", len(args))
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
	now := s.poll(ctx, t)
	if now.absent == nil && !s.noRates && waited(ctx, s.interval) {
		before, now = now.View, s.poll(ctx, t)
	}
	for n := 1; ; n++ {
		if s.watch && ctx.Err() != nil {
			return nil
		}
		failed := s.report(before, now)
		typo := n == 1 && now.absent != nil && now.missing == nil // no daemon is missing that might have it
		switch {
		case s.watch && errors.Is(failed, syscall.EPIPE):
			return nil // the program that reads the tables has had enough
		case failed != nil, typo, !s.watch, n == s.count:
			return errors.Join(failed, now.absent, incomplete(now.missing))
		}
		s.missing.tell(now.absent, now.missing)
		if !waited(ctx, s.interval) {
			return nil
		}
		if !s.noRates {
			before = now.View
		}
		now = s.poll(ctx, t)
	}
}

// polled is the result of a poll.
type polled struct {
	*admin.View
	absent  error // the topic or channel was not found
	missing error // of daemons that did not respond
}

func (s *stat) poll(ctx context.Context, t *target) polled {
	v, err := t.poll(ctx, s.topic, s.channel)
	return polled{v, notFound(v, s.topic, s.channel), err}
}

// waited waits, and reports whether ctx has not ended meanwhile.
func waited(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// missingDaemons tells the user of daemons that do not respond to polls.
type missingDaemons struct {
	*app
	told []string // what tell has said last: their addresses
}

// tell tells the user what a poll has not found, unless the poll before has not found the same.
// absent is a topic or channel, and missing are daemons. Both may be nil.
func (m *missingDaemons) tell(absent, missing error) {
	var addrs []string
	for _, e := range nodeErrors(errors.Join(absent, missing)) {
		addrs = append(addrs, cmp.Or(e.Addr, e.Error))
	}
	switch {
	case slices.Equal(addrs, m.told):
	case len(addrs) == 0:
		m.notice("rdy: all figures are complete again")
	default:
		m.notice("rdy: %s", oneLine(errors.Join(absent, incomplete(missing))))
	}
	m.told = addrs
}

// report prints what was polled. Nothing is printed as text if the topic was not found.
func (s *stat) report(before *admin.View, now polled) error {
	r := newStatReport(before, now.View, errors.Join(now.absent, now.missing))
	if !s.json && now.absent != nil {
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
