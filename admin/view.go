package admin

import (
	"net"
	"strconv"
	"time"
)

// View is what the daemons of a cluster said in one Poll. It is not changed after the Poll.
type View struct {
	At       time.Time `json:"at"`       // when the Poll began
	Lookupds []Lookupd `json:"lookupds"` // in the order of the Cluster
	NSQDs    []NSQD    `json:"nsqds"`    // those of the Cluster first, in its order
	Topics   []Topic   `json:"topics"`   // by name
}

// Lookupd is an nsqlookupd and what it lists.
type Lookupd struct {
	Addr       string         `json:"addr"`
	Registered []Registration `json:"registered"`      // the nsqds that are connected to it
	Error      string         `json:"error,omitempty"` // why the rest is missing
}

// Registration is an nsqd as an nsqlookupd lists it.
type Registration struct {
	RemoteAddr string   `json:"remote_address"` // of its connection to the nsqlookupd
	Hostname   string   `json:"hostname"`
	Broadcast  string   `json:"broadcast_address"`
	TCPPort    int      `json:"tcp_port"`
	HTTPPort   int      `json:"http_port"`
	Version    string   `json:"version"`
	Topics     []string `json:"topics"`
	// Tombstoned are those of Topics that the nsqlookupd does not name to consumers.
	Tombstoned []string `json:"tombstoned,omitempty"`
}

// HTTPAddr returns the address of the nsqd's HTTP API.
func (r Registration) HTTPAddr() string {
	return net.JoinHostPort(r.Broadcast, strconv.Itoa(r.HTTPPort))
}

// TCPAddr returns the address that clients connect to.
func (r Registration) TCPAddr() string {
	return net.JoinHostPort(r.Broadcast, strconv.Itoa(r.TCPPort))
}

// NSQD is an nsqd.
type NSQD struct {
	// Addr is its HTTP address as the Cluster or an nsqlookupd names it.
	Addr      string `json:"addr"`
	Hostname  string `json:"hostname"`
	Broadcast string `json:"broadcast_address"`
	TCPPort   int    `json:"tcp_port"`  // -1 for a Unix socket
	HTTPPort  int    `json:"http_port"` // -1 for a Unix socket
	Version   string `json:"version"`
	// Started is when the nsqd began to count, to the second.
	Started time.Time `json:"started"`
	// Health is OK, or NOK and what fails: nsqd could not write to its disk.
	Health string `json:"health"`
	// Lookupds are the nsqlookupds that list it, of those that responded.
	Lookupds []string `json:"lookupds"`
	// Publishers are its clients that have subscribed to nothing. Only PollClients lists them.
	Publishers []Publisher `json:"publishers,omitempty"`
	Error      string      `json:"error,omitempty"` // why its figures are missing
}

// TCPAddr returns the address that clients connect to, empty for a Unix socket or if the nsqd
// has not responded.
func (n NSQD) TCPAddr() string {
	if n.TCPPort <= 0 {
		return ""
	}
	return net.JoinHostPort(n.Broadcast, strconv.Itoa(n.TCPPort))
}

// TopicCounts is what nsqd counts of a topic.
type TopicCounts struct {
	// Depth is how many messages wait to be copied to channels, DiskDepth how many of them on
	// disk.
	Depth     int64 `json:"depth"`
	DiskDepth int64 `json:"disk_depth"`
	// Messages and Bytes have been published since the nsqd started. nsqd before 1.2.1 does not
	// count Bytes.
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	// Paused means that no message is copied to channels.
	Paused bool `json:"paused"`
}

func (t *TopicCounts) add(o TopicCounts) {
	t.Depth += o.Depth
	t.DiskDepth += o.DiskDepth
	t.Messages += o.Messages
	t.Bytes += o.Bytes
	t.Paused = t.Paused || o.Paused
}

// Topic is a topic: the sum of all nsqds, and each of them. The sum is paused if the topic is
// on at least one nsqd.
type Topic struct {
	Name string `json:"topic"`
	TopicCounts
	NSQDs    []TopicOn `json:"nsqds"`
	Channels []Channel `json:"channels"` // by name
}

// TopicOn is what one nsqd counts of a topic.
type TopicOn struct {
	NSQD string `json:"nsqd"` // NSQD.Addr
	TopicCounts
}

