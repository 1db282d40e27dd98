package nsq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/rdyhq/nsq/internal/discover"
)

// Group runs the Consumers of many topics and channels as one: they connect to the same
// nsqds, and stop together.
//
//	g, err := nsq.NewGroup(nsq.NewConfig())
//	g.Handle("orders", "billing", billing, nsq.HandleOptions{Concurrency: 8, MaxInFlight: 100})
//	g.HandleMatching(regexp.MustCompile(`^audit\.`), "archive", archive, nsq.HandleOptions{})
//	g.Discover(ctx, "lookupd-1:4161", "lookupd-2:4161")
//	err = g.Run(ctx) // until ctx ends
//
// Make one with [NewGroup]. Add handlers, middleware and at least one address, and then call
// [Group.Run] once. Nothing is connected before Run. All methods may be called from any
// goroutine.
//
// # Priorities
//
// A Consumer without a Weight has a max_in_flight of its own. Those with a Weight share that
// of the Group's Config: together they never have more messages in flight. Each gets a part
// of it by its Weight, at least 1. A Consumer lends what it does not need to those that do,
// by weight as well. So weights decide only while there are more messages than max_in_flight
// allows.
//
// When a topic has been quiet and its messages come again, its Consumer gets its part back
// within about a quarter of a second, plus the time until the others have acked messages that
// they have in flight. Prefetched messages prolong that: a max_in_flight of about twice the
// number of handlers keeps it short.
//
// If there are more topics from [Group.HandleMatching] than max_in_flight allows, they take
// turns: a message then waits at least 100 ms for each topic that comes first.
type Group struct {
	cfg    *Config
	logs   *logs
	log    *slog.Logger
	sharer *slotSharer

	// running counts the goroutines that Run waits for. They are started with mu held, and
	// none is started once stopping is true.
	running sync.WaitGroup

	mu         sync.Mutex // guards what follows
	middleware []Middleware
	fixed      []handling
	matching   []topicMatch
	nsqds      []string
	lookupds   []string
	client     *http.Client
	ran        bool // Run was called: handlers and middleware stay as they are
	stopping   bool // no Consumer is added any more
	weights    int  // how many of fixed have a weight
	members    []*groupMember
	past       Counts   // of Consumers that are no longer members
	matcher    *matcher // nil without HandleMatching
}

// HandleOptions are the options of [Group.Handle] and [Group.HandleMatching]. The zero value
// means the defaults.
type HandleOptions struct {
	// Concurrency is how many goroutines call the handler of a topic. 0 means 1.
	Concurrency int

	// MaxInFlight is the Consumer's max_in_flight. 0 means that of its Config. With a Weight
	// it is the largest part of the Group's max_in_flight that the Consumer may have, and 0
	// means no limit.
	MaxInFlight int

	// Weight, 1 to 1000, makes the Consumer share the Group's max_in_flight with the others
	// that have a Weight: see [Group]. 0 means that it does not share. Each topic of
	// HandleMatching has this weight.
	Weight int

	// Strict makes Weight a strict priority: while this Consumer has more messages than it
	// may have in flight, Consumers of lower Weight get no new ones. Messages that they have
	// in flight are still handled. This Consumer counts as having more messages when it was
	// found, twice in a row, 100 ms apart, to use all of an nsqd's RDY. It always keeps at
	// least one slot, so it is noticed when messages come again. Strict needs a Weight.
	Strict bool

	// Config is the Consumer's Config, which is copied. nil means that of the Group. Its
	// stop_timeout has no effect, nor has its max_in_flight if the Consumer has a Weight.
	Config *Config
}

// anyTopic stands for a topic that is not known yet. It cannot be that of dead letters, which
// is not ephemeral.
const anyTopic = "topic#ephemeral"

// maxWeight bounds Weight. One message in a thousand is as good as none.
const maxWeight = 1000

// handling is what Handle was told.
type handling struct {
	topic, channel string
	handler        Handler
	opts           HandleOptions
}

// NewGroup returns a Group without handlers. The config applies to all its Consumers, except
// to those with a Config of their own. It also sets how the Group asks nsqlookupds for topics,
// and stop_timeout for all Consumers. NewGroup validates and copies the config as
// [NewConsumer] does, and panics if the config was not made by [NewConfig].
func NewGroup(config *Config) (*Group, error) {
	config.mustBeInitialized()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	g := &Group{cfg: config.clone()}
	g.logs = newLogs(g.cfg.Logger)
	g.log = g.logs.logger
	g.sharer = newSlotSharer(g.cfg.MaxInFlight)
	return g, nil
}

// Use adds middleware to all handlers of the Group, as [Consumer.Use] does: the first one is
// the outermost. Call it before Run. It panics after that, and if a Middleware is nil.
func (g *Group) Use(mw ...Middleware) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ran {
		panic("group: Use after Run")
	}
	if slices.ContainsFunc(mw, func(m Middleware) bool { return m == nil }) {
		panic("group: nil middleware")
	}
	g.middleware = append(g.middleware, mw...)
}

