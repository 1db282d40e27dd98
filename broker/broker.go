// Package broker runs a real NSQ cluster inside this process: nsqd, nsqlookupd and nsqadmin, version 1.3.0, used as
// libraries and listening on loopback. It is meant for demos, development and tests; nothing has to be installed.
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

	// maxNSQDs is the number of node ids NSQ has. Each nsqd here gets its own, so that no two issue the same message ID.
	maxNSQDs = 1024
)

// Options says what Start runs. The zero value is one nsqd on free ports, with a temporary data directory and no log.
type Options struct {
	// NSQDs is the number of nsqds, at most 1024. Default: 1.
	NSQDs int

	// Lookupds is the number of nsqlookupds, always on free ports; every nsqd registers with all of them. Default: none.
	Lookupds int

	// Admin adds an nsqadmin, on a free port, that shows the cluster. Default: false.
	Admin bool

	// DataDir is where nsqd number i (from 0) keeps its data, in the directory DataDir/nsqd-<i>, which is created where
	// missing and stays after Stop. Default: a temporary directory that Stop removes.
	DataDir string

	// TCPPort and HTTPPort are the ports of nsqd 0, each 0 to 65535; nsqd i gets them plus 2*i. Default, 0: free ports.
	TCPPort, HTTPPort int

	// Logger receives the log lines of all daemons, each with an attribute "daemon" such as "nsqd-0". It is asked once,
	// at the start of a daemon, which levels it wants. Default, nil: no log.
	Logger *slog.Logger

	// Configure, if not nil, is called by Start with each nsqd's number and complete options, and may change them as
	// it likes, except that an nsqd needs a TCP and an HTTP address.
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

// NSQD is where one nsqd listens, each address as "host:port".
type NSQD struct {
	TCPAddr, HTTPAddr string
}

// Broker is a running cluster. Its methods may be called from any goroutine.
type Broker struct {
	tempDir  string    // removed at the end; "" if the data is to be kept
	daemons  []*daemon // in the order of their start
	nsqds    []NSQD
	lookupds []lookupd
	admin    string
	stop     func() error // shutdown, run at most once
}

// Start starts the daemons and returns when all of them answer and every nsqd is known to every nsqlookupd. ctx
// bounds Start only: when it ends early, Start returns an error that wraps the context's cause. After an error nothing
// is left running and no temporary directory is left behind. The error for a port in use names the address and wraps
// syscall.EADDRINUSE.
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
	// nsqd and nsqlookupd end the process when they cannot learn the host name.
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

// LookupdHTTPAddrs returns the HTTP addresses of the nsqlookupds, each as "host:port": what a consumer connects to.
func (b *Broker) LookupdHTTPAddrs() []string {
	addrs := make([]string, len(b.lookupds))
	for i, l := range b.lookupds {
		addrs[i] = l.http
	}
	return addrs
}

// AdminAddr returns the HTTP address of nsqadmin as "host:port", or "" if Options.Admin was false.
func (b *Broker) AdminAddr() string { return b.admin }

// Stop stops all daemons, waits for the goroutines they run on, and removes the temporary data directory. As when an
// nsqd process is told to stop, messages in memory go to disk first, and clients are cut off. The error, if any, says
// which daemon had failed before, or that the temporary directory could not be removed; all daemons are stopped
// nevertheless. A further Stop, also a concurrent one, does nothing but wait, and returns the same error.
//
// On operating systems other than Linux and macOS it also waits for connections that have not sent NSQ's opening bytes
// yet, until their clients close them.
func (b *Broker) Stop() error { return b.stop() }

// shutdown stops the daemons in the reverse order of their start, so that none loses one it depends on.
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

// run starts a daemon that Stop will stop, unless ctx has ended.
func (b *Broker) run(ctx context.Context, d *daemon) error {
	b.daemons = append(b.daemons, d)
	if err := d.start(); err != nil {
		return err
	}
	return ended(ctx)
}

// ended is the reason why ctx has ended, or nil.
func ended(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("start interrupted: %w", context.Cause(ctx))
}

// address is nsqd i's loopback address, where nsqd 0 has the given port; 0 is a free one.
func address(port, i int) string {
	if port != 0 {
		port += 2 * i
	}
	return net.JoinHostPort(loopback, strconv.Itoa(port))
}
