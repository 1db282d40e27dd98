package nsq

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// groupScene is a scene with a Group in place of a Consumer.
type groupScene struct {
	*scene
	g      *Group
	cancel context.CancelFunc // ends the context of Run
	result chan error         // of Run

	mu      sync.Mutex
	handled map[string]int // messages by topic
}

// inGroupScene runs a test with a Group, which it ends if the test has started it. The Group
// must leave nothing behind.
func inGroupScene(t *testing.T, test func(s *groupScene)) {
	t.Helper()
	inScene(t, func(s *scene) {
		gs := &groupScene{scene: s, handled: make(map[string]int)}
		s.cfg.LookupdPollInterval, s.cfg.LookupdPollJitter = time.Minute, 0
		defer func() {
			if gs.cancel != nil {
				if err := gs.end(); err != nil {
					s.Errorf("Run: %v", err)
				}
			}
		}()
		test(gs)
	})
}

// group makes the Group, with the scene's Config as it is now.
func (s *groupScene) group() *Group {
	s.Helper()
	g, err := NewGroup(s.cfg)
	if err != nil {
		s.Fatal(err)
	}
	g.SetLookupdHttpClient(s.net.HTTPClient())
	s.g = g
	return g
}

// handle adds a handler of channel c, which takes so long for a message.
func (s *groupScene) handle(topic string, takes time.Duration, opts HandleOptions) {
	s.Helper()
	if err := s.g.Handle(topic, "c", s.handler(topic, takes), opts); err != nil {
		s.Fatal(err)
	}
}

// handler counts the messages of a topic.
func (s *groupScene) handler(topic string, takes time.Duration) HandlerFunc {
	return func(*Message) error {
		s.count(topic, 1)
		sleep(takes)
		s.count(topic, 0)
		return nil
	}
}

func (s *groupScene) count(topic string, begun int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handled[topic] += begun
}

// take returns how many messages of a topic have been begun since the last take.
func (s *groupScene) take(topic string) int {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.handled[topic]
	s.handled[topic] = 0
	return n
}

// run starts Run and waits until everything has settled.
func (s *groupScene) run() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.result = cancel, make(chan error, 1)
	go func() { s.result <- s.g.Run(ctx) }()
	synctest.Wait()
}

// end ends the context of Run and returns what Run returns.
func (s *groupScene) end() error {
	s.cancel()
	s.cancel = nil
	return <-s.result
}

// direct adds nsqds to the Group.
func (s *groupScene) direct(nsqds ...*nsqtest.Nsqd) {
	s.Helper()
	for _, d := range nsqds {
		if err := s.g.Connect(context.Background(), d.Addr()); err != nil {
			s.Fatal(err)
		}
	}
}

// lookups adds an nsqlookupd to the Group.
func (s *groupScene) lookups(lookupds ...*nsqtest.Lookupd) {
	s.Helper()
	for _, l := range lookupds {
		if err := s.g.Discover(context.Background(), l.Addr()); err != nil {
			s.Fatal(err)
		}
	}
}

// consumed returns the topics of the Group's Consumers.
func (s *groupScene) consumed() (topics []string) {
	synctest.Wait()
	for _, c := range s.g.Consumers() {
		topics = append(topics, c.topic)
	}
	return topics
}

// inFlight returns the messages in flight at nsqds, by topic, and their sum.
func inFlight(topics []string, nsqds ...*nsqtest.Nsqd) (each map[string]int, sum int) {
	each = make(map[string]int)
	for _, topic := range topics {
		for _, d := range nsqds {
			n := d.Stats(topic, "c").InFlight
			each[topic] += n
			sum += n
		}
	}
	return each, sum
}
