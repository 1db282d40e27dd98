package nsq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

var noEvents []string

// A Producer's hooks are told of each dial, connection and publish once and in order, and
// its snapshot counts the same.
func TestProducerHooks(t *testing.T) {
	var h *toldHooks
	produce(t, func(s *producing) {
		body := []byte("12345")
		publish := func() { _ = s.p.Publish("t", body) }
		fault := func(f nsqtest.Fault) {
			f.Command, f.Times = "PUB", 1
			s.d.ClearFaults()
			s.d.Inject(f)
		}

		s.net.Refuse("a:1", nil)
		publish()
		h.expect(s.scene, []string{"dial of a:1 failed after 0s: dial tcp a:1: connection refused"}, "t: 1 of 5 bytes at a:1 after 0s: not sent")
		publish() // not dialled so soon
		h.expect(s.scene, noEvents, "t: 1 of 5 bytes at a:1 after 0s: not sent")
		s.net.Allow("a:1")
		redialAllowed()

		publish()
		h.expect(s.scene, []string{"connected a:1 1.3.0"}, "t: 1 of 5 bytes at a:1 after 0s: ok")
		_ = s.p.MultiPublish("t", [][]byte{body, body, []byte("6")})
		_ = s.p.DeferredPublish("u", time.Second, body)
		h.expect(s.scene, noEvents, "t: 3 of 11 bytes at a:1 after 0s: ok", "u: 1 of 5 bytes at a:1 after 0s: ok, deferred 1s")
		for _, err := range []error{s.p.Publish("no topic", body), s.p.Publish("t", nil), s.p.MultiPublish("t", nil)} {
			if err == nil {
				s.Error("no error")
			}
		}
		_ = s.p.Ping()
		h.expect(s.scene, noEvents)

		sleep(time.Minute)
		fault(nsqtest.Fault{Delay: time.Second, Reply: nsqtest.ErrorFrame("E_PUB_FAILED", "disk is full"), Close: true})
		publish()
		h.expect(s.scene, []string{"disconnected a:1 up 1m1s: E_PUB_FAILED"}, "t: 1 of 5 bytes at a:1 after 1s: E_PUB_FAILED")
		fault(nsqtest.Fault{Delay: time.Second, Reply: []byte{}, Close: true})
		publish()
		h.expect(s.scene, []string{"connected a:1 1.3.0", "disconnected a:1 up 1s: EOF"}, "t: 1 of 5 bytes at a:1 after 1s: unknown")

		fault(nsqtest.Fault{Delay: 2 * time.Second})
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		_ = s.p.PublishContext(ctx, "t", body)
		h.expect(s.scene, []string{"connected a:1 1.3.0"}, "t: 1 of 5 bytes at a:1 after 1s: unknown")
		after(2 * time.Second) // nsqd's reply comes
		h.expect(s.scene, noEvents)
		h.expectCounts(s.scene, s.p.Snapshot().ProducerCounts)

		s.p.Stop()
		publish()
		h.expect(s.scene, []string{"disconnected a:1 up 3s: ok", "stopped a:1 after 0s"}, "t: 1 of 5 bytes at a:1 after 0s: stopped")
		h.expectCounts(s.scene, s.p.Snapshot().ProducerCounts)
		if got, want := s.p.Snapshot().ProducerCounts, (ProducerCounts{Published: 5, Refused: 1, NotSent: 3, Unknown: 2, Connects: 3}); got != want {
			s.Errorf("counts %+v, want %+v", got, want)
		}
	}, quietly, func(s *scene) { h = toldBy(s) })
}

// A publish that is sent again over the next connection is reported once. The first
// connection ended because nsqd refused an asynchronous publish before it.
func TestPublishedOnceWhenSentAgain(t *testing.T) {
	var h *toldHooks
	produce(t, func(s *producing) {
		if err := s.p.Ping(); err != nil {
			s.Fatal(err)
		}
		s.d.Inject(nsqtest.Fault{Command: "PUB", Times: 1, Delay: time.Second, Reply: nsqtest.ErrorFrame("E_BAD_TOPIC", "no"), Close: true})
		done := make(chan *ProducerTransaction, 1)
		if err := s.p.PublishAsync("refused", []byte("1"), done, "arg"); err != nil {
			s.Fatal(err)
		}
		if err := s.p.Publish("t", []byte("12")); err != nil {
			s.Error(err)
		}
		if err := s.result(done, "arg"); !isRefusal(err, "E_BAD_TOPIC") {
			s.Error(err)
		}
		h.sortEvents() // the new connection may be there before the end of the first is reported
		h.expect(s.scene, []string{"connected a:1 1.3.0", "connected a:1 1.3.0", "disconnected a:1 up 1s: E_BAD_TOPIC"},
			"refused: 1 of 1 bytes at a:1 after 1s: E_BAD_TOPIC", "t: 1 of 2 bytes at a:1 after 1s: ok")
	}, quietly, func(s *scene) { h = toldBy(s) })
}

