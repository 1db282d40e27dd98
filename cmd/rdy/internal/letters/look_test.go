package letters

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/envelope"
	"github.com/rdyhq/nsq/nsqtest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene is a fake nsqd with letters, in virtual time.
type scene struct {
	*testing.T
	nsqd *nsqtest.Nsqd
	cfg  *nsq.Config
}

func inScene(t *testing.T, o nsqtest.Options, test func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		o.Network, o.Addr = network, "nsqd:4150"
		s := &scene{T: t, nsqd: nsqtest.NewNsqd(t, o), cfg: nsq.NewConfig()}
		s.cfg.DialContext = network.DialContext
		s.cfg.Logger = slog.New(slog.DiscardHandler)
		test(s)
	})
}

// store publishes letters with these bodies.
func (s *scene) store(bodies ...string) {
	s.Helper()
	for _, body := range bodies {
		s.nsqd.Publish("t.c.dead", string(envelope.Seal(envelope.Header{
			nsq.HeaderOriginTopic: "t", nsq.HeaderOriginChannel: "c", nsq.HeaderFailedError: "no " + body,
			nsq.HeaderOriginAttempts: "5", nsq.HeaderFailedAt: "2026-11-01T10:00:00.5Z", nsq.HeaderOriginPublished: "when?",
		}, []byte(body))))
	}
}

func (s *scene) open(waiting int) *Look {
	s.Helper()
	l, err := Open(s.Context(), Queue{"t.c.dead", "rdy-dead", s.nsqd.Addr(), int64(waiting)}, MaxBatch, s.cfg)
	if err != nil {
		s.Fatal(err)
	}
	return l
}

// read reads to the end and returns the bodies.
func (s *scene) read(l *Look, each func(*Letter)) (bodies []string) {
	s.Helper()
	for {
		letter, err := l.Next(s.Context())
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.Error(err)
			}
			return bodies
		}
		bodies = append(bodies, string(letter.Body))
		if each != nil {
			each(letter)
		}
	}
}

// expect checks how many letters the channel has, and that none is in flight or deferred.
func (s *scene) expect(depth, finished int) {
	s.Helper()
	synctest.Wait()
	if got := s.nsqd.Stats("t.c.dead", "rdy-dead"); got.Depth != depth || got.InFlight+got.Deferred+got.Clients != 0 || got.Finished != finished {
		s.Errorf("nsqd has %+v, want %d letters, %d finished", got, depth, finished)
	}
}

func numbered(n int) []string {
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = fmt.Sprintf("m%04d", i)
	}
	return bodies
}

// A look reads each letter once, in their order, and leaves them as they were but for an
// attempt.
func TestLook(t *testing.T) {
	inScene(t, nsqtest.Options{}, func(s *scene) {
		bodies := numbered(250)
		s.store(bodies...)
		for round := range 3 {
			start := time.Now()
			l := s.open(len(bodies))
			got := s.read(l, func(letter *Letter) {
				want := envelope.Header{
					nsq.HeaderOriginTopic: "t", nsq.HeaderOriginChannel: "c", nsq.HeaderFailedError: "no " + string(letter.Body),
					nsq.HeaderOriginAttempts: "5", nsq.HeaderFailedAt: "2026-11-01T10:00:00.5Z", nsq.HeaderOriginPublished: "when?",
				}
				if fmt.Sprint(letter.Header) != fmt.Sprint(want) || letter.Raw() || letter.NSQD != s.nsqd.Addr() || len(letter.ID) != 16 ||
					int(letter.Attempts) != round+1 || letter.OriginAttempts() != 5 || !letter.Published().IsZero() ||
					!letter.Failed().Equal(time.Date(2026, 11, 1, 10, 0, 0, 5e8, time.UTC)) || letter.Lost() {
					s.Errorf("round %d: got %+v", round, letter)
				}
			})
			if !slices.Equal(got, bodies) || l.Missing() != 0 || time.Since(start) > time.Second {
				s.Errorf("round %d: read %d letters in %v, %d missing", round, len(got), time.Since(start), l.Missing())
			}
			if doubtful := l.Close(); doubtful != 0 {
				s.Errorf("%d doubtful", doubtful)
			}
			s.expect(len(bodies), 0)
		}
	})
}

// Only what is finished leaves the channel.
func TestFinish(t *testing.T) {
	inScene(t, nsqtest.Options{}, func(s *scene) {
		s.store(numbered(20)...)
		l := s.open(20)
		n := 0
		s.read(l, func(letter *Letter) {
			if n++; n%2 == 0 {
				letter.Finish()
			}
		})
		if doubtful := l.Close(); doubtful != 0 {
			s.Errorf("%d doubtful", doubtful)
		}
		s.expect(10, 10)
	})
}

// What is no dead letter is raw, and goes through unchanged.
func TestRaw(t *testing.T) {
	inScene(t, nsqtest.Options{}, func(s *scene) {
		other := string(envelope.Seal(envelope.Header{"content-type": "x"}, []byte("y")))
		bodies := []string{"\xff\x00", other, "NSQ-Envelope: 1\nbroken"}
		s.nsqd.Publish("t.c.dead", bodies...)
		l := s.open(len(bodies))
		got := s.read(l, func(letter *Letter) {
			if !letter.Raw() || letter.Header != nil || letter.OriginAttempts() != 0 || !letter.Failed().IsZero() {
				s.Errorf("got %+v", letter)
			}
		})
		l.Close()
		if !slices.Equal(got, bodies) {
			s.Errorf("got %q", got)
		}
	})
}

