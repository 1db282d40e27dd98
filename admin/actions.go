package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// The methods below change topics and channels. Each sends its requests to all daemons that it
// concerns, several at a time, and returns when all have responded. The error joins an [*Error]
// for each request that failed; the other daemons have done what was asked. A daemon that does
// not have the topic or channel is no error, unless none has it: then the error wraps
// [ErrNotFound]. An invalid name is an error before any request is sent.

// CreateTopic makes a topic known to the nsqlookupds, and creates it on the nsqds that the
// Cluster names itself. An nsqd that only an nsqlookupd lists creates the topic with the first
// message that is published to it.
func (c *Cluster) CreateTopic(ctx context.Context, topic string) error {
	if err := checkNames("/topic/create", topic, ""); err != nil {
		return err
	}
	lookupds := c.postAll(ctx, c.Lookupds, "/topic/create", topic, "")
	return errors.Join(lookupds.err(), c.postAll(ctx, c.NSQDs, "/topic/create", topic, "").err())
}

// CreateChannel makes a channel known to the nsqlookupds, and creates it on every nsqd that has
// the topic. It gets a copy of each message that is published from then on.
func (c *Cluster) CreateChannel(ctx context.Context, topic, channel string) error {
	if err := checkNames("/channel/create", topic, channel); err != nil {
		return err
	}
	lookupds := c.postAll(ctx, c.Lookupds, "/channel/create", topic, channel)
	nsqds := c.onNSQDs(ctx, "/channel/create", topic, channel)
	if len(c.Lookupds) > 0 && errors.Is(nsqds, errNowhere) {
		nsqds = nil // the nsqds that get the topic will ask an nsqlookupd for its channels
	}
	return errors.Join(lookupds.err(), nsqds)
}

// DeleteTopic deletes a topic with its channels and all their messages. Its consumers lose
// their connections, and recreate the topic if they are not stopped and find the nsqd by
// address.
//
// The nsqlookupds forget the topic first: a consumer that asks one meanwhile would connect
// again, and create the topic anew. So if an nsqlookupd fails, no nsqd is asked.
func (c *Cluster) DeleteTopic(ctx context.Context, topic string) error {
	return c.delete(ctx, "/topic/delete", topic, "")
}

// DeleteChannel deletes a channel with all its messages, in the order of DeleteTopic.
func (c *Cluster) DeleteChannel(ctx context.Context, topic, channel string) error {
	return c.delete(ctx, "/channel/delete", topic, channel)
}

// delete deletes a topic or channel.
func (c *Cluster) delete(ctx context.Context, path, topic, channel string) error {
	if err := checkNames(path, topic, channel); err != nil {
		return err
	}
	nsqds, unlisted := c.nsqds(ctx) // before nsqlookupds forget which nsqds have it
	if unlisted != nil {
		return fmt.Errorf("nothing deleted: %w", unlisted)
	}
	if err := c.postAll(ctx, c.Lookupds, path, topic, channel).failures(); err != nil {
		return fmt.Errorf("nothing deleted from nsqds: %w", err)
	}
	return c.postAll(ctx, nsqds, path, topic, channel).err()
}

// EmptyTopic deletes the messages of a topic that wait to be copied to channels. Those in
// channels stay.
func (c *Cluster) EmptyTopic(ctx context.Context, topic string) error {
	return c.onNSQDs(ctx, "/topic/empty", topic, "")
}

// EmptyChannel deletes all messages of a channel: those that wait, those that are deferred and
// those in flight.
func (c *Cluster) EmptyChannel(ctx context.Context, topic, channel string) error {
	return c.onNSQDs(ctx, "/channel/empty", topic, channel)
}

// PauseTopic makes messages wait in the topic: none is copied to channels. A topic that an nsqd
// gets later is not paused there.
func (c *Cluster) PauseTopic(ctx context.Context, topic string) error {
	return c.onNSQDs(ctx, "/topic/pause", topic, "")
}

// UnpauseTopic ends a pause.
func (c *Cluster) UnpauseTopic(ctx context.Context, topic string) error {
	return c.onNSQDs(ctx, "/topic/unpause", topic, "")
}

