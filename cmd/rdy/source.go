package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// pollInterval is the time between two polls of nsqlookupds. It is short because a user is
// waiting for nsqds that have only just got the topic.
const pollInterval = 5 * time.Second

// sourceAddresses are those by which a command finds the nsqds that it reads from or
// publishes to.
type sourceAddresses struct {
	nsqds     []string
	lookupds  []string
	nsqdHTTPs []string // HTTP addresses of nsqds; only some commands have them
}

// addAddresses adds the flags for the addresses.
func (a *sourceAddresses) addAddresses(f *pflag.FlagSet) {
	f.Var((*addrsFlag)(&a.nsqds), "nsqd", "TCP address of an nsqd; repeat the flag for more")
	f.Var((*httpAddrsFlag)(&a.lookupds), "lookupd", "HTTP address of an nsqlookupd that lists the nsqds; repeat the flag for more")
	fromProfile(f, "nsqd", "lookupd")
}

// checkAddresses returns an error if no address was given.
func (a *sourceAddresses) checkAddresses(cmd *cobra.Command) error {
	if len(a.nsqds)+len(a.lookupds) == 0 {
		return usage(cmd, "--nsqd or --lookupd is missing; give an address such as 127.0.0.1:4150")
	}
	return nil
}

// pool returns a pool of the nsqds, for what a command publishes where it reads.
func (a *sourceAddresses) pool(cfg *nsq.Config) (*nsq.ProducerPool, error) {
	if len(a.nsqds) > 0 {
		return nsq.NewProducerPool(a.nsqds, cfg)
	}
	return nsq.NewDiscoveredProducerPool(a.lookupds, cfg)
}

// source is where a command reads messages: a topic, and the nsqds that have it.
type source struct {
	*app
	sourceAddresses
	topic string

	watch *lookupdWatch   // made by the first call of connect
	told  map[string]bool // what connect has told the user of addresses; nil if it is called once
}

// connect connects to the nsqds. Without nsqlookupds at least one of them has to
// be reachable. connect reports the others, and nsqlookupds that do not respond; the
// consumer keeps trying them.
func (s *source) connect(ctx context.Context, consumer *nsq.Consumer, level *slog.LevelVar) error {
	if ctx.Err() != nil {
		return nil // interrupted; a connection would make a channel
	}
	defer context.AfterFunc(ctx, consumer.Stop)() // a dial takes seconds to fail, if nothing responds
	s.mute(level)                                 // failures are reported below
	err := withAddresses(consumer, consumer.ConnectToNSQDs(s.nsqds))
	if s.watch == nil {
		s.watch = newLookupdWatch(func(addr string) { s.notice("rdy: nsqlookupd %s responds now", addr) })
	}
	if len(s.lookupds) > 0 {
		consumer.SetLookupdHttpClient(&http.Client{Transport: s.watch})
		err = errors.Join(err, consumer.ConnectToNSQLookupds(s.lookupds))
	}
	if ctx.Err() != nil {
		return nil // interrupted while connecting
	}
	found := consumer.Stats().Connections
	if err != nil && found == 0 && len(s.lookupds) == 0 {
		return fmt.Errorf("no nsqd is reachable: %w", err)
	}
	level.Set(s.level)
	if err != nil {
		for _, one := range joined(err) {
			s.noticeOnce("rdy: still trying: %v", one)
		}
	}
	if len(s.lookupds) > 0 {
		s.reportDiscovery(consumer.Snapshot().Connections, s.watch.failures(s.lookupds))
	}
	return nil
}

// withAddresses returns the reasons why nsqds are not connected, each with its address,
// which a single error of ConnectToNSQDs need not name.
func withAddresses(consumer *nsq.Consumer, err error) error {
	var failed []error
	for _, conn := range consumer.Snapshot().Connections {
		if conn.LastError != nil {
			failed = append(failed, conn.LastError)
		}
	}
	if err == nil || len(failed) == 0 {
		return err
	}
	return errors.Join(failed...)
}

// reportDiscovery reports which nsqlookupds do not respond, which of the nsqds that the
// others list are not connected, and that none is known.
func (s *source) reportDiscovery(nsqds []nsq.ConnectionSnapshot, failures map[string]error) {
	for _, addr := range slices.Sorted(maps.Keys(failures)) {
		s.noticeOnce("rdy: nsqlookupd %s does not respond, still asking: %v", addr, failures[addr])
	}
	for _, n := range nsqds {
		if n.LastError != nil && n.State != nsq.ConnectionUp && !slices.Contains(s.nsqds, n.Addr) {
			s.noticeOnce("rdy: still trying: %v", n.LastError)
		}
	}
	switch {
	case len(nsqds) > 0 || len(failures) == len(s.lookupds):
	case len(failures) > 0:
		s.notice("rdy: no nsqlookupd that responds knows an nsqd with the topic %s yet; waiting", s.topic)
	default:
		s.notice("rdy: no nsqd has the topic %s yet; waiting", s.topic)
	}
}

// noticeOnce is notice, but drops what was told before, for another topic.
func (s *source) noticeOnce(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if s.told[text] {
		return
	}
	if s.told != nil {
		s.told[text] = true
	}
	s.notice("%s", text)
}
