package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/rdyhq/nsq/broker"
	"github.com/spf13/cobra"
)

const (
	maxNSQDs    = 1024 // the number of node ids that NSQ has
	maxLookupds = 16
	maxPort     = 65535
)

// addresses are where a cluster listens, as "rdy broker --json" prints them.
type addresses struct {
	NSQDs    []nsqdAddresses `json:"nsqds"`
	Lookupds []string        `json:"lookupds"`
	Admin    string          `json:"admin,omitempty"`
}

type nsqdAddresses struct {
	TCP  string `json:"tcp"`
	HTTP string `json:"http"`
}

func newBroker(a *app) *cobra.Command {
	o := broker.Options{NSQDs: 1, Lookupds: 1}
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Run an NSQ cluster for development",
		Long: `Run real nsqds and nsqlookupds in this process, on the loopback interface, until
Ctrl-C. Their addresses are printed, and a line to publish with.

Without --data-dir the data is gone at the end.`,
		Example: `  rdy broker
  rdy broker --nsqds 3 --admin
  rdy broker --tcp-port 4150 --http-port 4151 --data-dir ./data`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkPorts(cmd, o); err != nil {
				return err
			}
			return runBroker(cmd.Context(), a, o)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(intFlag(&o.NSQDs, 1, maxNSQDs), "nsqds", "number of nsqds")
	f.Var(intFlag(&o.Lookupds, 0, maxLookupds), "lookupds", "number of nsqlookupds; 0 is none")
	f.BoolVar(&o.Admin, "admin", false, "run nsqadmin, too")
	f.StringVar(&o.DataDir, "data-dir", "", "`directory` to keep the nsqds' data in; made if it is missing")
	f.Var(intFlag(&o.TCPPort, 0, maxPort), "tcp-port", "TCP port of the first nsqd, each further one 2 higher; 0 is free ones")
	f.Var(intFlag(&o.HTTPPort, 0, maxPort), "http-port", "HTTP port of the first nsqd, each further one 2 higher; 0 is free ones")
	return cmd
}

// checkPorts finds ports that no machine has, or that would collide.
func checkPorts(cmd *cobra.Command, o broker.Options) error {
	span := 2 * (o.NSQDs - 1)
	for _, port := range []int{o.TCPPort, o.HTTPPort} {
		if port > 0 && port+span > maxPort {
			return usage(cmd, "port %d with %d nsqds ends at %d, above %d", port, o.NSQDs, port+span, maxPort)
		}
	}
	apart := max(o.TCPPort, o.HTTPPort) - min(o.TCPPort, o.HTTPPort)
	if o.TCPPort > 0 && o.HTTPPort > 0 && apart%2 == 0 && apart <= span {
		return usage(cmd, "--tcp-port %d and --http-port %d collide", o.TCPPort, o.HTTPPort)
	}
	return nil
}

func runBroker(ctx context.Context, a *app, o broker.Options) (err error) {
	b, stop, err := a.startBroker(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if a.json {
		err = a.printJSON(addressesOf(b))
	} else {
		err = printAddresses(a.stdout, b, "test")
	}
	if err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// startBroker starts a cluster that logs to stderr, and returns what stops it.
func (a *app) startBroker(ctx context.Context, o broker.Options) (b *broker.Broker, stop func() error, err error) {
	log, level := a.logger()
	o.Logger = log
	b, err = broker.Start(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	return b, func() error {
		a.mute(level) // nsqlookupd calls it an error that the nsqds leave
		return b.Stop()
	}, nil
}

func addressesOf(b *broker.Broker) addresses {
	found := addresses{Lookupds: b.LookupdHTTPAddrs(), Admin: b.AdminAddr()}
	for _, n := range b.NSQDs() {
		found.NSQDs = append(found.NSQDs, nsqdAddresses{TCP: n.TCPAddr, HTTP: n.HTTPAddr})
	}
	return found
}

// printAddresses tells a user where the cluster is and what to do with it.
func printAddresses(w io.Writer, b *broker.Broker, topic string) error {
	var out bytes.Buffer
	first := b.NSQDs()[0]
	for _, n := range b.NSQDs() {
		fmt.Fprintf(&out, "nsqd        TCP %s  HTTP %s\n", n.TCPAddr, n.HTTPAddr)
	}
	for _, addr := range b.LookupdHTTPAddrs() {
		fmt.Fprintf(&out, "nsqlookupd  HTTP %s\n", addr)
	}
	if addr := b.AdminAddr(); addr != "" {
		fmt.Fprintf(&out, "nsqadmin    http://%s\n", addr)
	}
	fmt.Fprintf(&out, "\npublish:  echo hello | rdy pub --topic %s --nsqd %s\n", topic, first.TCPAddr)
	fmt.Fprintf(&out, "consume:  rdy tail %s --nsqd %s\n", topic, first.TCPAddr)
	fmt.Fprintf(&out, "stop:     Ctrl-C\n")
	_, err := w.Write(out.Bytes())
	return err
}
