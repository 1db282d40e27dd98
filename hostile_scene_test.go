package nsq

import (
	"cmp"
	"context"
	"log/slog"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
	"github.com/rdyhq/nsq/nsqtest/hostile"
)

// heapMeter measures how far the heap grows over what it was at first, garbage included.
type heapMeter struct {
	mu     sync.Mutex // guards what follows
	sample []metrics.Sample
	base   uint64
	peak   uint64
}

func newHeapMeter() *heapMeter {
	m := &heapMeter{sample: []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}}
	runtime.GC()
	m.measure()
	m.base = m.peak
	return m
}

// measure is called again and again while a peer sends.
func (m *heapMeter) measure() {
	m.mu.Lock()
	defer m.mu.Unlock()
	metrics.Read(m.sample)
	m.peak = max(m.peak, m.sample[0].Value.Uint64())
}

// mebibytes returns how far the heap grew.
func (m *heapMeter) mebibytes() int {
	m.measure()
	m.mu.Lock()
	defer m.mu.Unlock()
	return int((m.peak - m.base) >> 20) // #nosec G115 -- not negative
}

// A hostileCase is what one nsqd does to its clients. It is played against each kind of
// client: see hostileClients.
type hostileCase struct {
	name   string
	opts   hostile.Options
	script func(p *hostile.Peer)
	only   []string // the kinds of clients that the case is about; nil: all
	config func(*Config)
	most   map[string]int // MiB by which the heap may grow, by kind of client; 0: mostHeap
}

// mostHeap is how many MiB the heap may grow by in a case that says nothing else.
const mostHeap = 20

// onFirst plays a script on the first connection. Later ones only hang: a client that was
// rid of the nsqd would otherwise be flooded again and again.
func onFirst(script func(p *hostile.Peer)) func(p *hostile.Peer) {
	return func(p *hostile.Peer) {
		if p.N == 1 {
			script(p)
		} else {
			p.Hang()
		}
	}
}

// afterHandshake plays a script when the client has subscribed or begun to publish.
func afterHandshake(script func(p *hostile.Peer)) func(p *hostile.Peer) {
	return onFirst(func(p *hostile.Peer) {
		if !p.Greet() {
			return
		}
		c, err := p.Next()
		for err == nil && c.Name == "NOP" {
			c, err = p.Next()
		}
		if err == nil && (c.Name != "SUB" || p.Send(nsqtest.ResponseFrame("OK"))) {
			script(p)
		}
	})
}

// hostileClients are the kinds of clients, and what each does while the nsqd, at a:1, is
// hostile.
var hostileClients = []struct {
	name string
	run  func(s *scene)
}{
	{"Consumer", func(s *scene) {
		good := s.nsqd("b:1")
		good.Publish("t", "well")
		handled := make(chan string, 1)
		c := s.consumer(4, func(m *Message) error {
			if m.NSQDAddress == "b:1" {
				handled <- string(m.Body)
			}
			return nil
		})
		go func() { _ = c.ConnectToNSQD("a:1") }()
		s.connect(good)
		after(10 * time.Minute)
		if len(handled) != 1 {
			s.Error("the message of another nsqd was not handled")
		}
		s.balanced()
	}},
	{"slow Consumer", func(s *scene) {
		release := make(chan struct{})
		c := s.consumer(4, func(*Message) error { <-release; return nil })
		go func() { _ = c.ConnectToNSQD("a:1") }()
		after(10 * time.Minute)
		s.balanced()
		close(release)
	}},
	{"Producer", func(s *scene) {
		p, err := NewProducer("a:1", s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		publishAtOnce(s, p, 1<<10)
		p.Stop()
	}},
	{"Pool", func(s *scene) {
		good := s.nsqd("b:1")
		pool, err := NewProducerPool([]string{"a:1", "b:1"}, s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		publishAtOnce(s, pool, 1<<10)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := pool.PublishContext(ctx, "t", []byte("well")); err != nil {
			s.Errorf("no nsqd takes a publish: %v", err)
		}
		if len(good.Queued("t", "")) == 0 {
			s.Error("the other nsqd got nothing")
		}
		pool.Stop()
	}},
	{"slow Conn", func(s *scene) {
		release := make(chan struct{})
		conn := NewConn("a:1", s.cfg, heldDelegate{release: release})
		if _, err := conn.Connect(); err == nil {
			_ = conn.WriteCommand(Subscribe("t", "c"))
		}
		after(10 * time.Minute)
		close(release)
		_ = conn.Close()
		after(time.Minute)
	}},
}

// heldDelegate is a ConnDelegate whose methods wait for release. It finishes no message.
type heldDelegate struct {
	ConnDelegate
	release chan struct{}
}

func (d heldDelegate) OnResponse(*Conn, []byte)  { <-d.release }
func (d heldDelegate) OnError(*Conn, []byte)     { <-d.release }
func (d heldDelegate) OnMessage(*Conn, *Message) { <-d.release }
func (d heldDelegate) OnHeartbeat(*Conn)         { <-d.release }
func (d heldDelegate) OnIOError(*Conn, error)    {}
func (d heldDelegate) OnClose(*Conn)             {}

// A publisher is a Producer or a ProducerPool.
type publisher interface {
	PublishContext(ctx context.Context, topic string, body []byte) error
}

// publishAtOnce publishes 1280 messages from 64 goroutines. Whatever becomes of that, each
// call returns within its minute.
func publishAtOnce(s *scene, p publisher, size int) {
	s.Helper()
	body := make([]byte, size)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 20 {
				if err := p.PublishContext(ctx, "t", body); err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
}

// play plays a case against a kind of client, and returns by how many MiB the heap
// grew.
func (c *hostileCase) play(t *testing.T, run func(s *scene)) (grown int) {
	t.Helper()
	return heapGrowth(t, func(s *scene, measure func()) {
		if c.config != nil {
			c.config(s.cfg)
		}
		opts := c.opts
		opts.Network, opts.Addr, opts.Sent = s.net, "a:1", measure
		d := hostile.NewNsqd(s, opts, c.script)
		defer d.Close()
		run(s)
	})
}

// heapGrowth returns by how many MiB the heap grew in a scene without a log. Call measure
// while much is under way.
func heapGrowth(t *testing.T, test func(s *scene, measure func())) int {
	t.Helper()
	meter := newHeapMeter()
	inScene(t, func(s *scene) {
		s.cfg.Logger = slog.New(slog.DiscardHandler)
		test(s, meter.measure)
		meter.measure()
	})
	return meter.mebibytes()
}

// against plays the cases against every kind of client, and logs a table of peak heaps.
func against(t *testing.T, cases []hostileCase) {
	t.Helper()
	table := map[[2]string]int{}
	for _, c := range cases {
		for _, client := range hostileClients {
			if c.only != nil && !slices.Contains(c.only, client.name) {
				continue
			}
			t.Run(c.name+"/"+client.name, func(t *testing.T) {
				grown := c.play(t, client.run)
				table[[2]string{c.name, client.name}] = grown
				if most := cmp.Or(c.most[client.name], mostHeap); grown > most {
					t.Errorf("the heap grew by %d MiB, want %d at most", grown, most)
				}
			})
		}
	}
	for _, c := range cases {
		for _, client := range hostileClients {
			if grown, ok := table[[2]string{c.name, client.name}]; ok {
				t.Logf("%-45s %-14s %4d MiB", c.name, client.name, grown)
			}
		}
	}
}
