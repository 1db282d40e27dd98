package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// scene starts a fake nsqd, and returns it with a Config to reach it.
func scene(t *testing.T) (*nsqtest.Nsqd, *nsq.Config) {
	network := nsqtest.NewNetwork()
	cfg := nsq.NewConfig()
	cfg.DialContext = network.DialContext
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	return nsqtest.NewNsqd(t, nsqtest.Options{Network: network}), cfg
}

func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, cfg := scene(t)
		d.Kill()
		time.AfterFunc(time.Minute, d.Restart)
		n, err := publish(t.Context(), cfg, d.Addr(), "orders", strings.NewReader("a\n\nb\n"))
		if got := d.Queued("orders", ""); n != 2 || err != nil || !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("%d, %v, stored %q", n, err, got)
		}
	})
}

func TestPublishGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, cfg := scene(t)
		d.Kill()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if n, err := publish(ctx, cfg, d.Addr(), "orders", strings.NewReader("a\nb\n")); n != 0 || !errors.Is(err, nsq.ErrNotSent) {
			t.Errorf("%d, %v", n, err)
		}
	})
}

func TestPublishRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, cfg := scene(t)
		if n, err := publish(t.Context(), cfg, d.Addr(), "no topic", strings.NewReader("a\n")); n != 0 || err == nil {
			t.Errorf("%d, %v", n, err)
		}
	})
}
