package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/nsqio/nsq/nsqadmin"
	"github.com/nsqio/nsq/nsqd"
	"github.com/nsqio/nsq/nsqlookupd"
)

// lookupd holds the addresses at which one nsqlookupd listens.
type lookupd struct{ tcp, http string }

func (b *Broker) startLookupd(ctx context.Context, i int, log *slog.Logger) error {
	name := "nsqlookupd-" + strconv.Itoa(i)
	opts := nsqlookupd.NewOptions()
	opts.TCPAddress = address(0, 0)
	opts.HTTPAddress = address(0, 0)
	opts.BroadcastAddress = loopback
	opts.Logger = newSink(log, name)
	setLevel(&opts.LogLevel, log)
	l, err := nsqlookupd.New(opts)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	b.lookupds = append(b.lookupds, lookupd{tcp: l.RealTCPAddr().String(), http: l.RealHTTPAddr().String()})
	return b.run(ctx, newDaemon(name, l.Main, l.Exit, l.RealHTTPAddr(), l.RealTCPAddr()))
}

func (b *Broker) startAdmin(ctx context.Context, log *slog.Logger) error {
	const name = "nsqadmin"
	opts := nsqadmin.NewOptions()
	opts.HTTPAddress = address(0, 0)
	opts.Logger = newSink(log, name)
	setLevel(&opts.LogLevel, log)
	// nsqadmin accepts the addresses of nsqlookupds or of nsqds, not both. It
	// finds the nsqds through the nsqlookupds.
	if opts.NSQLookupdHTTPAddresses = b.LookupdHTTPAddrs(); len(b.lookupds) == 0 {
		for _, n := range b.nsqds {
			opts.NSQDHTTPAddresses = append(opts.NSQDHTTPAddresses, n.HTTPAddr)
		}
	}
	a, err := nsqadmin.New(opts)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	b.admin = a.RealHTTPAddr().String()
	return b.run(ctx, newDaemon(name, a.Main, a.Exit, a.RealHTTPAddr()))
}

func (b *Broker) startNSQD(ctx context.Context, i int, o Options) error {
	name := "nsqd-" + strconv.Itoa(i)
	opts := b.nsqdOptions(i, o)
	if o.Configure != nil {
		o.Configure(i, opts)
	}
	if err := prepare(opts); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	n, err := nsqd.New(opts)
	if err != nil {
		// New returns nothing to close. Only a garbage collection closes what it
		// had opened, above all the lock on the data directory.
		runtime.GC()
		return fmt.Errorf("%s: %w", name, err)
	}
	err = n.LoadMetadata()
	if err == nil {
		err = n.PersistMetadata()
	}
	if err != nil {
		n.Exit()
		return fmt.Errorf("%s: %w", name, err)
	}
	b.nsqds = append(b.nsqds, NSQD{TCPAddr: n.RealTCPAddr().String(), HTTPAddr: n.RealHTTPAddr().String()})
	exit := func() {
		// Exit reads the messages in flight without the lock that guards them.
		// By now nothing changes them, but this goroutine has to see the last
		// changes. It does after GetStats, which takes that lock.
		n.GetStats("", "", false)
		n.Exit()
	}
	addrs := []net.Addr{n.RealHTTPAddr(), n.RealTCPAddr()}
	if opts.TLSCert != "" && opts.HTTPSAddress != "" {
		addrs = append(addrs, n.RealHTTPSAddr()) // which panics in nsqd 1.2.1 if there is none
	}
	d := newDaemon(name, n.Main, exit, addrs...)
	if err := b.run(ctx, d); err != nil {
		return err
	}
	return b.waitRegistered(ctx, name, opts)
}

func (b *Broker) nsqdOptions(i int, o Options) *nsqd.Options {
	opts := nsqd.NewOptions()
	opts.ID = int64(i)
	opts.TCPAddress = address(o.TCPPort, i)
	opts.HTTPAddress = address(o.HTTPPort, i)
	opts.HTTPSAddress = address(0, i)
	opts.BroadcastAddress = loopback
	opts.DataPath = filepath.Join(o.DataDir, "nsqd-"+strconv.Itoa(i))
	for _, l := range b.lookupds {
		opts.NSQLookupdTCPAddresses = append(opts.NSQLookupdTCPAddresses, l.tcp)
	}
	opts.Logger = newSink(o.Logger, "nsqd-"+strconv.Itoa(i))
	setLevel(&opts.LogLevel, o.Logger)
	return opts
}

// savedMetadata is what LoadMetadata reads. nsqd 1.2.1 does not export its type.
type savedMetadata struct {
	Topics []struct {
		Name     string
		Paused   bool
		Channels []struct {
			Name   string
			Paused bool
		}
	}
}

// prepare creates the data directory, and checks what would make nsqd.New or
// LoadMetadata fail. Both fail badly: New leaves its first listener open and
// hides the cause, and after LoadMetadata Exit overwrites the metadata.
func prepare(opts *nsqd.Options) error {
	if opts.HTTPAddress == "" {
		return errors.New("no HTTPAddress")
	}
	if err := os.MkdirAll(opts.DataPath, 0o750); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	metadata := filepath.Join(opts.DataPath, "nsqd.dat")
	switch data, err := os.ReadFile(metadata); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("metadata: %w", err)
	default:
		if err := json.Unmarshal(data, new(savedMetadata)); err != nil {
			return fmt.Errorf("metadata in %s: %w", metadata, err)
		}
	}
	return checkFree(opts.TCPAddress, opts.HTTPAddress)
}

// checkFree returns an error unless it can listen on all the addresses at the same time.
func checkFree(addrs ...string) error {
	for _, addr := range addrs {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		defer func() { _ = l.Close() }()
	}
	return nil
}

// waitRegistered waits until every nsqlookupd of the cluster that the nsqd's
// options name lists the nsqd.
func (b *Broker) waitRegistered(ctx context.Context, name string, opts *nsqd.Options) error {
	for _, l := range b.lookupds {
		if !slices.Contains(opts.NSQLookupdTCPAddresses, l.tcp) {
			continue
		}
		for !lists(l.http, opts) {
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s is not registered with nsqlookupd at %s: %w", name, l.tcp, context.Cause(ctx))
			case <-time.After(2 * time.Millisecond):
			}
		}
	}
	return nil
}

// lists reports whether the nsqlookupd at addr lists an nsqd with these options.
func lists(addr string, opts *nsqd.Options) bool {
	resp, err := probe.Get("http://" + addr + "/nodes")
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	var nodes struct {
		Producers []struct {
			BroadcastAddress string `json:"broadcast_address"`
			TCPPort          int    `json:"tcp_port"`
		} `json:"producers"`
	}
	if resp.StatusCode != http.StatusOK || json.NewDecoder(resp.Body).Decode(&nodes) != nil {
		return false
	}
	for _, p := range nodes.Producers {
		if p.BroadcastAddress == opts.BroadcastAddress && p.TCPPort == opts.BroadcastTCPPort {
			return true
		}
	}
	return false
}
