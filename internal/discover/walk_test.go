package discover

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// TestRandomWalk adds and removes nsqlookupds, which misbehave, while they are polled.
// Each result must be consistent. Half of the walks heal all nsqlookupds at the end;
// the last result must then be what they list. The other walks end the Poller in
// whatever state it is. To repeat one walk, run its seed alone.
func TestRandomWalk(t *testing.T) {
	ends := map[string]int{}
	for seed := range uint64(300) {
		inScene(t, func(s *scene) {
			w := newWalk(s, seed)
			for range 60 {
				w.step()
			}
			if w.rand.IntN(2) == 0 {
				ends["cut short"]++
			} else {
				ends["healed"]++
				w.checkHealed()
			}
			w.checkResults()
			w.checkRates()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%v", ends)
}

type walk struct {
	*scene
	rand     *rand.Rand
	lookupds []*nsqtest.Lookupd
	added    []bool
	listed   []map[string]bool // by each nsqlookupd
	adds     int               // calls of Add, each of which may cause one more request
	pokes    int               // calls of Poke, likewise
	begin    time.Time
}

func newWalk(s *scene, seed uint64) *walk {
	w := &walk{scene: s, rand: rand.New(rand.NewPCG(seed, 0)), begin: time.Now()} // #nosec G404 -- a test
	s.cfg.Seed, s.cfg.Jitter = seed, 0.3
	for i := range 3 {
		w.lookupds = append(w.lookupds, nsqtest.NewLookupd(s, nsqtest.LookupdOptions{
			Network: s.net, Addr: fmt.Sprintf("l%d:1", i), Envelope: w.rand.IntN(3) == 0,
		}))
		w.added = append(w.added, false)
		w.listed = append(w.listed, map[string]bool{})
	}
	s.poller()
	return w
}

// step makes one random change, and then sleeps for a random time, waits until the
// bubble is idle, or does neither.
func (w *walk) step() {
	i := w.rand.IntN(len(w.lookupds))
	l, nsqd := w.lookupds[i], fmt.Sprintf("n%d:1", w.rand.IntN(5))
	switch w.rand.IntN(12) {
	case 0, 1:
		w.add(l.Addr())
		w.added[i] = true
		w.adds++
	case 2:
		if was := w.remove(l.Addr()); was != w.added[i] {
			w.Errorf("%s: removed %v, added %v", l.Addr(), was, w.added[i])
		}
		w.added[i] = false
	case 3:
		w.p.Poke()
		w.pokes++
	case 4:
		l.Hang()
	case 5:
		l.Fail(http.StatusInternalServerError, "OOPS")
	case 6:
		l.Kill()
	case 7:
		w.net.Blackhole(l.Addr())
	case 8:
		w.heal(l)
	case 9:
		l.Unregister("t", nsqd)
		delete(w.listed[i], nsqd)
	default:
		l.Register("t", nsqd)
		w.listed[i][nsqd] = true
	}
	switch w.rand.IntN(6) {
	case 0:
		sleep(time.Duration(w.rand.Int64N(int64(2 * time.Minute))))
	case 1:
		sleep(time.Duration(w.rand.Int64N(int64(time.Second))))
	case 2:
		synctest.Wait()
	}
}

func (w *walk) heal(l *nsqtest.Lookupd) {
	w.net.Allow(l.Addr())
	l.Restart()
	l.Recover()
}

// checkHealed heals all nsqlookupds and checks the result after that.
func (w *walk) checkHealed() {
	var want []string
	added := 0
	for i, l := range w.lookupds {
		w.heal(l)
		if !w.added[i] {
			continue
		}
		added++
		for nsqd := range w.listed[i] {
			want = append(want, nsqd)
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	sleep(w.cfg.Timeout + 2*w.cfg.Interval)
	if added == 0 {
		return
	}
	r := w.last()
	var got []string
	for _, p := range r.Producers {
		got = append(got, p.Addr)
	}
	if !slices.Equal(got, want) || len(r.Lookupds) != added || !r.Conclusive() {
		w.Errorf("%s; want %v from %d nsqlookupds", describe(r), want, added)
	}
}

func (w *walk) checkResults() {
	for _, r := range w.published() {
		sorted := slices.IsSortedFunc(r.Producers, func(a, b Producer) int {
			if a.Addr < b.Addr {
				return -1
			}
			return 1 // so that two equal addresses count as unsorted
		})
		if !sorted || r.Waiting > len(r.Lookupds) || len(r.Failed) > len(r.Lookupds) || len(r.Lookupds) > len(w.lookupds) {
			w.Errorf("%s", describe(r))
		}
		if len(r.Lookupds) == 0 && len(r.Producers) > 0 {
			w.Errorf("%s: producers without an nsqlookupd", describe(r))
		}
	}
}

// checkRates checks that no nsqlookupd got more requests than one for each interval, Add
// and Poke.
func (w *walk) checkRates() {
	bound := int(time.Since(w.begin)/w.cfg.Interval) + w.adds + w.pokes + 1
	for _, l := range w.lookupds {
		if n := len(l.Requests()); n > bound {
			w.Errorf("%s got %d requests, want at most %d", l.Addr(), n, bound)
		}
	}
}
