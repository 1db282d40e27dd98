package link

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// FINs and REQs that the socket took whole count as sent. Those after them are lost, as
// is one that the socket took only in part. So are messages without a FIN or REQ.
func TestUnsentFinsAreLost(t *testing.T) {
	for _, capacity := range []int{1, 20, 21, 22, 42, 50} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			p.network.Capacity = capacity
			cfg := p.config()
			cfg.WriteTimeout = time.Second
			l, r := p.connect(cfg)
			for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
				p.send(message(name, "x"))
			}
			synctest.Wait()
			a, b, c, d, e := testID("a"), testID("b"), testID("c"), testID("d"), testID("e")
			l.Fin(&a)
			l.Fin(&b)
			l.Req(&c, 0)
			synctest.Wait() // the writer is stuck with these
			l.Fin(&d)       // this one waits behind them
			l.Expire()
			pass(3 * time.Second)
			if err := r.wait(); err == nil {
				t.Error("no error")
			}
			s := l.Stats()
			sent := fin("a") + fin("b") + "REQ c--------------- 0\n"
			taken := sent[:min(capacity, len(sent))]
			whole := strings.Count(taken, "\n")
			if int(s.Finished+s.Requeued-s.Unsent) != whole || s.Finished != 3 || s.Requeued != 1 || s.Expired != 1 ||
				s.InFlight != 0 || int(s.Lost) != 5-whole || s.Orphaned != 1 {
				t.Errorf("capacity %d: %+v, want %d sent", capacity, s, whole)
			}
			l.Lose()
			l.Fin(&e)
			if after := l.Stats(); after != s {
				t.Errorf("after the end: %+v", after)
			}
		})
	}
}

// An abandoned link sends what is pending and ends, although messages are in flight
// and nsqd has not confirmed CLS.
func TestAbandon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r := p.connect(p.config())
		p.send(message("a", "x"), message("b", "x"))
		synctest.Wait()
		l.Drain()
		id := testID("a")
		l.Fin(&id)
		l.Abandon()
		p.expect("CLS\n" + fin("a"))
		p.expectEOF()
		_ = p.conn.Close()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		if s := l.Stats(); s.Finished != 1 || s.Lost != 1 || s.InFlight != 0 {
			t.Errorf("%+v", s)
		}
		expectNoTimers(t, l)
	})
	synctest.Test(t, func(t *testing.T) { // nsqd does not close either
		p := newPeer(t)
		l, r := p.connect(p.config())
		synctest.Wait() // the writer sleeps
		l.Abandon()
		p.expectEOF()
		pass(lingerTimeout)
		if err := r.wait(); !errors.Is(err, errNoEOF) {
			t.Error(err)
		}
	})
}
