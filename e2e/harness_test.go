package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nsqio/nsq/nsqadmin"
	"github.com/nsqio/nsq/nsqd"
	"github.com/nsqio/nsq/nsqlookupd"
)

// NSQD is an nsqd that a test can stop, kill and start again.
type NSQD struct{ *process }

var nsqds atomic.Int64

// StartNSQD starts an nsqd that ends with the test. Its options are nsqd's
// defaults, except that it scans all channels every few milliseconds for
// messages whose timeout or delay is over. configure, unless nil, may change the
// options, but neither the addresses nor the logger.
func StartNSQD(t testing.TB, configure func(*nsqd.Options)) *NSQD {
	t.Helper()
	o := nsqd.NewOptions()
	o.ID = nsqds.Add(1) % 1024
	o.DataPath = dataDir(t)
	o.QueueScanInterval = 10 * time.Millisecond
	o.QueueScanRefreshInterval = 50 * time.Millisecond
	o.QueueScanSelectionCount = 1000
	if configure != nil {
		configure(o)
	}
	o.TCPAddress, o.HTTPAddress, o.HTTPSAddress = freeAddr(t), freeAddr(t), freeAddr(t)
	o.BroadcastAddress = "127.0.0.1"
	o.Logger = nil
	return &NSQD{startProcess(t, order{NSQD: o}, o.TCPAddress, o.HTTPAddress)}
}

// Publish publishes the messages in one request. Together they must fit nsqd's
// max-body-size of 5 MiB.
func (n *NSQD) Publish(topic string, bodies ...string) {
	n.t.Helper()
	batch := binary.BigEndian.AppendUint32(nil, uint32(len(bodies)))
	for _, body := range bodies {
		batch = binary.BigEndian.AppendUint32(batch, uint32(len(body)))
		batch = append(batch, body...)
	}
	n.request(http.MethodPost, "/mpub?binary=true&topic="+url.QueryEscape(topic), batch, nil)
}

// Post sends one of nsqd's administrative requests, such as
// "/channel/pause?topic=orders&channel=archive".
func (n *NSQD) Post(path string) {
	n.t.Helper()
	n.request(http.MethodPost, path, nil, nil)
}

// old reports whether the tests run nsqd 1.2.1 (nsqd121.mod). It lacks what 1.3.0 has
// where a test asks.
func (n *NSQD) old() bool {
	n.t.Helper()
	var info struct {
		Version string `json:"version"`
	}
	n.get("/info", &info)
	return info.Version == "1.2.1"
}

// ChannelStats is what nsqd reports about a channel.
type ChannelStats struct {
	Depth        int           `json:"depth"`
	InFlight     int           `json:"in_flight_count"`
	Deferred     int           `json:"deferred_count"`
	MessageCount int           `json:"message_count"`
	RequeueCount int           `json:"requeue_count"`
	TimeoutCount int           `json:"timeout_count"`
	Clients      []ClientStats `json:"clients"`
	Paused       bool          `json:"paused"`
	BackendDepth int           `json:"backend_depth"`
}

// ClientStats is what nsqd reports about a consumer's connection.
type ClientStats struct {
	RemoteAddress string `json:"remote_address"`
	State         int    `json:"state"`
	ReadyCount    int    `json:"ready_count"`
	InFlight      int    `json:"in_flight_count"`
	MessageCount  int    `json:"message_count"`
	FinishCount   int    `json:"finish_count"`
	RequeueCount  int    `json:"requeue_count"`
	TLS           bool   `json:"tls"`
	TLSVersion    string `json:"tls_version"`
	Snappy        bool   `json:"snappy"`
	Deflate       bool   `json:"deflate"`
	AuthIdentity  string `json:"auth_identity"`
}

// Stats returns what nsqd reports about a channel, or the zero value if it does
// not exist.
func (n *NSQD) Stats(topic, channel string) ChannelStats {
	n.t.Helper()
	var stats struct {
		Topics []struct {
			Channels []ChannelStats `json:"channels"`
		} `json:"topics"`
	}
	query := url.Values{"format": {"json"}, "topic": {topic}, "channel": {channel}}
	n.get("/stats?"+query.Encode(), &stats)
	for _, t := range stats.Topics {
		for _, c := range t.Channels {
			return c
		}
	}
	return ChannelStats{}
}

// Lookupd is an nsqlookupd that a test can stop, kill and start again. A restart
// loses everything it knows. An nsqd registers again only with its next ping;
// nsqds ping every 15 seconds.
type Lookupd struct{ *process }

