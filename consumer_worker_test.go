package nsq

import (
	"testing"
	"time"
)

// A worker that is done with its messages at once takes more at a time, also if
// it has never been slow.
func TestFastWorkerTakesMore(t *testing.T) {
	d := newQueue(10, 0, stopped)
	w := d.setWorkers(0, 1)[0]
	for range 20 {
		d.put(numbered(nil, make([]int64, messageSlab)...))
	}
	for range 10 * messageSlab {
		d.take(w)
	}
	if w.most != mostPrefetched {
		t.Errorf("takes %d at a time, want %d", w.most, mostPrefetched)
	}
}

// FINs that wait for the rest of their batch are not lost when a stop waits for
// nobody.
func TestFINsLeaveBeforeTheConnectionDoes(t *testing.T) {
	for _, how := range []string{"stop_timeout 0", "shutdown"} {
		t.Run(how, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.StopTimeout = 0
				d, release := s.held()
				if how == "shutdown" {
					_, _ = s.shutdown(0)
				} else {
					s.stopped()
				}
				if st := d.Stats("t", "c"); st.Finished != 100 || st.InFlight != 1 {
					t.Errorf("%+v, want 100 finished", st)
				}
				close(release)
				after(time.Second)
			})
		})
	}
}