// Asynchronous publishes and those of a Batcher are reported like others.
func TestPublishedAsync(t *testing.T) {
	var h *toldHooks
	produce(t, func(s *producing) {
		done := make(chan *ProducerTransaction, 10)
		for _, err := range []error{
			s.p.PublishAsync("t", []byte("1"), done), s.p.MultiPublishAsync("t", [][]byte{[]byte("12"), []byte("3")}, nil),
			s.p.DeferredPublishAsync("t", time.Second, []byte("1234"), done),
		} {
			if err != nil {
				s.Fatal(err)
			}
		}
		h.expect(s.scene, []string{"connected a:1 1.3.0"}, "t: 1 of 1 bytes at a:1 after 0s: ok", "t: 2 of 3 bytes at a:1 after 0s: ok",
			"t: 1 of 4 bytes at a:1 after 0s: ok, deferred 1s")

		b, err := NewBatcher(s.p, BatchOptions{MaxDelay: time.Second})
		if err != nil {
			s.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { _ = b.Publish("t", []byte("12")) })
		}
		wg.Wait()
		b.Stop()
		h.expect(s.scene, noEvents, "t: 3 of 6 bytes at a:1 after 0s: ok")

		if err := s.p.PublishAsync("no topic", []byte("1"), done); err == nil {
			s.Error("no error")
		}
		s.d.Kill()
		synctest.Wait()
		_ = s.p.PublishAsync("t", []byte("1"), done)
		h.expect(s.scene, []string{"disconnected a:1 up 1s: EOF", "dial of a:1 failed after 0s: dial tcp a:1: connection refused"},
			"t: 1 of 1 bytes at a:1 after 0s: not sent")
		h.expectCounts(s.scene, s.p.Snapshot().ProducerCounts)
	}, quietly, func(s *scene) { h = toldBy(s) })
}

// While nsqd is killed and cut off at random, each publish is reported once, and the counts
// agree.
func TestPublishedOnceEach(t *testing.T) {
	const publishers, each = 16, 40
	var h *toldHooks
	produce(t, func(s *producing) {
		done := make(chan *ProducerTransaction, publishers*each)
		var wg sync.WaitGroup
		for i := range publishers {
			wg.Go(func() {
				for j := range each {
					switch j % 3 {
					case 0:
						_ = s.p.PublishAsync("t", []byte(fmt.Sprint(i, j)), done)
					case 1:
						ctx, cancel := context.WithTimeout(s.Context(), time.Duration(j)*time.Millisecond)
						_ = s.p.PublishContext(ctx, "t", []byte(fmt.Sprint(i, j)))
						cancel()
					default:
						_ = s.p.MultiPublish("t", [][]byte{[]byte(fmt.Sprint(i, j)), []byte("2")})
					}
					sleep(time.Duration(i+j) * time.Millisecond)
				}
			})
		}
		s.d.Inject(nsqtest.Fault{Command: "MPUB", Delay: time.Millisecond})
		for i := range 12 {
			s.d.CutAfterReceived(50 + 200*i)
			sleep(70 * time.Millisecond)
		}
		wg.Wait()
		s.p.Stop()
		h.expectCounts(s.scene, s.p.Snapshot().ProducerCounts)
		if n := len(h.published); n != publishers*each {
			s.Errorf("%d publishes told, want %d", n, publishers*each)
		}
		if h.counts.Unknown == 0 || h.counts.Published == 0 {
			s.Errorf("counts %+v: too little has happened", h.counts)
		}
		if p := s.p.Snapshot(); p.Pending != 0 || p.PendingBytes != 0 {
			s.Errorf("pending %d, %d bytes", p.Pending, p.PendingBytes)
		}
	}, quietly, func(s *scene) { h = toldBy(s) })
}

