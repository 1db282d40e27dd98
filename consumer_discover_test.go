package nsq

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// D9: each poll asks all nsqlookupds and connects to what any of them lists. The
// nsqds are connected when the call returns.
func TestDiscoveryMergesAll(t *testing.T) {
	inScene(t, func(s *scene) {
		a, b, c := s.nsqd("a:1"), s.nsqd("b:1"), s.nsqd("c:1")
		s.lookupd("la:1", a, b)
		s.lookupd("lb:1", b, c)
		empty := s.lookupd("lc:1") // TOPIC_NOT_FOUND
		s.consumer(1, noError)
		start := time.Now()
		s.discover("la:1", "lb:1", "http://lc:1/lookup")
		if took := time.Since(start); took != 0 || s.c.Stats().Connections != 3 {
			s.Errorf("%d connections after %v", s.c.Stats().Connections, took)
		}
		for _, d := range []*nsqtest.Nsqd{a, b, c} {
			flood(d, 10)
		}
		after(time.Second)
		if n := s.c.Stats().MessagesFinished; n != 30 {
			s.Errorf("%d messages finished, want 30", n)
		}
		after(10 * time.Minute)
		if n := len(empty.Requests()); n < 9 || n > 12 {
			s.Errorf("%d requests in ten minutes, want one a minute", n)
		}
		if s.net.Attempts("a:1") != 1 {
			s.Errorf("a, which two list, was dialled %d times", s.net.Attempts("a:1"))
		}
	})
}

// ConnectToNSQLookupds asks the valid addresses and returns the errors of the others.
// Removing an nsqlookupd, even the last one, closes no connection.
func TestLookupdAddresses(t *testing.T) {
	inScene(t, func(s *scene) {
		s.lookupd("l:1", s.nsqd("a:1"))
		s.consumer(0, nil)
		if err := s.c.ConnectToNSQLookupd("l:1"); !errors.Is(err, errNoHandlers) {
			s.Errorf("without handlers: %v", err)
		}
		s.c.AddHandler(HandlerFunc(noError))
		err := s.c.ConnectToNSQLookupds([]string{"noport", "l:1", "ftp://l:1"})
		for _, part := range []string{"noport", "missing port", "ftp://l:1"} {
			if !strings.Contains(fmt.Sprint(err), part) {
				s.Errorf("error %v does not name %q", err, part)
			}
		}
		if n := s.c.Stats().Connections; n != 1 {
			s.Errorf("%d connections by the valid address, want 1", n)
		}
		if err := s.c.ConnectToNSQLookupd("http://l:1"); err != nil {
			s.Errorf("the same nsqlookupd again: %v", err)
		}
		if err := s.c.DisconnectFromNSQLookupd("other:1"); !errors.Is(err, ErrNotConnected) {
			s.Errorf("an unknown one: %v", err)
		}
		if err := s.c.DisconnectFromNSQLookupd("l:1"); err != nil {
			s.Errorf("the last one: %v", err)
		}
		after(time.Hour)
		if n := s.c.Stats().Connections; n != 1 {
			s.Errorf("%d connections after the last nsqlookupd was removed, want 1", n)
		}
		s.stopped()
		if err := s.c.ConnectToNSQLookupd("l:1"); !errors.Is(err, ErrStopped) {
			s.Errorf("after the stop: %v", err)
		}
	})
}

// D8, D15: a hung nsqlookupd delays the connect call by two seconds at most. It delays
// neither the nsqds of another nsqlookupd nor the stop.
func TestHungLookupd(t *testing.T) {
	inScene(t, func(s *scene) {
		s.lookupd("hung:1").Hang()
		s.lookupd("l:1", s.nsqd("a:1"))
		s.consumer(1, noError)
		start := time.Now()
		s.discover("hung:1", "l:1")
		if took := time.Since(start); took > 200*time.Millisecond || s.c.Stats().Connections != 1 {
			s.Errorf("%d connections after %v", s.c.Stats().Connections, took)
		}
		start = time.Now()
		if err := s.c.ConnectToNSQLookupd("hung:1"); err != nil || time.Since(start) > 2*time.Second {
			s.Errorf("%v after %v", err, time.Since(start))
		}
		if took := s.stopped(); took > 100*time.Millisecond {
			s.Errorf("stop took %v", took)
		}
	})
}

