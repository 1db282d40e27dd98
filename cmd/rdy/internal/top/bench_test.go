package top

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/rdyhq/nsq/admin"
)

// BenchmarkRefresh polls a cluster of two nsqds with the same 1,000 channels, judges it and draws
// the screen.
func BenchmarkRefresh(b *testing.B) {
	var topics strings.Builder
	for i := range 200 {
		var channels []string
		for k := range 5 {
			channels = append(channels, fmt.Sprintf(`{"channel_name":"channel-%d","depth":%d,"message_count":123456,"in_flight_count":3,"client_count":4}`, k, i*k))
		}
		fmt.Fprintf(&topics, `,{"topic_name":"topic-%03d","message_count":123456,"channels":[%s]}`, i, strings.Join(channels, ","))
	}
	stats := `{"version":"1.3.0","health":"OK","start_time":1,"topics":[` + topics.String()[1:] + `]}`
	c := &admin.Cluster{NSQDs: []string{"nsqd-1:4151", "nsqd-2:4151"}, Client: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		text := stats
		if r.URL.Path == "/info" {
			text = fmt.Sprintf(`{"broadcast_address":%q,"http_port":4151,"start_time":1}`, r.URL.Hostname())
		}
		return &http.Response{StatusCode: http.StatusOK, Request: r, Body: io.NopCloser(strings.NewReader(text))}, nil
	})}}
	m := newModel(b.Context(), Options{Cluster: c, Interval: 1})
	defer m.work.close()
	m.width, m.height = 132, 50
	b.ReportAllocs()
	for b.Loop() {
		m.Update(ask(b.Context(), &m.options, m.judge, subject{}))
		if len(m.lines()) != m.height {
			b.Fatal("no screen")
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