// Letters that do not fit in what may be in flight go back to make room, and each is read once.
func TestMoreThanFit(t *testing.T) {
	for _, tc := range []struct {
		rdy, n, size int
	}{{1, 5, 0}, {2, 7, 0}, {10, 95, 0}, {2500, 2800, 0}, {2500, 50, 1_000_000}} {
		t.Run(fmt.Sprint(tc), func(t *testing.T) {
			inScene(t, nsqtest.Options{MaxRdyCount: tc.rdy}, func(s *scene) {
				bodies := numbered(tc.n)
				for i := range bodies {
					bodies[i] += strings.Repeat("x", tc.size)
				}
				s.nsqd.Publish("t.c.dead", bodies...)
				l := s.open(tc.n)
				got := slices.Sorted(slices.Values(s.read(l, nil)))
				if !slices.Equal(got, bodies) || l.Missing() != 0 {
					s.Errorf("read %d letters of %d, %d missing", len(got), tc.n, l.Missing())
				}
				l.Close()
				s.expect(tc.n, 0)
			})
		})
	}
}

// Letters that are kept stay. When no more fit, that is an error, and nothing is lost.
func TestKeep(t *testing.T) {
	inScene(t, nsqtest.Options{MaxRdyCount: 4}, func(s *scene) {
		s.store(numbered(9)...)
		l := s.open(9)
		var err error
		for err == nil {
			var letter *Letter
			if letter, err = l.Next(s.Context()); err == nil {
				letter.Keep()
			}
		}
		if !strings.Contains(err.Error(), "nsqd nsqd:4150: 4 letters are held") {
			s.Errorf("error %v", err)
		}
		l.Close()
		s.expect(9, 0)
	})
}

// A look ends if fewer letters come than there were, and says how many.
func TestMissing(t *testing.T) {
	inScene(t, nsqtest.Options{}, func(s *scene) {
		s.store(numbered(3)...)
		l := s.open(5)
		if got := s.read(l, nil); len(got) != 3 || l.Missing() != 2 {
			s.Errorf("read %q, %d missing", got, l.Missing())
		}
		l.Close()
		s.expect(3, 0)
	})
}

// Letters that come again and again end a look.
func TestRepeats(t *testing.T) {
	inScene(t, nsqtest.Options{MaxRdyCount: 2}, func(s *scene) {
		s.store(numbered(3)...)
		l := s.open(4)
		if got := s.read(l, nil); len(got) != 3 || l.Missing() != 1 {
			s.Errorf("read %q, %d missing", got, l.Missing())
		}
		l.Close()
		s.expect(3, 0)
	})
}

// Leases are kept alive while letters are held, until nsqd allows no more. A letter whose
// lease is over is lost to the look, and to nobody else.
func TestLeases(t *testing.T) {
	inScene(t, nsqtest.Options{MsgTimeout: time.Second, MaxMsgTimeout: time.Minute}, func(s *scene) {
		s.store(numbered(2)...)
		l := s.open(2)
		first, err := l.Next(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		first.Keep()
		time.Sleep(50 * time.Second) //nolint:forbidigo // inside a synctest bubble
		if st := s.nsqd.Stats("t.c.dead", "rdy-dead"); first.Lost() || st.TimedOut != 0 {
			s.Errorf("lost %v, %+v", first.Lost(), st)
		}
		time.Sleep(20 * time.Second) //nolint:forbidigo // inside a synctest bubble
		if !first.Lost() {
			s.Error("not lost")
		}
		first.Finish()
		rest := s.read(l, nil)
		if doubtful := l.Close(); doubtful != 1 || !slices.Equal(rest, []string{"m0001"}) {
			s.Errorf("%d doubtful, read %q", doubtful, rest)
		}
		s.expect(2, 0)
	})
}

// A connection that is lost is an error, not an end. What was finished before is said to be
// in doubt if nsqd has not got the ack.
func TestConnectionLost(t *testing.T) {
	inScene(t, nsqtest.Options{MsgTimeout: 10 * time.Second}, func(s *scene) {
		s.store(numbered(3)...)
		l := s.open(4)
		for range 3 {
			if _, err := l.Next(s.Context()); err != nil {
				s.Fatal(err)
			}
		}
		s.nsqd.Kill()
		if _, err := l.Next(s.Context()); err == nil || errors.Is(err, io.EOF) {
			s.Errorf("error %v", err)
		}
		l.Close()
		s.nsqd.Restart()
		s.expect(3, 0)
	})
}

func TestOpenFails(t *testing.T) {
	inScene(t, nsqtest.Options{}, func(s *scene) {
		s.nsqd.Reject("SUB", "E_BAD_CHANNEL", "no")
		for addr, want := range map[string]string{"nowhere:1": "refused", s.nsqd.Addr(): "E_BAD_CHANNEL"} {
			_, err := Open(s.Context(), Queue{"t", "c", addr, 1}, 1, s.cfg)
			if err == nil || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), want) {
				s.Errorf("error %v", err)
			}
		}
	})
}

// An interruption ends Next, and nothing is lost.
func TestInterrupted(t *testing.T) {
	inScene(t, nsqtest.Options{}, func(s *scene) {
		s.store(numbered(3)...)
		l := s.open(4)
		ctx, cancel := context.WithCancelCause(s.Context())
		why := errors.New("interrupted")
		time.AfterFunc(time.Second, func() { cancel(why) })
		n, err := 0, error(nil)
		for ; err == nil; n++ {
			_, err = l.Next(ctx)
		}
		if n != 4 || !errors.Is(err, why) {
			s.Errorf("%d letters, error %v", n-1, err)
		}
		l.Close()
		s.expect(3, 0)
	})
}
