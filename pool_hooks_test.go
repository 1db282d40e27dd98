package nsq

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// sort sorts all events but the last few, and drops how long connections were up, because
// chance decides when nsqds are dialled again.
func (h *toldHooks) sort(last int) {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, line := range h.cold {
		if before, after, ok := strings.Cut(line, " up "); ok {
			_, result, _ := strings.Cut(after, ":")
			h.cold[i] = before + ":" + result
		}
	}
	slices.Sort(h.cold[:len(h.cold)-last])
}

// A pool's hooks are told of each try at an nsqd, and of nsqds that it passes over and
// takes back. All its Producers share them: Stopped comes once, and last.
func TestPoolHooks(t *testing.T) {
	var h *toldHooks
	inPool(t, func(s *pooling) {
		ok := func(at string) string { return "t: 1 of 1 bytes at " + at + " after 0s: ok" }
		s.publish(3)
		h.expect(s.scene, []string{"connected a:1 1.3.0", "connected b:1 1.3.0", "connected c:1 1.3.0"}, ok("a:1"), ok("b:1"), ok("c:1"))

		s.nsqds[0].Inject(nsqtest.Fault{Command: "PUB", Times: 1, Reply: nsqtest.ErrorFrame("E_PUB_FAILED", "disk is full"), Close: true})
		s.net.Refuse("a:1", nil)
		s.publish(1)
		after(10 * time.Millisecond)
		h.sort(0) // the caller and the connection's reader report at the same time
		h.expect(s.scene, []string{"a:1 healthy false: E_PUB_FAILED", "disconnected a:1: E_PUB_FAILED"},
			"t: 1 of 1 bytes at a:1 after 0s: E_PUB_FAILED", ok("b:1"))
		s.publish(2)
		h.expect(s.scene, noEvents, ok("c:1"), ok("b:1"))
		s.net.Allow("a:1")
		after(2 * time.Second)
		h.expect(s.scene, []string{"connected a:1 1.3.0", "a:1 healthy true: ok"})

		done := make(chan *ProducerTransaction, 1)
		s.nsqds[2].Kill()
		synctest.Wait()
		if err := s.pool.PublishAsync("t", []byte("m"), done, 0); err != nil {
			s.Fatal(err)
		}
		s.collect(done, 1)
		h.expect(s.scene, []string{"disconnected c:1 up 2.01s: EOF", "dial of c:1 failed after 0s: dial tcp c:1: connection refused", "c:1 healthy false: not sent"},
			"t: 1 of 1 bytes at c:1 after 0s: not sent", ok("a:1"))
		counts := s.pool.Counts()
		h.expectCounts(s.scene, counts)
		var sum ProducerCounts
		for _, m := range s.pool.Snapshot() {
			sum.Published += m.Published
			sum.Refused += m.Refused
			sum.NotSent += m.NotSent
			sum.Connects += m.Connects
		}
		if sum != counts || sum != (ProducerCounts{Published: 7, Refused: 1, NotSent: 1, Connects: 4}) {
			s.Errorf("the members count %+v, the pool %+v", sum, counts)
		}

		s.pool.Stop()
		_ = s.pool.Publish("t", []byte("m"))
		_ = s.pool.PublishAsync("t", []byte("m"), done)
		h.sort(1)
		stopped := "t: 1 of 1 bytes at  after 0s: stopped"
		h.expect(s.scene, []string{"disconnected a:1: ok", "disconnected b:1: ok", "stopped  after 0s"}, stopped, stopped)
	}, quietly, func(s *scene) { h = toldBy(s) })
}

// A try that gets no connection is reported, with the time that it waited.
func TestPoolHooksOfABlackHole(t *testing.T) {
	var h *toldHooks
	inPool(t, func(s *pooling) {
		s.net.Blackhole("a:1")
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		if err := s.pool.PublishContext(ctx, "t", []byte("m")); err != nil {
			s.Error(err)
		}
		h.expect(s.scene, []string{"a:1 healthy false: not sent", "connected b:1 1.3.0"},
			"t: 1 of 1 bytes at a:1 after 500ms: not sent", "t: 1 of 1 bytes at b:1 after 0s: ok")
		s.net.Allow("a:1")
		s.pool.Stop()
	}, quietly, func(s *scene) { h = toldBy(s) })
}

// A discovered pool reports each response and the nsqds that come and go, and also a publish
// that finds no nsqd. Counts includes an nsqd that was let go.
func TestDiscoveredPoolHooks(t *testing.T) {
	var h *toldHooks
	inDiscoveredPool(t, func(s *poolDiscovering) {
		h.expect(s.scene, []string{"stopped  after 0s"}) // the pool that the scene replaces
		_ = s.pool.Publish("t", []byte("m"))
		want := []string{"http://la:1/nodes lists 0 after 0s: ok", "http://lb:1/nodes lists 0 after 0s: ok"}
		h.sort(0)
		h.expect(s.scene, want, "t: 1 of 1 bytes at  after 0s: not sent")

		s.la.Register("t", "a:1", "b:1")
		s.lb.Kill()
		after(5 * time.Second)
		s.publish(2)
		h.sort(0)
		h.expect(s.scene, []string{
			"connected a:1 1.3.0", "connected b:1 1.3.0", "discovered [a:1 b:1], without []", "http://la:1/nodes lists 2 after 0s: ok",
			"http://lb:1/nodes lists 0 after 0s: dial tcp lb:1: connection refused",
		}, "t: 1 of 1 bytes at a:1 after 0s: ok", "t: 1 of 1 bytes at b:1 after 0s: ok")
		h.expectCounts(s.scene, s.pool.Counts())

		before := s.pool.Counts()
		s.lb.Restart()
		s.la.Unregister("t", "b:1")
		after(time.Minute)
		s.expectMembers("a:1")
		if got := s.pool.Counts(); got != before {
			s.Errorf("counts %+v, want %+v", got, before)
		}
		h.sort(0)
		h.mu.Lock()
		h.cold = slices.DeleteFunc(h.cold, func(line string) bool { return strings.HasPrefix(line, "http:") })
		h.mu.Unlock()
		h.expect(s.scene, []string{"disconnected b:1: ok", "discovered [], without [b:1]"})
		h.expectCounts(s.scene, s.pool.Counts())
	}, quietly, func(s *scene) {
		s.cfg.LookupdPollInterval, s.cfg.LookupdPollJitter = 5*time.Second, 0
		h = toldBy(s)
	})
}
