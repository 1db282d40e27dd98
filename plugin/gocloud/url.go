package nsqpubsub

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"gocloud.dev/pubsub"

	"github.com/rdyhq/nsq"
)

// Scheme is the URL scheme for which this package registers a [URLOpener] at
// pubsub.DefaultURLMux.
const Scheme = "nsq"

func init() {
	pubsub.DefaultURLMux().RegisterTopic(Scheme, &URLOpener{})
	pubsub.DefaultURLMux().RegisterSubscription(Scheme, &URLOpener{})
}

// URLOpener opens URLs such as nsq://orders?nsqd=10.0.0.1:4150. The host and path of the URL
// are the name of the topic. Write a topic whose name ends in #ephemeral as
// nsq:///orders%23ephemeral. These are the query parameters:
//
//   - nsqd: the address of an nsqd, host:port. It may be repeated.
//   - lookupd: the address of an nsqlookupd, host:port or a URL. It may be repeated.
//   - channel: the channel of a subscription, which needs one.
//
// Any other parameter is an error. There must be an address. A topic has either nsqds or
// nsqlookupds: it publishes to all nsqds that these list. A subscription may have both.
//
// To use another Config than the default, for TLS for instance, register a URLOpener with it:
//
//	mux := new(pubsub.URLMux)
//	mux.RegisterTopic(nsqpubsub.Scheme, &nsqpubsub.URLOpener{Config: config})
//
// The fields must not change once the URLOpener is in use. Its methods may be called from any
// goroutine.
type URLOpener struct {
	Config *nsq.Config // of Producers and Consumers; nil means nsq.NewConfig()

	TopicOptions        TopicOptions
	SubscriptionOptions SubscriptionOptions // without addresses: the URL has them
}

// OpenTopicURL opens a topic with a ProducerPool of its own, which Topic.Shutdown stops. It
// does not connect.
func (o *URLOpener) OpenTopicURL(_ context.Context, u *url.URL) (*pubsub.Topic, error) {
	t, err := o.openTopic(u)
	if err != nil {
		return nil, fmt.Errorf("open topic %q: %w", topicName(u), err) // not the URL: an address may have a password
	}
	return o.TopicOptions.topic(t), nil
}

func (o *URLOpener) openTopic(u *url.URL) (*topic, error) {
	q, err := parse(u, "nsqd", "lookupd")
	if err != nil {
		return nil, err
	}
	name := topicName(u)
	if err := checkTopic(name); err != nil {
		return nil, err
	}
	config := o.Config
	if config == nil {
		config = nsq.NewConfig()
	}
	var pool *nsq.ProducerPool
	switch nsqds, lookupds := q["nsqd"], q["lookupd"]; {
	case len(nsqds) > 0 && len(lookupds) > 0:
		return nil, errors.New("query parameters nsqd and lookupd exclude each other")
	case len(lookupds) > 0:
		pool, err = nsq.NewDiscoveredProducerPool(lookupds, config)
	default:
		pool, err = nsq.NewProducerPool(nsqds, config)
	}
	if err != nil {
		return nil, err
	}
	return &topic{to: pool, name: name, stop: pool.Stop}, nil
}

// OpenSubscriptionURL opens a subscription as [OpenSubscription] does.
func (o *URLOpener) OpenSubscriptionURL(ctx context.Context, u *url.URL) (*pubsub.Subscription, error) {
	q, err := parse(u, "nsqd", "lookupd", "channel")
	if err == nil && len(q["channel"]) != 1 {
		err = errors.New("want one query parameter channel")
	}
	if err != nil {
		return nil, fmt.Errorf("open subscription to topic %q: %w", topicName(u), err)
	}
	opts := o.SubscriptionOptions
	opts.NSQDs, opts.Lookupds = q["nsqd"], q["lookupd"]
	return OpenSubscription(ctx, o.Config, topicName(u), q.Get("channel"), &opts)
}

// parse returns the query parameters of a URL, if all are known and there is an address.
func parse(u *url.URL, known ...string) (url.Values, error) {
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, err
	}
	for param := range q {
		if !slices.Contains(known, param) {
			return nil, fmt.Errorf("invalid query parameter %q", param)
		}
	}
	if len(q["nsqd"])+len(q["lookupd"]) == 0 {
		return nil, errors.New("no address: add query parameter nsqd or lookupd")
	}
	return q, nil
}

func topicName(u *url.URL) string { return strings.TrimPrefix(path.Join(u.Host, u.Path), "/") }
