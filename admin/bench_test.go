package admin

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// large is the response of an nsqd with 200 topics of 5 channels each, and this many clients on
// each channel.
func large(clients int) string {
	said := stats{Version: "1.3.0", Health: "OK", StartTime: 1}
	for i := range 200 {
		t := topicStats{Name: fmt.Sprintf("topic-%03d", i), Depth: 123, MessageCount: 1234567, MessageBytes: 123456789}
		for j := range 5 {
			c := channelStats{Name: fmt.Sprintf("channel-%d", j), Depth: 12345, InFlightCount: 123, MessageCount: 1234567, ClientCount: clients}
			for k := range clients {
				c.Clients = append(c.Clients, connStats{
					ClientID: fmt.Sprintf("worker-%d", k), Hostname: fmt.Sprintf("worker-%d.example", k), RemoteAddress: "10.11.12.13:45678", State: 3,
					ReadyCount: 100, InFlightCount: 10, MessageCount: 1234567, FinishCount: 1234567, ConnectTime: 1790000000, UserAgent: "go-nsq/1.1.0",
				})
			}
			t.Channels = append(t.Channels, c)
		}
		said.Topics = append(said.Topics, t)
	}
	text, err := json.Marshal(said)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// largeCluster has ten nsqds with these channels.
func largeCluster(clients int) *Cluster {
	said := large(clients)
	c := &Cluster{Client: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		text := said
		if r.URL.Path == "/info" {
			text = fmt.Sprintf(`{"broadcast_address":%q,"http_port":4151,"start_time":1}`, r.URL.Hostname())
		}
		return &http.Response{StatusCode: http.StatusOK, Request: r, Body: io.NopCloser(strings.NewReader(text))}, nil
	})}}
	for i := range 10 {
		c.NSQDs = append(c.NSQDs, fmt.Sprintf("nsqd-%d:4151", i))
	}
	return c
}

// BenchmarkPoll polls ten nsqds that have the same 1,000 channels, with so many clients each.
func BenchmarkPoll(b *testing.B) {
	for _, clients := range []int{0, 10} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			c := largeCluster(clients)
			b.ReportAllocs()
			for b.Loop() {
				v, err := c.PollClients(b.Context(), "", "")
				if err != nil || len(v.Topics) != 200 {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBetween(b *testing.B) {
	c := largeCluster(0)
	earlier, err := c.Poll(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	later, err := c.Poll(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if r := Between(earlier, later); len(r.Channels) != 1000 {
			b.Fatal(r)
		}
	}
}
