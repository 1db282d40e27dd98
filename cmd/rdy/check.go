package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// checkHelp is about what all checks have in common.
const checkHelp = `One line says OK, WARNING, CRITICAL or UNKNOWN and why, with performance data after "|". A
threshold of 0 is off. A figure that reaches its threshold is a WARNING or CRITICAL. If a
daemon does not respond and all other figures are below their thresholds, the result is
UNKNOWN.

--format prometheus prints the result for the textfile collector of node_exporter. The JSON
has "check", "item", "status", "code", "messages", and "metrics", each with "name", "value",
"unit", "warning" and "critical".

` + clusterHelp + "\n\n" + outputHelp + `

Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, also for an invalid command line.`

// check is a command for monitoring systems such as Nagios.
type check struct {
	*app
	cluster  clusterFlags
	format   string
	interval time.Duration
	rates    func() bool // whether a threshold needs two polls; nil if none does
}

func newCheck(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "check",
		Short: "Check a cluster, topic, channel or nsqd for Nagios and the like",
		Long: `Check a cluster, a topic, a channel or nsqds against thresholds, for Nagios, Icinga, Sensu
and others that run its plugins, or for Prometheus.

Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, also for an invalid command line.`,
		Example: `  rdy check cluster --lookupd 127.0.0.1:4161
  rdy check channel orders billing --lookupd 127.0.0.1:4161 --depth-warn 1000 --depth-critical 10000`,
	})
	cmd.AddCommand(newCheckCluster(a), newCheckChannel(a), newCheckTopic(a), newCheckNSQD(a))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { // 0 would be OK to Nagios
		return errors.Join(cmd.Help(), &checkFailed{code: checkUnknown})
	}
	return cmd
}

// command completes a check. add adds its flags, and examine judges one or two polls: before is nil
// if there is only one.
func (c *check) command(cmd *cobra.Command, add func(*pflag.FlagSet), examine func(r *checkResult, before, now *admin.View, args []string)) *cobra.Command {
	c.format, c.interval = "nagios", defaultInterval
	cmd.Long += "\n\n" + checkHelp
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case c.format == "json":
			c.json = true
		case c.json && c.format != "nagios":
			return usage(cmd, "--json and --format %s exclude each other", c.format)
		}
		t, err := c.cluster.target(cmd)
		if err != nil {
			return err
		}
		defer t.close()
		if closedAtStart(c.stdout) {
			return &checkError{errClosedAtStart}
		}
		r := &checkResult{Check: cmd.Name(), Item: strings.Join(args, "/"), Messages: []string{}, Metrics: []checkMetric{}}
		if err := c.run(cmd.Context(), t, r, args, examine); err != nil {
			return &checkError{err}
		}
		if r.Code == checkOK {
			return nil
		}
		return &checkFailed{code: r.Code}
	}
	f := cmd.Flags()
	f.SortFlags = false
	c.cluster.addPolling(f)
	add(f)
	if c.rates != nil {
		f.Var(durationFlag(&c.interval, minInterval, maxInterval), "interval", "time between two polls, if a threshold needs rates")
	}
	f.Var(oneOfFlag(&c.format, "nagios", "json", "prometheus"), "format", "format of the result")
	c.outputFlags(f)
	return cmd
}

// run polls, examines and prints.
func (c *check) run(ctx context.Context, t *target, r *checkResult, args []string, examine func(r *checkResult, before, now *admin.View, args []string)) error {
	topic, channel := topicAndChannel(args)
	poll := func() (*admin.View, error) {
		if channel != "" || topic == "" {
			return t.poll(ctx, topic, channel)
		}
		return t.Poll(ctx) // PollClients of a topic would list all its clients
	}
	var before *admin.View
	now, err := poll()
	if c.rates != nil && c.rates() && waited(ctx, c.interval) {
		before = now
		now, err = poll()
	}
	if ctx.Err() != nil {
		r.fault(checkUnknown, "stopped before the end: %v", context.Cause(ctx))
	} else {
		examine(r, before, now, args)
		if err != nil {
			r.missing(err)
		}
	}
	r.finish()
	return c.print(r, func() []byte {
		if c.format == "prometheus" {
			return r.prometheus()
		}
		return r.nagios()
	})
}

// checkThresholds are what a figure must not reach. 0 is not checked.
type checkThresholds struct{ warn, critical int }

func (t *checkThresholds) add(f *pflag.FlagSet, name, what string) {
	f.Var(intFlag(&t.warn, 0, checkMostThings), name+"-warn", "WARNING if "+what+" reaches this")
	f.Var(intFlag(&t.critical, 0, checkMostThings), name+"-critical", "CRITICAL if "+what+" reaches this")
}

// checkMostThings is the highest threshold of a number of things.
const checkMostThings = 1_000_000_000

// checkDrain are thresholds of a time.
type checkDrain struct{ warn, critical time.Duration }

func (d *checkDrain) set() bool { return d.warn > 0 || d.critical > 0 }

// undecided reports whether a channel that does not drain before the last threshold would do so if
// two messages more had been finished in the interval: a slow consumer may have finished none in it
// by chance, just when one came in.
func (d *checkDrain) undecided(c *admin.Channel, rates *admin.ChannelRates, interval time.Duration) bool {
	const chance = 2 // messages
	reaches := func(finished float64) bool {
		switch drain := judge.DrainOf(c.ChannelCounts, rates.In, finished); drain.Kind {
		case judge.DrainsNever, judge.DrainsLate:
			return true
		case judge.DrainsIn:
			return drain.Time >= cmp.Or(d.critical, d.warn)
		}
		return false
	}
	return reaches(rates.Finished) && !reaches(rates.Finished+chance/interval.Seconds())
}

// checkShare are thresholds of a share in percent.
type checkShare struct{ warn, critical float64 }

func (s *checkShare) set() bool { return s.warn > 0 || s.critical > 0 }

// checkRates returns the rates of the channels between two polls, nil if they are not known.
func checkRates(before, now *admin.View) *admin.Rates {
	if before == nil {
		return nil
	}
	added := addedNSQDs(before, now)
	r := admin.Between(before, now)
	if r.Compared == 0 || slices.ContainsFunc(now.NSQDs, func(n admin.NSQD) bool { return added[n.Addr] }) {
		return nil
	}
	return r
}

var errCheckRates = errors.New("rates are not known: an nsqd is new or has restarted")
