package discover

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq/nsqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene is a network of fake nsqlookupds and one Poller of topic t, in virtual
// time. The Poller polls every minute, without jitter.
type scene struct {
	*testing.T
	net  *nsqtest.Network
	cfg  Config
	p    *Poller
	stop context.CancelFunc
	done chan struct{} // closed when Run has returned

	mu      sync.Mutex // guards what follows
	results []Result
}

// inScene runs a test in a synctest bubble. Then it ends the Poller, which must
// stop at once and leave nothing behind, whatever is in flight.
func inScene(t *testing.T, test func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scene{T: t, net: nsqtest.NewNetwork(), done: make(chan struct{})}
		s.cfg = Config{Topic: "t", Interval: time.Minute, Timeout: 30 * time.Second, Publish: s.publish}
		test(s)
		if s.stop != nil {
			s.end()
		}
	})
}

// lookupd starts a fake nsqlookupd that lists nsqds for topic t.
func (s *scene) lookupd(addr string, nsqds ...string) *nsqtest.Lookupd {
	s.Helper()
	l := nsqtest.NewLookupd(s, nsqtest.LookupdOptions{Network: s.net, Addr: addr})
	l.Register("t", nsqds...)
	return l
}

// poller makes the Poller and runs it. The Poller's own client dials in the network.
func (s *scene) poller(addrs ...string) {
	s.Helper()
	s.p = New(s.cfg)
	if s.cfg.Client == nil {
		s.p.client = newClient(s.net.DialContext)
	}
	for _, addr := range addrs {
		s.add(addr)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go func() {
		defer close(s.done)
		s.p.Run(ctx)
	}()
	synctest.Wait()
}

func (s *scene) add(addr string) (first <-chan struct{}) {
	s.Helper()
	u, err := ParseAddr(addr)
	if err != nil {
		s.Fatal(err)
	}
	first, _ = s.p.Add(u)
	return first
}

func (s *scene) remove(addr string) bool {
	s.Helper()
	u, err := ParseAddr(addr)
	if err != nil {
		s.Fatal(err)
	}
	return s.p.Remove(u)
}

func (s *scene) publish(r Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.results = append(s.results, r)
}

// end ends Run's context. Run must return at once and leave nothing behind.
func (s *scene) end() {
	s.Helper()
	from := time.Now()
	s.stop()
	<-s.done
	if took := time.Since(from); took > 0 {
		s.Errorf("Run returned %v after its context ended", took)
	}
	results := s.published()
	synctest.Wait()
	if after := len(s.published()) - len(results); after > 0 {
		s.Errorf("%d results were published after Run returned", after)
	}
	for _, r := range results {
		for _, err := range r.Failed {
			if errors.Is(err, context.Canceled) {
				s.Errorf("a cancelled request counts as a failure: %v", err)
			}
		}
	}
	if open := s.net.OpenConns(); open > 0 {
		s.Errorf("%d connections are left open", open)
	}
}

func (s *scene) published() []Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.results)
}

// last returns the newest result once the bubble is idle.
func (s *scene) last() Result {
	s.Helper()
	synctest.Wait()
	results := s.published()
	if len(results) == 0 {
		s.Fatal("no result was published")
	}
	return results[len(results)-1]
}

// describe returns a result as text, such as
// "a:1 b:1 1 of 2 waiting, failed [..] .., skipped [..] ..".
func describe(r Result) string {
	var b strings.Builder
	for _, p := range r.Producers {
		fmt.Fprintf(&b, "%s ", p.Addr)
	}
	for _, topic := range r.Topics {
		fmt.Fprintf(&b, "%s ", topic)
	}
	fmt.Fprintf(&b, "%d of %d waiting", r.Waiting, len(r.Lookupds))
	for _, err := range r.Failed {
		fmt.Fprintf(&b, ", failed %v", err)
	}
	for _, err := range r.Skipped {
		fmt.Fprintf(&b, ", skipped %v", err)
	}
	return b.String()
}

func (s *scene) want(want string) {
	s.Helper()
	if got := describe(s.last()); got != want {
		s.Errorf("%s; want %s", got, want)
	}
}

// wantAll checks all results since its last call.
func (s *scene) wantAll(want ...string) {
	s.Helper()
	synctest.Wait()
	var got []string
	for _, r := range s.published() {
		got = append(got, describe(r))
	}
	s.mu.Lock()
	s.results = nil
	s.mu.Unlock()
	if !slices.Equal(got, want) {
		s.Errorf("results\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func wantRequests(t testing.TB, l *nsqtest.Lookupd, want int) {
	t.Helper()
	synctest.Wait()
	if got := len(l.Requests()); got != want {
		t.Errorf("%s got %d requests, want %d", l.Addr(), got, want)
	}
}

func isClosed(c <-chan struct{}) bool {
	synctest.Wait()
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// roundTrip is a function as an http.RoundTripper.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func sleep(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // inside a synctest bubble
}