// D4: an nsqd given by address is redialled even though no nsqlookupd lists it.
func TestDirectAndDiscovered(t *testing.T) {
	inScene(t, func(s *scene) {
		direct, listed := s.nsqd("direct:1"), s.nsqd("listed:1")
		s.lookupd("l:1", listed)
		s.consumer(1, noError)
		s.connect(direct)
		s.discover("l:1")
		for range 5 {
			direct.Disconnect(direct.Clients()[0].Conn)
			listed.Disconnect(listed.Clients()[0].Conn)
			after(4 * time.Second) // what closes a connection may remove the topic: N2
			if n := clients(direct, listed); !slices.Equal(n, []int{1, 1}) {
				s.Fatalf("clients %v four seconds after both were cut", n)
			}
			after(time.Minute)
		}
	})
}

// D10: an nsqd that no nsqlookupd has listed for three polls is drained and let go. It
// is kept if it was unlisted for a shorter time, if an nsqlookupd does not respond, if
// another one lists it, or if it was connected by address.
func TestGoneNSQDIsLetGo(t *testing.T) {
	inScene(t, func(s *scene) {
		gone, kept, direct := s.nsqd("gone:1"), s.nsqd("kept:1"), s.nsqd("direct:1")
		la, lb := s.lookupd("la:1", gone, kept, direct), s.lookupd("lb:1", kept)
		s.consumer(1, func(*Message) error { sleep(time.Second); return nil })
		s.connect(direct)
		s.discover("la:1", "lb:1")
		la.Unregister("t", "gone:1", "kept:1", "direct:1")
		lb.Fail(http.StatusInternalServerError, "INTERNAL")
		after(10 * time.Minute)
		if n := clients(gone, kept, direct); !slices.Equal(n, []int{1, 1, 1}) {
			s.Errorf("while one does not respond: clients %v", n)
		}
		lb.Recover()
		after(90 * time.Second)
		if n := clients(gone, kept, direct); !slices.Equal(n, []int{1, 1, 1}) {
			s.Errorf("unlisted for 90 s: clients %v", n)
		}
		flood(gone, 3)
		after(4 * time.Minute)
		if n := clients(gone, kept, direct); !slices.Equal(n, []int{0, 1, 1}) {
			s.Errorf("unlisted for long: clients %v", n)
		}
		if c := s.balanced(); c.Finished != 3 || c.Lost != 0 {
			s.Errorf("%+v, want the three messages finished", c)
		}
		la.Register("t", "gone:1")
		after(70 * time.Second)
		if n := clients(gone); n[0] != 1 {
			s.Error("not connected after it was listed again")
		}
	})
}

// D10: 10,000 addresses that come and go leave nothing behind: no connection, no address
// that waits to be dialled, no dial under way.
func TestDiscoveryChurn(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.LookupdPollInterval = time.Second
		s.cfg.Logger = slog.New(slog.DiscardHandler)
		l := s.lookupd("l:1")
		s.consumer(1, noError)
		s.discover("l:1")
		for round := range 100 {
			var addrs []string
			for i := range 100 {
				addrs = append(addrs, fmt.Sprintf("n%d-%d:1", round, i))
			}
			l.DeleteTopic("t")
			l.Register("t", addrs...)
			after(time.Second)
		}
		l.DeleteTopic("t")
		after(10 * time.Second)
		if shown := s.c.Snapshot().Connections; len(shown) != 0 {
			s.Errorf("%d nsqds are left, the first one %+v", len(shown), shown[0])
		}
		if took := s.stopped(); took != 0 {
			s.Errorf("the stop took %v with nothing to wait for", took)
		}
	})
}