// A hook of the hooks' goroutine may call any method; Published may call Snapshot.
func TestHooksCallTheProducer(t *testing.T) {
	var p *Producer
	var states []ProducerState
	var mu sync.Mutex
	var published []uint64
	produce(t, func(s *producing) {
		p = s.p
		if err := s.p.Publish("t", []byte("m")); err != nil {
			s.Error(err)
		}
		synctest.Wait()
		if err := s.p.PublishAsync("t", []byte("m"), nil); err != nil {
			s.Error(err)
		}
		s.p.Stop()
		if want := []ProducerState{ProducerConnected, ProducerStopping, ProducerStopping}; !slices.Equal(states, want) {
			s.Errorf("states %q, want %q", states, want)
		}
		if len(published) != 3 || slices.Max(published) != 3 {
			s.Errorf("published %d, want 3 at last", published)
		}
		if got := s.stored(); len(got) != 3 {
			s.Errorf("stored %q, want 3", got)
		}
	}, func(s *scene) {
		look := func() { states = append(states, p.Snapshot().State) }
		s.cfg.Hooks = []Hooks{{
			Connected: func(ConnectEvent) {
				look()
				if err := p.Publish("t", []byte("hello")); err != nil {
					s.Error(err)
				}
			},
			Disconnected: func(DisconnectEvent) { look() },
			Stopped:      func(StoppedEvent) { look() },
			Published: func(PublishedEvent) {
				mu.Lock()
				defer mu.Unlock()
				published = append(published, p.Snapshot().Published)
			},
		}}
	})
}

// A Connected hook finds the error of a failed dial in the Snapshot.
func TestHookFindsTheLastError(t *testing.T) {
	var p *Producer
	heard := 0
	produce(t, func(s *producing) {
		p = s.p
		s.d.Kill()
		for range 20 {
			if err := s.p.Ping(); err == nil {
				s.Error("no error")
			}
			redialAllowed()
		}
		if heard != 20 {
			s.Errorf("heard of %d dials, want 20", heard)
		}
	}, func(s *scene) {
		s.cfg.Hooks = []Hooks{{Connected: func(e ConnectEvent) {
			heard++
			if got := p.Snapshot().LastError; !errors.Is(got, e.Err) {
				s.Errorf("last error %v, the dial's is %v", got, e.Err)
			}
		}}}
	})
}

// A hook that does not return holds up later events, and Stop for stop_timeout, and nothing
// else.
func TestBlockingHook(t *testing.T) {
	var release chan struct{}
	produce(t, func(s *producing) {
		defer close(release)
		for range 3 {
			s.publishes()
			s.d.Disconnect(s.d.Clients()[0].Conn)
			synctest.Wait()
		}
		start := time.Now()
		s.p.Stop()
		if d := time.Since(start); d != s.cfg.StopTimeout {
			s.Errorf("Stop took %v", d)
		}
	}, quietly, func(s *scene) {
		release = make(chan struct{})
		s.cfg.Hooks = []Hooks{{Connected: func(ConnectEvent) { <-release }}}
	})
}

// When 4096 events wait, further ones are dropped. The next event says how many.
func TestDroppedEvents(t *testing.T) {
	var release chan struct{}
	var dropped chan int
	produce(t, func(s *producing) {
		const tooMany = 7
		tell(s.p.hooks, s.p.hooks.connected, ConnectEvent{})
		synctest.Wait() // it blocks in the hook
		for range maxWaitingEvents + tooMany {
			tell(s.p.hooks, s.p.hooks.connected, ConnectEvent{})
		}
		close(release)
		synctest.Wait()
		if err := s.p.Ping(); err != nil {
			s.Error(err)
		}
		synctest.Wait()
		close(dropped)
		var sum, last int
		for last = range dropped {
			sum += last
		}
		if sum != tooMany || last != tooMany {
			s.Errorf("%d dropped, %d of them by the last event, want %d", sum, last, tooMany)
		}
	}, func(s *scene) {
		release, dropped = make(chan struct{}), make(chan int, maxWaitingEvents+2)
		s.cfg.Hooks = []Hooks{{Connected: func(e ConnectEvent) { <-release; dropped <- e.Dropped }}}
	})
}

