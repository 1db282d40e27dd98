package recipes

import (
	"bytes"
	"context"
	"errors"
	"log"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/docs/recipes/internal/scene"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// consume runs a Consumer that add prepares, until the test ends.
func consume(s *scene.Scene, add func(c *nsq.Consumer)) {
	s.Helper()
	c, err := nsq.NewConsumer("orders", "billing", s.Config)
	if err != nil {
		s.Fatal(err)
	}
	add(c)
	s.Start(func(ctx context.Context) error {
		if err := c.Connect(ctx, s.NSQD.Addr()); err != nil {
			s.Error(err)
		}
		return c.Run(ctx)
	})
}

func TestLogTo(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		var out bytes.Buffer
		s.Config.Logger = nil
		consume(s, func(c *nsq.Consumer) {
			LogTo(c, log.New(&out, "", 0))
			c.AddHandler(nsq.HandlerFunc(func(*nsq.Message) error { return errors.New("boom") }))
		})
		s.Publish("pen")
		scene.After(time.Second)
		if text := out.String(); !strings.Contains(text, "boom") || strings.Contains(text, "connected") {
			s.Errorf("logged %q", text)
		}
	})
}

func TestConfigure(t *testing.T) {
	cfg, err := Configure(map[string]any{"max_in_flight": 50, "msg_timeout": "30s"})
	if err != nil || cfg.MaxInFlight != 50 || cfg.MsgTimeout != 30*time.Second {
		t.Errorf("%d, %v, %v", cfg.MaxInFlight, cfg.MsgTimeout, err)
	}
	_, err = Configure(map[string]any{"max_in_fight": 50, "msg_timeout": "soon"})
	if err == nil || !strings.Contains(err.Error(), "max_in_fight") || !strings.Contains(err.Error(), "msg_timeout") {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	scene.Run(t, nsqtest.Options{AuthSecret: "sesame"}, func(s *scene.Scene) {
		var refused *nsq.ProtocolError
		s.Config.AuthSecret = "simsalabim"
		if err := Check(s.Context(), s.Config, s.NSQD.Addr()); !errors.As(err, &refused) {
			s.Error(err)
		}
		s.Config.AuthSecret = "sesame"
		if err := Check(s.Context(), s.Config, s.NSQD.Addr()); err != nil {
			s.Error(err)
		}
	})
}

func TestHandleN(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		s.Config.MaxInFlight = 5
		handled := 0
		consume(s, func(c *nsq.Consumer) {
			HandleN(c, 2, func(*nsq.Message) error { handled++; return nil })
		})
		s.Publish("a", "b", "c", "d")
		scene.After(time.Second)
		if st := s.Stats(); handled != 2 || st.Finished != 2 || st.Depth != 2 {
			s.Errorf("handled %d, %+v", handled, st)
		}
	})
}

func TestNotBefore(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		begin := time.Now()
		var at []time.Duration
		consume(s, func(c *nsq.Consumer) {
			c.AddHandler(NotBefore(10*time.Minute, func(*nsq.Message) error {
				at = append(at, time.Since(begin))
				return nil
			}))
		})
		s.Publish("pen")
		scene.After(time.Hour)
		if len(at) != 1 || at[0] != 10*time.Minute || s.Stats().Requeued != 1 {
			s.Errorf("handled at %v, %+v", at, s.Stats())
		}
	})
}
