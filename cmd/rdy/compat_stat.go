package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rdyhq/nsq/admin"
)

// oldStat prints the table of nsq_stat, which programs may parse.
type oldStat struct {
	cluster        *admin.Cluster
	topic, channel string
	interval       time.Duration
	count          int // of rows; 0 means no limit
}

// oldStatFlags declares the flags of nsq_stat.
func oldStatFlags(f *flag.FlagSet) func() (*oldJob, error) {
	var nsqds, lookupds oldList
	s := &oldStat{}
	f.Var(&nsqds, "nsqd-http-address", "HTTP `address` of an nsqd (may be given multiple times)")
	f.Var(&lookupds, "lookupd-http-address", "HTTP `address` of an nsqlookupd (may be given multiple times)")
	f.StringVar(&s.topic, "topic", "", "topic")
	f.StringVar(&s.channel, "channel", "", "channel")
	f.DurationVar(&s.interval, "interval", 2*time.Second, "time between two reports")
	f.Func("count", "`number` of reports", func(text string) (err error) {
		s.count, err = strconv.Atoi(text)
		if err != nil || s.count <= 0 {
			return errors.New("should be positive")
		}
		return nil
	})
	connect := f.Duration("http-client-connect-timeout", 2*time.Second, "no effect: http-client-request-timeout includes connecting")
	request := f.Duration("http-client-request-timeout", 5*time.Second, "how long a request may take")
	return func() (*oldJob, error) {
		switch {
		case s.topic == "" || s.channel == "":
			return nil, errors.New("--topic and --channel are required")
		case s.interval <= 0 || *connect <= 0 || *request <= 0:
			return nil, errors.New("--interval and timeouts should be positive")
		case len(nsqds)+len(lookupds) == 0:
			return nil, errors.New("--nsqd-http-address or --lookupd-http-address is required")
		}
		var addrs httpAddrsFlag
		for _, list := range []oldList{lookupds, nsqds} {
			flags, err := appendAddrs(nil, "--lookupd", "nsqd-http-address and --lookupd-http-address", list)
			if err != nil {
				return nil, err
			}
			for i := 1; i < len(flags); i += 2 {
				addrs = append(addrs, flags[i])
			}
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.DisableKeepAlives = true // nothing is left to close
		s.cluster = &admin.Cluster{
			Lookupds: addrs[:len(lookupds)], NSQDs: addrs[len(lookupds):],
			Client: &http.Client{Transport: transport, Timeout: *request},
		}
		return &oldJob{stat: s}, nil
	}
}

// oldStatRows is the number of rows between two headers.
const oldStatRows = 25

// run prints rows until ctx ends or --count are printed. The first poll has to succeed. A later
// one that fails is reported, and has no row: sums without a daemon would pass for a drop.
func (s *oldStat) run(ctx context.Context, a *app) error {
	before, err := s.poll(ctx)
	if err == nil {
		_, err = io.WriteString(a.stdout, oldStatHeader())
	}
	if err != nil {
		return s.unlessOver(ctx, err)
	}
	for row := 1; waited(ctx, s.interval); row++ {
		now, err := s.poll(ctx)
		switch {
		case err != nil && (row == s.count || ctx.Err() != nil):
			return s.unlessOver(ctx, err)
		case err != nil:
			a.notice("rdy: %s", oneLine(err))
			continue
		}
		text := now.row(before)
		if row%oldStatRows == 0 {
			text = oldStatHeader() + text
		}
		if _, err := io.WriteString(a.stdout, text); err != nil || row == s.count {
			return err
		}
		before = now
	}
	return nil
}

// unlessOver returns an error, unless it is the end of ctx.
func (s *oldStat) unlessOver(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// oldSample is what a poll has found of a channel.
type oldSample struct {
	at time.Time
	admin.ChannelCounts
}

func (s *oldStat) poll(ctx context.Context) (*oldSample, error) {
	v, err := s.cluster.PollClients(ctx, s.topic, s.channel)
	if err == nil {
		err = notFound(v, s.topic, s.channel)
	}
	if err != nil {
		return nil, err
	}
	return &oldSample{v.At, v.Topic(s.topic).Channel(s.channel).ChannelCounts}, nil
}

// oldStatHeader returns the two lines over the rows: groups of columns, and columns.
func oldStatHeader() string {
	group := func(name string, width int) string {
		left := (width - len(name)) / 2
		return strings.Repeat("-", left) + name + strings.Repeat("-", width-left-len(name))
	}
	return group("rate", 16) + "+" + group("depth", 37) + "+" + group("metadata", 37) + "\n" + fmt.Sprintf("%7s %7s | %7s %7s %7s %5s %5s | %7s %7s %12s %7s\n",
		"ingress", "egress", "total", "mem", "disk", "inflt", "def", "req", "t-o", "msgs", "clients")
}

// row returns a row. Rates are per second of the time between the two polls.
func (n *oldSample) row(before *oldSample) string {
	seconds := math.Max(n.at.Sub(before.at).Seconds(), 0.001)
	in := float64(n.Messages) - float64(before.Messages)
	out := in - float64(n.Depth-before.Depth)
	return fmt.Sprintf("%7d %7d | %7d %7d %7d %5d %5d | %7d %7d %12d %7d\n",
		int64(in/seconds), int64(out/seconds),
		n.Depth, n.Depth-n.DiskDepth, n.DiskDepth, n.InFlight, n.Deferred,
		n.Requeued, n.TimedOut, n.Messages, n.ClientCount)
}
