//go:build unix

package e2e

import (
	"syscall"
	"time"
)

// Faults of a process hit the first nsqd. The second one has a small disk, and the last one is
// behind a proxy.
const (
	processNSQD = 0
	diskNSQD    = 1
	proxiedNSQD = 2
)

func nothing() {}

// faults returns all faults that can be made here.
func (c *faultCluster) faults() []*fault {
	all := []*fault{{name: "none", begin: nothing, holds: time.Second, end: nothing}}
	all = append(all, c.processFaults()...)
	all = append(all, c.clusterFaults()...)
	all = append(all, c.networkFaults()...)
	if c.disk != nil {
		// nsqd confirms a message when it is in the topic's file. It is lost if it does not
		// fit into a channel's.
		all = append(all, &fault{name: "disk full", at: []int{diskNSQD}, begin: c.fillDisk, holds: 2 * time.Second, end: c.disk.free, destroys: destroysUntilFlow})
	}
	return all
}

// fillDisk fills the disk of an nsqd and waits until the nsqd refuses a message.
func (c *faultCluster) fillDisk() {
	c.t.Helper()
	c.disk.fill()
	eventually(c.t, patience, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.refused > 0
	})
}

// processFaults are those of an nsqd's process.
func (c *faultCluster) processFaults() []*fault {
	n, at := c.nsqds[processNSQD], []int{processNSQD}
	return []*fault{
		{name: "nsqd killed (kill -9)", at: at, begin: n.Kill, holds: time.Second, end: n.Start, destroys: destroysInFlight},
		{name: "nsqd frozen", at: at, begin: func() { n.signal(syscall.SIGSTOP) }, holds: 3 * time.Second, end: func() { n.signal(syscall.SIGCONT) }},
		{name: "nsqd frozen briefly", at: at, begin: func() { n.signal(syscall.SIGSTOP) }, holds: time.Second, end: func() { n.signal(syscall.SIGCONT) }},
		{name: "nsqd restarted", at: at, begin: n.Stop, end: n.Start},
		{name: "nsqd away for 3 s", at: at, begin: n.Stop, holds: 3 * time.Second, end: n.Start},
		{name: "nsqd moved to another port", at: at, begin: n.Stop, end: func() { c.move(n) }},
	}
}

// move starts an nsqd that has stopped at another port, with its data.
func (c *faultCluster) move(n *NSQD) {
	c.t.Helper()
	n.tcp = freeAddr(c.t)
	n.order.NSQD.TCPAddress = n.tcp
	n.Start()
}

// clusterFaults are those of more than an nsqd, and what operators do.
func (c *faultCluster) clusterFaults() []*fault {
	n, at := c.nsqds[processNSQD], []int{processNSQD}
	one, both := c.lookupds[:1], c.lookupds
	return []*fault{
		{name: "nsqlookupd dead", begin: func() { kill(one) }, holds: 2 * time.Second, end: func() { start(one) }},
		{name: "both nsqlookupds dead", begin: func() { kill(both) }, holds: 3 * time.Second, end: func() { start(both) }},
		{
			name: "nsqd restarted while both nsqlookupds are dead", at: at,
			begin: func() { kill(both); n.Stop() }, end: n.Start, after: func() { start(both) },
		},
		{name: "all nsqds dead", at: []int{0, 1, 2}, begin: c.killAll, holds: 2 * time.Second, end: c.startAll, destroys: destroysInFlight},
		{name: "topic deleted", at: []int{0, 1, 2}, begin: func() { c.admin.DeleteTopic(faultTopic) }, end: nothing, destroys: destroysUntilFlow},
		{name: "channel deleted", at: []int{0, 1, 2}, begin: c.deleteChannel, end: nothing, destroys: destroysUntilFlow},
		{name: "nsqd tombstoned for 2 s", at: at, begin: func() { c.admin.Tombstone(faultTopic, n) }, end: nothing, destroys: destroysUntilFlow},
	}
}

func kill(lookupds []*Lookupd) {
	for _, l := range lookupds {
		l.Kill()
	}
}

func start(lookupds []*Lookupd) {
	for _, l := range lookupds {
		l.Start()
	}
}

func (c *faultCluster) killAll() {
	for _, n := range c.nsqds {
		n.Kill()
	}
}

func (c *faultCluster) startAll() {
	for _, n := range c.nsqds {
		n.Start()
	}
}

// deleteChannel deletes a channel from all nsqds.
func (c *faultCluster) deleteChannel() {
	for _, n := range c.nsqds {
		n.Post("/channel/delete?topic=" + faultTopic + "&channel=" + faultChannels[0])
	}
}

// networkFaults are those between clients and the last nsqd.
func (c *faultCluster) networkFaults() []*fault {
	p, at := c.proxy, []int{proxiedNSQD}
	return []*fault{
		{name: "connections reset (RST)", at: at, begin: p.reset, end: nothing},
		{name: "connections closed (FIN)", at: at, begin: p.finish, end: nothing},
		{name: "network stalled for 1 s", at: at, begin: p.stall, holds: time.Second, end: p.resume},
		{name: "network stalled for 4 s", at: at, begin: p.stall, holds: 4 * time.Second, end: p.resume},
		{name: "half-open: to nsqd bytes vanish", at: at, begin: func() { p.vanish(toServer) }, end: nothing, hidden: 3 * time.Second},
		{name: "half-open: from nsqd bytes vanish", at: at, begin: func() { p.vanish(toClient) }, end: nothing, hidden: 3 * time.Second},
		{
			name:  "200 ms delay each way",
			begin: func() { p.delay.Store(int64(200 * time.Millisecond)) }, holds: 2 * time.Second, end: func() { p.delay.Store(0) },
		},
		{name: "one-byte segments", begin: func() { p.single.Store(true) }, holds: 2 * time.Second, end: func() { p.single.Store(false) }},
	}
}