// Handle adds a handler for a channel of a topic. Run makes a Consumer for it. Handle fails
//
//   - once Run was called;
//   - if a name, an option or the Config is invalid, or the handler is nil;
//   - if the channel of the topic has a handler already;
//   - if opts has a Weight and max_in_flight is too low to give a slot to each Consumer that
//     has one.
func (g *Group) Handle(topic, channel string, h Handler, opts HandleOptions) error {
	name := topic + "/" + channel
	if h == nil {
		return fmt.Errorf("group: %s: nil handler", name)
	}
	opts, err := g.check(topic, channel, opts)
	if err != nil {
		return fmt.Errorf("group: %s: %w", name, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	weights := g.weights
	if opts.Weight > 0 {
		weights++
	}
	switch {
	case g.ran:
		return fmt.Errorf("group: %s: %w", name, errRan)
	case slices.ContainsFunc(g.fixed, func(o handling) bool { return o.topic == topic && o.channel == channel }):
		return fmt.Errorf("group: %s has a handler already", name)
	case weights > g.cfg.MaxInFlight:
		return fmt.Errorf("group: %s: max_in_flight %d is too low for %d consumers with a weight, each needs at least 1",
			name, g.cfg.MaxInFlight, weights)
	}
	g.weights = weights
	g.fixed = append(g.fixed, handling{topic, channel, h, opts})
	return nil
}

var errRan = errors.New("handlers must be added before Run")

// HandleMatching adds a handler for each topic whose name matches re, including topics that
// are created later. re may match anywhere in the name: anchor it with ^ and $. h returns the
// handler of a topic. A topic for which h returns nil or panics is left alone. h is called on
// one goroutine, which Run waits for, once for each topic, and again if the topic has gone and
// comes back.
//
// Run asks all nsqlookupds of [Group.Discover] for their topics at once, and then every
// lookupd_poll_interval. The Consumer of a topic connects only to nsqds that nsqlookupds list,
// not to those of [Group.Connect]. It stops when three polls in a row, to which all
// nsqlookupds responded, have not listed the topic; while it is connected, only when the topic
// was not listed for 30 s. A topic that was deleted in nsqd only is still listed until it is
// deleted in nsqlookupd. Ephemeral topics match like others, and so do topics in which the
// messages of package delay wait: let re leave out names that end in ".delayed".
//
// A channel of a topic has one handler: that of Handle, or else that of the first
// HandleMatching with this channel that matches.
//
// If the Config has a DeadLetter, topics of dead letters are left alone: those that end in
// ".dead", and those that the Group's Configs name as DeadLetter.Topic. Otherwise a message
// that fails again and again would pass through ever new topics. To replay dead letters with
// [FromDeadLetters], give HandleOptions a Config without DeadLetter.
//
// HandleMatching fails once Run was called, and if re or h is nil, or the channel, an option or
// the Config is invalid. It also fails if opts has a Weight and max_in_flight is 0.
func (g *Group) HandleMatching(re *regexp.Regexp, channel string, h func(topic string) Handler, opts HandleOptions) error {
	if re == nil {
		return errors.New("group: HandleMatching without a regular expression")
	}
	name := re.String() + "/" + channel
	if h == nil {
		return fmt.Errorf("group: %s: nil function", name)
	}
	opts, err := g.check(anyTopic, channel, opts)
	if err != nil {
		return fmt.Errorf("group: %s: %w", name, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.ran:
		return fmt.Errorf("group: %s: %w", name, errRan)
	case opts.Weight > 0 && g.cfg.MaxInFlight == 0:
		return fmt.Errorf("group: %s: max_in_flight 0 cannot be shared", name)
	}
	g.matching = append(g.matching, topicMatch{re, channel, h, opts})
	return nil
}

// check returns the options with defaults filled in and a copy of the Config, or an error that
// says what is invalid.
func (g *Group) check(topic, channel string, opts HandleOptions) (HandleOptions, error) {
	if opts.Config == nil {
		opts.Config = g.cfg
	}
	if err := checkConsumer(topic, channel, opts.Config); err != nil {
		return opts, err
	}
	switch {
	case opts.Concurrency < 0:
		return opts, fmt.Errorf("concurrency %d: want 1 or more, or 0 for 1", opts.Concurrency)
	case opts.MaxInFlight < 0:
		return opts, fmt.Errorf("max in flight %d: want 1 or more, or 0 for the default", opts.MaxInFlight)
	case opts.Weight < 0 || opts.Weight > maxWeight:
		return opts, fmt.Errorf("weight %d: want 1 to %d, or 0 to share nothing", opts.Weight, maxWeight)
	case opts.Strict && opts.Weight == 0:
		return opts, errors.New("strict priority needs a weight")
	}
	opts.Concurrency = max(opts.Concurrency, 1)
	opts.Config = opts.Config.clone()
	switch {
	case opts.Weight > 0:
		opts.Config.MaxInFlight = 0 // until it gets a share
	case opts.MaxInFlight > 0:
		opts.Config.MaxInFlight = opts.MaxInFlight
	}
	return opts, nil
}

// Connect adds nsqds to which the Consumers of [Group.Handle] connect. An address is host:port
// or unix:path. One that was added before is ignored. If an address is invalid, Connect fails
// and adds none.
//
// Before Run, Connect returns at once, and Run connects. During Run it waits as
// [Consumer.Connect] does, for all Consumers at the same time. The errors are joined, and name
// the topic, the channel and the nsqd. The Consumers keep dialling nsqds that failed or were
// not reached before ctx ended. Once Run stops, Connect fails with [ErrStopped].
func (g *Group) Connect(ctx context.Context, nsqds ...string) error {
	for _, addr := range nsqds {
		if strings.HasPrefix(addr, "unix:") {
			continue
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("group: nsqd %q: %w", addr, err)
		}
	}
	return g.addAddresses(&g.nsqds, nsqds, func(m *groupMember, added []string) error { return m.connect(ctx, added) })
}

// Discover adds nsqlookupds. All Consumers of the Group ask them for nsqds and, if there is a
// [Group.HandleMatching], the Group asks them for topics. An address has the form that
// [Consumer.ConnectToNSQLookupd] takes. One that was added before is ignored. If an address is
// invalid, Discover fails and adds none.
//
// Before Run, Discover returns at once, and Run asks the nsqlookupds. During Run it waits as
// [Consumer.Discover] does, for all Consumers at the same time. The errors are joined, and
// name the topic and channel. Once Run stops, Discover fails with [ErrStopped].
func (g *Group) Discover(ctx context.Context, lookupds ...string) error {
	for _, addr := range lookupds {
		if _, err := discover.ParseAddr(addr); err != nil {
			return fmt.Errorf("group: %w", err)
		}
	}
	return g.addAddresses(&g.lookupds, lookupds, func(m *groupMember, added []string) error { return m.discover(ctx, added) })
}

// SetLookupdHttpClient sets the client for requests to nsqlookupds. lookupd_poll_timeout still
// bounds each request. Call it before Run.
func (g *Group) SetLookupdHttpClient(httpclient *http.Client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.client = httpclient
}

// Consumers returns the Group's Consumers: those of Handle in the order in which they were
// added, and then those of the topics found so far. There are none before Run. Do not change
// the max_in_flight of a Consumer with a Weight: the Group sets it.
func (g *Group) Consumers() []*Consumer {
	g.mu.Lock()
	defer g.mu.Unlock()
	consumers := make([]*Consumer, len(g.members))
	for i, m := range g.members {
		consumers[i] = m.c
	}
	return consumers
}

// Snapshot returns the states of the Group's Consumers, in the order of [Group.Consumers].
// See [Consumer.Snapshot]. A Consumer whose topic has gone is not among them once it has
// stopped. If the topic comes back, its new Consumer counts from 0. [Group.Counts] includes
// all of them.
func (g *Group) Snapshot() []Snapshot {
	consumers := g.Consumers()
	states := make([]Snapshot, len(consumers))
	for i, c := range consumers {
		states[i] = c.Snapshot()
	}
	return states
}

// Counts returns the counts over all Consumers of the Group, including those of topics that
// have gone, so no count ever falls. As with [Consumer.Snapshot], a Consumer's Logger and
// BackoffStrategy must not call it.
func (g *Group) Counts() Counts {
	g.mu.Lock()
	sum, members := g.past, g.members
	g.mu.Unlock()
	for _, m := range members {
		of := m.c.Snapshot().Counts
		sum.add(&of)
	}
	return sum
}

// errNotRunning is what Health returns before Run.
var errNotRunning = errors.New("group: not running")

// Health returns nil if the Group runs and all its Consumers are healthy. Otherwise it
// returns their errors, joined: see [Consumer.Health]. A Consumer that stops because its topic
// has gone does not count. While no nsqlookupd responds with its topics, the error includes a
// [*HealthError] with [CauseNotConnected] for each HandleMatching, whose Topic is the regular
// expression.
func (g *Group) Health() error {
	g.mu.Lock()
	ran, members, matcher := g.ran, slices.Clone(g.members), g.matcher
	gone := func(m *groupMember) bool { return m.gone && !g.stopping }
	members = slices.DeleteFunc(members, gone)
	g.mu.Unlock()
	if !ran {
		return errNotRunning
	}
	var errs []error
	for _, m := range members {
		errs = append(errs, m.c.Health())
	}
	if matcher != nil {
		errs = append(errs, matcher.health())
	}
	return errors.Join(errs...)
}
