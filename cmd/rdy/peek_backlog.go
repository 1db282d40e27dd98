package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/letters"
	"github.com/spf13/cobra"
)

const (
	maxPeekHeld  = 1000     // messages that peek holds at a time
	maxPeekBytes = 64 << 20 // size of their bodies above which it takes no more

	// peekQuiet is how long no message has to come until peek, which holds some already, does
	// not wait for more.
	peekQuiet = time.Second

	// peekGrace is how much longer than --for messages are leased: time to requeue them.
	peekGrace = 15 * time.Second
)

// readBacklog takes messages of a channel, requeues them, and prints them.
func (p *peek) readBacklog(cmd *cobra.Command) error {
	ctx := cmd.Context()
	log, level := p.logger()
	cfg, err := p.backlogConfig()
	if err != nil {
		return usage(cmd, "%w", err)
	}
	cfg.Logger = log
	t, err := p.cluster.target(cmd)
	if err != nil {
		return err
	}
	addrs, waiting, err := p.findBacklog(ctx, t)
	t.close()
	if err != nil || waiting == 0 {
		return err
	}
	n := int(min(int64(p.count), waiting))
	if err := p.agree(ctx, n, cfg.MsgTimeout); err != nil {
		return err
	}
	consumer, err := nsq.NewConsumer(p.topic, p.channel, cfg)
	if err != nil {
		return err
	}
	p.mute(level) // failures are reported below
	err = consumer.Connect(ctx, addrs...)
	level.Set(p.level)
	connected := err == nil || len(joined(err)) < len(addrs)
	var held []*nsq.Message
	if connected {
		held = p.hold(ctx, consumer, n)
	}
	p.giveBack(consumer, held)
	switch {
	case ctx.Err() != nil: // interrupted, perhaps while connecting
		err = nil
	case connected && len(held) == 0:
		p.notice("rdy: no message came; other consumers of channel %s may have got them", p.channel)
	case connected && len(held) < n:
		p.notice("rdy: %d of them came; other consumers may have got the others, or nsqd's --max-rdy-count, max_in_flight or their size "+
			"lets no more be held at a time", len(held))
	}
	return errors.Join(err, p.printHeld(held))
}

// backlogConfig returns the config of the consumer.
func (p *peek) backlogConfig() (*nsq.Config, error) {
	cfg := p.config(nil)
	cfg.MsgTimeout = p.timeLimit + peekGrace
	if err := p.client.apply(cfg); err != nil {
		return nil, err
	}
	cfg.MaxAttempts = 0       // or messages would be given up: acked
	cfg.RecycleBodies = false // they are printed after the requeue
	return cfg, cfg.Validate()
}

// findBacklog returns the TCP addresses of the nsqds where messages wait in the channel, and
// how many messages that are.
func (p *peek) findBacklog(ctx context.Context, t *target) (addrs []string, waiting int64, err error) {
	v, err := t.poll(ctx, p.topic, p.channel)
	if ctx.Err() != nil {
		return nil, 0, context.Cause(ctx)
	}
	if absent := notFound(v, p.topic, p.channel); absent != nil {
		return nil, 0, errors.Join(absent, err)
	}
	for _, one := range nodeErrors(err) {
		p.notice("rdy: left out: %s: %s", one.Addr, one.Error)
	}
	c := v.Topic(p.topic).Channel(p.channel)
	paused := 0
	for _, on := range c.NSQDs {
		switch {
		case on.Depth == 0:
		case on.Paused:
			paused++
		default:
			i := slices.IndexFunc(v.NSQDs, func(n admin.NSQD) bool { return n.Addr == on.NSQD })
			addrs = append(addrs, letters.ClientAddr(v.NSQDs[i], p.cluster.nsqds))
			waiting += on.Depth
		}
	}
	what := names{topic: p.topic, channel: p.channel}
	switch {
	case waiting > 0:
		return addrs, waiting, nil
	case paused > 0:
		return nil, 0, fmt.Errorf("%s is paused: nsqd sends no messages", what)
	}
	p.notice("rdy: no message waits in %s; %s in flight, %s deferred", what, figures.Count(c.InFlight), figures.Count(c.Deferred))
	return nil, 0, nil
}

// agree says what it costs to look at n messages, and returns an error unless the user agrees.
func (p *peek) agree(ctx context.Context, n int, lease time.Duration) error {
	p.notice("rdy: peek takes %s of channel %s of topic %s and requeues %s: each loses an attempt and its place in the queue; "+
		"if peek dies meanwhile, nsqd delivers them again after %v",
		figures.Things(n, "message"), p.channel, p.topic, figures.Verb(n, "it", "them"), lease)
	if p.yes {
		return nil
	}
	p.notice("rdy: type the name %s to go on, or anything else to stop", p.channel)
	typed, err := p.typed(ctx)
	if err == nil && typed != p.channel {
		err = errors.New("name not typed; nothing taken")
	}
	return err
}

// hold takes messages until it has n of them or enough bytes, until none came for peekQuiet, or
// until --for is over or ctx ends.
func (p *peek) hold(ctx context.Context, consumer *nsq.Consumer, n int) []*nsq.Message {
	ctx, cancel := context.WithTimeout(ctx, p.timeLimit)
	defer cancel()
	var held []*nsq.Message
	room := maxPeekBytes
	for len(held) < n && room > 0 {
		more, err := fetchSoon(ctx, consumer, nsq.BatchLimits{Messages: n - len(held), Bytes: room}, len(held) > 0)
		if err != nil {
			break
		}
		for _, m := range more {
			room -= len(m.Body)
		}
		held = append(held, more...)
	}
	return held
}

// fetchSoon fetches messages, within peekQuiet if soon.
func fetchSoon(ctx context.Context, consumer *nsq.Consumer, limits nsq.BatchLimits, soon bool) ([]*nsq.Message, error) {
	if soon {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, peekQuiet)
		defer cancel()
	}
	return consumer.Fetch(ctx, limits)
}

// giveBack requeues messages in their order, and stops the consumer.
func (p *peek) giveBack(consumer *nsq.Consumer, held []*nsq.Message) {
	for _, m := range held {
		m.RequeueWithoutBackoff(0)
	}
	consumer.Stop()
	<-consumer.StopChan
	c := consumer.Snapshot().Counts
	if failed := c.Lost + c.Unsent + c.Refused; failed > 0 {
		p.notice("rdy: %d of %d messages could not be requeued: nsqd delivers them again when their msg_timeout ends", failed, len(held))
	}
}

// printHeld prints messages that were given back.
func (p *peek) printHeld(held []*nsq.Message) error {
	out := p.printer()
	for _, m := range held {
		if _, done, err := out.print(m); done || err != nil {
			return err
		}
	}
	return nil
}
