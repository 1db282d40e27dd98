package nsq

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq/nsqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene is a network of fake nsqds and one consumer, in virtual time.
type scene struct {
	*testing.T
	net *nsqtest.Network
	cfg *Config
	c   *Consumer
}

// inScene runs a test in a bubble, and then checks that the consumer leaves
// nothing behind: the bubble does not end before its goroutines, and each dial
// was closed exactly once.
func inScene(t *testing.T, test func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scene{T: t, net: nsqtest.NewNetwork(), cfg: NewConfig()}
		s.cfg.DialContext = s.net.DialContext
		s.cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		s.cfg.MaxInFlight = 10
		test(s)
		if s.c != nil {
			s.c.Stop()
			<-s.c.StopChan
		}
		synctest.Wait()
		if dials, closes := s.net.Dials(), s.net.Closes(); dials != closes {
			t.Errorf("%d dials but %d closes", dials, closes)
		}
	})
}

// nsqd starts a fake nsqd; its options may be changed.
func (s *scene) nsqd(addr string, change ...func(*nsqtest.Options)) *nsqtest.Nsqd {
	o := nsqtest.Options{Network: s.net, Addr: addr}
	for _, f := range change {
		f(&o)
	}
	return nsqtest.NewNsqd(s, o)
}

// consumer makes the scene's consumer, of channel c of topic t.
func (s *scene) consumer(handlers int, h HandlerFunc) *Consumer {
	s.Helper()
	c, err := NewConsumer("t", "c", s.cfg)
	if err != nil {
		s.Fatal(err)
	}
	s.c = c
	if handlers > 0 {
		c.AddConcurrentHandlers(h, handlers)
	}
	return c
}

// rdyMoves is more than it takes RDY to move from one nsqd to another that has
// nothing in flight.
const rdyMoves = 50 * time.Millisecond

func (s *scene) connect(nsqds ...*nsqtest.Nsqd) {
	s.Helper()
	for _, d := range nsqds {
		if err := s.c.ConnectToNSQD(d.Addr()); err != nil {
			s.Fatal(err)
		}
	}
}

// sleep lets virtual time pass.
func sleep(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // inside a synctest bubble
}

// after lets virtual time pass, and everything settle.
func after(d time.Duration) {
	sleep(d)
	synctest.Wait()
}

// commands are the lines that an nsqd received, those of the names given.
func commands(d *nsqtest.Nsqd, names ...string) []string {
	var lines []string
	for _, line := range d.Commands() {
		_, line, _ = strings.Cut(line, " ") // the connection's number
		if name, _, _ := strings.Cut(line, " "); slices.Contains(names, name) {
			lines = append(lines, line)
		}
	}
	return lines
}

func noError(*Message) error { return nil }