// StartLookupd starts an nsqlookupd that ends with the test. An nsqd that is to
// register with it needs its TCPAddr in NSQLookupdTCPAddresses.
func StartLookupd(t testing.TB) *Lookupd {
	t.Helper()
	o := nsqlookupd.NewOptions()
	o.TCPAddress, o.HTTPAddress = freeAddr(t), freeAddr(t)
	o.BroadcastAddress = "127.0.0.1"
	return &Lookupd{startProcess(t, order{Lookupd: o}, o.TCPAddress, o.HTTPAddress)}
}

// post sends one of nsqlookupd's administrative requests.
func (l *Lookupd) post(path string) {
	l.t.Helper()
	l.request(http.MethodPost, path, nil, nil)
}

// Lists reports whether the nsqlookupd lists an nsqd for a topic.
func (l *Lookupd) Lists(topic, addr string) bool {
	l.t.Helper()
	var topics struct {
		Topics []string `json:"topics"`
	}
	l.get("/topics", &topics)
	if !slices.Contains(topics.Topics, topic) {
		return false // /lookup would respond with an error
	}
	var found struct {
		Producers []producer `json:"producers"`
	}
	l.get("/lookup?topic="+url.QueryEscape(topic), &found)
	return slices.ContainsFunc(found.Producers, func(p producer) bool { return p.addr() == addr })
}

// producer is an nsqd that an nsqlookupd lists.
type producer struct {
	BroadcastAddress string `json:"broadcast_address"`
	TCPPort          int    `json:"tcp_port"`
}

func (p producer) addr() string { return net.JoinHostPort(p.BroadcastAddress, strconv.Itoa(p.TCPPort)) }

// Nodes returns the TCP addresses of the registered nsqds.
func (l *Lookupd) Nodes() []string {
	l.t.Helper()
	var nodes struct {
		Producers []producer `json:"producers"`
	}
	l.get("/nodes", &nodes)
	var addrs []string
	for _, p := range nodes.Producers {
		addrs = append(addrs, p.addr())
	}
	return addrs
}

// Admin is an nsqadmin, through whose API operators delete topics.
type Admin struct{ *process }

// StartAdmin starts an nsqadmin of a cluster. It ends with the test.
func StartAdmin(t testing.TB, lookupds ...*Lookupd) *Admin {
	t.Helper()
	o := nsqadmin.NewOptions()
	o.HTTPAddress = freeAddr(t)
	for _, l := range lookupds {
		o.NSQLookupdHTTPAddresses = append(o.NSQLookupdHTTPAddresses, l.HTTPAddr())
	}
	return &Admin{startProcess(t, order{Admin: o}, "", o.HTTPAddress)}
}

// DeleteTopic deletes a topic from all nsqlookupds, and then from all nsqds.
func (a *Admin) DeleteTopic(topic string) {
	a.t.Helper()
	a.request(http.MethodDelete, "/api/topics/"+topic, nil, nil)
}

// Tombstone has all nsqlookupds stop listing an nsqd for a topic, and then deletes the
// topic from that nsqd.
func (a *Admin) Tombstone(topic string, n *NSQD) {
	a.t.Helper()
	a.request(http.MethodDelete, "/api/nodes/"+n.HTTPAddr(), []byte(`{"topic":"`+topic+`"}`), nil)
}

// eventually calls cond again and again until it returns true. It ends the test
// if that takes longer than the timeout.
func eventually(t testing.TB, timeout time.Duration, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(timeout); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("condition not met within %v", timeout)
		}
	}
}

// client keeps no connections open: after a restart of the daemon they would be
// dead.
var client = &http.Client{
	Transport: &http.Transport{DisableKeepAlives: true},
	Timeout:   patience,
}

func (p *process) get(path string, result any) {
	p.t.Helper()
	p.request(http.MethodGet, path, nil, result)
}

// request sends an HTTP request to the daemon and decodes the JSON response
// into result, unless that is nil.
func (p *process) request(method, path string, body []byte, result any) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+p.http+path, bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		p.t.Fatalf("%s: %v", p, err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		p.t.Fatalf("%s: %s %s: %s %q (%v)", p, method, path, resp.Status, data, err)
	}
	if result == nil {
		return
	}
	if err := json.Unmarshal(data, result); err != nil {
		p.t.Fatalf("%s: %s %s: %v", p, method, path, err)
	}
}
