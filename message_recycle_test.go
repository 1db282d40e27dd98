package nsq

import (
	"fmt"
	"maps"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/rdyhq/nsq/nsqtest"
)

// A body does not change until its message is acked or requeued, even though the memory
// of other messages keeps being reused.
func TestRecycledBodiesStayWhole(t *testing.T) {
	inScene(t, func(s *scene) {
		const n = 5000
		a := s.nsqd("a:1")
		body := func(i int) string {
			size := 20
			if i%1000 == 999 {
				size = recycledSlab + 1 // too long to be recycled
			}
			return fmt.Sprintf("%0*d", size, i)
		}
		for i := range n {
			a.Publish("t", body(i))
		}
		s.cfg.RecycleBodies, s.cfg.MaxInFlight, s.cfg.MaxAttempts = true, 500, 0
		var mu sync.Mutex
		seen := map[int]bool{}
		var kept []*Message // finished long after their handlers have returned
		check := func(m *Message) (number int) {
			number, err := strconv.Atoi(string(m.Body[len(m.Body)-20:]))
			if err != nil || string(m.Body) != body(number) {
				t.Errorf("body %.40q", m.Body)
			}
			return number
		}
		s.consumer(4, func(m *Message) error {
			number := check(m)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case number%11 == 0:
				m.DisableAutoResponse()
				kept = append(kept, m)
			case number%11 == 1 && m.Attempts == 1:
				m.RequeueWithoutBackoff(0)
			default:
				seen[number] = true
			}
			return nil
		})
		s.connect(a)
		after(10 * time.Second)
		for range 20 {
			mu.Lock()
			batch := kept
			kept = nil
			mu.Unlock()
			for _, m := range batch {
				seen[check(m)] = true
				m.Finish()
			}
			after(time.Second)
		}
		if len(seen) != n {
			t.Errorf("%d messages handled, want %d", len(seen), n)
		}
		s.stopped()
	})
}

// Bodies of all sizes arrive as published, whether their memory is shared or not. Without
// recycle_bodies, bodies that a handler keeps do not change.
func TestBodiesOfAllSizes(t *testing.T) {
	for _, recycle := range []bool{false, true} {
		inScene(t, func(s *scene) {
			const limit = 2 << 20
			a := s.nsqd("a:1", func(o *nsqtest.Options) { o.MaxMsgSize = limit })
			var want []string
			for _, size := range []int{bodySlab, recycledSlab, 128 << 10, limit} {
				for d := -1; d <= 1; d++ {
					for _, size := range []int{10, min(size+d, limit), min(size+d, limit), 10, 300} {
						n := len(want)
						want = append(want, strings.Repeat(string(rune('a'+n%26)), size-10)+fmt.Sprintf("%010d", n))
					}
				}
			}
			a.Publish("t", want...)
			s.cfg.RecycleBodies, s.cfg.MaxInFlight = recycle, 100
			var mu sync.Mutex
			got := map[string]int{}
			kept := map[int][]byte{}
			s.consumer(4, func(m *Message) error {
				mu.Lock()
				defer mu.Unlock()
				got[string(m.Body)]++
				if n, err := strconv.Atoi(string(m.Body[len(m.Body)-10:])); err == nil && !recycle {
					kept[n] = m.Body
				}
				return nil
			})
			s.connect(a)
			after(time.Minute)
			for n, body := range want {
				if got[body] != 1 || !recycle && string(kept[n]) != body {
					t.Errorf("recycle_bodies %t: body %d of %d bytes came %d times; kept: %.20q", recycle, n, len(body), got[body], kept[n])
				}
			}
			s.stopped()
		})
	}
}

