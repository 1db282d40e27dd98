package nsq

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// auto_touch keeps the lease of a message alive while its handler runs, for as long as it
// is set to and nsqd allows. It sends no TOUCH that is not needed.
func TestAutoTouch(t *testing.T) {
	const long = 10317 * time.Millisecond // ends neither with a lease nor when a TOUCH is due
	for _, tt := range []struct {
		name               string
		touch, works, most time.Duration
		deliveries         uint64 // in a minute: exactly 1, or else at least this many
		touches            [2]int // at least and at most
	}{
		{"off", 0, 2517 * time.Millisecond, time.Hour, 20, [2]int{0, 0}},
		{"long enough", time.Minute, long, time.Hour, 1, [2]int{10, 25}},
		{"not needed", time.Minute, 417 * time.Millisecond, time.Hour, 1, [2]int{0, 0}},
		{"shorter than the work", 3 * time.Second, long, time.Hour, 3, [2]int{1, 200}},
		{"longer than max-msg-timeout", time.Minute, long, 3 * time.Second, 3, [2]int{1, 200}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.AutoTouch, s.cfg.MaxAttempts, s.cfg.MaxInFlight = tt.touch, 0, 1
				d := s.nsqd("a:1", leases(time.Second, tt.most))
				s.consumer(1, func(*Message) error { sleep(tt.works); return nil })
				s.connect(d)
				flood(d, 1)
				after(time.Minute)
				c := s.balanced()
				if tt.deliveries == 1 && (c.Received != 1 || c.Finished != 1 || c.Refused != 0) {
					s.Errorf("%+v, want one delivery", c)
				}
				if tt.deliveries > 1 && (c.Received < tt.deliveries || c.Lost == 0) {
					s.Errorf("%+v, want %d deliveries at least, and some lost", c, tt.deliveries)
				}
				if n := len(commands(d, "TOUCH")); n < tt.touches[0] || n > tt.touches[1] {
					s.Errorf("%d TOUCHes, want %d to %d", n, tt.touches[0], tt.touches[1])
				}
			})
		})
	}
}

// Touch extends the lease here as it does at nsqd, up to max-msg-timeout. The deadline of
// the message's context does not move, but the context lives until the lease ends.
func TestTouchMovesTheLease(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", leases(time.Second, 3*time.Second))
		var deadlines []time.Duration
		s.consumer(1, func(m *Message) error {
			if m.Attempts > 1 {
				return nil
			}
			ctx, start := m.Context(), time.Now()
			ended := make(chan time.Time, 1)
			context.AfterFunc(ctx, func() { ended <- time.Now() })
			for range 5 {
				deadline, _ := ctx.Deadline()
				deadlines = append(deadlines, deadline.Sub(start))
				sleep(700 * time.Millisecond)
				m.Touch()
			}
			if took := (<-ended).Sub(start); took != 3*time.Second {
				s.Errorf("the context ended after %v, want 3s", took)
			}
			return nil
		})
		s.connect(d)
		flood(d, 1)
		after(10 * time.Second)
		if want := slices.Repeat([]time.Duration{time.Second}, 5); !slices.Equal(deadlines, want) {
			s.Errorf("deadlines %v, want %v", deadlines, want)
		}
		if c := s.balanced(); c.Received != 2 || c.Lost != 1 || c.Finished != 1 {
			s.Errorf("%+v, want one lost and one finished", c)
		}
	})
}

// auto_touch also keeps alive the lease of a message that has waited for a handler, and
// touches the message well before the lease ends.
func TestAutoTouchOfAMessageThatWaited(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.AutoTouch, s.cfg.MaxInFlight = time.Minute, 2
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		s.consumer(1, func(*Message) error { sleep(800 * time.Millisecond); return nil })
		s.connect(d)
		after(400 * time.Millisecond)
		flood(d, 2)
		after(10 * time.Second)
		if c := s.balanced(); c.Received != 2 || c.Finished != 2 || c.Lost != 0 {
			s.Errorf("%+v, want 2 finished; sent %q", c, commands(d, "TOUCH"))
		}
	})
	inScene(t, func(s *scene) {
		s.cfg.AutoTouch, s.cfg.MaxInFlight = time.Minute, 2
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		s.consumer(1, func(m *Message) error {
			if string(m.Body) == "1" {
				sleep(505 * time.Millisecond)
				return nil
			}
			sleep(10 * time.Second)
			return nil
		})
		s.connect(d)
		d.Publish("t", "1")
		after(10 * time.Millisecond)
		id := d.Publish("t", "2")[0] // begun at 505 ms, half of its lease is over at 510 ms
		after(800 * time.Millisecond)
		if !slices.Contains(commands(d, "TOUCH"), "TOUCH "+id) {
			s.Error("not touched after 0.8 of its lease")
		}
		after(20 * time.Second)
	})
}

// Touch keeps a message from being delivered again, and sends nothing after the ack.
func TestTouchKeepsTheMessage(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", func(o *nsqtest.Options) { o.MsgTimeout = 10 * time.Second })
		s.consumer(1, func(m *Message) error {
			for range 3 {
				sleep(6 * time.Second)
				m.Touch()
			}
			m.Finish()
			m.Touch() // not sent
			return nil
		})
		s.connect(d)
		d.Publish("t", "m")
		after(time.Minute)
		if st := d.Stats("t", "c"); st.Finished != 1 || st.TimedOut != 0 {
			s.Errorf("%+v, want it finished and no timeout", st)
		}
		if n := len(commands(d, "TOUCH")); n != 3 {
			s.Errorf("%d TOUCHes, want 3", n)
		}
	})
}

// auto_touch touches the first message after a long quiet time well before its lease
// ends, wherever between two sweeps the message arrives.
func TestAutoTouchAfterAQuietTime(t *testing.T) {
	for phase := range 10 {
		inScene(t, func(s *scene) {
			s.cfg.AutoTouch = time.Minute
			d := s.nsqd("a:1", leases(time.Second, time.Hour))
			s.consumer(1, func(*Message) error { sleep(10317 * time.Millisecond); return nil })
			s.connect(d)
			after(30*time.Second + time.Duration(phase)*103*time.Millisecond)
			flood(d, 1)
			after(800 * time.Millisecond)
			if n := len(commands(d, "TOUCH")); n != 1 {
				s.Errorf("phase %d: %d TOUCHes in the first 0.8 of the lease, want 1", phase, n)
			}
			after(20 * time.Second)
			if c := s.balanced(); c.Received != 1 || c.Finished != 1 {
				s.Errorf("phase %d: %+v, want one delivery, finished", phase, c)
			}
		})
	}
}

// Without auto_touch no TOUCH is sent, however long a message waits for its handler and
// however long that takes.
func TestNoTouchWithoutAutoTouch(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1", leases(time.Second, time.Hour))
		s.consumer(1, func(m *Message) error {
			sleep(310 * time.Millisecond)
			if string(m.Body) == "last" {
				sleep(600 * time.Millisecond)
			}
			return nil
		})
		s.connect(d)
		d.Publish("t", "1", "2", "3")
		after(5 * time.Second)
		d.Publish("t", "last")
		after(5 * time.Second)
		if c := s.balanced(); c.Received != 4 || c.Finished != 4 {
			s.Errorf("%+v, want 4 deliveries, all finished", c)
		}
		if got := commands(d, "TOUCH"); len(got) != 0 {
			s.Errorf("sent %q", got)
		}
	})
}
