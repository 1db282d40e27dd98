package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/rdyhq/nsq"
)

// maxVisitors bounds the consumers of a channel that come and go.
const maxVisitors = 6

// soakConsumer is a consumer that comes and goes.
type soakConsumer struct {
	c      *nsq.Consumer
	cancel context.CancelFunc // ends a program that takes messages itself
	taking sync.WaitGroup
}

// consumers returns all consumers.
func (s *soak) consumers() []*nsq.Consumer {
	all := s.group.Consumers()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.visitors {
		all = append(all, v.c)
	}
	return all
}

type change struct {
	name string
	do   func() bool // reports whether there was something to change
}

// kinds returns the kinds of changes.
func (s *soak) kinds() []change {
	return []change{
		{"consumer comes", s.comeAnywhere},
		{"another consumer comes", s.comeAnywhere},
		{"consumer goes", s.leave},
		{"max_in_flight", s.changeMaxInFlight},
		{"concurrency", s.changeConcurrency},
		{"consumer pauses", s.pauseConsumer},
		{"channel pauses", s.pauseChannel},
		{"handlers fail", s.failSome},
		{"topic", s.temporaryTopic},
		{"channel", s.temporaryChannel},
		{"nsqd restarts", s.restartNSQD},
		{"nsqlookupd restarts", s.restartLookupd},
	}
}

// handler returns a handler of a channel. It may be slow, and may fail.
func (s *soak) handler(topic, channel string) nsq.HandlerFunc {
	name := channelOf(topic, channel)
	return func(m *nsq.Message) error {
		if rand.IntN(10) == 0 {
			time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		}
		if rand.Int32N(1000) < s.fail.Load() {
			return errors.New("simulated")
		}
		s.ledger.done(name, m)
		return nil
	}
}

// visitorConfig returns a Config with some options at random. One consumer in two is watched:
// it sends no FIN for a message that was not handled.
func (s *soak) visitorConfig(topic, channel string) *nsq.Config {
	cfg := s.config()
	cfg.MaxInFlight = 1 + s.rng.IntN(100)
	cfg.RecycleBodies = s.rng.IntN(2) == 0
	cfg.MaxBytesInFlight = []int64{0, 64 << 10, 1 << 20}[s.rng.IntN(3)]
	cfg.AutoTouch = time.Duration(s.rng.IntN(2)) * time.Minute
	cfg.OutputBufferTimeout = 25 * time.Millisecond
	if s.rng.IntN(2) == 0 {
		cfg.BackoffPolicy = nsq.BackoffAdaptive
	}
	switch s.rng.IntN(4) {
	case 0:
		cfg.Snappy = true
	case 1:
		cfg.Deflate = true
	default:
		cfg.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &ackWatch{conn, func(id string) { s.ledger.acked(channelOf(topic, channel), id) }}, nil
		}
	}
	return cfg
}

// comeAnywhere adds a consumer of a channel that is there all the time.
func (s *soak) comeAnywhere() bool {
	s.t.Helper()
	s.come(soakTopics[s.rng.IntN(len(soakTopics))], "c")
	return true
}

// come adds a consumer. If there are many, another one goes.
func (s *soak) come(topic, channel string) *soakConsumer {
	s.t.Helper()
	s.mu.Lock()
	many := len(s.visitors) == maxVisitors
	s.mu.Unlock()
	if many {
		s.leave()
	}
	c, err := nsq.NewConsumer(topic, channel, s.visitorConfig(topic, channel))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	v := &soakConsumer{c: c, cancel: cancel}
	s.work(ctx, v, s.handler(topic, channel))
	if s.rng.IntN(2) == 0 {
		err = c.Discover(ctx, s.lookupds[0].HTTPAddr(), s.lookupds[1].HTTPAddr())
	} else {
		err = c.Connect(ctx, s.nsqds[0].TCPAddr(), s.nsqds[1].TCPAddr(), s.nsqds[2].TCPAddr())
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.visitors = append(s.visitors, v)
	s.mu.Unlock()
	return v
}

// work has a consumer handle messages in one of the four ways.
func (s *soak) work(ctx context.Context, v *soakConsumer, h nsq.HandlerFunc) {
	limits := nsq.BatchLimits{Messages: 1 + s.rng.IntN(20), Wait: time.Duration(s.rng.IntN(50)) * time.Millisecond}
	switch s.rng.IntN(4) {
	case 0:
		v.c.AddConcurrentHandlers(h, 1+s.rng.IntN(8))
	case 1:
		v.c.AddBatchHandler(nsq.BatchHandlerFunc(func(_ context.Context, batch []*nsq.Message) error {
			for _, m := range batch {
				m.Answer(h(m))
			}
			return nil
		}), limits, 1+s.rng.IntN(3))
	case 2:
		v.taking.Go(func() {
			for ctx.Err() == nil {
				batch, _ := v.c.Fetch(ctx, limits)
				for _, m := range batch {
					m.Answer(h(m))
				}
			}
		})
	default:
		v.taking.Go(func() {
			for m := range v.c.Messages(ctx) {
				m.Answer(h(m))
			}
		})
	}
}

// visitor returns one of the consumers that come and go, or nil if there is none.
func (s *soak) visitor() *soakConsumer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.visitors) == 0 {
		return nil
	}
	return s.visitors[s.rng.IntN(len(s.visitors))]
}