// ChannelCounts is what nsqd counts of a channel.
type ChannelCounts struct {
	// Depth is how many messages wait, DiskDepth how many of them on disk. Messages in flight
	// and deferred ones are not among them.
	Depth     int64 `json:"depth"`
	DiskDepth int64 `json:"disk_depth"`
	// InFlight is how many messages clients hold.
	InFlight int64 `json:"in_flight"`
	// Deferred is how many messages wait for their time: they were published or requeued with
	// a delay.
	Deferred int64 `json:"deferred"`
	// Messages have come from the topic since the nsqd started.
	Messages uint64 `json:"messages"`
	// Requeued and TimedOut are how often clients have requeued a message, or kept it for
	// longer than their msg_timeout.
	Requeued uint64 `json:"requeued"`
	TimedOut uint64 `json:"timed_out"`
	Clients  int    `json:"client_count"`
	// Paused means that no message is sent to clients.
	Paused bool `json:"paused"`
}

func (c *ChannelCounts) add(o ChannelCounts) {
	c.Depth += o.Depth
	c.DiskDepth += o.DiskDepth
	c.InFlight += o.InFlight
	c.Deferred += o.Deferred
	c.Messages += o.Messages
	c.Requeued += o.Requeued
	c.TimedOut += o.TimedOut
	c.Clients += o.Clients
	c.Paused = c.Paused || o.Paused
}

// Channel is a channel: the sum of all nsqds, and each of them. The sum is paused if the
// channel is on at least one nsqd.
type Channel struct {
	Name string `json:"channel"`
	ChannelCounts
	NSQDs []ChannelOn `json:"nsqds"`
	// Clients are the connections that have subscribed, by nsqd. Only PollClients lists them.
	Clients []Client `json:"clients,omitempty"`
}

// ChannelOn is what one nsqd counts of a channel.
type ChannelOn struct {
	NSQD string `json:"nsqd"` // NSQD.Addr
	ChannelCounts
}

// Connection is what a client and nsqd have agreed on.
type Connection struct {
	NSQD       string    `json:"nsqd"` // NSQD.Addr
	ID         string    `json:"client_id"`
	Hostname   string    `json:"hostname"`
	RemoteAddr string    `json:"remote_address"`
	UserAgent  string    `json:"user_agent"`
	Connected  time.Time `json:"connected"`
	TLS        bool      `json:"tls"`
	Snappy     bool      `json:"snappy"`
	Deflate    bool      `json:"deflate"`
	// Identity is the name that an auth server has given the client, empty without one.
	Identity string `json:"auth_identity,omitempty"`
}

// Client is a connection that has subscribed to a channel.
type Client struct {
	Connection
	// RDY is how many messages the client accepts at a time, InFlight how many it holds.
	RDY      int64 `json:"rdy"`
	InFlight int64 `json:"in_flight"`
	// Messages have been sent to the client since it connected; Finished and Requeued are what
	// it has said of them.
	Messages uint64 `json:"messages"`
	Finished uint64 `json:"finished"`
	Requeued uint64 `json:"requeued"`
	// SampleRate is the percentage of messages that the client asked for; 0 stands for all.
	SampleRate int `json:"sample_rate"`
	// Closing means that the client gets no more messages: it has said CLS.
	Closing bool `json:"closing"`
}

// Publisher is a connection that has subscribed to nothing.
type Publisher struct {
	Connection
	Published []Published `json:"published"` // by topic
}

// Published is how many messages a client has published to a topic since it connected.
type Published struct {
	Topic    string `json:"topic"`
	Messages uint64 `json:"messages"`
}

// Topic returns the topic of this name, nil if no nsqd that responded has it.
func (v *View) Topic(name string) *Topic {
	for i := range v.Topics {
		if v.Topics[i].Name == name {
			return &v.Topics[i]
		}
	}
	return nil
}

// Channel returns the channel of this name, nil if no nsqd that responded has it.
func (t *Topic) Channel(name string) *Channel {
	for i := range t.Channels {
		if t.Channels[i].Name == name {
			return &t.Channels[i]
		}
	}
	return nil
}

// Partial reports whether a daemon has not responded: the sums may be too low.
func (v *View) Partial() bool {
	for _, n := range v.NSQDs {
		if n.Error != "" {
			return true
		}
	}
	for _, l := range v.Lookupds {
		if l.Error != "" {
			return true
		}
	}
	return false
}
