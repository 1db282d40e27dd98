package nsqpubsub

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"gocloud.dev/pubsub"
	"gocloud.dev/pubsub/batcher"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/broker"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestURLsRefused(t *testing.T) {
	ctx := context.Background()
	for _, tt := range []struct{ url, want string }{
		{"nsq://orders", "no address"},
		{"nsq://orders?nsqd=a:1&channel=billing", `invalid query parameter "channel"`},
		{"nsq://orders?nsqd=a:1&topic=x", `invalid query parameter "topic"`},
		{"nsq://orders?nsqd=a:1&lookupd=b:2", "exclude each other"},
		{"nsq://orders?nsqd=a:1&nsqd=a:1", "duplicate address a:1"},
		{"nsq://orders?lookupd=ftp://b", "ftp"},
		{"nsq://orders?nsqd=a:1;b", "semicolon"},
		{"nsq://orders?lookupd=http://u:secret@b&x=1", `invalid query parameter "x"`},
		{"nsq://?nsqd=a:1", "invalid topic name"},
		{"nsq://orders/new?nsqd=a:1", "invalid topic name"},
		{"nsq://orders:80?nsqd=a:1", "invalid topic name"},
	} {
		topic, err := pubsub.OpenTopic(ctx, tt.url)
		if err == nil || topic != nil || !strings.HasPrefix(err.Error(), "open topic \"") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("topic %s: error %v, want %q", tt.url, err, tt.want)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("topic %s: error %v shows a password", tt.url, err)
		}
	}
	for _, tt := range []struct{ url, want string }{
		{"nsq://orders?channel=billing", "no address"},
		{"nsq://orders?nsqd=a:1", "want one query parameter channel"},
		{"nsq://orders?nsqd=a:1&channel=b&channel=c", "want one query parameter channel"},
		{"nsq://orders?nsqd=a:1&channel=", "invalid channel name"},
		{"nsq://?nsqd=a:1&channel=billing", "invalid topic name"},
		{"nsq://orders?lookupd=ftp://b&channel=billing", "ftp"},
		{"nsq://orders?nsqd=a:1&channel=b&max_in_flight=3", `invalid query parameter "max_in_flight"`},
	} {
		sub, err := pubsub.OpenSubscription(ctx, tt.url)
		if err == nil || sub != nil || !strings.HasPrefix(err.Error(), "open subscription to topic \"") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("subscription %s: error %v, want %q", tt.url, err, tt.want)
		}
	}
}

// The URLs that README shows have an address, and known parameters.
func TestURLsOfREADME(t *testing.T) {
	for _, tt := range []struct{ url, want string }{
		{"nsq://orders?nsqd=10.0.0.1:4150", "map[nsqd:[10.0.0.1:4150]]"},
		{"nsq://orders?channel=billing&lookupd=10.0.0.1:4161", "map[channel:[billing] lookupd:[10.0.0.1:4161]]"},
	} {
		u, err := url.Parse(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parse(u, "nsqd", "lookupd", "channel")
		if err != nil || fmt.Sprint(map[string][]string(got)) != tt.want || topicName(u) != "orders" {
			t.Errorf("%s: topic %s, %v, error %v", tt.url, topicName(u), got, err)
		}
	}
}

// A topic that was opened by a URL stops its Producers with Shutdown. An ephemeral topic is
// written in the path of a URL.
func TestURLOfEphemeralTopic(t *testing.T) {
	inScene(t, func(s *scene) {
		var mux pubsub.URLMux
		mux.RegisterTopic(Scheme, &URLOpener{Config: s.config})
		ctx := context.Background()
		topic, err := mux.OpenTopic(ctx, "nsq:///orders%23ephemeral?nsqd="+s.nsqd.Addr())
		if err != nil {
			s.Fatal(err)
		}
		s.nsqd.CreateChannel("orders#ephemeral", "billing")
		if err := topic.Send(ctx, &pubsub.Message{Body: []byte("a pen")}); err != nil {
			s.Error(err)
		}
		if err := topic.Shutdown(ctx); err != nil {
			s.Error(err)
		}
		if got := s.nsqd.Stats("orders#ephemeral", "billing"); got != (nsqtest.Stats{Depth: 1}) {
			s.Errorf("nsqd has %+v", got)
		}
		if n := s.network.OpenConns(); n != 0 {
			s.Errorf("%d connections", n)
		}
	})
}

// Topics and subscriptions find the nsqds by a real nsqlookupd.
func TestURLsWithLookupd(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, err := broker.Start(ctx, broker.Options{NSQDs: 2, Lookupds: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	}()
	config := nsq.NewConfig()
	config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	config.LookupdPollInterval = 100 * time.Millisecond // nsqd2 has the topic only after the first Sends
	var mux pubsub.URLMux
	mux.RegisterTopic(Scheme, &URLOpener{Config: config})
	mux.RegisterSubscription(Scheme, &URLOpener{Config: config, SubscriptionOptions: SubscriptionOptions{
		// Nothing is received ahead: see TestShutdown.
		ReceiveBatcherOptions: batcher.Options{MaxBatchSize: 1, MaxHandlers: 1},
	}})
	lookupd := b.LookupdHTTPAddrs()[0]
	topic, err := mux.OpenTopic(ctx, "nsq://orders?lookupd="+lookupd)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := mux.OpenSubscription(ctx, "nsq://orders?channel=billing&lookupd=http://"+lookupd)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for i := range 10 {
		want[fmt.Sprint(i)] = true
		if err := topic.Send(ctx, &pubsub.Message{Body: []byte(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
	nsqds := map[string]bool{}
	for len(want) > 0 {
		m, err := sub.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var received *nsq.Message
		if m.As(&received) {
			nsqds[received.NSQDAddress] = true
		}
		delete(want, string(m.Body))
		m.Ack()
	}
	if len(nsqds) != 2 {
		t.Errorf("messages came from %v, want 2 nsqds", nsqds)
	}
	if err := topic.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := sub.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}
