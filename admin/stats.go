package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A response is JSON of a daemon.
type response interface {
	// check returns an error if the JSON is not of such a daemon. Without it, any other service
	// that responds with JSON would pass for a daemon without topics.
	check() error
}

var (
	errNotNSQD    = errors.New("response is not of nsqd")
	errNotLookupd = errors.New("response is not of nsqlookupd")
	errTooMany    = fmt.Errorf("response lists more than %d nsqds", maxNSQDs)
)

// unix returns the time of a count of Unix seconds, the zero Time if JSON cannot express it.
func unix(seconds int64) time.Time {
	const year0, year10000 = -62_167_219_200, 253_402_300_800
	if seconds < year0 || seconds >= year10000 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// stats is nsqd's response to /stats (nsqd/http.go, doStats; nsqd/stats.go). nsqd 1.2.1 and
// 1.3.0 agree on what is read here.
type stats struct {
	Version   string       `json:"version"`
	Health    string       `json:"health"`
	StartTime int64        `json:"start_time"` // Unix seconds
	Topics    []topicStats `json:"topics"`
	Producers []connStats  `json:"producers"`
	Memory    *memoryStats `json:"memory"` // null unless asked for
}

// memoryStats is what nsqd says of its memory (nsqd/stats.go, memStats).
type memoryStats struct {
	HeapObjects       uint64 `json:"heap_objects"`
	HeapIdleBytes     uint64 `json:"heap_idle_bytes"`
	HeapInUseBytes    uint64 `json:"heap_in_use_bytes"`
	HeapReleasedBytes uint64 `json:"heap_released_bytes"`
	NextGCBytes       uint64 `json:"next_gc_bytes"`
	GCTotalRuns       uint64 `json:"gc_total_runs"`
}

// memory returns the figures of a response, nil if it has none.
func (m *memoryStats) memory() *Memory {
	if m == nil {
		return nil
	}
	return &Memory{
		HeapObjects: m.HeapObjects, HeapIdle: m.HeapIdleBytes, HeapInUse: m.HeapInUseBytes,
		HeapReleased: m.HeapReleasedBytes, NextGC: m.NextGCBytes, GCs: m.GCTotalRuns,
	}
}

func (s *stats) check() error {
	if s.Version == "" || s.StartTime == 0 {
		return errNotNSQD
	}
	return nil
}

type topicStats struct {
	Name         string         `json:"topic_name"`
	Channels     []channelStats `json:"channels"`
	Depth        int64          `json:"depth"`
	BackendDepth int64          `json:"backend_depth"`
	MessageCount uint64         `json:"message_count"`
	MessageBytes uint64         `json:"message_bytes"`
	Paused       bool           `json:"paused"`
}

func (t *topicStats) counts() TopicCounts {
	return TopicCounts{
		Depth: t.Depth, DiskDepth: t.BackendDepth, Messages: t.MessageCount, Bytes: t.MessageBytes, Paused: t.Paused,
	}
}

type channelStats struct {
	Name          string      `json:"channel_name"`
	Depth         int64       `json:"depth"`
	BackendDepth  int64       `json:"backend_depth"`
	InFlightCount int64       `json:"in_flight_count"`
	DeferredCount int64       `json:"deferred_count"`
	MessageCount  uint64      `json:"message_count"`
	RequeueCount  uint64      `json:"requeue_count"`
	TimeoutCount  uint64      `json:"timeout_count"`
	ClientCount   int         `json:"client_count"`
	Clients       []connStats `json:"clients"`
	Paused        bool        `json:"paused"`
	Latency       e2eStats    `json:"e2e_processing_latency"`
}

// e2eStats is how long messages took from publish to FIN (internal/quantile/quantile.go, Result).
type e2eStats struct {
	Count       int64 `json:"count"` // of messages in the window of nsqd
	Percentiles []struct {
		Quantile float64 `json:"quantile"` // 0 to 1
		Value    float64 `json:"value"`    // nanoseconds
	} `json:"percentiles"`
}

// quantiles returns the quantiles, none without a message.
func (e *e2eStats) quantiles() []Quantile {
	if e.Count == 0 {
		return nil
	}
	var all []Quantile
	for _, p := range e.Percentiles {
		all = append(all, Quantile{Quantile: p.Quantile, Seconds: p.Value / 1e9})
	}
	return all
}

func (c *channelStats) counts() ChannelCounts {
	return ChannelCounts{
		Depth: c.Depth, DiskDepth: c.BackendDepth, InFlight: c.InFlightCount, Deferred: c.DeferredCount,
		Messages: c.MessageCount, Requeued: c.RequeueCount, TimedOut: c.TimeoutCount,
		ClientCount: c.ClientCount, Paused: c.Paused,
	}
}

// stateClosing is the state of a client that has sent CLS (nsqd/protocol_v2.go).
const stateClosing = 4

// connStats is a client of nsqd (nsqd/client_v2.go, ClientV2Stats).
type connStats struct {
	ClientID      string     `json:"client_id"`
	Hostname      string     `json:"hostname"`
	RemoteAddress string     `json:"remote_address"`
	State         int        `json:"state"`
	ReadyCount    int64      `json:"ready_count"`
	InFlightCount int64      `json:"in_flight_count"`
	MessageCount  uint64     `json:"message_count"`
	FinishCount   uint64     `json:"finish_count"`
	RequeueCount  uint64     `json:"requeue_count"`
	ConnectTime   int64      `json:"connect_ts"` // Unix seconds
	SampleRate    int        `json:"sample_rate"`
	Deflate       bool       `json:"deflate"`
	Snappy        bool       `json:"snappy"`
	TLS           bool       `json:"tls"`
	UserAgent     string     `json:"user_agent"`
	AuthIdentity  string     `json:"auth_identity"`
	PubCounts     []pubCount `json:"pub_counts"`
}

type pubCount struct {
	Topic string `json:"topic"`
	Count uint64 `json:"count"`
}

func (c *connStats) connection(nsqd string) Connection {
	return Connection{
		NSQD: nsqd, ID: c.ClientID, Hostname: c.Hostname, RemoteAddr: c.RemoteAddress, UserAgent: c.UserAgent,
		Connected: unix(c.ConnectTime), TLS: c.TLS, Snappy: c.Snappy, Deflate: c.Deflate,
		Identity: c.AuthIdentity,
	}
}

func (c *connStats) client(nsqd string) Client {
	return Client{
		Connection: c.connection(nsqd), RDY: c.ReadyCount, InFlight: c.InFlightCount, Messages: c.MessageCount,
		Finished: c.FinishCount, Requeued: c.RequeueCount, SampleRate: c.SampleRate, Closing: c.State == stateClosing,
	}
}

func (c *connStats) publisher(nsqd string) Publisher {
	p := Publisher{Connection: c.connection(nsqd), Published: []Published{}}
	for _, count := range c.PubCounts {
		p.Published = append(p.Published, Published{count.Topic, count.Count})
	}
	return p
}

// scope is what a poll asks nsqds for.
type scope struct {
	topic, channel string // empty: all
	clients        bool
}

// stats reads an nsqd's statistics. at is when it responded.
func (c *Cluster) stats(ctx context.Context, addr string, s scope) (read *stats, at time.Time, err error) {
	params := query("format", "json", "topic", s.topic, "channel", s.channel,
		"include_clients", strconv.FormatBool(s.clients), "include_mem", strconv.FormatBool(c.Memory))
	read = new(stats)
	at, err = c.get(ctx, addr, "/stats", params, read)
	read.keep(s)
	return read, at, err
}

// keep drops what the poll has not asked for, should a daemon or a proxy ignore the parameters of
// the request. Otherwise the View would have topics that Between leaves out.
func (s *stats) keep(asked scope) {
	if asked.topic == "" {
		return
	}
	s.Topics = slices.DeleteFunc(s.Topics, func(t topicStats) bool { return t.Name != asked.topic })
	if asked.channel == "" {
		return
	}
	for i := range s.Topics {
		t := &s.Topics[i]
		t.Channels = slices.DeleteFunc(t.Channels, func(c channelStats) bool { return c.Name != asked.channel })
	}
}

// info reads what an nsqd says of itself.
func (c *Cluster) info(ctx context.Context, addr string) (said info, err error) {
	_, err = c.get(ctx, addr, "/info", nil, &said)
	return said, err
}

// info is nsqd's response to /info.
type info struct {
	Version          string `json:"version"`
	BroadcastAddress string `json:"broadcast_address"`
	Hostname         string `json:"hostname"`
	HTTPPort         int    `json:"http_port"`
	TCPPort          int    `json:"tcp_port"`
	StartTime        int64  `json:"start_time"` // Unix seconds
}

func (i *info) check() error {
	if i.StartTime == 0 {
		return errNotNSQD
	}
	return nil
}

// httpAddr returns the address by which nsqlookupds list the nsqd, unless it was started with
// --broadcast-http-port. It is empty for the zero info.
func (i *info) httpAddr() string {
	if i.StartTime == 0 {
		return ""
	}
	return Registration{Broadcast: i.BroadcastAddress, HTTPPort: max(i.HTTPPort, 0)}.HTTPAddr() // -1 is a Unix socket
}

// nodes is nsqlookupd's response to /nodes. Tombstones has the same order as Topics.
type nodes struct {
	Producers []struct {
		RemoteAddress    string   `json:"remote_address"`
		Hostname         string   `json:"hostname"`
		BroadcastAddress string   `json:"broadcast_address"`
		TCPPort          int      `json:"tcp_port"`
		HTTPPort         int      `json:"http_port"`
		Version          string   `json:"version"`
		Tombstones       []bool   `json:"tombstones"`
		Topics           []string `json:"topics"`
	} `json:"producers"`
}

func (n *nodes) check() error {
	switch {
	case n.Producers == nil:
		return errNotLookupd
	case len(n.Producers) > maxNSQDs:
		return errTooMany
	}
	return nil
}

// registrations returns the nsqds that are listed. nsqlookupd lists nsqds and topics in random
// order. Both are sorted here.
func (n *nodes) registrations() []Registration {
	registered := make([]Registration, 0, len(n.Producers))
	for _, p := range n.Producers {
		r := Registration{
			RemoteAddr: p.RemoteAddress, Hostname: p.Hostname, Broadcast: p.BroadcastAddress,
			TCPPort: p.TCPPort, HTTPPort: p.HTTPPort, Version: p.Version, Topics: append([]string{}, p.Topics...),
		}
		for i, topic := range p.Topics {
			if i < len(p.Tombstones) && p.Tombstones[i] {
				r.Tombstoned = append(r.Tombstoned, topic)
			}
		}
		slices.Sort(r.Topics)
		slices.Sort(r.Tombstoned)
		registered = append(registered, r)
	}
	slices.SortFunc(registered, func(a, b Registration) int {
		return cmp.Or(strings.Compare(a.Broadcast, b.Broadcast), a.HTTPPort-b.HTTPPort, strings.Compare(a.RemoteAddr, b.RemoteAddr))
	})
	return registered
}
