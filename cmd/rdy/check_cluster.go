package main

import (
	"fmt"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// checkCluster are the thresholds of a cluster.
type checkCluster struct {
	nsqdsMin int
	missing  checkThresholds
}

func newCheckCluster(a *app) *cobra.Command {
	th := &checkCluster{missing: checkThresholds{critical: 1}}
	c := &check{app: a}
	return c.command(&cobra.Command{
		Use:   "cluster (--lookupd address | --nsqd-http address)",
		Short: "Check that all daemons respond",
		Long: `Check that the nsqds respond and are healthy, and that the nsqlookupds respond and list the
same nsqds. It is CRITICAL if an nsqd cannot write to its disk, or if no nsqlookupd
responds. It is a WARNING if one of several nsqlookupds does not respond or does not list
all nsqds. An nsqd that no nsqlookupd lists any more goes unnoticed: set --nsqds-min for
that.`,
		Example: `  rdy check cluster --lookupd 127.0.0.1:4161 --nsqds-min 3
  rdy check cluster --lookupd lookup-1:4161 --lookupd lookup-2:4161 --missing-warn 1 --missing-critical 2`,
		Args: noArgs,
	}, func(f *pflag.FlagSet) {
		th.missing.add(f, "missing", "the number of nsqds that do not respond")
		f.Var(intFlag(&th.nsqdsMin, 0, checkMostThings), "nsqds-min", "CRITICAL with fewer nsqds that respond")
	}, th.examine)
}

func (th *checkCluster) examine(r *checkResult, _, now *admin.View, _ []string) {
	up, missing := 0, int64(0)
	for i := range now.NSQDs {
		n := &now.NSQDs[i]
		if n.Error != "" {
			missing++
			continue
		}
		up++
		if n.Health != "OK" {
			r.fault(checkCritical, "nsqd %s: health is %s", n.Addr, n.Health)
		}
		if responding := checkLookupds(now); len(n.Lookupds) > 0 && len(n.Lookupds) < responding {
			r.fault(checkWarning, "nsqd %s is listed by %d of %d nsqlookupds", n.Addr, len(n.Lookupds), responding)
		}
	}
	r.Metrics = append(r.Metrics, checkMetric{Name: "nsqds", Value: float64(up)})
	r.count("missing_nsqds", missing, th.missing, "%s missing")
	if up < max(th.nsqdsMin, 1) {
		r.fault(checkCritical, "%s", figures.Things(up, "nsqd"))
	}
	r.note(figures.Things(up, "nsqd"))
	if len(now.Lookupds) == 0 {
		return
	}
	responding := checkLookupds(now)
	r.Metrics = append(r.Metrics, checkMetric{Name: "nsqlookupds", Value: float64(responding)})
	text := fmt.Sprintf("%d of %s", responding, figures.Things(len(now.Lookupds), "nsqlookupd"))
	switch responding {
	case 0:
		r.fault(checkCritical, "%s", text)
	case len(now.Lookupds):
		r.note(text)
	default:
		r.fault(checkWarning, "%s", text)
	}
}

// checkLookupds returns how many nsqlookupds have responded.
func checkLookupds(v *admin.View) (n int) {
	for _, l := range v.Lookupds {
		if l.Error == "" {
			n++
		}
	}
	return n
}

// checkTopic are the thresholds of a topic.
type checkTopic struct {
	depth       checkThresholds
	channelsMin int
	rateMin     float64
}

func newCheckTopic(a *app) *cobra.Command {
	th := new(checkTopic)
	c := &check{app: a, rates: func() bool { return th.rateMin > 0 }}
	return c.command(&cobra.Command{
		Use:   "topic TOPIC (--lookupd address | --nsqd-http address)",
		Short: "Check a topic",
		Long: `Check a topic: how many messages wait in it and in all its channels (depth), how many
channels it has, and how many messages per second are published to it. The last needs two
polls, --interval apart. A topic that does not exist is CRITICAL, a paused one a WARNING.`,
		Example: `  rdy check topic orders --lookupd 127.0.0.1:4161 --depth-warn 10000 --channels-min 1
  rdy check topic orders --lookupd 127.0.0.1:4161 --rate-min 0.1 --interval 1m`,
		Args: oneTopic,
	}, func(f *pflag.FlagSet) {
		th.depth.add(f, "depth", "the depth")
		f.Var(intFlag(&th.channelsMin, 0, checkMostThings), "channels-min", "CRITICAL with fewer channels")
		f.Var(floatFlag(&th.rateMin, 1e9), "rate-min", "CRITICAL if fewer messages per second are published")
	}, th.examine)
}

func (th *checkTopic) examine(r *checkResult, before, now *admin.View, args []string) {
	if err := notFound(now, args[0], ""); err != nil {
		if !now.Partial() {
			r.fault(checkCritical, "%s", err)
		}
		return
	}
	t := now.Topic(args[0])
	depth := t.Depth
	for i := range t.Channels {
		depth += t.Channels[i].Depth
	}
	r.count("depth", depth, th.depth, "%s waiting")
	r.Metrics = append(r.Metrics, checkMetric{Name: "channels", Value: float64(len(t.Channels))})
	channels := figures.Things(len(t.Channels), "channel")
	switch {
	case len(t.Channels) >= th.channelsMin:
		r.note(channels)
	case now.Partial():
	default:
		r.fault(checkCritical, "%s", channels)
	}
	if t.Paused {
		r.fault(checkWarning, "paused")
	}
	if th.rateMin > 0 {
		th.examineRate(r, before, now, args[0])
	}
}

func (th *checkTopic) examineRate(r *checkResult, before, now *admin.View, topic string) {
	rates := checkRates(before, now)
	if rates == nil {
		r.fault(checkUnknown, "%s", errCheckRates)
		return
	}
	for _, t := range rates.Topics {
		if t.Topic != topic {
			continue
		}
		r.Metrics = append(r.Metrics, checkMetric{Name: "published_per_second", Value: t.Published})
		text := figures.Rate(t.Published) + "/s published"
		switch {
		case t.Published >= th.rateMin:
			r.note(text)
		case !now.Partial():
			r.fault(checkCritical, "%s", text)
		}
	}
}

// checkNSQD are the thresholds of nsqds.
type checkNSQD struct {
	depth checkThresholds
}

func newCheckNSQD(a *app) *cobra.Command {
	th := new(checkNSQD)
	c := &check{app: a}
	return c.command(&cobra.Command{
		Use:   "nsqd (--nsqd-http address | --lookupd address)",
		Short: "Check nsqds",
		Long: `Check one nsqd, or each that is named or listed: whether it responds, its health, and how
many messages it holds in all topics and channels (depth), with those in flight and
deferred. One that does not respond is CRITICAL.`,
		Example: `  rdy check nsqd --nsqd-http 127.0.0.1:4151
  rdy check nsqd --nsqd-http 127.0.0.1:4151 --depth-warn 100000 --depth-critical 1000000`,
		Args: noArgs,
	}, func(f *pflag.FlagSet) { th.depth.add(f, "depth", "the number of messages on an nsqd") }, th.examine)
}

func (th *checkNSQD) examine(r *checkResult, _, now *admin.View, _ []string) {
	_, messages := holdings(now)
	deepest := checkMetric{Name: "depth", Value: -1, Warning: float64(th.depth.warn), Critical: float64(th.depth.critical)}
	addr := ""
	for i := range now.NSQDs {
		n := &now.NSQDs[i]
		switch {
		case n.Error != "":
			r.fault(checkCritical, "nsqd %s does not respond", n.Addr)
			continue
		case n.Health != "OK":
			r.fault(checkCritical, "nsqd %s: health is %s", n.Addr, n.Health)
		}
		if depth := float64(messages[n.Addr]); depth > deepest.Value {
			deepest.Value, addr = depth, n.Addr
		}
	}
	if deepest.Value >= 0 {
		r.figure(deepest, fmt.Sprintf("nsqd %s holds %s", addr, figures.Count(int64(deepest.Value))))
	}
	if len(now.NSQDs) == 0 {
		r.fault(checkCritical, "no nsqd is listed")
	}
}
