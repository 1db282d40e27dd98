package main

import (
	"fmt"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// checkChannel are the thresholds of a channel.
type checkChannel struct {
	depth, inFlight checkThresholds
	drain           checkDrain
	timeouts        checkShare
	clientsMin      int
}

func newCheckChannel(a *app) *cobra.Command {
	th := new(checkChannel)
	c := &check{app: a, rates: func() bool { return th.drain.set() || th.timeouts.set() }}
	return c.command(&cobra.Command{
		Use:   "channel TOPIC CHANNEL (--lookupd address | --nsqd-http address)",
		Short: "Check a channel",
		Long: `Check a channel: how many messages wait (depth) and are in flight, how many connections have
subscribed (clients), how soon it drains, and what share of deliveries times out. The last
two need two polls, --interval apart, in which several messages should be finished. A
channel that never drains, or has no clients, reaches each threshold of --drain. If two
messages more would have made it drain in time, the result is UNKNOWN. A channel that does
not exist is CRITICAL, a paused one a WARNING.`,
		Example: `  rdy check channel orders billing --lookupd 127.0.0.1:4161 --depth-warn 1000 --depth-critical 10000
  rdy check channel orders billing --lookupd 127.0.0.1:4161 --clients-min 2 --drain-critical 1h --interval 10s
  rdy check channel orders billing --nsqd-http 127.0.0.1:4151 --depth-warn 1000 --format prometheus`,
		Args: oneChannel,
	}, th.add, th.examine)
}

func (th *checkChannel) add(f *pflag.FlagSet) {
	th.depth.add(f, "depth", "the depth")
	th.inFlight.add(f, "in-flight", "the number of messages in flight")
	f.Var(intFlag(&th.clientsMin, 0, checkMostThings), "clients-min", "CRITICAL with fewer connections")
	const longest = 365 * 24 * time.Hour
	f.Var(durationFlag(&th.drain.warn, 0, longest), "drain-warn", "WARNING if draining takes this long")
	f.Var(durationFlag(&th.drain.critical, 0, longest), "drain-critical", "CRITICAL if draining takes this long")
	f.Var(floatFlag(&th.timeouts.warn, 100), "timeouts-warn", "WARNING if this share of deliveries times out, in percent")
	f.Var(floatFlag(&th.timeouts.critical, 100), "timeouts-critical", "CRITICAL if this share of deliveries times out, in percent")
}

func (th *checkChannel) examine(r *checkResult, before, now *admin.View, args []string) {
	topic, channel := topicAndChannel(args)
	if err := notFound(now, topic, channel); err != nil {
		if !now.Partial() { // else the daemons that are missing may have it
			r.fault(checkCritical, "%s", err)
		}
		return
	}
	c := now.Topic(topic).Channel(channel)
	r.count("depth", c.Depth, th.depth, "%s waiting")
	r.count("in_flight", c.InFlight, th.inFlight, "%s in flight")
	r.Metrics = append(r.Metrics,
		checkMetric{Name: "deferred", Value: float64(c.Deferred)},
		checkMetric{Name: "clients", Value: float64(c.ClientCount)})
	clients := figures.Things(c.ClientCount, "client")
	switch {
	case c.ClientCount >= th.clientsMin:
		r.note(clients)
	case now.Partial(): // others may be connected to what is missing
	default:
		r.fault(checkCritical, "%s", clients)
	}
	if c.Paused {
		r.fault(checkWarning, "paused")
	}
	if !th.drain.set() && !th.timeouts.set() {
		return
	}
	rates := checkRates(before, now)
	if rates == nil || len(rates.Channels) != 1 || rates.Channels[0].Restarted {
		r.fault(checkUnknown, "%s", errCheckRates)
		return
	}
	th.examineRates(r, c, &rates.Channels[0], rates.Interval, now.Partial())
}

// examineRates checks what needs rates. A part of them says nothing about the channel.
func (th *checkChannel) examineRates(r *checkResult, c *admin.Channel, rates *admin.ChannelRates, interval time.Duration, partial bool) {
	if partial {
		return
	}
	switch {
	case !th.drain.set():
	case th.drain.undecided(c, rates, interval):
		r.fault(checkUnknown, "too little happened in %s to tell when it drains: choose a longer --interval", figures.Duration(interval))
	default:
		th.examineDrain(r, judge.DrainOf(c.ChannelCounts, rates.In, rates.Finished))
	}
	if th.timeouts.set() {
		share := (&judge.Rates{Finished: rates.Finished, Requeued: rates.Requeued, TimedOut: rates.TimedOut}).TimedOutShare()
		r.figure(checkMetric{Name: "timeouts", Value: share * 100, Unit: "%", Warning: th.timeouts.warn, Critical: th.timeouts.critical},
			figures.Share(share)+" timed out")
	}
}

func (th *checkChannel) examineDrain(r *checkResult, d judge.Drain) {
	m := checkMetric{Name: "drain", Value: d.Time.Seconds(), Unit: "s", Warning: th.drain.warn.Seconds(), Critical: th.drain.critical.Seconds()}
	switch d.Kind {
	case judge.DrainsIn:
		r.figure(m, "drains in "+d.String())
	case judge.DrainsEmpty, judge.KeepsUp:
		r.figure(m, d.String())
	case judge.DrainPaused: // that is told
	case judge.DrainsLate:
		th.late(r, "drains in "+d.String())
	case judge.DrainsNever:
		th.late(r, "never drains")
	default:
		th.late(r, d.String())
	}
}

// late adds the fault of a channel that takes longer than any threshold.
func (th *checkChannel) late(r *checkResult, text string) {
	if th.drain.critical > 0 {
		r.fault(checkCritical, "%s", text)
	} else {
		r.fault(checkWarning, "%s", text)
	}
}

// count adds a count with its thresholds. format is its text, with a place for the count.
func (r *checkResult) count(name string, n int64, t checkThresholds, format string) {
	r.figure(checkMetric{Name: name, Value: float64(n), Warning: float64(t.warn), Critical: float64(t.critical)}, fmt.Sprintf(format, figures.Count(n)))
}