// PauseChannel makes messages wait in the channel: none is sent to clients.
func (c *Cluster) PauseChannel(ctx context.Context, topic, channel string) error {
	return c.onNSQDs(ctx, "/channel/pause", topic, channel)
}

// UnpauseChannel ends a pause.
func (c *Cluster) UnpauseChannel(ctx context.Context, topic, channel string) error {
	return c.onNSQDs(ctx, "/channel/unpause", topic, channel)
}

// Tombstone takes a topic away from one nsqd, given by the HTTP address that nsqlookupds list.
// First, nsqlookupds are told to stop naming it to consumers for their tombstone lifetime, 45
// seconds by default. Then the nsqd deletes the topic, with its messages. If a nsqlookupd fails,
// the nsqd is not asked: a consumer that this nsqlookupd sends there would create the topic
// anew.
//
// A program that still publishes the topic to this nsqd creates it anew as well: stop it first.
func (c *Cluster) Tombstone(ctx context.Context, topic, nsqd string) error {
	if err := checkName("topic", topic); err != nil {
		return err
	}
	results := outcome{addrs: c.Lookupds, errs: make([]error, len(c.Lookupds))}
	c.each(len(c.Lookupds), func(i int) {
		results.errs[i] = c.post(ctx, c.Lookupds[i], "/topic/tombstone", query("topic", topic, "node", nsqd))
	})
	if err := results.err(); err != nil {
		return fmt.Errorf("nothing deleted from nsqd %s: %w", nsqd, err)
	}
	return c.post(ctx, nsqd, "/topic/delete", query("topic", topic))
}

// onNSQDs sends a request about a topic or channel to every nsqd.
func (c *Cluster) onNSQDs(ctx context.Context, path, topic, channel string) error {
	if err := checkNames(path, topic, channel); err != nil {
		return err
	}
	nsqds, unlisted := c.nsqds(ctx)
	done := c.postAll(ctx, nsqds, path, topic, channel)
	if unlisted != nil {
		return errors.Join(unlisted, done.failures())
	}
	return done.err()
}

// checkNames returns an error if nsqd would refuse the topic, or the channel of a path that
// needs one. It is not left to the daemons, because nsqlookupd does not check the topic of
// /topic/delete and /topic/tombstone: to it, the topic "*" means all topics.
func checkNames(path, topic, channel string) error {
	if err := checkName("topic", topic); err != nil {
		return err
	}
	if strings.HasPrefix(path, "/channel/") {
		return checkName("channel", channel)
	}
	return nil
}

func checkName(kind, name string) error {
	const maxName = 64
	base := strings.TrimSuffix(name, "#ephemeral")
	if base == "" || len(name) > maxName || strings.ContainsFunc(base, notInName) {
		return fmt.Errorf("invalid %s name %q: want letters, digits, '.', '_' and '-', perhaps with #ephemeral at the end, together at most %d", kind, name, maxName)
	}
	return nil
}

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
}

// outcome is the results of one request to several daemons.
type outcome struct {
	addrs []string
	errs  []error
}

// postAll sends one request to several daemons.
func (c *Cluster) postAll(ctx context.Context, addrs []string, path, topic, channel string) outcome {
	_, errs := askAll(c, addrs, func(addr string) (struct{}, error) {
		return struct{}{}, c.post(ctx, addr, path, query("topic", topic, "channel", channel))
	})
	return outcome{addrs, errs}
}

// errNowhere is the error for a topic or channel that no daemon has.
var errNowhere = fmt.Errorf("on none of the nsqds: %w", ErrNotFound)

// err returns why the requests failed.
func (o outcome) err() error {
	err := o.failures()
	if err == nil && len(o.addrs) > 0 && o.missing() == len(o.addrs) {
		return errNowhere
	}
	return err
}

// failures returns why the requests failed, except that a daemon did not have the topic or
// channel.
func (o outcome) failures() error {
	var failed []error
	for _, err := range o.errs {
		if err != nil && !errors.Is(err, ErrNotFound) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// missing returns how many daemons did not have the topic or channel.
func (o outcome) missing() (n int) {
	for _, err := range o.errs {
		if errors.Is(err, ErrNotFound) {
			n++
		}
	}
	return n
}
