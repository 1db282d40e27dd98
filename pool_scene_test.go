package nsq

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// pooling is a scene with a pool of three nsqds: a:1, b:1 and c:1.
type pooling struct {
	*scene
	nsqds []*nsqtest.Nsqd
	pool  *ProducerPool
}

// inPool runs a test in a bubble, and stops the pool.
func inPool(t *testing.T, test func(s *pooling), change ...func(*scene)) {
	t.Helper()
	inScene(t, func(base *scene) {
		for _, f := range change {
			f(base)
		}
		s := &pooling{scene: base}
		addrs := []string{"a:1", "b:1", "c:1"}
		for _, addr := range addrs {
			s.nsqds = append(s.nsqds, base.nsqd(addr))
		}
		var err error
		if s.pool, err = NewProducerPool(addrs, s.cfg); err != nil {
			s.Fatal(err)
		}
		defer func() { s.pool.Stop() }()
		test(s)
	})
}

// stored returns how many messages each nsqd has.
func (s *pooling) stored() []int {
	synctest.Wait()
	var n []int
	for _, d := range s.nsqds {
		n = append(n, len(d.Queued("t", "")))
	}
	return n
}

// storedOnce returns the bodies that the nsqds have, and fails if one is stored twice.
func (s *pooling) storedOnce() map[string]bool {
	s.Helper()
	stored := map[string]bool{}
	for _, d := range s.nsqds {
		for _, body := range d.Queued("t", "") {
			if stored[body] {
				s.Errorf("%q is stored twice", body)
			}
			stored[body] = true
		}
	}
	return stored
}

func (s *pooling) expectStored(want ...int) {
	s.Helper()
	if got := s.stored(); !slices.Equal(got, want) {
		s.Errorf("stored %v, want %v", got, want)
	}
}

func (s *pooling) expectHealthy(want ...bool) {
	s.Helper()
	var got []bool
	for _, m := range s.pool.Snapshot() {
		got = append(got, m.Healthy)
	}
	if !slices.Equal(got, want) {
		s.Errorf("healthy: %v, want %v", got, want)
	}
}

// publish publishes messages and checks that each succeeds at once.
func (s *pooling) publish(count int) {
	s.Helper()
	start := time.Now()
	for i := range count {
		if err := s.pool.Publish("t", fmt.Append(nil, i)); err != nil {
			s.Errorf("%d: %v", i, err)
		}
	}
	if d := time.Since(start); d != 0 {
		s.Errorf("took %v", d)
	}
}

// collect receives count transactions and returns their Causes by the first of
// their args.
func (s *pooling) collect(done chan *ProducerTransaction, count int) map[any]error {
	s.Helper()
	results := map[any]error{}
	for range count {
		t := <-done
		if _, twice := results[t.Args[0]]; twice {
			s.Errorf("the transaction of %v came twice", t.Args)
		}
		if want := asGoNSQ(t.Cause); t.Error != want { //nolint:errorlint // go-nsq's users compare
			s.Errorf("the transaction's Error is %v, want %v", t.Error, want)
		}
		results[t.Args[0]] = t.Cause
	}
	synctest.Wait()
	if len(done) > 0 {
		s.Errorf("%d transactions too many", len(done))
	}
	return results
}

// poolDiscovering is a scene with a pool that queries the nsqlookupds la:1 and lb:1.
// Three nsqds run at a:1, b:1 and c:1, and are not listed yet.
type poolDiscovering struct {
	*pooling
	la, lb *nsqtest.Lookupd
}

func inDiscoveredPool(t *testing.T, test func(s *poolDiscovering), change ...func(*scene)) {
	t.Helper()
	inPool(t, func(base *pooling) {
		s := &poolDiscovering{pooling: base, la: base.lookupd("la:1"), lb: base.lookupd("lb:1")}
		pool, err := NewDiscoveredProducerPool([]string{"la:1", "http://lb:1"}, s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		s.pool.Stop()
		s.pool = pool
		pool.SetLookupdHttpClient(s.net.HTTPClient())
		test(s)
	}, change...)
}

func (s *poolDiscovering) expectMembers(want ...string) {
	s.Helper()
	synctest.Wait()
	got := []string{}
	for _, m := range s.pool.Snapshot() {
		got = append(got, m.Addr)
	}
	if !slices.Equal(got, want) {
		s.Errorf("members %v, want %v", got, want)
	}
}
