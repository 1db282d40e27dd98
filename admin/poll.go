package admin

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// Poll reads what all daemons count, without their clients: one request to each nsqlookupd and
// each nsqd.
//
// The error joins an [*Error] for each daemon that has not responded, or wraps the cause of
// ctx. The View is never nil: it has what the other daemons say.
func (c *Cluster) Poll(ctx context.Context) (*View, error) { return c.poll(ctx, scope{}) }

// PollClients is Poll for one topic, or for one channel, with the clients. An empty channel
// stands for all channels of the topic, an empty topic for all topics. Clients are what makes
// nsqd's response large: 500 add 200 KB.
func (c *Cluster) PollClients(ctx context.Context, topic, channel string) (*View, error) {
	return c.poll(ctx, scope{topic: topic, channel: channel, clients: true})
}

func (c *Cluster) poll(ctx context.Context, s scope) (*View, error) {
	v := &View{At: time.Now()}
	var errs []error
	v.Lookupds, errs = c.lookupds(ctx)
	addrs := c.addrs(v.Lookupds)
	read, failed := askAll(c, addrs, func(addr string) (nsqdStats, error) { return c.nsqdStats(ctx, addr, s) })
	errs = append(errs, failed...)
	seen := make(map[identity]bool, len(addrs))
	merge := newMerge()
	for i, addr := range addrs {
		n := NSQD{Addr: addr, Lookupds: listing(v.Lookupds, addr, read[i].info)}
		if failed[i] != nil {
			n.Error = failed[i].Error()
			v.NSQDs = append(v.NSQDs, n)
			continue
		}
		if id := read[i].info.identity(); seen[id] {
			continue // the same nsqd by another address
		} else {
			seen[id] = true
		}
		n.fill(read[i])
		v.NSQDs = append(v.NSQDs, n)
		merge.add(addr, read[i].stats)
	}
	v.Topics = merge.topics()
	return v, join(errs)
}

// lookupds reads what nsqlookupds list.
func (c *Cluster) lookupds(ctx context.Context) ([]Lookupd, []error) {
	lookupds, errs := askAll(c, c.Lookupds, func(addr string) (Lookupd, error) {
		var said nodes
		err := c.get(ctx, addr, "/nodes", nil, &said)
		return Lookupd{Addr: addr, Registered: said.registrations()}, err
	})
	for i, err := range errs {
		if err != nil {
			lookupds[i] = Lookupd{Addr: c.Lookupds[i], Registered: []Registration{}, Error: err.Error()}
		}
	}
	return lookupds, errs
}

// nsqdStats is what an nsqd counts, and what it is.
type nsqdStats struct {
	*stats
	info info
}

// identity tells nsqds apart, whatever address they are asked at.
type identity struct {
	hostname, broadcast string
	tcpPort, httpPort   int
	started             int64
}

func (i info) identity() identity {
	return identity{i.Hostname, i.BroadcastAddress, i.TCPPort, i.HTTPPort, i.StartTime}
}

// knownNSQDs keeps what nsqds have said in response to /info, by address, until they restart.
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

// put keeps what an nsqd has said. Only addresses that were asked are kept, but pods come and
// go: beyond maxKnown all are forgotten, and asked for once more.
func (k *knownNSQDs) put(addr string, said info) {
	const maxKnown = 10_000
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byAddr == nil || len(k.byAddr) >= maxKnown {
		k.byAddr = make(map[string]info)
	}
	k.byAddr[addr] = said
}

// nsqdStats reads an nsqd's statistics and, once for each of its lives, what it is.
func (c *Cluster) nsqdStats(ctx context.Context, addr string, s scope) (nsqdStats, error) {
	read, err := c.stats(ctx, addr, s)
	if err != nil {
		return nsqdStats{}, err
	}
	said, ok := c.known.get(addr, read.StartTime)
	if !ok {
		if err := c.get(ctx, addr, "/info", nil, &said); err != nil {
			return nsqdStats{}, err
		}
		c.known.put(addr, said)
	}
	return nsqdStats{read, said}, nil
}

// fill sets what an nsqd that has responded says of itself.
func (n *NSQD) fill(read nsqdStats) {
	n.Hostname, n.Broadcast = read.info.Hostname, read.info.BroadcastAddress
	n.TCPPort, n.HTTPPort = read.info.TCPPort, read.info.HTTPPort
	n.Version, n.Health = read.Version, read.Health
	n.Started = time.Unix(read.stats.StartTime, 0).UTC()
	for i := range read.Producers {
		n.Publishers = append(n.Publishers, read.Producers[i].publisher(n.Addr))
	}
}

// listing returns the nsqlookupds that list an nsqd.
func listing(lookupds []Lookupd, addr string, said info) []string {
	names := []string{}
	for _, l := range lookupds {
		if slices.ContainsFunc(l.Registered, func(r Registration) bool {
			return r.HTTPAddr() == addr || said.TCPPort > 0 && r.Broadcast == said.BroadcastAddress &&
				r.TCPPort == said.TCPPort && r.HTTPPort == said.HTTPPort
		}) {
			names = append(names, l.Addr)
		}
	}
	return names
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
	c.NSQDs = append(c.NSQDs, ChannelOn{nsqd, counts})
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
