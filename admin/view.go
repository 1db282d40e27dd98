package admin

import (
	"net"
	"strconv"
	"strings"
	"time"
)

// View is the result of one Poll. The package does not change it afterwards.
type View struct {
	At       time.Time `json:"at"`       // when the Poll began
	Lookupds []Lookupd `json:"lookupds"` // in the order of the Cluster
	NSQDs    []NSQD    `json:"nsqds"`    // those of the Cluster in its order, then others by address
	Topics   []Topic   `json:"topics"`   // by name

	scope scope
}

// Lookupd is an nsqlookupd and the nsqds that it lists.
type Lookupd struct {
	Addr       string         `json:"addr"`            // as the Cluster names it
	Registered []Registration `json:"registered"`      // the nsqds that are connected to it, by address
	Error      string         `json:"error,omitempty"` // why there are none
}

// Registration is an nsqd as an nsqlookupd lists it.
type Registration struct {
	RemoteAddr string   `json:"remote_address"` // of its connection to the nsqlookupd
	Hostname   string   `json:"hostname"`
	Broadcast  string   `json:"broadcast_address"`
	TCPPort    int      `json:"tcp_port"`
	HTTPPort   int      `json:"http_port"`
	Version    string   `json:"version"`
	Topics     []string `json:"topics"` // by name
	// Tombstoned are the Topics for which the nsqlookupd does not name the nsqd to consumers.
	Tombstoned []string `json:"tombstoned,omitempty"`
}

// HTTPAddr returns the address of the nsqd's HTTP API.
func (r Registration) HTTPAddr() string { return hostPort(r.Broadcast, r.HTTPPort) }

// TCPAddr returns the address that clients connect to.
func (r Registration) TCPAddr() string { return hostPort(r.Broadcast, r.TCPPort) }

// node returns the name by which nsqlookupd knows the nsqd: it puts no brackets around an IPv6
// address.
func (r Registration) node() string { return r.Broadcast + ":" + strconv.Itoa(r.HTTPPort) }

