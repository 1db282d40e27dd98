package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// ownChannel is a channel that a command makes for itself and that nsqd deletes at the end.
// nsqd keeps the messages of a topic without a channel for its first one: if that is this
// channel, they are all gone when the command ends. So the command asks first. nsqd tells over
// HTTP which channels a topic has, but not over TCP.
type ownChannel struct {
	sourceAddresses
	timeout time.Duration // of a request
	command string        // such as "tail"
	orNamed bool          // the command has --channel
	strict  bool          // the command does not begin unless all nsqds have responded

	// caution says what is not known, for the user. refuse sets it; it is empty if all is known,
	// and if the command is strict.
	caution string
}

// tailAsks is how long tail, which begins without an answer as well, waits for one.
const tailAsks = 3 * time.Second

// addHTTP adds the flag for the HTTP addresses of the nsqds.
func (a *sourceAddresses) addHTTP(f *pflag.FlagSet) {
	f.Var((*httpAddrsFlag)(&a.nsqdHTTPs), "nsqd-http", "HTTP address of an nsqd of --nsqd, to ask which messages a new channel would take; repeat the flag for more")
	fromProfile(f, "nsqd-http")
}

// unasked reports whether there are nsqds whose HTTP API is not known.
func (a *sourceAddresses) unasked() bool { return len(a.nsqds) > len(a.nsqdHTTPs) }

// usage returns an error if a command that must not begin without it lacks an HTTP address.
func (o *ownChannel) usage(cmd *cobra.Command) error {
	if !o.strict || !o.unasked() {
		return nil
	}
	return usage(cmd, "--nsqd-http is missing: give one for each --nsqd, so that %s can ask whether waiting messages would be lost", o.command)
}

// refuse returns an error if messages of a topic would be lost, or if that is not known and the
// command is strict. Otherwise it returns what the daemons have said. After the end of ctx it
// returns nothing.
func (o *ownChannel) refuse(ctx context.Context, topics ...string) (*admin.View, error) {
	v := o.ask(ctx, topics)
	if ctx.Err() != nil {
		return nil, nil
	}
	for _, topic := range topics {
		if n := firstTaken(v, topic); n > 0 {
			return nil, o.lossError(topic, n)
		}
	}
	unknown := o.unknown(v, topics)
	if unknown == nil && o.unasked() {
		unknown = fmt.Errorf("without --nsqd-http %s cannot ask for channels", o.command)
	}
	switch {
	case unknown == nil:
		return v, nil
	case o.strict:
		return nil, fmt.Errorf("cannot ask whether messages of topic %s would be lost: %w", figures.List(topics), unknown)
	}
	o.caution = fmt.Sprintf("%s; if topic %s has no channel, its waiting messages have come to %s and are gone when it ends",
		oneLine(unknown), strings.Join(topics, " or "), o.command)
	return v, nil
}

// lossError says what would be lost, and what to do.
func (o *ownChannel) lossError(topic string, n int64) error {
	or := ""
	if o.orNamed {
		or = ", or read with --channel NAME"
	}
	return fmt.Errorf("topic %s has no channel, and %s %s would go to %s and be gone when it ends: create a channel first (rdy channel create %s NAME)%s",
		topic, figures.Count(n), figures.Noun(n, "message"), o.command, topic, or)
}

// ask reads what the nsqds count of the topics; nothing if no daemon is named. Like the consumer
// it uses no proxy and keeps no connections.
func (o *ownChannel) ask(ctx context.Context, topics []string) *admin.View {
	t := &target{Cluster: &admin.Cluster{
		Lookupds: o.lookupds, NSQDs: o.nsqdHTTPs,
		Client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: o.timeout, CheckRedirect: noRedirect},
	}}
	about := ""
	if len(topics) == 1 {
		about = topics[0]
	}
	v, _ := t.poll(ctx, about, "") // the view has the errors of the daemons
	return v
}

// firstTaken returns how many messages wait in a topic on those nsqds where it has no channel.
func firstTaken(v *admin.View, topic string) (n int64) {
	t := v.Topic(topic)
	if t == nil {
		return 0
	}
	has := make(map[string]bool) // nsqds where the topic has a channel
	for i := range t.Channels {
		for _, on := range t.Channels[i].NSQDs {
			has[on.NSQD] = true
		}
	}
	for _, on := range t.NSQDs {
		if !has[on.NSQD] {
			n += on.Depth
		}
	}
	return n
}

// unknown returns why an nsqd with one of the topics was not heard, or why a strict command
// knows none.
func (o *ownChannel) unknown(v *admin.View, topics []string) error {
	var failed []error
	responded := len(v.Lookupds) == 0
	var with []string // nsqds that nsqlookupds list with a topic
	for _, l := range v.Lookupds {
		responded = responded || l.Error == ""
		for _, r := range l.Registered {
			if slices.ContainsFunc(topics, func(topic string) bool { return slices.Contains(r.Topics, topic) }) {
				with = append(with, r.HTTPAddr())
			}
		}
	}
	for _, l := range v.Lookupds {
		if !responded && o.strict { // otherwise the consumer reports it and keeps asking
			failed = append(failed, fmt.Errorf("nsqlookupd %s", l.Error)) // which begins with the address
		}
	}
	for _, n := range v.NSQDs {
		if n.Error != "" && (slices.Contains(o.nsqdHTTPs, n.Addr) || slices.Contains(with, n.Addr)) {
			failed = append(failed, fmt.Errorf("nsqd %s", n.Error))
		}
	}
	return errors.Join(failed...)
}
