package flow

import (
	"testing"
	"time"
)

// FuzzMachine feeds any events in any order, sensible or not. The first byte chooses
// the policy. In each further byte the low four bits are a command and the high four
// its argument. The world checks the decisions and the invariants.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{0x05, 0x00, 0x10, 0x20, 0xf1, 0x0c, 0x45, 0x0d, 0x0d, 0x05, 0x0c, 0x35, 0x0d})
	f.Add([]byte{0x10, 0x27, 0x00, 0x10, 0xf1, 0x0d, 0x19, 0x0d, 0x0d, 0x0a, 0x0d, 0x1b, 0x0d})
	f.Fuzz(func(t *testing.T, events []byte) {
		if len(events) == 0 || len(events) > 300 {
			return
		}
		w := fuzzed(t, events[0])
		for _, e := range events[1:] {
			w.feed(e&15, int(e>>4))
			w.checkInvariants()
		}
	})
}

// fuzzed makes a world of four nsqds. The bits of policy choose the Config.
func fuzzed(t *testing.T, policy byte) *world {
	cfg := Config{
		MaxInFlight: int(policy & 7),
		Uniform:     policy&8 != 0,
		Adaptive:    policy&16 != 0,
		Backoff:     exponential(time.Duration(policy>>6) * 20 * time.Millisecond),
		MaxBackoff:  100 * time.Millisecond,
	}
	w := newWorld(t, cfg)
	w.delay = time.Duration(policy&32) * 100 * time.Microsecond
	w.lease = time.Second
	w.check = w.checkInvariants
	for range 4 {
		w.add(false)
	}
	return w
}

// feed carries out one command.
func (w *world) feed(command byte, arg int) {
	n := w.nodes[arg%len(w.nodes)]
	switch command {
	case 0:
		if !n.up {
			w.connect(n, 1+arg)
		}
	case 1:
		w.publish(n, arg*arg)
	case 2:
		if n.up {
			w.disconnect(n)
		}
	case 3:
		if n.up && !n.draining {
			w.drain(n)
		}
	case 4, 5:
		w.setMax(arg - 1)
	case 6:
		w.m.Down(ID(1000 + arg)) // #nosec G115 -- small; an unknown connection
		w.m.Drain(w.now, 1000)
		w.m.Sample(w.now, 1000, Sample{})
	case 7, 8, 9:
		result := []Result{Success, Failure, Continue, discard, never}[arg%5]
		takes := time.Millisecond << arg
		if takes > w.lease/2 {
			takes = time.Millisecond
		}
		w.handle = func(*node) (time.Duration, Result) { return takes, result }
	case 10:
		w.m.Result(w.now, n.id, Failure, w.m.Epoch()+uint32(arg&1)) // #nosec G115 -- small
		w.take()
	case 11:
		w.m.Wake(w.now)
	case 12, 13:
		w.run(time.Duration(arg*arg) * time.Millisecond)
	default:
		w.run(time.Duration(arg) * time.Millisecond)
	}
}
