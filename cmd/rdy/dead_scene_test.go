package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/letters"
	"github.com/rdyhq/nsq/nsqtest"
)

// deadScene is "rdy dead replay" with two fake nsqds, in virtual time: one has the letters,
// the other the topic orders.
type deadScene struct {
	*testing.T
	net            *nsqtest.Network
	dead, orders   *nsqtest.Nsqd
	replay         *deadReplay
	found          *deadLetters
	ids            []string // of the letters
	stdout, stderr output
}

func inDeadScene(t *testing.T, n int, test func(s *deadScene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &deadScene{T: t, net: nsqtest.NewNetwork()}
		s.dead = nsqtest.NewNsqd(t, nsqtest.Options{Network: s.net, Addr: "dead:4150"})
		s.orders = nsqtest.NewNsqd(t, nsqtest.Options{Network: s.net, Addr: "orders:4150"})
		s.orders.CreateChannel("orders", "billing")
		s.dead.CreateChannel(deadOf, "rdy-dead")
		for i := range n {
			s.ids = append(s.ids, s.dead.Publish(deadOf, sealed(strconv.Itoa(i), "x"))...)
		}
		s.replay = &deadReplay{dead: dead{app: &app{stdout: &s.stdout, stderr: &s.stderr, json: true, level: defaultLogLevel}}, all: true}
		log, level := s.replay.logger()
		s.replay.mute(level)
		s.replay.cfg = s.replay.config(log)
		s.replay.cfg.DialContext = s.net.DialContext
		s.replay.poll = func(context.Context, string) (*admin.View, error) { return s.view(), nil }
		s.found = &deadLetters{Found: &letters.Found{Topic: deadOf, Channel: "rdy-dead", Queues: []letters.Queue{{Topic: deadOf, Channel: "rdy-dead", Addr: s.dead.Addr(), Waiting: int64(n)}}}}
		test(s)
	})
}

// view returns what the nsqds would say of topic orders.
func (s *deadScene) view() *admin.View {
	host, port, _ := net.SplitHostPort(s.orders.Addr())
	n := admin.NSQD{Addr: "orders:4151", Broadcast: host}
	n.TCPPort, _ = strconv.Atoi(port)
	return &admin.View{NSQDs: []admin.NSQD{n}, Topics: []admin.Topic{{
		Name: "orders", NSQDs: []admin.TopicOn{{NSQD: n.Addr}}, Channels: []admin.Channel{{Name: "billing"}},
	}}}
}

// run runs the replay and returns its result.
func (s *deadScene) run(ctx context.Context, ids ...letters.ID) (deadReplayResult, error) {
	s.Helper()
	err := s.replay.run(ctx, s.found, ids)
	synctest.Wait()
	if got := s.dead.Stats(deadOf, "rdy-dead"); got.InFlight+got.Deferred+got.Clients != 0 {
		s.Errorf("left behind: %+v", got)
	}
	return decode[deadReplayResult](s.T, s.stdout.String()), err
}

// expect checks the counts, and that as many letters and messages are there.
func (s *deadScene) expect(r deadReplayResult, counts string, left, published int) {
	s.Helper()
	if got := fmt.Sprint(r.Replayed, r.Left, r.Failed, r.Unknown, r.Doubtful); got != counts {
		s.Errorf("counts %s, want %s; stderr %q, errors %v", got, counts, s.stderr.String(), r.Errors)
	}
	if d, o := s.dead.Stats(deadOf, "rdy-dead"), s.orders.Stats("orders", "billing"); d.Depth != left || o.Depth != published {
		s.Errorf("%d letters and %d messages, want %d and %d", d.Depth, o.Depth, left, published)
	}
}

// A message that nsqd refuses stays a letter, and the others are replayed.
func TestDeadReplayRefused(t *testing.T) {
	inDeadScene(t, 5, func(s *deadScene) {
		s.orders.Inject(nsqtest.Fault{Command: "PUB", Match: func(c nsqtest.Command) bool { return string(c.Body) == "2" }, Times: 9,
			Reply: nsqtest.ErrorFrame("E_BAD_MESSAGE", "PUB message too big"), Close: true})
		r, err := s.run(s.Context())
		s.expect(r, "4 0 1 0 0", 1, 4)
		if err == nil || !strings.Contains(s.stderr.String(), "E_BAD_MESSAGE") {
			s.Errorf("error %v, stderr %q", err, s.stderr.String())
		}
	})
}

