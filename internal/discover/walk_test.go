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

// TestRandomWalk has nsqlookupds come, go and misbehave while they are polled.
// Each result must make sense; when all is well again the result must be what
// they list; and at any moment the end must be one. To see one walk again, run
// it by its seed alone.
func TestRandomWalk(t *testing.T) {
	ends := map[string]int{}
	for seed := range uint64(300) {
		inScene(t, func(s *scene) {
			w := newWalk(s, seed)
			for range 60 {
				w.step()
			}
			if w.rand.IntN(2) == 0 {
				ends["anyhow"]++
			} else {
				ends["well"]++
				w.settle()
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
	pollers  int               // adds, each of which may ask once more
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

// step does something, and then waits for a while or not at all.
func (w *walk) step() {
	i := w.rand.IntN(len(w.lookupds))
	l, nsqd := w.lookupds[i], fmt.Sprintf("n%d:1", w.rand.IntN(5))
	switch w.rand.IntN(12) {
	case 0, 1:
		w.add(l.Addr())
		w.added[i] = true
		w.pollers++
	case 2:
		if was := w.remove(l.Addr()); was != w.added[i] {
			w.Errorf("%s: removed %v, added %v", l.Addr(), was, w.added[i])
		}
		w.added[i] = false
	case 3:
		w.p.Poke()
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

// settle makes all well, and checks what is known then.
func (w *walk) settle() {
	var want []string
	asked := 0
	for i, l := range w.lookupds {
		w.heal(l)
		if !w.added[i] {
			continue
		}
		asked++
		for nsqd := range w.listed[i] {
			want = append(want, nsqd)
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	sleep(w.cfg.Timeout + 2*w.cfg.Interval)
	if asked == 0 {
		return
	}
	r := w.last()
	var got []string
	for _, p := range r.Producers {
		got = append(got, p.Addr)
	}
	if !slices.Equal(got, want) || r.Asked != asked || !r.Conclusive() {
		w.Errorf("%s; want %v of %d", describe(r), want, asked)
	}
}

func (w *walk) checkResults() {
	for _, r := range w.published() {
		sorted := slices.IsSortedFunc(r.Producers, func(a, b Producer) int {
			if a.Addr < b.Addr {
				return -1
			}
			return 1 // equal ones are not sorted, either
		})
		if !sorted || r.Waiting > r.Asked || len(r.Failed) > r.Asked || r.Asked > len(w.lookupds) {
			w.Errorf("%s", describe(r))
		}
		if r.Asked == 0 && len(r.Producers) > 0 {
			w.Errorf("%s: listed by nobody", describe(r))
		}
	}
}

// checkRates bounds the requests: one a second and one for each Add.
func (w *walk) checkRates() {
	bound := int(time.Since(w.begin)/time.Second) + w.pollers + 1
	for _, l := range w.lookupds {
		if n := len(l.Requests()); n > bound {
			w.Errorf("%s was asked %d times, at most %d are due", l.Addr(), n, bound)
		}
	}
}
