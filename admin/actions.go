package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// CreateTopic makes a topic known to the nsqlookupds, and creates it on the nsqds that the
// Cluster itself names. An nsqd that only an nsqlookupd lists creates the topic with the first
// message that is published to it.
func (c *Cluster) CreateTopic(ctx context.Context, topic string) error {
	const path = "/topic/create"
	if err := checkNames(path, topic, ""); err != nil {
		return err
	}
	lookupds := c.postAll(ctx, c.Lookupds, path, topic, "")
	return errors.Join(append(lookupds, c.postAll(ctx, c.NSQDs, path, topic, "")...)...)
}

// CreateChannel makes a channel known to the nsqlookupds, and creates it on every nsqd that has
// the topic. The channel gets a copy of each message that is published from then on. The first
// channel of a topic also gets the messages that wait in the topic.
func (c *Cluster) CreateChannel(ctx context.Context, topic, channel string) error {
	const path = "/channel/create"
	if err := checkNames(path, topic, channel); err != nil {
		return err
	}
	lookupds := c.postAll(ctx, c.Lookupds, path, topic, channel)
	nsqds := c.onNSQDs(ctx, path, topic, channel)
	if len(c.Lookupds) > 0 && errors.Is(nsqds, errNowhere) {
		nsqds = nil // an nsqd that creates the topic later asks an nsqlookupd for its channels
	}
	return errors.Join(append(lookupds, nsqds)...)
}

// DeleteTopic deletes a topic with its channels and all their messages, and disconnects its
// consumers. Stop consumers that connect to nsqds by address, and programs that publish the
// topic: both would create it anew.
//
// The nsqlookupds forget the topic first. Otherwise a consumer that asks one meanwhile would
// connect again, and create the topic anew. For the same reason no nsqd is asked if an
// nsqlookupd fails. After an error the topic may be left on nsqds while no nsqlookupd names it to
// consumers: call DeleteTopic again.
func (c *Cluster) DeleteTopic(ctx context.Context, topic string) error {
	return c.delete(ctx, "/topic/delete", topic, "")
}

// DeleteChannel deletes a channel with all its messages, in the order of DeleteTopic. Stop its
// consumers first. They are disconnected, but their topic is still there: they would connect
// again, and create the channel anew.
func (c *Cluster) DeleteChannel(ctx context.Context, topic, channel string) error {
	return c.delete(ctx, "/channel/delete", topic, channel)
}

// delete deletes a topic or channel.
func (c *Cluster) delete(ctx context.Context, path, topic, channel string) error {
	if err := checkNames(path, topic, channel); err != nil {
		return err
	}
	nsqds, err := c.nsqds(ctx)
	if err != nil {
		return fmt.Errorf("nothing deleted: %w", err)
	}
	if err := c.postAll(ctx, c.Lookupds, path, topic, channel).failures(); err != nil {
		return fmt.Errorf("nothing deleted from nsqds: %w", err)
	}
	return c.postAll(ctx, nsqds, path, topic, channel).err()
}

// EmptyTopic deletes the messages of a topic that wait to be copied to channels. Messages in
// channels stay.
func (c *Cluster) EmptyTopic(ctx context.Context, topic string) error {
	return c.onNSQDs(ctx, "/topic/empty", topic, "")
}

// EmptyChannel deletes all messages of a channel: those that wait, those that are deferred and
// those in flight.
func (c *Cluster) EmptyChannel(ctx context.Context, topic, channel string) error {
	return c.onNSQDs(ctx, "/channel/empty", topic, channel)
}

// PauseTopic makes messages wait in the topic: none is copied to channels. An nsqd that creates
// the topic later does not pause it.
func (c *Cluster) PauseTopic(ctx context.Context, topic string) error {
	return c.onNSQDs(ctx, "/topic/pause", topic, "")
}

// UnpauseTopic ends a pause.
func (c *Cluster) UnpauseTopic(ctx context.Context, topic string) error {
	return c.onNSQDs(ctx, "/topic/unpause", topic, "")
}

