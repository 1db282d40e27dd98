package nsq

import "testing"

// A worker that is done with its messages at once takes more at a time, also if
// it has never been slow.
func TestFastWorkerTakesMore(t *testing.T) {
	d := newDelivery(10, stopped)
	w := d.staff(0, 1)[0]
	for range 20 {
		d.put(numbered(nil, make([]int64, messageSlab)...))
	}
	for range 10 * messageSlab {
		d.take(w)
	}
	if w.most != mostTaken {
		t.Errorf("takes %d at a time, want %d", w.most, mostTaken)
	}
}
