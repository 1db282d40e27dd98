// Package fanin handles the messages of many topics in one program.
package fanin

import (
	"context"
	"errors"
	"regexp"

	"github.com/rdyhq/nsq"
)

// New returns a Group that mails what customers must know: payments, orders, and alerts of all
// kinds.
func New(cfg *nsq.Config, mail func(ctx context.Context, topic string, body []byte) error) (*nsq.Group, error) {
	cfg.MaxInFlight = 100 // of all topics together
	g, err := nsq.NewGroup(cfg)
	if err != nil {
		return nil, err
	}
	h := nsq.ContextHandlerFunc(func(ctx context.Context, m *nsq.Message) error {
		return mail(ctx, m.Topic(), m.Body)
	})
	alerts := regexp.MustCompile(`^alerts\.`) // also those of topics to come
	return g, errors.Join(
		g.Handle("payments", "mail", h, nsq.HandleOptions{Concurrency: 20, Weight: 10}),
		g.Handle("orders", "mail", h, nsq.HandleOptions{Concurrency: 20, Weight: 5}),
		g.HandleMatching(alerts, "mail", func(string) nsq.Handler { return h }, nsq.HandleOptions{Weight: 1}),
	)
}

// Run runs a Group until ctx ends, with all nsqds that nsqlookupds list.
func Run(ctx context.Context, g *nsq.Group, lookupds ...string) error {
	if err := g.Discover(ctx, lookupds...); err != nil {
		return err
	}
	return g.Run(ctx)
}