// D57: an nsqlookupd that does not know the topic is not worth a warning. One that keeps
// failing is worth a single warning.
func TestDiscoveryLog(t *testing.T) {
	inScene(t, func(s *scene) {
		l := s.lookupd("l:1", s.nsqd("a:1"))
		s.lookupd("empty:1") // does not know the topic
		s.consumer(1, noError)
		log := s.logged(LogLevelWarning)
		s.discover("l:1", "empty:1")
		after(10 * time.Minute)
		if got := log.take(); len(got) != 0 {
			s.Errorf("logged %q while all is well", got)
		}
		l.Fail(http.StatusServiceUnavailable, "BUSY")
		after(30 * time.Minute)
		if got := log.take(); len(got) != 1 || !strings.HasPrefix(got[0], "WRN") ||
			!strings.Contains(got[0], "l:1") || !strings.Contains(got[0], "503") {
			s.Errorf("logged %q in half an hour of 503s, want one warning", got)
		}
		l.Recover()
		after(5 * time.Minute)
		s.stopped()
		if got := log.take(); len(got) != 0 {
			s.Errorf("logged %q after the recovery", got)
		}
	})
}

// A request that a stop cuts short is no failure of the nsqlookupd.
func TestStopLogsNoLookupdFailure(t *testing.T) {
	inScene(t, func(s *scene) {
		l := s.lookupd("l:1", s.nsqd("a:1"))
		s.consumer(1, noError)
		s.discover("l:1")
		l.Hang()
		requests := len(l.Requests())
		for len(l.Requests()) == requests {
			after(time.Second)
		}
		log := s.logged(LogLevelWarning)
		s.stopped()
		if got := log.take(); len(got) != 0 {
			s.Errorf("logged %q", got)
		}
	})
}

// N1: an nsqd that moved is found within a second after it has registered, rather than
// with the next poll. The polls in search of the old address grow rare.
func TestMovedNSQD(t *testing.T) {
	for _, down := range []time.Duration{0, 700 * time.Millisecond, 10 * time.Second, 29 * time.Second} {
		inScene(t, func(s *scene) {
			old := s.nsqd("old:1")
			l := s.lookupd("l:1", old)
			s.consumer(1, noError)
			s.discover("l:1")
			after(10 * time.Second)
			moved := s.nsqd("new:1")
			l.Unregister("t", "old:1")
			old.Kill()
			after(down)
			l.Register("t", "new:1")
			after(time.Second)
			if n := clients(moved); n[0] != 1 {
				s.Errorf("down for %v: not found at its new address within a second", down)
			}
			requests := len(l.Requests())
			after(time.Minute)
			if n := len(l.Requests()) - requests; n > 80 {
				s.Errorf("%d requests in a minute", n)
			}
			after(5 * time.Minute) // the old address is let go
			requests = len(l.Requests())
			after(10 * time.Minute)
			if n := len(l.Requests()) - requests; n > 11 {
				s.Errorf("%d requests in ten minutes, long after, want the regular ones", n)
			}
		})
	}
}

// onlyEven is a DiscoveryFilter that keeps n0, n2 and so on.
type onlyEven struct{ seen []string }

func (f *onlyEven) Filter(addrs []string) []string {
	f.seen = slices.Clone(addrs)
	return slices.DeleteFunc(addrs, func(a string) bool { return a[1]%2 == 1 })
}

// A DiscoveryFilter decides which of the listed nsqds are connected to.
func TestDiscoveryFilter(t *testing.T) {
	inScene(t, func(s *scene) {
		nsqds := []*nsqtest.Nsqd{s.nsqd("n0:1"), s.nsqd("n1:1"), s.nsqd("n2:1")}
		s.lookupd("l:1", nsqds...)
		s.consumer(1, noError)
		f := &onlyEven{}
		s.c.SetBehaviorDelegate(f)
		s.discover("l:1")
		if n := clients(nsqds...); !slices.Equal(n, []int{1, 0, 1}) || !slices.Equal(f.seen, []string{"n0:1", "n1:1", "n2:1"}) {
			s.Errorf("clients %v, the filter saw %q", n, f.seen)
		}
		defer func() {
			if recover() == nil {
				s.Error("a delegate without methods was accepted")
			}
		}()
		s.c.SetBehaviorDelegate(5)
	})
}