// leave stops one of the consumers that come and go.
func (s *soak) leave() bool {
	s.t.Helper()
	v := s.visitor()
	if v != nil {
		s.stop(v)
	}
	return v != nil
}

func (s *soak) leaveAll() {
	s.t.Helper()
	for v := s.visitor(); v != nil; v = s.visitor() {
		s.stop(v)
	}
}

func (s *soak) stop(v *soakConsumer) {
	s.t.Helper()
	s.mu.Lock()
	s.visitors = slices.DeleteFunc(s.visitors, func(o *soakConsumer) bool { return o == v })
	s.mu.Unlock()
	v.cancel()
	v.taking.Wait()
	stop(s.t, v.c)
	snap := v.c.Snapshot()
	if n := snap.Counts; snap.InFlight != 0 || n.Received+n.Unsent != n.Finished+n.Requeued+n.Expired+n.Lost {
		s.t.Errorf("the counts of a consumer that has stopped do not add up: %+v", snap)
	}
}

func (s *soak) changeMaxInFlight() bool {
	v := s.visitor()
	if v != nil {
		v.c.ChangeMaxInFlight(1 + s.rng.IntN(100))
	}
	return v != nil
}

// changeConcurrency changes the number of handlers. A consumer that takes messages itself has
// none.
func (s *soak) changeConcurrency() bool {
	v := s.visitor()
	return v != nil && v.c.SetConcurrency(1+s.rng.IntN(10)) == nil
}

func (s *soak) pauseConsumer() bool {
	v := s.visitor()
	if v != nil {
		v.c.Pause()
		time.Sleep(300 * time.Millisecond)
		v.c.Resume()
	}
	return v != nil
}

func (s *soak) pauseChannel() bool {
	s.t.Helper()
	path := "pause?channel=c&topic=" + soakTopics[s.rng.IntN(len(soakTopics))]
	for _, do := range []string{"/channel/", "/channel/un"} {
		for _, n := range s.nsqds {
			n.Post(do + path)
		}
		time.Sleep(300 * time.Millisecond)
	}
	return true
}

// failSome changes how many messages fail.
func (s *soak) failSome() bool {
	s.fail.Store([]int32{0, 20, 200}[s.rng.IntN(3)])
	return true
}

// name returns a new name.
func (s *soak) name(prefix string) string {
	s.made++
	return fmt.Sprint(prefix, s.made)
}

// temporaryTopic makes a topic, which the group finds, and deletes it once its messages are
// handled.
func (s *soak) temporaryTopic() bool {
	s.t.Helper()
	topic := s.name("soak.tmp")
	n := s.nsqds[s.rng.IntN(len(s.nsqds))]
	s.ledger.expect(topic, "c")
	var bodies []string
	for range 50 {
		bodies = append(bodies, s.ledger.begin(topic))
	}
	n.Publish(topic, bodies...)
	for _, body := range bodies {
		s.ledger.end(body, nil)
	}
	eventually(s.t, patience, func() bool { return !s.ledger.pending(channelOf(topic, "c")) })
	s.ledger.release(topic, "c")
	s.admin.DeleteTopic(topic)
	return true
}

// temporaryChannel makes a channel with a consumer of its own, which handles each message that
// is published meanwhile, and deletes it.
func (s *soak) temporaryChannel() bool {
	s.t.Helper()
	topic, channel := soakTopics[s.rng.IntN(len(soakTopics))], s.name("c")
	s.createChannel(topic, channel)
	v := s.come(topic, channel)
	time.Sleep(time.Second)
	s.ledger.release(topic, channel)
	s.drain(topic, channel)
	s.stop(v)
	for _, n := range s.nsqds {
		n.Post("/channel/delete?topic=" + topic + "&channel=" + channel)
	}
	return true
}

// drain has the publishers pause until a channel has handled what it is expected to. A consumer
// that is slower than the publishers would never get to the messages that were requeued.
func (s *soak) drain(topic, channel string) {
	s.t.Helper()
	s.gate.Lock()
	defer s.gate.Unlock()
	eventually(s.t, patience, func() bool { return !s.ledger.pending(channelOf(topic, channel)) })
}

func (s *soak) restartNSQD() bool {
	s.t.Helper()
	n := s.nsqds[s.rng.IntN(len(s.nsqds))]
	s.restarts.Add(1)
	n.Stop()
	time.Sleep(time.Duration(s.rng.IntN(1000)) * time.Millisecond)
	n.Start()
	return true
}

// restartLookupd restarts an nsqlookupd. The nsqds register again only with their next ping,
// which takes up to 15 s. Until then the other one is left alone.
func (s *soak) restartLookupd() bool {
	s.t.Helper()
	for _, l := range s.lookupds {
		if len(l.Nodes()) < len(s.nsqds) {
			return false
		}
	}
	l := s.lookupds[s.rng.IntN(len(s.lookupds))]
	l.Stop()
	l.Start()
	return true
}

// ackWatch is a connection that tells the IDs of FINs before they are sent.
type ackWatch struct {
	net.Conn
	acked func(id string)
}

func (w *ackWatch) Write(p []byte) (int, error) {
	for rest := p; ; {
		_, after, found := cutFIN(rest)
		if !found {
			break
		}
		w.acked(string(after[:nsq.MsgIDLength]))
		rest = after[nsq.MsgIDLength:]
	}
	return w.Conn.Write(p)
}