// A hook that panics is logged once, and affects neither publishes nor the hooks after it.
// Several Hooks are called in order.
func TestPanickingHook(t *testing.T) {
	var mu sync.Mutex
	var order []string
	var lines logLines
	produce(t, func(s *producing) {
		s.p.SetLogger(&lines, LogLevelError)
		done := make(chan *ProducerTransaction, 2)
		for i := range 2 {
			s.publishes()
			if err := s.p.PublishAsync("t", []byte("m"), done, i); err != nil {
				s.Fatal(err)
			}
			if err := s.result(done, i); err != nil {
				s.Error(err)
			}
			s.d.Disconnect(s.d.Clients()[0].Conn)
			synctest.Wait()
		}
		s.p.Stop()
		if want := slices.Repeat([]string{"first published", "second published"}, 4); !slices.Equal(order, want) {
			s.Errorf("order %q", order)
		}
		if got := lines.take(); len(got) != 2 {
			s.Errorf("%d lines, want one for each hook: %q", len(got), got)
		}
	}, func(s *scene) {
		note := func(what string) func(PublishedEvent) {
			return func(PublishedEvent) {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, what)
				if what == "first published" {
					panic(what)
				}
			}
		}
		s.cfg.Hooks = []Hooks{
			{Published: note("first published"), Connected: func(ConnectEvent) { panic("connected") }},
			{Published: note("second published")},
		}
	})
}

// A Published hook that calls runtime.Goexit, as t.FailNow does, ends the goroutine of the
// caller. If the publish is asynchronous, only the hook ends, and no transaction is lost.
func TestHookEndsItsGoroutine(t *testing.T) {
	produce(t, func(s *producing) {
		done := make(chan *ProducerTransaction, 10)
		for i := range 3 {
			if err := s.p.PublishAsync("t", []byte("m"), done, i); err != nil {
				s.Fatal(err)
			}
		}
		for i := range 3 {
			if err := s.result(done, i); err != nil {
				s.Error(err)
			}
		}
		var returned atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.p.Publish("t", []byte("m")); returned.Store(true) })
		wg.Wait()
		if returned.Load() {
			s.Error("the caller went on")
		}
		for _, command := range []string{"PUB", "MPUB"} {
			s.d.Inject(nsqtest.Fault{Command: command, Reply: []byte{}, Close: true})
		}
		for i := range 3 {
			if err := s.p.PublishAsync("t", []byte("m"), done, i); err != nil {
				s.Fatal(err)
			}
		}
		for i := range 3 {
			if err := s.result(done, i); !errors.Is(err, ErrUnknownOutcome) {
				s.Error(err)
			}
		}
	}, func(s *scene) {
		s.cfg.Logger = slog.New(slog.DiscardHandler)
		s.cfg.Hooks = []Hooks{{Published: func(PublishedEvent) { runtime.Goexit() }}}
	})
}

// Stopped is the last event, also if a dial that the stop did not wait for ends after it.
func TestNothingIsToldAfterStopped(t *testing.T) {
	inScene(t, func(s *scene) {
		ended, told := make(chan struct{}), make(chan struct{})
		h := toldBy(s)
		s.cfg.Hooks = append(s.cfg.Hooks, Hooks{Stopped: func(StoppedEvent) { <-told }})
		s.cfg.StopTimeout = time.Second
		dial := s.cfg.DialContext
		s.cfg.DialContext = func(_ context.Context, network, addr string) (net.Conn, error) {
			<-ended
			return dial(context.Background(), network, addr)
		}
		d := s.nsqd("a:1")
		p, err := NewProducer(d.Addr(), s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		go func() { _ = p.Ping() }()
		synctest.Wait()
		p.Stop()
		close(ended)
		synctest.Wait()
		close(told)
		h.expect(s, []string{"stopped a:1 after 1s"})
	})
}

// A Published hook that does not return holds up the goroutine that reads nsqd's replies,
// but not a stop.
func TestStopDoesNotWaitForPublishedHooks(t *testing.T) {
	type client interface {
		PublishAsync(topic string, body []byte, done chan *ProducerTransaction, args ...any) error
		Stop()
	}
	for name, newClient := range map[string]func(addr string, cfg *Config) (client, error){
		"producer": func(addr string, cfg *Config) (client, error) { return NewProducer(addr, cfg) },
		"pool":     func(addr string, cfg *Config) (client, error) { return NewProducerPool([]string{addr}, cfg) },
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				release := make(chan struct{})
				defer close(release)
				s.cfg.Hooks = []Hooks{{Published: func(PublishedEvent) { <-release }}}
				s.cfg.StopTimeout = 10 * time.Second
				p, err := newClient(s.nsqd("a:1").Addr(), s.cfg)
				if err != nil {
					s.Fatal(err)
				}
				if err := p.PublishAsync("t", []byte("m"), make(chan *ProducerTransaction, 1)); err != nil {
					s.Fatal(err)
				}
				synctest.Wait()
				start := time.Now()
				p.Stop()
				if took := time.Since(start); took < s.cfg.StopTimeout || took > s.cfg.StopTimeout+endGrace {
					s.Errorf("the stop took %v", took)
				}
			})
		})
	}
}