// PauseChannel makes messages wait in the channel: none is sent to clients. An nsqd that creates
// the channel later does not pause it.
func (c *Cluster) PauseChannel(ctx context.Context, topic, channel string) error {
	return c.onNSQDs(ctx, "/channel/pause", topic, channel)
}

// UnpauseChannel ends a pause.
func (c *Cluster) UnpauseChannel(ctx context.Context, topic, channel string) error {
	return c.onNSQDs(ctx, "/channel/unpause", topic, channel)
}

// Tombstone takes a topic away from one nsqd, given by any of its HTTP addresses.
//
//  1. All nsqlookupds that list the nsqd are told not to name it to consumers of the topic for
//     their tombstone lifetime, 45 seconds by default.
//  2. The nsqd deletes the topic, with its messages.
//
// If an nsqlookupd fails, or none lists the nsqd, the nsqd is not asked: its consumers would
// connect again, and create the topic anew. So would a program that still publishes the topic to
// this nsqd: stop it first.
func (c *Cluster) Tombstone(ctx context.Context, topic, nsqd string) error {
	if err := checkName("topic", topic); err != nil {
		return err
	}
	nsqd = c.withPassword(nsqd)
	listings, err := c.listings(ctx, nsqd)
	if err == nil {
		err = errors.Join(c.tombstone(ctx, topic, listings)...)
	}
	if err != nil {
		return fmt.Errorf("nothing deleted from nsqd %s: %w", shown(nsqd), err)
	}
	return c.post(ctx, nsqd, "/topic/delete", query("topic", topic))
}

// listings returns how the nsqlookupds list an nsqd.
func (c *Cluster) listings(ctx context.Context, nsqd string) ([]listing, error) {
	lookupds, errs := c.lookupds(ctx)
	if err := errors.Join(errs...); err != nil || len(lookupds) == 0 {
		return nil, err
	}
	said, err := c.info(ctx, nsqd)
	if err != nil {
		return nil, err
	}
	found := registryOf(lookupds).of(nsqd, said)
	if len(found) == 0 {
		return nil, errors.New("no nsqlookupd lists it")
	}
	// An nsqd that has reconnected is listed twice until nsqlookupd gives up its old connection.
	return slices.CompactFunc(found, func(a, b listing) bool { return a.lookupd == b.lookupd && a.node() == b.node() }), nil
}

// tombstone tells nsqlookupds not to name an nsqd to consumers of a topic.
func (c *Cluster) tombstone(ctx context.Context, topic string, listings []listing) outcome {
	done := make(outcome, len(listings))
	c.each(len(listings), func(i int) {
		done[i] = c.post(ctx, c.withPassword(listings[i].lookupd), "/topic/tombstone", query("topic", topic, "node", listings[i].node()))
	})
	return done
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

// outcome is the results of one request to several daemons, nil where it succeeded.
type outcome []error

// postAll sends one request to several daemons.
func (c *Cluster) postAll(ctx context.Context, addrs []string, path, topic, channel string) outcome {
	_, errs := askAll(c, addrs, func(addr string) (struct{}, error) {
		return struct{}{}, c.post(ctx, addr, path, query("topic", topic, "channel", channel))
	})
	return errs
}

// errNowhere is the error for a topic or channel that no daemon has.
var errNowhere = fmt.Errorf("%w on any nsqd", ErrNotFound)

// err returns why the requests failed, or errNowhere if no daemon has the topic or channel.
func (o outcome) err() error {
	err := o.failures()
	if err == nil && o.missing() == len(o) {
		return errNowhere
	}
	return err
}

// failures returns why the requests failed. It leaves out that a daemon does not have the topic
// or channel.
func (o outcome) failures() error {
	var failed []error
	for _, err := range o {
		if err != nil && !errors.Is(err, ErrNotFound) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// missing returns how many daemons do not have the topic or channel.
func (o outcome) missing() (n int) {
	for _, err := range o {
		if errors.Is(err, ErrNotFound) {
			n++
		}
	}
	return n
}
