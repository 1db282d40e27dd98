package main

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nsqio/nsq/nsqd"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/broker"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	demoPagePoll    = time.Second      // between two polls of the page
	demoPageEvery   = 30 * time.Second // between two faults
	demoPageLasts   = 20 * time.Second // how long a fault lasts
	demoPageTimeout = 10 * time.Second // of a request to a daemon, and of a publish
)

// demoPage is "rdy demo --ui": a cluster under a steady load, a fault now and then, and the page
// that shows both.
type demoPage struct {
	*app
	nsqds              int
	poll, every, lasts time.Duration

	nodes    []*demoNode
	lookupds []string // HTTP addresses
	admin    *admin.Cluster
	load     *demoLoad
}

// checkDemoPage refuses the flags that --ui leaves no room for.
func checkDemoPage(cmd *cobra.Command, nsqds int) error {
	var other string
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed && other == "" && f.Name != "ui" && f.Name != "nsqds" {
			other = f.Name
		}
	})
	switch {
	case other != "":
		return usage(cmd, "--ui and --%s cannot be combined", other)
	case nsqds < 2:
		return usage(cmd, "--ui needs at least 2 --nsqds, because it stops one of them now and then")
	}
	return nil
}

// run serves the page until ctx ends.
func (p *demoPage) run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "rdy-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	defer func() { err = errors.Join(err, p.stop()) }()
	if err := p.startNodes(ctx, dir); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var served error
	var page sync.WaitGroup
	page.Go(func() {
		defer cancel()
		served = p.serve(ctx)
	})
	shown := p.show(ctx)
	cancel() // it may have failed
	page.Wait()
	return errors.Join(shown, served)
}

// serve serves the page, which prints its address.
func (p *demoPage) serve(ctx context.Context) error {
	u := &uiCommand{app: p.app, listen: "127.0.0.1:0", name: "demo", interval: p.poll, allowActions: true}
	u.cluster.lookupds = p.lookupds
	return u.run(ctx, &target{Cluster: p.admin}, nil)
}

// show runs the load and the faults until ctx ends.
func (p *demoPage) show(ctx context.Context) error {
	load, err := p.startLoad(ctx)
	if err != nil {
		return err
	}
	p.load = load
	defer load.stop()
	showFaults(ctx, p.faults(), p.every, p.lasts, func(words string) {
		p.notice("%s  %s", time.Now().Format(time.TimeOnly), words)
	})
	return nil
}

// demoNode is an nsqd that can be stopped and started again, with its data and its ports.
type demoNode struct {
	options broker.Options
	broker  *broker.Broker // nil while it is stopped
	broker.NSQD
}

// startNodes starts the nsqds, each as a Broker of its own: a Broker stops all its daemons
// together. The first one also has the nsqlookupd.
func (p *demoPage) startNodes(ctx context.Context, dir string) error {
	log, level := p.logger()
	p.mute(level) // a fault on purpose is no news
	var registry []string
	for i := range p.nsqds {
		n := &demoNode{options: broker.Options{DataDir: filepath.Join(dir, strconv.Itoa(i)), Logger: log}}
		if i == 0 {
			n.options.Lookupds = 1
			n.options.Configure = func(_ int, o *nsqd.Options) { registry = slices.Clone(o.NSQLookupdTCPAddresses) }
		} else {
			n.options.Configure = func(_ int, o *nsqd.Options) { o.ID, o.NSQLookupdTCPAddresses = int64(i), registry }
		}
		p.nodes = append(p.nodes, n)
		if err := n.start(ctx); err != nil {
			return err
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	p.lookupds = p.nodes[0].broker.LookupdHTTPAddrs()
	p.admin = &admin.Cluster{Lookupds: p.lookupds, Client: &http.Client{Transport: transport, Timeout: demoPageTimeout}}
	return nil
}

// stop stops what runs.
func (p *demoPage) stop() error {
	var errs []error
	for _, n := range slices.Backward(p.nodes) { // the nsqlookupd is with the first one
		errs = append(errs, n.stop())
	}
	if p.admin != nil {
		p.admin.Client.CloseIdleConnections()
	}
	return errors.Join(errs...)
}

// start starts the nsqd, at the ports that it had before.
func (n *demoNode) start(ctx context.Context) error {
	b, err := broker.Start(ctx, n.options)
	if err != nil {
		return err
	}
	n.broker, n.NSQD = b, b.NSQDs()[0]
	if n.options.TCPPort, err = portOf(n.TCPAddr); err != nil {
		return err
	}
	n.options.HTTPPort, err = portOf(n.HTTPAddr)
	return err
}

// stop stops the nsqd, if it runs.
func (n *demoNode) stop() error {
	if n.broker == nil {
		return nil
	}
	err := n.broker.Stop()
	n.broker = nil
	return err
}

// addrs returns the nsqds' TCP addresses.
func (p *demoPage) addrs() (addrs []string) {
	for _, n := range p.nodes {
		addrs = append(addrs, n.TCPAddr)
	}
	return addrs
}

// portOf returns the port of an address.
func portOf(addr string) (int, error) {
	parsed, err := netip.ParseAddrPort(addr)
	return int(parsed.Port()), err
}
