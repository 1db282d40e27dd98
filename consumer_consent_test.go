package nsq

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// finished checks that an nsqd's messages get finished within a time.
func (s *scene) finished(d *nsqtest.Nsqd, n int, within time.Duration, when string) {
	s.Helper()
	after(within)
	if st := d.Stats("t", "c"); st.Finished != n {
		s.Errorf("%s: %d messages of %s finished within %v, want %d", when, st.Finished, d.Addr(), within, n)
	}
}

// N1: a topic that was deleted, or an nsqd that was tombstoned, is not subscribed to again,
// whatever else nsqlookupds list. When the topic is used again, it is consumed again.
func TestDeletedTopicStaysDeleted(t *testing.T) {
	for name, remove := range map[string]func(l *nsqtest.Lookupd){
		"deleted":            func(l *nsqtest.Lookupd) { l.DeleteTopic("t") },
		"tombstoned":         func(l *nsqtest.Lookupd) { l.Tombstone("t", "a:1") },
		"deleted, then dead": func(l *nsqtest.Lookupd) { l.DeleteTopic("t") },
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				a, b := s.nsqd("a:1"), s.nsqd("b:1")
				l := s.lookupd("l:1", a, b)
				s.consumer(1, noError)
				s.discover("l:1")
				after(time.Minute)
				remove(l)
				a.DeleteChannel("t", "c")
				after(2 * time.Second)
				l.Unregister("t", "a:1") // so does nsqd when it has removed the topic
				if name == "deleted, then dead" {
					l.Kill()
				}
				after(20 * time.Minute)
				if n := len(commands(a, "SUB")); n != 1 || s.net.Attempts("a:1") != 1 {
					s.Errorf("%d SUBs and %d dials, want none after the first", n, s.net.Attempts("a:1"))
				}
				if n := clients(b)[0]; name == "tombstoned" && n != 1 {
					s.Errorf("the other nsqd has %d connections, want 1", n)
				}
				l.Restart()
				l.DeleteTopic("t")
				a.Publish("t", "anew")
				a.CreateChannel("t", "c")
				l.Register("t", "a:1", "b:1")
				s.finished(a, 1, 61*time.Second, "used again")
			})
		})
	}
}

// N1: a restarted nsqd is consumed again within a second after it has registered, if it was
// away for half a minute at most; after a longer time, within a tenth of that.
func TestRestartedNSQD(t *testing.T) {
	for down, bound := range map[time.Duration]time.Duration{
		100 * time.Millisecond: 3900 * time.Millisecond, // too short to be seen: N2
		600 * time.Millisecond: time.Second,
		2 * time.Second:        time.Second,
		29 * time.Second:       time.Second,
		2 * time.Minute:        11 * time.Second,
		time.Hour:              time.Minute,
	} {
		inScene(t, func(s *scene) {
			a := s.nsqd("a:1")
			l := s.lookupd("l:1", a)
			s.consumer(1, noError)
			s.discover("l:1")
			after(time.Minute)
			l.Unregister("t", "a:1")
			a.Kill()
			after(down)
			a.Restart()
			a.Publish("t", "m")
			l.Register("t", "a:1")
			s.finished(a, 1, bound, "down for "+down.String())
		})
	}
}

// N3: our nsqd has left, and an nsqd of another cluster has its host and port, and a topic of
// that name. It is not consumed from, though one of two nsqlookupds is down for good and
// listed the address in its last response. Once a live nsqlookupd lists it, it is.
func TestStrangerOnTheOldAddress(t *testing.T) {
	inScene(t, func(s *scene) {
		ours := s.nsqd("a:1")
		dead, live := s.lookupd("dead:1", ours), s.lookupd("live:1", ours)
		s.consumer(1, noError)
		s.discover("dead:1", "live:1")
		after(time.Minute)
		dead.Kill()
		after(time.Minute)
		live.DeleteTopic("t")
		ours.Kill()
		stranger := s.nsqd("a:1")
		for range 10 {
			stranger.Publish("t", "not ours")
		}
		stranger.CreateChannel("t", "c")
		after(2 * time.Hour)
		if st := stranger.Stats("t", "c"); st.Finished != 0 || len(stranger.Clients()) != 0 || s.net.Attempts("a:1") != 1 {
			s.Errorf("%+v, %d connections, %d dials, want none", st, len(stranger.Clients()), s.net.Attempts("a:1"))
		}
		live.Register("t", "a:1")
		s.finished(stranger, 10, time.Minute, "listed")
	})
}

// N1: if no nsqlookupd responds, a lost nsqd is found at its old address.
func TestRestartWithoutNsqlookupds(t *testing.T) {
	for name, fail := range map[string]func(l *nsqtest.Lookupd){
		"dead":   func(l *nsqtest.Lookupd) { l.Kill() },
		"broken": func(l *nsqtest.Lookupd) { l.Fail(http.StatusInternalServerError, "OOPS") },
	} {
		inScene(t, func(s *scene) {
			a := s.nsqd("a:1")
			la, lb := s.lookupd("la:1", a), s.lookupd("lb:1", a)
			s.consumer(1, noError)
			s.discover("la:1", "lb:1")
			after(time.Minute)
			fail(la)
			fail(lb)
			a.Kill()
			after(2 * time.Second)
			a.Restart()
			a.Publish("t", "m")
			s.finished(a, 1, 3*time.Second, name)
		})
	}
}