// A publish whose outcome is unknown ends the replay, and keeps its letter.
func TestDeadReplayUnknown(t *testing.T) {
	inDeadScene(t, 5, func(s *deadScene) {
		s.orders.Inject(nsqtest.Fault{Command: "PUB", Skip: 2, Times: 1, Mute: true, Close: true})
		r, err := s.run(s.Context())
		s.expect(r, "2 0 0 1 0", 3, 3)
		if !errors.Is(err, nsq.ErrUnknownOutcome) || len(r.Errors) == 0 {
			s.Errorf("error %v", err)
		}
	})
}

// While nothing can be published all letters stay.
func TestDeadReplayUnreachable(t *testing.T) {
	inDeadScene(t, 5, func(s *deadScene) {
		s.orders.Kill()
		r, err := s.run(s.Context())
		s.expect(r, "0 0 1 0 0", 5, 0)
		if !errors.Is(err, nsq.ErrNotSent) {
			s.Errorf("error %v", err)
		}
	})
}

// Ctrl-C ends a replay between two messages.
func TestDeadReplayInterrupted(t *testing.T) {
	inDeadScene(t, 50, func(s *deadScene) {
		s.replay.rate = 10
		ctx, cancel := context.WithCancelCause(s.Context())
		time.AfterFunc(time.Second+time.Millisecond, func() { cancel(errInterrupted) })
		r, err := s.run(ctx)
		s.expect(r, "11 0 0 0 0", 39, 11)
		if !errors.Is(err, errInterrupted) {
			s.Errorf("error %v", err)
		}
	})
}

// --rate bounds the messages per second, and leases outlast it.
func TestDeadReplayRate(t *testing.T) {
	inDeadScene(t, 100, func(s *deadScene) {
		s.replay.rate = 0.5
		start := time.Now()
		r, err := s.run(s.Context())
		s.expect(r, "100 0 0 0 0", 0, 100)
		if took := time.Since(start).Round(time.Second); err != nil || took != 198*time.Second {
			s.Errorf("error %v after %v", err, took)
		}
		if st := s.dead.Stats(deadOf, "rdy-dead"); st.TimedOut != 0 || st.Delivered != 100 {
			s.Errorf("%+v", st)
		}
	})
}

// Letters that come during a replay are not replayed: it would go on for as long as messages
// fail.
func TestDeadReplayEnds(t *testing.T) {
	inDeadScene(t, 10, func(s *deadScene) {
		s.orders.Inject(nsqtest.Fault{Command: "PUB", Times: 1000, Match: func(c nsqtest.Command) bool {
			s.dead.Publish(deadOf, sealed("again", "x"))
			return false
		}})
		r, err := s.run(s.Context())
		s.expect(r, "10 0 0 0 0", 10, 10)
		if err != nil {
			s.Error(err)
		}
	})
}

// A letter whose removal nsqd refuses was replayed, and is still there: the command says so.
func TestDeadReplayDoubtful(t *testing.T) {
	inDeadScene(t, 3, func(s *deadScene) {
		s.dead.Inject(nsqtest.Fault{Command: "FIN", Skip: 1, Times: 1, Reply: nsqtest.ErrorFrame("E_FIN_FAILED", "FIN "+s.ids[1]+" failed ID not in flight")})
		err := s.replay.run(s.Context(), s.found, nil)
		r := decode[deadReplayResult](t, s.stdout.String())
		if r.Replayed != 3 || r.Doubtful != 1 || err == nil || !strings.Contains(err.Error(), "1 may still be there") {
			s.Errorf("got %+v, error %v", r, err)
		}
	})
}

// A letter can be named with its nsqd.
func TestDeadReplayOfNSQD(t *testing.T) {
	inDeadScene(t, 2, func(s *deadScene) {
		other := nsqtest.NewNsqd(s.T, nsqtest.Options{Network: s.net, Addr: "other:4150"})
		other.CreateChannel(deadOf, "rdy-dead")
		id := other.Publish(deadOf, sealed("of the other", "x"))[0]
		s.found.Queues = append(s.found.Queues, letters.Queue{Topic: deadOf, Channel: "rdy-dead", Addr: other.Addr(), Waiting: 1})
		r, err := s.run(s.Context(), letters.ID{ID: id, NSQD: s.dead.Addr()})
		s.expect(r, "0 0 0 0 0", 2, 0)
		if err == nil || !strings.Contains(err.Error(), "no letter has the id "+id+"@dead:4150") {
			s.Errorf("error %v", err)
		}
		s.stdout = output{}
		r, err = s.run(s.Context(), letters.ID{ID: id, NSQD: other.Addr()}, letters.ID{ID: s.ids[1]})
		s.expect(r, "2 0 0 0 0", 1, 2)
		if err != nil || other.Stats(deadOf, "rdy-dead").Finished != 1 {
			s.Errorf("error %v", err)
		}
	})
}
