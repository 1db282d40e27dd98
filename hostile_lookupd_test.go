package nsq

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
	"github.com/rdyhq/nsq/nsqtest/hostile"
)

// hostileResponses are what an nsqlookupd may respond with.
var hostileResponses = map[string]http.HandlerFunc{
	"a listing of 100,001 nsqds":   hostile.Listing(100_001),
	"a listing of a million nsqds": hostile.Listing(1_000_000),
	"endless":                      hostile.Endless(`{"channels":[],`, 1<<30),
	"a byte now and then":          hostile.Drip(`{"channels":[],"producers":[]}`, 7*time.Second),
	"bomb":                         hostile.Bomb(1 << 30),
	"redirects for ever": func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.String()+"x", http.StatusFound)
	},
	"not JSON":  hostile.Endless("\x1b[2J\n", 100),
	"deep JSON": hostile.Endless("[", 8<<20),
}

// Whatever one nsqlookupd responds with does not fill the memory, and does not hide what
// another one lists.
func TestHostileLookupd(t *testing.T) {
	for name, response := range hostileResponses {
		for client, run := range map[string]func(s *scene, d *nsqtest.Nsqd){
			"Consumer": func(s *scene, d *nsqtest.Nsqd) {
				d.Publish("t", "well")
				handled := 0
				s.consumer(1, func(*Message) error { handled++; return nil })
				_ = s.c.ConnectToNSQLookupds([]string{"bad:1", "good:1"})
				after(2 * time.Minute)
				if handled != 1 {
					s.Error("the message was not handled")
				}
			},
			"Pool": func(s *scene, d *nsqtest.Nsqd) {
				pool, err := NewDiscoveredProducerPool([]string{"bad:1", "good:1"}, s.cfg)
				if err != nil {
					s.Fatal(err)
				}
				pool.SetLookupdHttpClient(s.net.HTTPClient())
				if err := pool.Publish("t", []byte("well")); err != nil {
					s.Error(err)
				}
				after(2 * time.Minute)
				pool.Stop()
			},
		} {
			t.Run(name+"/"+client, func(t *testing.T) {
				grown := heapGrowth(t, func(s *scene, measure func()) {
					d := s.nsqd("a:1")
					s.lookupd("good:1", d)
					bad := s.lookupd("bad:1")
					bad.Handle(func(w http.ResponseWriter, r *http.Request) {
						response(w, r)
						measure()
					})
					run(s, d)
				})
				t.Logf("%4d MiB", grown)
				if grown > 100 {
					t.Errorf("the heap grew by %d MiB", grown)
				}
			})
		}
	}
}

// N6: of what an nsqlookupd lists, only hosts and ports of TCP are dialled, and the rest
// reaches a line log quoted.
func TestHostileHosts(t *testing.T) {
	odd := []nsqtest.Producer{
		{BroadcastAddress: "unix", TCPPort: 1}, {BroadcastAddress: "unix:/tmp/x", TCPPort: 1}, {BroadcastAddress: "", TCPPort: 1},
		{BroadcastAddress: "zero", TCPPort: 0}, {BroadcastAddress: "negative", TCPPort: -1}, {BroadcastAddress: "large", TCPPort: 65536},
		{BroadcastAddress: "es\x1bcape", TCPPort: 1}, {BroadcastAddress: "new\nline", TCPPort: 1}, {BroadcastAddress: "sp ace", TCPPort: 1},
	}
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		l := s.lookupd("good:1", d)
		for _, p := range odd {
			l.RegisterProducer("t", p)
		}
		s.cfg.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if network != "tcp" || addr != "a:1" && addr != "good:1" {
				s.Errorf("dialled %s %q", network, addr)
			}
			return s.net.DialContext(ctx, network, addr)
		}
		s.consumer(1, noError)
		logged := s.logged(LogLevelDebug)
		s.discover("good:1")
		after(2 * time.Minute)
		for _, line := range logged.take() {
			if strings.ContainsAny(line, "\x1b\n") {
				s.Errorf("raw: %q", line)
			}
		}
	})
}
