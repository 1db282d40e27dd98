package nsq

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// A Batcher asks both for what they would refuse.
var (
	_ checker = (*Producer)(nil)
	_ checker = (*ProducerPool)(nil)
)

// batching is a scene with a Batcher over one producer.
type batching struct {
	*producing
	b  *Batcher
	wg sync.WaitGroup // callers

	mu      sync.Mutex // guards what follows
	results map[string]error
}

// inBatcher runs a test in a bubble, stops the Batcher, and then checks that nothing
// is left in it.
func inBatcher(t *testing.T, opts BatchOptions, test func(s *batching), change ...func(*scene)) {
	t.Helper()
	produce(t, func(base *producing) {
		s := &batching{producing: base, results: make(map[string]error)}
		var err error
		if s.b, err = NewBatcher(s.p, opts); err != nil {
			s.Fatal(err)
		}
		test(s)
		s.b.Stop()
		s.wg.Wait()
		s.expectIdle()
	}, change...)
}

// publish has a new caller publish a message, and returns once all goroutines of the
// bubble are blocked.
func (s *batching) publish(ctx context.Context, body string) {
	s.wg.Go(func() {
		err := s.b.PublishContext(ctx, "t", []byte(body))
		s.mu.Lock()
		defer s.mu.Unlock()
		s.results[body] = err
	})
	synctest.Wait()
}

// publishAll publishes the messages from, from+1, … to-1 in order, each by a caller of
// its own.
func (s *batching) publishAll(from, to int) {
	for i := from; i < to; i++ {
		s.publish(s.Context(), fmt.Sprint(i))
	}
}

// result returns, once, the result of a message's publish, which must have ended.
func (s *batching) result(body string) error {
	s.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	err, ok := s.results[body]
	if !ok {
		s.Errorf("%q has no result", body)
	}
	delete(s.results, body)
	return err
}

// expectNoResult checks that all callers still wait.
func (s *batching) expectNoResult() {
	s.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.results) > 0 {
		s.Errorf("results %v, want none yet", s.results)
	}
}

// expectIdle checks that the Batcher holds no messages.
func (s *batching) expectIdle() {
	s.Helper()
	synctest.Wait()
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if len(s.b.topics) > 0 || s.b.room.used != 0 {
		s.Errorf("%d topics and %d bytes are left", len(s.b.topics), s.b.room.used)
	}
}

// expectPublished checks which PUBs and MPUBs nsqd received.
func (s *batching) expectPublished(want ...string) {
	s.Helper()
	synctest.Wait()
	if got := commands(s.d, "PUB", "MPUB"); !slices.Equal(got, want) {
		s.Errorf("nsqd got %q, want %q", got, want)
	}
}

// hold makes messages of topic t wait until release is called, as if enough batches were in
// flight. Only full batches are sent.
func (s *batching) hold() (release func()) {
	held := func(batches int) {
		s.b.mu.Lock()
		defer s.b.mu.Unlock()
		t := s.b.topic("t")
		t.inFlight += batches
		t.messages += batches * defaultBatchMessages
		s.b.startCollecting(t)
		s.b.tidy(t)
	}
	held(freeInFlight)
	return func() { held(-freeInFlight) }
}

// slowly makes nsqd take a second for each publish.
func (s *batching) slowly() {
	s.d.Inject(nsqtest.Fault{Command: "PUB", Delay: time.Second})
	s.d.Inject(nsqtest.Fault{Command: "MPUB", Delay: time.Second})
}

// wrapped is a user's own Publisher around a Producer.
type wrapped struct{ p *Producer }

func (w wrapped) PublishContext(ctx context.Context, topic string, body []byte) error {
	return w.p.PublishContext(ctx, topic, body)
}

func (w wrapped) MultiPublishContext(ctx context.Context, topic string, bodies [][]byte) error {
	return w.p.MultiPublishContext(ctx, topic, bodies)
}
