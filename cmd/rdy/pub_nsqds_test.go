package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/rdyhq/nsq/nsqtest"
)

func TestPubAll(t *testing.T) {
	numbers, lines := numberedLines(1000)
	inPubScene(t, lines, func(s *pubScene) {
		a, b := s.nsqd("a:1"), s.nsqd("b:1")
		s.p.mode = modeAll
		r, err := s.run(s.Context())
		if err != nil {
			t.Error(err)
		}
		s.expect(r, 1000, 0, 0, 0)
		for _, d := range []*nsqtest.Nsqd{a, b} {
			if !slices.Equal(stored(d), numbers) {
				t.Errorf("%s has %d messages, or has them in another order", d.Addr(), len(stored(d)))
			}
		}
	})
}

// With --mode all, a line has the outcome of the nsqd where it failed.
func TestPubAllOneFails(t *testing.T) {
	_, lines := numberedLines(10)
	for code, want := range map[string][2]int{"E_BAD_MESSAGE": {10, 0}, "E_MPUB_FAILED": {0, 10}} {
		inPubScene(t, lines, func(s *pubScene) {
			a, b := s.nsqd("a:1"), s.nsqd("b:1")
			b.Reject("MPUB", code, "")
			b.Reject("PUB", code, "")
			s.p.mode = modeAll
			r, err := s.run(s.Context())
			s.expect(r, 0, want[0], want[1], 0)
			if err == nil || len(stored(a)) != 10 || len(stored(b)) != 0 {
				t.Errorf("error %v, %d and %d messages", err, len(stored(a)), len(stored(b)))
			}
		})
	}
}

// With --mode all, one unreachable nsqd stops the command, although the other one
// works.
func TestPubAllOneDead(t *testing.T) {
	_, lines := numberedLines(1000)
	inPubScene(t, lines, func(s *pubScene) {
		s.nsqd("a:1")
		s.nsqd("b:1").Kill()
		s.p.mode = modeAll
		_, err := s.run(s.Context())
		s.expectStopped(err, "before line 1: ", "[b:1]")
	})
}

func TestPubFailover(t *testing.T) {
	numbers, lines := numberedLines(5000)
	inPubScene(t, lines, func(s *pubScene) {
		a, b, c := s.nsqd("a:1"), s.nsqd("b:1"), s.nsqd("c:1")
		b.Kill()
		r, err := s.run(s.Context())
		if err != nil {
			t.Error(err)
		}
		s.expect(r, 5000, 0, 0, 0)
		got := append(stored(a), stored(c)...)
		slices.Sort(got)
		slices.Sort(numbers)
		if !slices.Equal(got, numbers) || len(stored(a)) == 0 || len(stored(c)) == 0 {
			t.Errorf("the two reachable nsqds have %d and %d messages", len(stored(a)), len(stored(c)))
		}
	})
}

// With --lookupd lines go to the nsqds that are listed: to one of them each, or to all.
func TestPubLookupd(t *testing.T) {
	c := startCluster(t, 3)
	_, lines := numberedLines(1000)
	for _, tc := range []struct {
		mode string
		want int
	}{{modeFailover, 1000}, {modeAll, 3000}} {
		code, stdout, stderr := executeWith(t, lines, "pub", tc.mode, "--lookupd", c.lookupds[0], "--mode", tc.mode, "--batch", "10", "--json")
		if r := parsePubResult(t, stdout); code != exitOK || r.Published != 1000 || stderr != "" {
			t.Errorf("%s: exit code %d, stdout %s, stderr %q", tc.mode, code, stdout, stderr)
		}
		sum := 0
		for _, n := range c.nsqds {
			one, err := depth(t.Context(), n.HTTPAddr, tc.mode, "")
			if err != nil || one == 0 {
				t.Errorf("%s: nsqd %s has %d messages, error %v", tc.mode, n.TCPAddr, one, err)
			}
			sum += one
		}
		if sum != tc.want {
			t.Errorf("%s: %d messages are stored", tc.mode, sum)
		}
	}
}

// Without a list of the nsqds nothing is published, and the command says why.
func TestPubLookupdFails(t *testing.T) {
	c := startCluster(t, 1)
	empty := fakeDaemon(t, map[string]string{"/nodes": `{"producers":[]}`})
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--lookupd", empty, "--mode", "all"}, "the nsqlookupds list no nsqd"},
		{[]string{"--lookupd", c.lookupds[0], "--lookupd", unreachable, "--mode", "all"}, "nsqlookupd " + unreachable},
		{[]string{"--lookupd", unreachable}, "refused"},
	} {
		code, stdout, stderr := executeWith(t, "line\n", append([]string{"pub", "t", "-q", "--retry-for", "0", "--json"}, tc.args...)...)
		if code != exitFailure || !strings.Contains(stderr, tc.want) || strings.Contains(stderr, unreachable+": "+unreachable) {
			t.Errorf("%v: exit code %d, stderr %q", tc.args, code, stderr)
		}
		if !strings.HasPrefix(stdout, `{"published":0,`) {
			t.Errorf("%v: stdout %q", tc.args, stdout)
		}
	}
}

// pub waits for an nsqlookupd that does not respond yet, and says so once.
func TestPubAwaitsLookupd(t *testing.T) {
	c := startCluster(t, 1)
	polls := 0
	lookupd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if polls++; polls < 3 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		host, port, _ := net.SplitHostPort(c.nsqds[0].TCPAddr)
		_, _ = fmt.Fprintf(w, `{"producers":[{"broadcast_address":%q,"tcp_port":%s,"http_port":1}]}`, host, port)
	}))
	defer lookupd.Close()
	addr := strings.TrimPrefix(lookupd.URL, "http://")
	code, _, stderr := executeWith(t, "line\n", "pub", "later", "-q", "--lookupd", addr)
	if code != exitOK || strings.Count(stderr, "rdy: retrying for up to 30s: nsqlookupd "+addr) != 1 {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	expectOneLine(t, stderr)
	if n, err := depth(t.Context(), c.nsqds[0].HTTPAddr, "later", ""); n != 1 || err != nil {
		t.Errorf("%d messages, error %v", n, err)
	}
}
