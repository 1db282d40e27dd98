// Package fanin handles the messages of many topics in one program.
package fanin

import (
	"context"
	"errors"
	"regexp"

	"github.com/rdyhq/nsq"
)

// Run mails what customers must know, until ctx ends: orders, payments and alerts of all kinds,
// from all nsqds.
func Run(ctx context.Context, g *nsq.Group, lookupds []string, mail func(ctx context.Context, topic string, body []byte) error) error {
	h := nsq.ContextHandlerFunc(func(ctx context.Context, m *nsq.Message) error {
		return mail(ctx, m.Topic(), m.Body)
	})
	err := errors.Join(
		g.Handle("payments", "mail", h, nsq.HandleOptions{Concurrency: 8, Weight: 10}),
		g.Handle("orders", "mail", h, nsq.HandleOptions{Concurrency: 8, Weight: 5}),
		g.HandleMatching(regexp.MustCompile(`^alerts\.`), "mail",
			func(string) nsq.Handler { return h }, nsq.HandleOptions{Weight: 1}), // also of topics to come
		g.Discover(ctx, lookupds...),
	)
	if err != nil {
		return err
	}
	return g.Run(ctx)
}