// After the last nsqlookupd was removed, a lost nsqd is redialled as if it had been
// connected to by its address.
func TestLossAfterLastNsqlookupdWasRemoved(t *testing.T) {
	inScene(t, func(s *scene) {
		a := s.nsqd("a:1")
		s.lookupd("l:1", a)
		s.consumer(1, noError)
		s.discover("l:1")
		after(time.Minute)
		if err := s.c.DisconnectFromNSQLookupd("l:1"); err != nil {
			s.Fatal(err)
		}
		a.Kill()
		after(2 * time.Second)
		a.Restart()
		a.Publish("t", "m")
		s.finished(a, 1, 3*time.Second, "without nsqlookupds")
	})
}

// N2: an nsqd that closes a connection and still accepts is not subscribed to for three
// seconds, whether it was discovered or connected to by its address.
func TestSubWaitsAfterAClose(t *testing.T) {
	for _, direct := range []bool{false, true} {
		inScene(t, func(s *scene) {
			a := s.nsqd("a:1")
			s.consumer(1, noError)
			if direct {
				s.connect(a)
			} else {
				s.lookupd("l:1", a)
				s.discover("l:1")
			}
			after(time.Minute)
			for round := range 3 {
				a.DeleteChannel("t", "c")
				after(2990 * time.Millisecond)
				if n := len(commands(a, "SUB")); n != 1+round {
					s.Errorf("direct %v: %d SUBs within three seconds", direct, n-round)
				}
				after(time.Second)
				if n := len(commands(a, "SUB")); n != 2+round {
					s.Errorf("direct %v: no SUB within four seconds", direct)
				}
				after(time.Minute)
			}
		})
	}
}

// N5: a hundred nsqds that accept and say nothing do not hold up the one that works, neither
// at first nor when it has restarted.
func TestSilentNSQDsHoldUpNobody(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.Logger = slog.New(slog.DiscardHandler)
		works := s.nsqd("works:1")
		l := s.lookupd("l:1", works)
		for i := range 100 {
			d := s.nsqd(fmt.Sprintf("hangs%d:1", i))
			d.Inject(nsqtest.Fault{Command: "IDENTIFY", Reply: []byte{}})
			l.Register("t", d.Addr())
		}
		s.consumer(1, noError)
		s.discover("l:1")
		works.Publish("t", "m")
		s.finished(works, 1, 7*time.Second, "at first")
		after(10 * time.Minute)
		l.Unregister("t", "works:1")
		works.Kill()
		after(5 * time.Second)
		works.Restart()
		l.Register("t", "works:1")
		works.Publish("t", "m")
		s.finished(works, 2, 7*time.Second, "after a restart")
	})
}

// N3: 10,000 addresses that come and go leave nothing behind though one of two nsqlookupds,
// which listed some of them, is down for good.
func TestDiscoveryChurnWithADeadLookupd(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.LookupdPollInterval = time.Second
		s.cfg.Logger = slog.New(slog.DiscardHandler)
		live, dead := s.lookupd("live:1"), s.lookupd("dead:1")
		s.consumer(1, noError)
		s.discover("live:1", "dead:1")
		most := 0
		for round := range 100 {
			var addrs []string
			for i := range 100 {
				addrs = append(addrs, fmt.Sprintf("n%d-%d:1", round, i))
			}
			for _, l := range []*nsqtest.Lookupd{live, dead} {
				l.DeleteTopic("t")
				l.Register("t", addrs...)
			}
			if round == 10 {
				dead.Kill()
			}
			after(time.Second)
			most = max(most, len(s.c.Snapshot().Connections))
		}
		if most > 1300 {
			s.Errorf("up to %d nsqds are remembered, want those of ten polls and a few", most)
		}
		live.DeleteTopic("t")
		after(15 * time.Second)
		if shown := s.c.Snapshot().Connections; len(shown) != 0 {
			s.Errorf("%d nsqds are left, the first one %+v", len(shown), shown[0])
		}
	})
}

// N6: only hosts and ports of TCP are dialled. Anything else that nsqlookupd lists, and a
// list of more than 100,000 nsqds (N5), is logged, on one line.
func TestUnusableAddressesAreNotDialled(t *testing.T) {
	list := func(host, port string) string {
		return `{"producers":[{"hostname":` + host + `,"broadcast_address":` + host + `,"tcp_port":` + port + `}]}`
	}
	for name, reply := range map[string]string{
		"unix":     list(`"unix"`, "4150"),
		"path":     list(`"/run/nsqd.sock"`, "4150"),
		"newline":  list(`"a\nERR forged"`, "4150"),
		"escape":   list(`"\u001b[31ma"`, "4150"),
		"port 0":   list(`"a"`, "0"),
		"too many": `{"producers":[` + strings.Repeat(`{"broadcast_address":"a","tcp_port":1},`, 100_000) + `{}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.DialContext = func(_ context.Context, network, addr string) (net.Conn, error) {
					s.Errorf("dial of %s %q", network, addr)
					return nil, errBoom
				}
				s.lookupd("l:1").Reply(reply)
				s.consumer(1, noError)
				log := s.logged(LogLevelInfo)
				s.discover("l:1")
				after(2 * time.Minute)
				if got := log.take(); len(got) != 1 || strings.ContainsAny(got[0], "\n\x1b") {
					s.Errorf("logged %q, want one line", got)
				}
			})
		})
	}
}
