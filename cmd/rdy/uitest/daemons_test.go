//go:build linux

package uitest

import (
	"slices"
	"sync"
	"testing"

	daemon "github.com/nsqio/nsq/nsqd"
	"github.com/rdyhq/nsq/broker"
)

// cluster is three nsqds, two nsqlookupds and an nsqadmin in this process.
type cluster struct {
	admin    string
	lookupds []string
	nsqds    []*nsqd
	stop     func() // stops the third nsqd
}

// startCluster starts a cluster. configure, if it is not nil, may change the options of an nsqd.
func startCluster(t *testing.T, configure func(i int, o *daemon.Options)) *cluster {
	t.Helper()
	var lookupds []string // where nsqds register
	run := func(from int, o broker.Options) *broker.Broker {
		o.Configure = func(i int, o *daemon.Options) {
			if o.ID = int64(from + i); from == 0 {
				lookupds = slices.Clone(o.NSQLookupdTCPAddresses)
			} else {
				o.NSQLookupdTCPAddresses = lookupds
			}
			if configure != nil {
				configure(from+i, o)
			}
		}
		b, err := broker.Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := run(0, broker.Options{NSQDs: 2, Lookupds: 2, Admin: true})
	third := run(2, broker.Options{NSQDs: 1})
	c := &cluster{admin: "http://" + first.AdminAddr(), lookupds: first.LookupdHTTPAddrs()}
	c.stop = sync.OnceFunc(func() { _ = third.Stop() })
	t.Cleanup(func() { c.stop(); _ = first.Stop() })
	for _, n := range append(first.NSQDs(), third.NSQDs()...) {
		c.nsqds = append(c.nsqds, &nsqd{process: &process{T: t}, TCP: n.TCPAddr, HTTP: n.HTTPAddr})
	}
	return c
}

// create creates a channel on all nsqds.
func (c *cluster) create(topic, channel string) {
	for _, n := range c.nsqds {
		n.create(topic, channel)
	}
}

// serve starts a page of the cluster.
func (c *cluster) serve(t *testing.T, args ...string) *site {
	t.Helper()
	for _, l := range c.lookupds {
		args = append(args, "--lookupd", l)
	}
	return serve(t, nil, args...)
}