// Memory is reused after the last of the messages that share it is acked or requeued, and
// not before. Under the race detector it is then poisoned.
func TestRecycledBodies(t *testing.T) {
	b := newBodies()
	b.open.Store(2)
	m := []*Message{{Body: b.mem[:4:4], extra: &b.extra}, {Body: b.mem[4:8:8], extra: &b.extra}}
	copy(b.mem[:], "oneotwo2")
	reused := func() bool { // other tests have put memory into the pool: look for b
		for range 100 {
			got, _ := recycled.Get().(*bodies)
			if got == b {
				return true
			}
		}
		return false
	}
	m[0].Finish()
	m[0].Finish()
	if string(m[1].Body) != "two2" || reused() {
		t.Fatalf("the memory was released too early, or body %q is not two2", m[1].Body)
	}
	if poisoned := m[0].Body[0] == poison; poisoned != poisoning {
		t.Errorf("the body of a finished message is %q, poisoning is %v", m[0].Body, poisoning)
	}
	m[1].Requeue(0)
	if !reused() && !raceDetector {
		t.Error("memory of finished messages is not reused")
	}
}

// A slab of messages, with the word that the allocator puts before it, fits the size
// class that messageSlab was chosen for.
func TestMessageSize(t *testing.T) {
	class := map[int]uintptr{64: 8192, 32: 6144}[strconv.IntSize]
	if size := messageSlab*unsafe.Sizeof(Message{}) + 8; size > class {
		t.Errorf("a slab of messages takes %d bytes, more than the size class of %d", size, class)
	}
}

// recycledMemory returns the memory that a message's body is part of, nil if it is not
// recycled.
func recycledMemory(m *Message) *bodies {
	if m.extra == nil {
		return nil
	}
	return m.extra.bodies
}

// The memory of bodies is reused: a hundred deliveries, each after the last was acked,
// need far fewer slabs than that.
func TestDeliveriesShareRecycledMemory(t *testing.T) {
	inScene(t, func(s *scene) {
		const deliveries = 100
		a := s.nsqd("a:1")
		s.cfg.RecycleBodies = true
		slabs := map[*bodies]int{} // keeps them alive: the allocator cannot make the same one twice
		s.consumer(1, func(m *Message) error {
			slabs[recycledMemory(m)]++
			return nil
		})
		s.connect(a)
		for range deliveries {
			a.Publish("t", strings.Repeat("x", 5000))
			after(time.Second)
		}
		if n := s.c.Snapshot().Finished; n != deliveries || slabs[nil] != 0 {
			t.Errorf("%d messages finished, %d of them in memory that is not recycled", n, slabs[nil])
		}
		// sync.Pool may keep one slab out of sight on each processor, and under the
		// race detector it drops a quarter of what it is given.
		if len(slabs) > deliveries/2+runtime.GOMAXPROCS(0) {
			t.Errorf("%d slabs for %d deliveries", len(slabs), deliveries)
		}
		s.stopped()
	})
}

// Memory that a handler has set Body to is not poisoned.
func TestPoisonLeavesOtherMemoryAlone(t *testing.T) {
	b := newBodies()
	b.open.Store(3)
	own := []byte("own")
	copy(b.mem[:], "one")
	for _, m := range []*Message{{Body: own, extra: &b.extra}, {Body: b.mem[1:3:3], extra: &b.extra}, {extra: &b.extra}} {
		m.Finish()
	}
	if string(own) != "own" {
		t.Errorf("the handler's own memory was changed to %q", own)
	}
	if poisoned := b.mem[0] == 'o' && b.mem[2] == poison; poisoned != poisoning {
		t.Errorf("memory of finished messages is %q, poisoning is %v", b.mem[:3], poisoning)
	}
}

// Bodies of less than 4 KiB in all are not recycled, since a slab would take far more
// memory, nor are those over 64 KiB, which have no room in one.
func TestWhichBodiesAreRecycled(t *testing.T) {
	inScene(t, func(s *scene) {
		a := s.nsqd("a:1")
		s.cfg.RecycleBodies, s.cfg.MaxInFlight = true, 100
		recycles := map[int]bool{}
		s.consumer(1, func(m *Message) error {
			recycles[len(m.Body)] = recycledMemory(m) != nil
			return nil
		})
		s.connect(a)
		after(time.Second)
		want := map[int]bool{1: false, 4095: false, 4096: true, 65535: true, 65536: true, 65537: false}
		for size := range want {
			a.Publish("t", strings.Repeat("x", size))
			after(time.Second)
		}
		if !maps.Equal(recycles, want) {
			t.Errorf("recycled, by size: %v, want %v", recycles, want)
		}
		s.stopped()
	})
}