// hostPort returns the address of a host and a port. The host may be an IPv6 address in brackets,
// as package nsq accepts it.
func hostPort(host string, port int) string {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// NSQD is an nsqd.
type NSQD struct {
	// Addr is its HTTP address as the Cluster or an nsqlookupd names it.
	Addr string `json:"addr"`
	// At is when the nsqd responded, zero if it has not.
	At        time.Time `json:"at,omitzero"`
	Hostname  string    `json:"hostname"`
	Broadcast string    `json:"broadcast_address"`
	// TCPPort and HTTPPort are the ports that nsqlookupds list, or those that the nsqd listens on
	// if none lists it. They are -1 for a Unix socket.
	TCPPort  int    `json:"tcp_port"`
	HTTPPort int    `json:"http_port"`
	Version  string `json:"version"`
	// Started is when the nsqd began to count, to the second; zero if it has not responded.
	Started time.Time `json:"started,omitzero"`
	// Health is OK, or NOK with the reason: nsqd could not write to its disk.
	Health string `json:"health"`
	// Lookupds are the addresses of the nsqlookupds that responded and list it.
	Lookupds []string `json:"lookupds"`
	// Publishers are its clients that have published a message. Only PollClients lists them.
	Publishers []Publisher `json:"publishers,omitempty"`
	// Memory is nil unless Cluster.Memory is set.
	Memory *Memory `json:"memory,omitempty"`
	Error  string  `json:"error,omitempty"` // why its figures are missing
}

// Memory is the memory of an nsqd, as package runtime of Go measures it. Sizes are in bytes.
type Memory struct {
	HeapObjects  uint64 `json:"heap_objects"`
	HeapIdle     uint64 `json:"heap_idle_bytes"`
	HeapInUse    uint64 `json:"heap_in_use_bytes"`
	HeapReleased uint64 `json:"heap_released_bytes"` // of HeapIdle, returned to the system
	NextGC       uint64 `json:"next_gc_bytes"`       // size of the heap at which the next collection begins
	GCs          uint64 `json:"gc_runs"`             // garbage collections since the nsqd started
}

// TCPAddr returns the address that clients connect to, empty for a Unix socket or if the nsqd
// has not responded.
func (n NSQD) TCPAddr() string {
	if n.TCPPort <= 0 {
		return ""
	}
	return hostPort(n.Broadcast, n.TCPPort)
}

// TopicCounts is what nsqd counts for a topic.
type TopicCounts struct {
	// Depth is how many messages wait to be copied to channels, and DiskDepth how many of them
	// are on disk.
	Depth     int64 `json:"depth"`
	DiskDepth int64 `json:"disk_depth"`
	// Messages and Bytes are how much was published since the nsqd started.
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

// Topic has the counts of a topic: their sums, and those of each nsqd. Paused is true in the sum
// if the topic is paused on at least one nsqd.
type Topic struct {
	Name string `json:"topic"`
	TopicCounts
	NSQDs    []TopicOn `json:"nsqds"`
	Channels []Channel `json:"channels"` // by name
}

// TopicOn is what one nsqd counts for a topic.
type TopicOn struct {
	NSQD string `json:"nsqd"` // NSQD.Addr
	TopicCounts
}

// ChannelCounts is what nsqd counts for a channel.
type ChannelCounts struct {
	// Depth is how many messages wait, and DiskDepth how many of them are on disk. Neither
	// includes messages in flight and deferred ones.
	Depth     int64 `json:"depth"`
	DiskDepth int64 `json:"disk_depth"`
	// InFlight is how many messages clients hold.
	InFlight int64 `json:"in_flight"`
	// Deferred is how many messages wait for their delay to pass: they were published or
	// requeued with one.
	Deferred int64 `json:"deferred"`
	// Messages is how many messages have come from the topic since the nsqd started.
	Messages uint64 `json:"messages"`
	// Requeued is how often clients have requeued a message, and TimedOut how often one has kept
	// a message for longer than its msg_timeout, since the nsqd started.
	Requeued uint64 `json:"requeued"`
	TimedOut uint64 `json:"timed_out"`
	// ClientCount is how many connections have subscribed.
	ClientCount int `json:"client_count"`
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
	c.ClientCount += o.ClientCount
	c.Paused = c.Paused || o.Paused
}

// Channel has the counts of a channel: their sums, and those of each nsqd. Paused is true in the
// sum if the channel is paused on at least one nsqd.
type Channel struct {
	Name string `json:"channel"`
	ChannelCounts
	NSQDs []ChannelOn `json:"nsqds"`
	// Clients are the connections that have subscribed, by nsqd. Only PollClients lists them.
	Clients []Client `json:"clients,omitempty"`
}

// ChannelOn is what one nsqd counts for a channel.
type ChannelOn struct {
	NSQD string `json:"nsqd"` // NSQD.Addr
	ChannelCounts
	// Latency is how long messages took from their publish to their ack. It is empty unless the
	// nsqd runs with --e2e-processing-latency-percentile, and if it has acked none lately.
	Latency []Quantile `json:"latency,omitempty"`
}

// Quantile is a quantile of the latency of a channel's messages.
type Quantile struct {
	Quantile float64 `json:"quantile"` // 0.99: 99 % of the messages took no longer than this
	Seconds  float64 `json:"seconds"`
}

// Connection is what nsqd knows of a client's connection.
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
	// Identity is the name that the auth server has given the client. It is empty without an auth
	// server.
	Identity string `json:"auth_identity,omitempty"`
}

// Client is a connection that has subscribed to a channel.
type Client struct {
	Connection
	// RDY is how many messages the client accepts at a time, and InFlight how many it holds.
	RDY      int64 `json:"rdy"`
	InFlight int64 `json:"in_flight"`
	// Messages is how many messages nsqd has sent since the client connected. Finished and
	// Requeued are how many the client has acked and requeued.
	Messages uint64 `json:"messages"`
	Finished uint64 `json:"finished"`
	Requeued uint64 `json:"requeued"`
	// SampleRate is the percentage of messages that the client asked for. 0 stands for all.
	SampleRate int `json:"sample_rate"`
	// Closing means that the client has sent CLS and gets no more messages.
	Closing bool `json:"closing"`
}

// Publisher is a connection that has published a message.
type Publisher struct {
	Connection
	// Published has at most one topic, because nsqd lists no more: the topic of PollClients, or
	// any topic if PollClients was not called for one.
	Published []Published `json:"published"`
}

// Published is the number of messages that a client has published to a topic since it connected.
type Published struct {
	Topic    string `json:"topic"`
	Messages uint64 `json:"messages"`
}

// Topic returns the topic of this name, or nil if no nsqd that responded has it.
func (v *View) Topic(name string) *Topic {
	for i := range v.Topics {
		if v.Topics[i].Name == name {
			return &v.Topics[i]
		}
	}
	return nil
}

// Channel returns the channel of this name, or nil if no nsqd that responded has it.
func (t *Topic) Channel(name string) *Channel {
	for i := range t.Channels {
		if t.Channels[i].Name == name {
			return &t.Channels[i]
		}
	}
	return nil
}

// Partial reports whether a daemon has not responded. If so, the sums may be too low.
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
