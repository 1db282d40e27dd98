package admin

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// Poll reads the counts of all daemons, without the clients. It sends one request to each
// nsqlookupd and each nsqd, and a second one to an nsqd that is new or has restarted.
//
// The error joins an [*Error] for each daemon that has not responded. After the end of ctx, they
// wrap its cause. The View is never nil: it has the figures of the other daemons.
func (c *Cluster) Poll(ctx context.Context) (*View, error) { return c.poll(ctx, scope{}) }

// PollClients is Poll for one topic, or for one channel, with the clients. An empty channel
// stands for all channels of the topic, and an empty topic for all topics. With a channel, the
// figures of the topic are those of the nsqds that have the channel. Clients make nsqd's response
// large: 500 of them add 200 KB.
func (c *Cluster) PollClients(ctx context.Context, topic, channel string) (*View, error) {
	return c.poll(ctx, scope{topic: topic, channel: channel, clients: true})
}

func (c *Cluster) poll(ctx context.Context, s scope) (*View, error) {
	v := &View{At: time.Now(), NSQDs: []NSQD{}, scope: s}
	lookupds, errs, readings := c.read(ctx, s)
	v.Lookupds = lookupds
	listed := registryOf(lookupds)
	merge := newMerge()
	at := make(map[identity]int)       // where an nsqd is in v.NSQDs
	advertised := make(map[string]int) // the same, by the address that its /info names
	for _, addr := range c.addrs(listed) {
		r := readings[addr]
		if r.err != nil {
			if i, ok := advertised[addr]; ok {
				v.NSQDs[i].list(listed[addr]) // it has responded at another address
				continue
			}
			errs = append(errs, r.err)
			n := NSQD{Addr: shown(addr), Error: r.err.Error()}
			n.list(listed[addr])
			v.NSQDs = append(v.NSQDs, n)
			continue
		}
		id := r.info.identity()
		if i, ok := at[id]; ok {
			v.NSQDs[i].list(listed[addr]) // it has two addresses
			continue
		}
		at[id], advertised[r.info.httpAddr()] = len(v.NSQDs), len(v.NSQDs)
		n := newNSQD(shown(addr), &r.nsqdStats)
		n.list(listed.of(addr, r.info))
		v.NSQDs = append(v.NSQDs, n)
		merge.add(n.Addr, r.stats)
	}
	v.Topics = merge.topics()
	return v, errors.Join(errs...)
}

// reading is what was read of an nsqd, or why nothing was.
type reading struct {
	nsqdStats
	err error
}

// read asks the nsqlookupds, and each nsqd as soon as its address is known. An nsqlookupd that
// hangs does not hold up nsqds that the Cluster or another nsqlookupd names.
func (c *Cluster) read(ctx context.Context, s scope) ([]Lookupd, []error, map[string]*reading) {
	lookupds, errs := make([]Lookupd, len(c.Lookupds)), make([]error, len(c.Lookupds))
	work := c.work()
	var mu sync.Mutex // guards readings
	readings := make(map[string]*reading)
	ask := func(addr string) {
		mu.Lock()
		defer mu.Unlock()
		if readings[addr] == nil {
			r := new(reading)
			readings[addr] = r
			work.add(func() { r.nsqdStats, r.err = c.nsqdStats(ctx, addr, s) })
		}
	}
	for i, addr := range c.Lookupds {
		work.add(func() {
			lookupds[i], errs[i] = c.lookupd(ctx, addr)
			for _, r := range lookupds[i].Registered {
				ask(r.HTTPAddr())
			}
		})
	}
	for _, addr := range c.NSQDs {
		ask(addr)
	}
	work.wait()
	return lookupds, errs, readings
}

// lookupd reads what an nsqlookupd lists.
func (c *Cluster) lookupd(ctx context.Context, addr string) (Lookupd, error) {
	l := Lookupd{Addr: shown(addr)}
	var said nodes
	_, err := c.get(ctx, addr, "/nodes", nil, &said)
	if err != nil {
		l.Error = err.Error()
		said.Producers = nil // they may be incomplete
	}
	l.Registered = said.registrations()
	return l, err
}

// nsqdStats is what an nsqd counts, and what it says of itself.
type nsqdStats struct {
	*stats
	at   time.Time // when it responded
	info info
}

// identity tells nsqds apart, at whichever address they are asked.
type identity struct {
	hostname, broadcast string
	tcpPort, httpPort   int
	started             int64
}

func (i info) identity() identity {
	return identity{i.Hostname, i.BroadcastAddress, i.TCPPort, i.HTTPPort, i.StartTime}
}