// The user's calls outweigh what nsqlookupds list: an nsqd that was disconnected stays
// away, one that was connected by address stays connected.
func TestCallsOutweighLists(t *testing.T) {
	inScene(t, func(s *scene) {
		a, b, c := s.nsqd("a:1"), s.nsqd("b:1"), s.nsqd("c:1")
		l := s.lookupd("l:1", a, b, c)
		s.consumer(1, noError)
		s.discover("l:1")
		if err := s.c.DisconnectFromNSQD("a:1"); err != nil {
			s.Error(err)
		}
		after(5 * time.Minute)
		if n := clients(a, b, c); !slices.Equal(n, []int{0, 1, 1}) {
			s.Errorf("a was disconnected: clients %v", n)
		}
		s.connect(a, b) // a is dialled again; b is connected because it is listed
		l.DeleteTopic("t")
		after(10 * time.Minute)
		if n := clients(a, b, c); !slices.Equal(n, []int{1, 1, 0}) {
			s.Errorf("a and b were connected by address: clients %v", n)
		}
	})
}

// D42: nsqlookupd gets the secret if skip_lookupd_authorization is set (the name says
// the opposite, as in go-nsq), with a warning if that is over plain http.
func TestLookupdAuthorization(t *testing.T) {
	for _, tt := range []struct {
		secret string
		send   bool
		want   string
	}{{"", true, ""}, {"s3cret", true, "Bearer s3cret"}, {"s3cret", false, ""}} {
		inScene(t, func(s *scene) {
			s.cfg.AuthSecret = tt.secret
			if err := s.cfg.Set("skip_lookupd_authorization", tt.send); err != nil {
				s.Fatal(err)
			}
			l := s.lookupd("l:1")
			s.consumer(1, noError)
			log := s.logged(LogLevelWarning)
			s.discover("l:1")
			synctest.Wait()
			if got := l.Requests()[0].Header.Get("Authorization"); got != tt.want {
				s.Errorf("%+v: sent %q", tt, got)
			}
			lines := strings.Join(log.take(), "\n")
			if warned := strings.Contains(lines, "plain http"); warned != (tt.want != "") {
				s.Errorf("%+v: logged %q", tt, lines)
			}
		})
	}
}

// D7: five of 200 listed nsqds hang in the handshake. The others are connected when the
// call returns, after two seconds at most.
func TestManyNSQDsSomeHang(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight, s.cfg.Logger = 1000, slog.New(slog.DiscardHandler)
		l := s.lookupd("l:1")
		for i, d := range s.nsqds(200) {
			if i%40 == 7 {
				d.Inject(nsqtest.Fault{Command: "IDENTIFY", Reply: []byte{}})
			}
			l.Register("t", d.Addr())
		}
		s.consumer(1, noError)
		start := time.Now()
		s.discover("l:1")
		if took := time.Since(start); took > 2*time.Second {
			s.Errorf("returned after %v", took)
		}
		if n := s.c.Stats().Connections; n != 195 {
			s.Errorf("%d connected, want 195", n)
		}
	})
}

// D10: an nsqlookupd that restarted lists nothing until the nsqds register again,
// within 15 s. No connection is let go for that, however short the poll interval.
func TestLookupdRestart(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.LookupdPollInterval = 2 * time.Second
		a, b := s.nsqd("a:1"), s.nsqd("b:1")
		l := s.lookupd("l:1", a, b)
		s.consumer(1, noError)
		s.discover("l:1")
		after(30 * time.Second)
		l.DeleteTopic("t")
		after(15 * time.Second)
		l.Register("t", "a:1", "b:1")
		after(time.Minute)
		if n := clients(a, b); !slices.Equal(n, []int{1, 1}) || s.net.Attempts("a:1") != 1 {
			s.Errorf("clients %v, a was dialled %d times", n, s.net.Attempts("a:1"))
		}
	})
}

