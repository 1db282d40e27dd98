package letters

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/envelope"
	"golang.org/x/time/rate"
)

// HeaderRetries is the header in which replayed messages carry how often they were replayed.
const HeaderRetries = "retries"

// publishTimeout bounds a publish, which is completed also if the replay is interrupted.
const publishTimeout = 10 * time.Second

// Replayer publishes the messages of letters again. Its fields are set before the first Replay.
// Its methods must be called from one goroutine.
type Replayer struct {
	Config *nsq.Config // of the producers
	// Poll returns what the nsqds count of a topic, and which of them have it. The View is used
	// along with an error.
	Poll func(ctx context.Context, topic string) (*admin.View, error)
	// Named are the HTTP addresses of nsqds that the user has named: see ClientAddr.
	Named []string
	// To is the topic to publish to. Empty stands for the one that the letter comes from.
	To string
	// MaxRetries leaves letters whose messages were replayed so often. 0 means no limit.
	MaxRetries int
	// Rate is the maximum of messages per second. 0 means no limit.
	Rate float64
	// Agree is called before messages go to other channels than the one that they come from,
	// once for each topic and channel that they come from. Its error keeps them from that.
	Agree func(Recipients) error
	// Refused is called with each letter that was not replayed because of what it is itself.
	Refused func(*Letter, error)

	// Counts say what has become of letters.
	Counts Counts

	limit  *rate.Limiter
	routes map[string]*route // by topic and origin channel
}

// Counts are what a Replayer has done.
type Counts struct {
	Replayed int `json:"replayed"` // published, and confirmed by nsqd
	Left     int `json:"left"`     // not published because of MaxRetries
	Failed   int `json:"failed"`   // certainly not published
	Unknown  int `json:"unknown"`  // perhaps published
}

// Recipients are the channels that get the messages of a topic.
type Recipients struct {
	Topic    string
	From     string // channel that the letter comes from; empty for any
	Channels []string
	Unknown  error // why there may be other channels; nil if there are none
}

// Only reports whether the messages go to the channel that they come from, as far as that is
// known, and to no other. With an empty From they may go to any one channel, or wait for one.
func (r *Recipients) Only() bool {
	if r.From == "" {
		return len(r.Channels) <= 1
	}
	return len(r.Channels) == 1 && r.Channels[0] == r.From
}

// String says who gets the messages.
func (r *Recipients) String() string {
	switch len(r.Channels) {
	case 0:
		return fmt.Sprintf("topic %s has no channel: a message waits there for the first one", r.Topic)
	case 1:
		return fmt.Sprintf("topic %s has only the channel %s, and the letter comes from %s", r.Topic, r.Channels[0], r.From)
	}
	return fmt.Sprintf("topic %s has the channels %s: each of them gets a message", r.Topic, figures.List(r.Channels))
}

// route is where messages of a topic go.
type route struct {
	pool *nsq.ProducerPool
	err  error // why they must not
}

