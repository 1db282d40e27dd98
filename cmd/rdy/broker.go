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
	maxNSQDs    = 1024 // NSQ has this many node IDs
	maxLookupds = 16
	maxPort     = 65535

	dataDirUsage = "`directory` for the nsqds' data, created if it does not exist"
)

// addresses lists where a cluster listens, as "rdy broker --json" prints it.
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
		Long: `Run real nsqds and nsqlookupds in this process, on the loopback interface, until Ctrl-C. The
command prints their addresses, and command lines that publish to them and consume from
them.

Without --data-dir the data is deleted at the end.`,
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
	f.Var(intFlag(&o.Lookupds, 0, maxLookupds), "lookupds", "number of nsqlookupds, which may be 0")
	f.BoolVar(&o.Admin, "admin", false, "also run nsqadmin")
	f.StringVar(&o.DataDir, "data-dir", "", dataDirUsage)
	f.Var(intFlag(&o.TCPPort, 0, maxPort), "tcp-port", "TCP port of the first nsqd; each further nsqd adds 2; 0 picks free ports")
	f.Var(intFlag(&o.HTTPPort, 0, maxPort), "http-port", "HTTP port of the first nsqd; each further nsqd adds 2; 0 picks free ports")
	a.outputFlags(f)
	return cmd
}

// checkPorts rejects ports above 65535 and TCP and HTTP ports that collide.
func checkPorts(cmd *cobra.Command, o broker.Options) error {
	span := 2 * (o.NSQDs - 1)
	for _, port := range []int{o.TCPPort, o.HTTPPort} {
		if port > 0 && port+span > maxPort {
			return usage(cmd, "%d nsqds starting at port %d need port %d, but the highest port is %d", o.NSQDs, port, port+span, maxPort)
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

// startBroker starts a cluster that logs to stderr, and returns a function that
// stops it.
func (a *app) startBroker(ctx context.Context, o broker.Options) (b *broker.Broker, stop func() error, err error) {
	log, level := a.logger()
	o.Logger = log
	b, err = broker.Start(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	return b, func() error {
		a.mute(level) // nsqlookupd logs an error for each nsqd that disconnects
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

// printAddresses prints where the cluster listens, and commands to use it with.
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
	fmt.Fprintf(&out, "\npublish:  echo hello | rdy pub %s --nsqd %s\n", topic, first.TCPAddr)
	fmt.Fprintf(&out, "consume:  rdy tail %s --nsqd %s\n", topic, first.TCPAddr)
	fmt.Fprintf(&out, "stop:     Ctrl-C\n")
	_, err := w.Write(out.Bytes())
	return err
}
