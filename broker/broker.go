// Package broker runs a real NSQ cluster inside this process: nsqd, nsqlookupd
// and nsqadmin, version 1.3.0, used as libraries and listening on loopback. It
// is meant for demos, development and tests; nothing has to be installed.
// [Start] starts one, and the [Broker] names its addresses.
//
//	b, err := broker.Start(ctx, broker.Options{NSQDs: 2, Lookupds: 1})
//	if err != nil {
//		return err
//	}
//	defer b.Stop()
//	fmt.Println(b.NSQDs()[0].TCPAddr, b.LookupdHTTPAddrs()[0])
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"

	"github.com/nsqio/nsq/nsqd"
)

const (
	loopback = "127.0.0.1"

	// maxNSQDs is the number of node IDs in NSQ. Each nsqd of a Broker has its
	// own, so that no two issue the same message ID.
	maxNSQDs = 1024
)

// Options configures Start. The zero value runs one nsqd on free ports, with a
// temporary data directory and no log.
type Options struct {
	// NSQDs is the number of nsqds, at most 1024. Default: 1.
	NSQDs int

	// Lookupds is the number of nsqlookupds, always on free ports. Every nsqd
	// registers with all of them. Default: none.
	Lookupds int

	// Admin adds an nsqadmin for the cluster, on a free port. Default: false.
	Admin bool

	// DataDir is where nsqd i, counted from 0, keeps its data, in the directory
	// DataDir/nsqd-<i>. Start creates what is missing, and Stop keeps it.
	// Default: a temporary directory that Stop removes.
	DataDir string

	// TCPPort and HTTPPort are the ports of nsqd 0, each 0 to 65535. The ports
	// of nsqd i are 2*i higher. Default, 0: free ports.
	TCPPort, HTTPPort int

	// Logger receives the log lines of all daemons, each with an attribute
	// "daemon" such as "nsqd-0". Start reads its level once per daemon.
	// Default, nil: no log.
	Logger *slog.Logger

	// Configure, if not nil, may change the options of each nsqd. Start calls
	// it with the nsqd's number and its complete options. An nsqd must keep a
	// TCP and an HTTP address.
	Configure func(i int, o *nsqd.Options)
}

func (o Options) validate() error {
	if o.NSQDs < 0 || o.NSQDs > maxNSQDs {
		return fmt.Errorf("option NSQDs is %d, want 1 to %d, or 0 for the default of 1", o.NSQDs, maxNSQDs)
	}
	if o.Lookupds < 0 {
		return fmt.Errorf("option Lookupds is %d, want 0 or more", o.Lookupds)
	}
	if err := o.validatePort("TCPPort", o.TCPPort); err != nil {
		return err
	}
	return o.validatePort("HTTPPort", o.HTTPPort)
}

func (o Options) validatePort(name string, port int) error {
	if port < 0 || port > 65535 {
		return fmt.Errorf("option %s is %d, want 1 to 65535, or 0 for free ports", name, port)
	}
	if last := port + 2*(o.NSQDs-1); port > 0 && last > 65535 {
		return fmt.Errorf("option %s is %d, which gives the last of %d nsqds port %d, above 65535", name, port, o.NSQDs, last)
	}
	return nil
}

// NSQD holds the addresses at which one nsqd listens, each as "host:port".
type NSQD struct {
	TCPAddr, HTTPAddr string
}

// Broker is a running cluster. Its methods may be called from any goroutine.
type Broker struct {
	tempDir  string    // removed by shutdown; "" if the data is kept
	daemons  []*daemon // in the order in which they were started
	nsqds    []NSQD
	lookupds []lookupd
	admin    string       // nsqadmin's HTTP address, or ""
	stop     func() error // runs shutdown once
}

// Start starts the daemons. It returns when all of them respond and the
// nsqlookupds list every nsqd that registers with them. ctx bounds Start only:
// if ctx ends first, the error wraps its cause. After an error no daemon runs
// and no temporary directory is left. The error for a port in use names the
// address and wraps syscall.EADDRINUSE.
func Start(ctx context.Context, o Options) (*Broker, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	b := &Broker{}
	b.stop = sync.OnceValue(b.shutdown)
	if err := b.start(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("broker: %w", err), b.Stop())
	}
	return b, nil
}

func (b *Broker) start(ctx context.Context, o Options) error {
	if err := ended(ctx); err != nil {
		return err
	}
	// nsqd and nsqlookupd exit the process if they cannot get the host name.
	if _, err := os.Hostname(); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if o.DataDir == "" {
		dir, err := os.MkdirTemp("", "nsq-broker-")
		if err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
		b.tempDir, o.DataDir = dir, dir
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	for i := range o.Lookupds {
		if err := b.startLookupd(ctx, i, o.Logger); err != nil {
			return err
		}
	}
	for i := range max(o.NSQDs, 1) {
		if err := b.startNSQD(ctx, i, o); err != nil {
			return err
		}
	}
	if o.Admin {
		return b.startAdmin(ctx, o.Logger)
	}
	return nil
}

// NSQDs returns the addresses of the nsqds, nsqd 0 first. They stay the same after Stop.
func (b *Broker) NSQDs() []NSQD { return slices.Clone(b.nsqds) }

// LookupdHTTPAddrs returns the HTTP addresses of the nsqlookupds, each as
// "host:port". Consumers connect to these.
func (b *Broker) LookupdHTTPAddrs() []string {
	addrs := make([]string, len(b.lookupds))
	for i, l := range b.lookupds {
		addrs[i] = l.http
	}
	return addrs
}

// AdminAddr returns the HTTP address of nsqadmin as "host:port", or "" if
// Options.Admin was false.
func (b *Broker) AdminAddr() string { return b.admin }

// Stop disconnects all clients, stops all daemons, waits for their goroutines,
// and removes the temporary data directory. Each nsqd writes the messages it has
// in memory to disk, as an nsqd process does when it is told to exit.
//
// Stop stops everything even if it returns an error. The error names a daemon
// that had failed before, or says that the temporary directory could not be
// removed. Further calls, even concurrent ones, wait for the first and return
// the same error.
//
// On operating systems other than Linux and macOS, Stop waits until clients
// that have not yet sent NSQ's opening bytes close their connections.
func (b *Broker) Stop() error { return b.stop() }

// shutdown stops the daemons, the newest first, so that none loses a daemon
// that it depends on.
func (b *Broker) shutdown() error {
	var errs []error
	for _, d := range slices.Backward(b.daemons) {
		errs = append(errs, d.stop())
	}
	if b.tempDir != "" {
		errs = append(errs, os.RemoveAll(b.tempDir))
	}
	return errors.Join(errs...)
}

// run starts d and adds it to the daemons that Stop stops. It returns an error
// if ctx has ended meanwhile.
func (b *Broker) run(ctx context.Context, d *daemon) error {
	b.daemons = append(b.daemons, d)
	if err := d.start(); err != nil {
		return err
	}
	return ended(ctx)
}

// ended returns an error with the cause of ctx if ctx has ended.
func ended(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("start interrupted: %w", context.Cause(ctx))
}

// address returns the loopback address of nsqd i. port is the port of nsqd 0, or
// 0 for a free one.
func address(port, i int) string {
	if port != 0 {
		port += 2 * i
	}
	return net.JoinHostPort(loopback, strconv.Itoa(port))
}
