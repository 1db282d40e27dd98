package delay

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene is a test in virtual time: messages wait in one nsqd, and a relay moves them to topic
// t of another.
type scene struct {
	*testing.T
	net            *nsqtest.Network
	cfg            *nsq.Config
	log            *logLines
	source, target *nsqtest.Nsqd
	p, out         *nsq.Producer // of source and target
	to             *recorder     // publishes by out
	relay          *nsq.Consumer // set by start
}

// inScene runs a test in a bubble, which ends only if nothing is left behind. The functions
// change the options of the nsqd in which messages wait.
func inScene(t *testing.T, test func(s *scene), change ...func(*nsqtest.Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scene{T: t, net: nsqtest.NewNetwork(), cfg: nsq.NewConfig(), log: &logLines{}}
		s.cfg.DialContext = s.net.DialContext
		s.cfg.Logger = slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		s.cfg.MaxInFlight = 10
		o := nsqtest.Options{Network: s.net, Addr: "source:1"}
		for _, f := range change {
			f(&o)
		}
		s.source = nsqtest.NewNsqd(t, o)
		s.target = nsqtest.NewNsqd(t, nsqtest.Options{Network: s.net, Addr: "target:1"})
		s.p, s.out = s.producer(s.source), s.producer(s.target)
		s.to = &recorder{Publisher: s.out}
		defer func() { // also when the test gives up
			if s.relay != nil {
				s.stop()
			}
			if t.Failed() {
				t.Logf("logged:\n%s", strings.Join(s.log.matching(""), "\n"))
			}
		}()
		test(s)
	})
}

// producer returns a Producer that is stopped when the test ends.
func (s *scene) producer(d *nsqtest.Nsqd) *nsq.Producer {
	s.Helper()
	p, err := nsq.NewProducer(d.Addr(), s.cfg)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(p.Stop)
	return p
}

// start starts a relay of topic t.
func (s *scene) start() {
	s.Helper()
	s.startWith(s.to)
}

func (s *scene) startWith(to nsq.Publisher, mw ...nsq.Middleware) {
	s.Helper()
	relay, err := NewRelay("t", to, s.cfg)
	if err != nil {
		s.Fatal(err)
	}
	relay.Use(mw...)
	s.relay = relay
	if err := relay.ConnectToNSQD(s.source.Addr()); err != nil {
		s.Fatal(err)
	}
}

func (s *scene) stop() {
	s.relay.Stop()
	<-s.relay.StopChan
}

// hang makes the destination read nothing more from its connection.
func (s *scene) hang() {
	s.Helper()
	if err := s.out.Ping(); err != nil {
		s.Fatal(err)
	}
	s.target.StopReading()
}

// publish publishes a message that is due after some time. Its body says when that is.
func (s *scene) publish(wait time.Duration) {
	s.Helper()
	at := time.Now().Add(wait)
	if err := Publish(s.Context(), s.p, "t", at, []byte(at.Format(time.RFC3339Nano))); err != nil {
		s.Fatal(err)
	}
}

// expectExact checks that n messages have arrived, each once, and within a second after its
// time.
func (s *scene) expectExact(n int) {
	s.Helper()
	synctest.Wait()
	s.expectStored(n)
	seen := map[string]bool{}
	for _, a := range s.to.arrived() {
		due, err := time.Parse(time.RFC3339Nano, a.body)
		if err != nil || seen[a.body] {
			s.Fatalf("%q arrived once more, or: %v", a.body, err)
		}
		seen[a.body] = true
		if late := a.at.Sub(due); late < 0 || late > time.Second {
			s.Errorf("%s arrived %v after its time", a.body, late)
		}
	}
}

// expectStored checks that the destination has n messages, and that the relay has acked all of
// them.
func (s *scene) expectStored(n int) {
	s.Helper()
	synctest.Wait()
	if stored := len(s.target.Queued("t", "")); stored != n {
		s.Errorf("the destination has %d messages, want %d", stored, n)
	}
	if finished := s.waiting().Finished; finished != n {
		s.Errorf("the relay has finished %d messages, want %d", finished, n)
	}
}

// waiting returns the figures of the relay's channel.
func (s *scene) waiting() nsqtest.Stats { return s.source.Stats("t.delayed", channel) }

// sleep lets virtual time pass.
func sleep(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // inside a synctest bubble
}

// recorder is a Publisher that records what it has published, and when.
type recorder struct {
	nsq.Publisher
	mu   sync.Mutex
	came []arrival
}

type arrival struct {
	at   time.Time
	body string
}

func (r *recorder) PublishContext(ctx context.Context, topic string, body []byte) error {
	if err := r.Publisher.PublishContext(ctx, topic, body); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.came = append(r.came, arrival{time.Now(), string(body)})
	return nil
}

func (r *recorder) arrived() []arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]arrival(nil), r.came...)
}

// logLines collects the lines of a log.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, strings.TrimSpace(string(line)))
	return len(line), nil
}

// matching returns the lines that contain a text.
func (l *logLines) matching(text string) (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}
