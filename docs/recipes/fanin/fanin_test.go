package fanin

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq/docs/recipes/internal/scene"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// All topics reach the handler, one of them although it appears later.
func TestTopics(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		lookupd := nsqtest.NewLookupd(s, nsqtest.LookupdOptions{Network: s.Network})
		for _, topic := range []string{"orders", "payments", "alerts.disk", "audit"} {
			lookupd.Register(topic, s.NSQD.Addr())
		}
		var mu sync.Mutex
		var mails []string
		g, err := New(s.Config, func(_ context.Context, topic string, body []byte) error {
			mu.Lock()
			defer mu.Unlock()
			mails = append(mails, topic+" "+string(body))
			return nil
		})
		if err != nil {
			s.Fatal(err)
		}
		g.SetLookupdHttpClient(s.Network.HTTPClient())
		stop := s.Start(func(ctx context.Context) error { return Run(ctx, g, lookupd.Addr()) })
		s.NSQD.Publish("orders", "pen")
		s.NSQD.Publish("payments", "$2")
		s.NSQD.Publish("alerts.disk", "full")
		s.NSQD.Publish("audit", "login")
		s.NSQD.Publish("alerts.fire", "smoke")
		lookupd.Register("alerts.fire", s.NSQD.Addr())
		scene.After(3 * time.Minute)
		stop()
		slices.Sort(mails)
		if got := strings.Join(mails, ", "); got != "alerts.disk full, alerts.fire smoke, orders pen, payments $2" {
			s.Errorf("mails: %s", got)
		}
	})
}
