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

// TestMain fails if a test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene is a test in virtual time: an in-memory network of fake nsqds and
// nsqlookupds, and the Config of the clients under test. What the tests of a
// Consumer need besides is in consumer_scene_test.go.
type scene struct {
	*testing.T
	net *nsqtest.Network
	cfg *Config
	c   *Consumer // set by consumer, nil before
}

// inScene runs a test in a bubble and stops its Consumer, if it has one. Nothing
// may be left then: the bubble waits for its goroutines to end, and each dialled
// connection must have been closed exactly once. The test reports failures to s, the
// bubble's own testing.T.
func inScene(t *testing.T, test func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scene{T: t, net: nsqtest.NewNetwork(), cfg: NewConfig()}
		s.cfg.DialContext = s.net.DialContext
		s.cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		s.cfg.MaxInFlight = 10
		defer func() { // also when the test gives up
			if s.c != nil {
				s.c.Stop()
				<-s.c.StopChan
				if n := len(s.c.loop.calls); n > 0 {
					s.Errorf("the run loop keeps %d calls", n)
				}
			}
			synctest.Wait()
			if dials, closes := s.net.Dials(), s.net.Closes(); dials != closes {
				s.Errorf("%d dials but %d closes", dials, closes)
			}
		}()
		test(s)
	})
}

// nsqd starts a fake nsqd. The functions change its options.
func (s *scene) nsqd(addr string, change ...func(*nsqtest.Options)) *nsqtest.Nsqd {
	o := nsqtest.Options{Network: s.net, Addr: addr}
	for _, f := range change {
		f(&o)
	}
	return nsqtest.NewNsqd(s, o)
}

// lookupd starts a fake nsqlookupd that lists these nsqds for topic t.
func (s *scene) lookupd(addr string, nsqds ...*nsqtest.Nsqd) *nsqtest.Lookupd {
	l := nsqtest.NewLookupd(s, nsqtest.LookupdOptions{Network: s.net, Addr: addr})
	for _, d := range nsqds {
		l.Register("t", d.Addr())
	}
	return l
}

// sleep lets virtual time pass.
func sleep(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // inside a synctest bubble
}

// after lets virtual time pass and waits until everything has settled.
func after(d time.Duration) {
	sleep(d)
	synctest.Wait()
}

// commands returns the lines that an nsqd has received, over all connections, of
// the commands with these names.
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