// knownNSQDs keeps the responses of nsqds to /info, by address, until the nsqds restart.
type knownNSQDs struct {
	mu     sync.Mutex // guards byAddr
	byAddr map[string]info
}

func (k *knownNSQDs) get(addr string, started int64) (info, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known, ok := k.byAddr[addr]
	return known, ok && known.StartTime == started
}

// put keeps a response. Pods come and go, each with a new address. So when there are maxNSQDs
// responses, all are dropped, and the nsqds are asked once more.
func (k *knownNSQDs) put(addr string, said info) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byAddr == nil || len(k.byAddr) >= maxNSQDs {
		k.byAddr = make(map[string]info)
	}
	k.byAddr[addr] = said
}

// nsqdStats reads an nsqd's statistics and, if it has restarted or is new, its /info.
func (c *Cluster) nsqdStats(ctx context.Context, addr string, s scope) (nsqdStats, error) {
	read, at, err := c.stats(ctx, addr, s)
	if err != nil {
		return nsqdStats{}, err
	}
	said, ok := c.known.get(addr, read.StartTime)
	if !ok {
		if said, err = c.info(ctx, addr); err != nil {
			return nsqdStats{}, err
		}
		c.known.put(addr, said)
	}
	return nsqdStats{read, at, said}, nil
}

// newNSQD returns what an nsqd says of itself.
func newNSQD(addr string, read *nsqdStats) NSQD {
	n := NSQD{
		Addr: addr, Hostname: read.info.Hostname, Broadcast: read.info.BroadcastAddress,
		TCPPort: read.info.TCPPort, HTTPPort: read.info.HTTPPort,
		Version: read.Version, Health: read.Health, Started: unix(read.StartTime), At: read.at,
		Memory: read.Memory.memory(),
	}
	for i := range read.Producers {
		n.Publishers = append(n.Publishers, read.Producers[i].publisher(addr))
	}
	return n
}

// list notes which nsqlookupds list n, and the ports that they name: nsqd's /info does not know
// --broadcast-tcp-port and --broadcast-http-port.
func (n *NSQD) list(listings []listing) {
	if n.Lookupds == nil {
		n.Lookupds = []string{}
	}
	for _, l := range listings {
		if !slices.Contains(n.Lookupds, l.lookupd) {
			n.Lookupds = append(n.Lookupds, l.lookupd)
		}
		if n.Error == "" && l.TCPPort > 0 && l.HTTPPort > 0 {
			n.TCPPort, n.HTTPPort = l.TCPPort, l.HTTPPort
		}
	}
}

// merge sums the topics and channels of nsqds.
type merge struct {
	byName map[string]*merging
}

type merging struct {
	topic    Topic
	channels map[string]*Channel
}

func newMerge() *merge { return &merge{byName: make(map[string]*merging)} }

// add adds the topics of an nsqd.
func (m *merge) add(nsqd string, read *stats) {
	for i := range read.Topics {
		t := &read.Topics[i]
		sum := m.byName[t.Name]
		if sum == nil {
			sum = &merging{Topic{Name: t.Name}, make(map[string]*Channel)}
			m.byName[t.Name] = sum
		}
		counts := t.counts()
		sum.topic.add(counts)
		sum.topic.NSQDs = append(sum.topic.NSQDs, TopicOn{nsqd, counts})
		for j := range t.Channels {
			sum.channel(t.Channels[j].Name).merge(nsqd, &t.Channels[j])
		}
	}
}

// channel returns the sum for a channel.
func (m *merging) channel(name string) *Channel {
	c := m.channels[name]
	if c == nil {
		c = &Channel{Name: name}
		m.channels[name] = c
	}
	return c
}

// merge adds what an nsqd counts.
func (c *Channel) merge(nsqd string, read *channelStats) {
	counts := read.counts()
	c.add(counts)
	c.NSQDs = append(c.NSQDs, ChannelOn{nsqd, counts, read.Latency.quantiles()})
	for i := range read.Clients {
		c.Clients = append(c.Clients, read.Clients[i].client(nsqd))
	}
}

// topics returns the sums, by name.
func (m *merge) topics() []Topic {
	topics := make([]Topic, 0, len(m.byName))
	for _, sum := range m.byName {
		sum.topic.Channels = make([]Channel, 0, len(sum.channels))
		for _, c := range sum.channels {
			sum.topic.Channels = append(sum.topic.Channels, *c)
		}
		slices.SortFunc(sum.topic.Channels, func(a, b Channel) int { return strings.Compare(a.Name, b.Name) })
		topics = append(topics, sum.topic)
	}
	slices.SortFunc(topics, func(a, b Topic) int { return cmp.Compare(a.Name, b.Name) })
	return topics
}