// D10: two responses that do not list an nsqd, minutes apart and with no response in
// between, are not enough to let it go.
func TestUnlistedInTwoDistantResponses(t *testing.T) {
	inScene(t, func(s *scene) {
		d, other := s.nsqd("a:1"), s.nsqd("b:1")
		l := s.lookupd("l:1", d, other)
		s.consumer(1, noError)
		s.discover("l:1")
		after(30 * time.Second)
		conn := d.Clients()[0].Conn
		asked := func() {
			for requests := len(l.Requests()); len(l.Requests()) == requests; {
				after(10 * time.Millisecond)
			}
		}
		l.Unregister("t", "a:1")
		other.Kill() // causes a poll soon, whose response does not list a
		asked()
		l.Register("t", "a:1")
		l.Kill()
		after(5 * time.Minute)
		l.DeleteTopic("t")
		l.Restart()
		asked()
		l.Register("t", "a:1")
		after(time.Minute)
		if c := d.Clients(); len(c) != 1 || c[0].Conn != conn {
			s.Errorf("let go after one empty response: %+v", c)
		}
	})
}

// An nsqd that the user disconnects stays away although it is listed, even if it was
// connected by address in between.
func TestDisconnectConnectDisconnect(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.lookupd("l:1", d)
		s.consumer(1, noError)
		s.discover("l:1")
		for _, do := range []func(string) error{s.c.DisconnectFromNSQD, s.c.ConnectToNSQD, s.c.DisconnectFromNSQD} {
			if err := do("a:1"); err != nil {
				s.Fatal(err)
			}
			after(time.Second)
		}
		after(5 * time.Minute)
		if clients(d)[0] != 0 {
			s.Error("connected again because it is listed")
		}
	})
}

// Snapshot shows all wanted nsqds, including those that wait because 64 dials are under
// way.
func TestSnapshotShowsAll(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.Logger = slog.New(slog.DiscardHandler)
		l := s.lookupd("l:1")
		for i, d := range s.nsqds(200) {
			if i < 70 {
				d.Inject(nsqtest.Fault{Command: "IDENTIFY", Reply: []byte{}})
			}
			l.Register("t", d.Addr())
		}
		s.consumer(1, noError)
		s.discover("l:1")
		after(10 * time.Second)
		if n := len(s.c.Snapshot().Connections); n != 200 {
			s.Errorf("%d of 200 nsqds shown", n)
		}
	})
}

// failingTransport fails with a different text each time.
type failingTransport struct{ n int }

func (f *failingTransport) RoundTrip(*http.Request) (*http.Response, error) {
	f.n++
	return nil, fmt.Errorf("read tcp 127.0.0.1:%d->127.0.0.1:4161: connection reset by peer", 40000+f.n)
}

// D57: a failure is logged once although its text differs each time. A response with
// 10,000 invalid entries takes one log line.
func TestDiscoveryFailuresAreLoggedOnce(t *testing.T) {
	inScene(t, func(s *scene) {
		s.consumer(1, noError)
		s.c.SetLookupdHttpClient(&http.Client{Transport: &failingTransport{}})
		log := s.logged(LogLevelWarning)
		s.discover("l:1")
		after(10 * time.Minute)
		s.stopped()
		if got := log.take(); len(got) != 1 {
			s.Errorf("logged %q, want one line", got)
		}
	})
	inScene(t, func(s *scene) {
		l := s.lookupd("l:1")
		l.Reply(`{"producers":[` + strings.Repeat(`{"hostname":"h"},`, 10_000) + `{}]}`)
		s.consumer(1, noError)
		log := s.logged(LogLevelWarning)
		s.discover("l:1")
		after(time.Minute)
		s.stopped()
		if got := log.take(); len(got) != 1 {
			s.Errorf("logged %d lines, want one", len(got))
		}
	})
}