// Replay publishes the message of a letter, and then removes the letter. The error ends the
// replay: letters after it would fail as well, or ctx has ended. It is not an error if the letter
// itself is at fault, or is left.
func (r *Replayer) Replay(ctx context.Context, l *Letter) error {
	if r.limit == nil {
		r.limit = rate.NewLimiter(rate.Inf, 0)
		if r.Rate > 0 {
			r.limit = rate.NewLimiter(rate.Limit(r.Rate), 1)
		}
		r.routes = make(map[string]*route)
	}
	body, left := r.body(l)
	if left {
		r.Counts.Left++
		return nil
	}
	topic := r.To
	if topic == "" {
		topic = l.Header.Get(nsq.HeaderOriginTopic)
	}
	to, err := r.route(ctx, topic, l)
	if err == nil {
		err = r.limit.Wait(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return r.refuse(l, err)
	case l.Lost():
		return r.refuse(l, errLost)
	}
	return r.publish(ctx, to, topic, body, l)
}

// publish publishes a message, and removes its letter if nsqd has confirmed that.
func (r *Replayer) publish(ctx context.Context, to *nsq.ProducerPool, topic string, body []byte, l *Letter) error {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	err := to.PublishContext(bounded, topic, body)
	if err == nil {
		l.Finish()
		r.Counts.Replayed++
		return nil
	}
	if errors.Is(err, nsq.ErrUnknownOutcome) {
		r.Counts.Unknown++
		return fmt.Errorf("letter %s: %w", l.ID, err)
	}
	if _, refused := errors.AsType[*nsq.ProtocolError](err); refused {
		return r.refuse(l, err)
	}
	r.Counts.Failed++
	return fmt.Errorf("letter %s: %w", l.ID, err)
}

// refuse counts a letter that was not replayed, and tells why. It returns nil: the others are
// replayed.
func (r *Replayer) refuse(l *Letter, err error) error {
	r.Counts.Failed++
	r.Refused(l, err)
	return nil
}

// body returns what is published for a letter. left reports whether it stays because of
// MaxRetries.
func (r *Replayer) body(l *Letter) (body []byte, left bool) {
	if r.MaxRetries == 0 {
		return l.Body, false
	}
	h, inner, ok := envelope.Open(l.Body)
	if !ok {
		return nil, true
	}
	retries, err := strconv.Atoi(h.Get(HeaderRetries))
	if h.Get(HeaderRetries) != "" && err != nil || retries >= r.MaxRetries {
		return nil, true
	}
	h.Set(HeaderRetries, strconv.Itoa(retries+1))
	return envelope.Seal(h, inner), false
}

// route returns what publishes to a topic, or the reason why this letter must not go there.
func (r *Replayer) route(ctx context.Context, topic string, l *Letter) (*nsq.ProducerPool, error) {
	if topic == "" {
		return nil, errors.New("the letter is raw: it does not say where it comes from; name a topic to publish to (--to)")
	}
	if !nsq.IsValidTopicName(topic) {
		return nil, fmt.Errorf("it comes from %q, which is not a valid topic; name another one to publish to (--to)", topic)
	}
	channel := ""
	if r.To == "" {
		channel = l.Header.Get(nsq.HeaderOriginChannel)
	}
	key := topic + "/" + channel
	known := r.routes[key]
	if known == nil {
		known = &route{}
		if known.pool, known.err = r.newRoute(ctx, topic, channel); ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		r.routes[key] = known
	}
	return known.pool, known.err
}

// newRoute looks at who gets the messages of a topic. channel is where they come from, empty
// for any.
func (r *Replayer) newRoute(ctx context.Context, topic, channel string) (*nsq.ProducerPool, error) {
	v, err := r.Poll(ctx, topic)
	who := Recipients{Topic: topic, From: channel, Channels: channelNames(v.Topic(topic)), Unknown: err}
	if len(who.Channels) == 0 && strings.HasSuffix(topic, "#ephemeral") {
		return nil, fmt.Errorf("topic %s has no channel, and nsqd drops the messages of an ephemeral topic that nobody consumes", topic)
	}
	if !who.Only() || err != nil {
		if err := r.Agree(who); err != nil {
			return nil, err
		}
	}
	var with, all []string
	for _, n := range v.NSQDs {
		addr := ClientAddr(n, r.Named)
		if addr == "" || n.Error != "" {
			continue
		}
		all = append(all, addr)
		if t := v.Topic(topic); t != nil && slices.ContainsFunc(t.NSQDs, func(on admin.TopicOn) bool { return on.NSQD == n.Addr }) {
			with = append(with, addr)
		}
	}
	if len(with) == 0 {
		with = all
	}
	if len(with) == 0 {
		return nil, fmt.Errorf("no nsqd to publish topic %s to", topic)
	}
	return nsq.NewProducerPool(with, r.Config)
}

// Close disconnects.
func (r *Replayer) Close() {
	for _, route := range r.routes {
		if route.pool != nil {
			route.pool.Stop()
		}
	}
}
