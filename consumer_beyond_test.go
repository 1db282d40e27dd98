package nsq

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// wildNSQD accepts connections and subscriptions at addr, and then sends messages as fast
// as they are read, whatever RDY says. With most, it has at most that many in flight.
func (s *scene) wildNSQD(addr string, most int) {
	s.Helper()
	l, err := s.net.Listen(addr)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go runWild(conn, most)
		}
	}()
}

// runWild plays one connection of a wild nsqd.
func runWild(conn net.Conn, most int) {
	defer func() { _ = conn.Close() }()
	var inFlight, rdy atomic.Int64
	subscribed, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		in := bufio.NewReader(conn)
		for {
			line, err := in.ReadString('\n')
			switch {
			case err != nil:
				return
			case strings.HasSuffix(line, "IDENTIFY\n"):
				var size [4]byte
				_, _ = in.Read(size[:])
				_, _ = in.Discard(int(size[2])<<8 | int(size[3]))
				_, _ = conn.Write(nsqtest.ResponseFrame("OK"))
			case strings.HasPrefix(line, "SUB"):
				_, _ = conn.Write(nsqtest.ResponseFrame("OK"))
				close(subscribed)
			case strings.HasPrefix(line, "FIN"):
				inFlight.Add(-1)
			case strings.HasPrefix(line, "RDY"):
				rdy.Add(1)
			}
		}
	}()
	<-subscribed
	for i := 0; ; i++ {
		for most > 0 && (rdy.Load() == 0 || int(inFlight.Load()) >= most) {
			select {
			case <-time.After(time.Millisecond):
			case <-gone:
				return
			}
		}
		inFlight.Add(1)
		m := wire.Message{Attempts: 1, ID: wire.ID([]byte(fmt.Sprintf("%016d", i))), Body: []byte("wild")}
		if _, err := conn.Write(wire.AppendMessage(nil, &m)); err != nil {
			return
		}
	}
}

// N9: an nsqd that ignores RDY is closed, shown and logged as such, and dialled again only
// after long. It takes no handlers away from the other, and no memory.
func TestNSQDThatIgnoresRDY(t *testing.T) {
	inScene(t, func(s *scene) {
		good := s.nsqd("good:1")
		flood(good, 10_000)
		s.wildNSQD("wild:1", 0)
		var most, handled atomic.Int64
		s.consumer(10, func(m *Message) error {
			if m.NSQDAddress == "good:1" {
				handled.Add(1)
			}
			most.Store(max(most.Load(), int64(s.c.loopInFlight("wild:1"))))
			sleep(offBeat)
			return nil
		})
		log := s.logged(LogLevelError)
		s.connect(good)
		after(rdyMoves)
		_ = s.c.ConnectToNSQD("wild:1")
		from := handled.Load()
		after(10 * time.Second)
		if n := handled.Load() - from; n < 9_000 {
			s.Errorf("%d messages of the good nsqd were handled in 10 s, want nearly 10,000", n)
		}
		if n := most.Load(); n > 26 {
			s.Errorf("%d messages of the wild nsqd were in flight, want 26 at most: RDY 10 and 16 more", n)
		}
		shown := s.c.Snapshot().Connections[1]
		if shown.State != ConnectionWaiting || !errors.Is(shown.LastError, ErrBeyondRDY) || time.Until(shown.NextDial) < 20*time.Second {
			s.Errorf("%+v, next dial in %v", shown, time.Until(shown.NextDial))
		}
		if lines := strings.Join(log.take(), "\n"); !strings.Contains(lines, "wild:1") || !strings.Contains(lines, "in flight, RDY") {
			s.Errorf("logged %q", lines)
		}
		s.balanced()
		if n := s.net.Attempts("wild:1"); n != 1 {
			s.Errorf("dialled %d times in 10 s", n)
		}
		after(50 * time.Second)
		if n := s.net.Attempts("wild:1"); n != 2 {
			s.Errorf("dialled %d times in a minute", n)
		}
	})
}

// N9: an nsqd that has more in flight than it may, though not so much that it is closed,
// gets no more than its share of the handlers.
func TestHandlersAreShared(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight, s.cfg.RDYStrategy = 20, RDYUniform
		good := s.nsqd("good:1")
		flood(good, 10_000)
		s.wildNSQD("wild:1", 19) // its RDY is 4 at first, and then 10
		var handled [2]atomic.Int64
		s.consumer(4, func(m *Message) error {
			if m.NSQDAddress == "good:1" {
				handled[0].Add(1)
			} else {
				handled[1].Add(1)
			}
			sleep(offBeat)
			return nil
		})
		s.connect(good)
		if err := s.c.ConnectToNSQD("wild:1"); err != nil {
			s.Fatal(err)
		}
		after(10 * time.Second)
		if good, wild := handled[0].Load(), handled[1].Load(); good < 1900 || wild < 1900 {
			s.Errorf("%d messages of the good nsqd and %d of the other were handled in 10 s, want half of 4,000 each", good, wild)
		}
	})
}

// What a Consumer does itself never makes a good nsqd exceed RDY: changes of
// max_in_flight, backoff, slow handlers that touch, and leases that end.
func TestGoodNSQDIsNeverClosed(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight, s.cfg.MaxAttempts = 200, 0
		s.cfg.BackoffMultiplier, s.cfg.DefaultRequeueDelay = 100*time.Millisecond, 0
		var all []*nsqtest.Nsqd
		for i := range 3 {
			d := s.nsqd(fmt.Sprintf("n%d:1", i), leases(2*time.Second, 10*time.Second), func(o *nsqtest.Options) { o.Straggler = true })
			flood(d, 100_000)
			all = append(all, d)
		}
		var n atomic.Int64
		s.consumer(60, func(m *Message) error {
			switch n.Add(1) % 50 {
			case 0:
				return errBoom
			case 1:
				sleep(3 * time.Second) // too late
			case 2:
				for range 5 {
					sleep(time.Second)
					m.Touch()
				}
			case 3:
				m.DisableAutoResponse() // never acked
			default:
				sleep(20 * time.Millisecond)
			}
			return nil
		})
		s.connect(all...)
		for _, most := range []int{200, 1, 2500, 0, 10, 1000, 3} {
			s.c.ChangeMaxInFlight(most)
			after(7 * time.Second)
		}
		for _, d := range all {
			if n := s.net.Attempts(d.Addr()); n != 1 {
				s.Errorf("%s was dialled %d times", d.Addr(), n)
			}
		}
		synctest.Wait()
	})
}

// loopInFlight returns how many messages of an nsqd are in flight.
func (c *Consumer) loopInFlight(addr string) int {
	for _, conn := range c.connected.Load().open {
		if conn.addr == addr {
			return conn.link.Stats().InFlight
		}
	}
	return 0
}
