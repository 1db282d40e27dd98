package nsq

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// swallow is an nsqd that accepts one connection and a subscription, and reads everything
// after that without a reply.
func swallow(l net.Listener) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case err != nil:
			return
		case bytes.HasSuffix(line, []byte("IDENTIFY\n")):
			var size [4]byte
			_, _ = io.ReadFull(in, size[:])
			_, _ = in.Discard(int(size[2])<<8 | int(size[3]))
			_, _ = conn.Write(nsqtest.ResponseFrame("OK"))
		case bytes.HasPrefix(line, []byte("SUB")):
			_, _ = conn.Write(nsqtest.ResponseFrame("OK"))
		case string(line) == "CLS\n":
			_, _ = conn.Write(nsqtest.ResponseFrame("CLOSE_WAIT"))
		}
	}
}

// fed is a Consumer whose messages come from the test rather than from a socket. Its acks
// go to swallow.
type fed struct {
	*Consumer
	conn    *consumerConn
	handled atomic.Int64
	batch   []wire.Message // one slab
	total   int64          // messages fed
}

// newFed connects a Consumer whose handlers only count.
func newFed(tb testing.TB, handlers int, change func(*Config)) *fed {
	tb.Helper()
	network := nsqtest.NewNetwork()
	l, err := network.Listen("sink:1")
	if err != nil {
		tb.Fatal(err)
	}
	go swallow(l)
	cfg := NewConfig()
	cfg.DialContext, cfg.MaxInFlight = network.DialContext, 1<<20
	change(cfg)
	f := &fed{batch: make([]wire.Message, messageSlab)}
	if f.Consumer, err = NewConsumer("t", "c", cfg); err != nil {
		tb.Fatal(err)
	}
	f.SetLogger(nil, LogLevelError)
	f.AddConcurrentHandlers(HandlerFunc(func(*Message) error { f.handled.Add(1); return nil }), handlers)
	if err := f.ConnectToNSQD("sink:1"); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		f.Stop()
		<-f.StopChan
		_ = l.Close()
	})
	f.conn = f.connected.Load().open[0]
	for i := range f.batch {
		f.batch[i] = wire.Message{Attempts: 1, ID: wire.ID([]byte(fmt.Sprintf("%016d", i))), Body: make([]byte, 200)}
	}
	return f
}

// feed has the connection deliver one slab of messages. It does not call Messages, which is
// for the reader alone.
func (f *fed) feed() {
	f.total += int64(len(f.batch))
	_, bytes := slabSize(f.batch, bodySlab)
	f.conn.enqueue(f.batch, bytes, false)
}

// drain waits until all fed messages are handled.
func (f *fed) drain() {
	for f.handled.Load() < f.total {
		runtime.Gosched()
	}
}

// A message allocates its share of two slabs, one of messages and one of bodies, and
// nothing else: no timer, no context, no entry in a table.
func TestHandlingAllocatesNothing(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"plain":      func(*Config) {},
		"auto_touch": func(c *Config) { c.AutoTouch = time.Minute },
		"hooks":      hooksOfMessages,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFed(t, 1, change)
			const slabs = 100
			perRun := testing.AllocsPerRun(10, func() {
				for range slabs {
					f.feed()
					f.drain()
				}
			})
			// The rest are buffers that grow, more of them on a busy machine. An allocation
			// for each message would be 63 more.
			if perSlab := perRun / slabs; perSlab > 6 {
				t.Errorf("%.2f allocations per %d messages, want those of two slabs", perSlab, messageSlab)
			}
		})
	}
}

// hooksOfMessages sets a Handled hook, and another hook that is not called.
func hooksOfMessages(c *Config) {
	var n atomic.Int64
	c.Hooks = []Hooks{
		{Handled: func(e HandledEvent) { n.Add(int64(e.Took)) }},
		{Abandoned: func(AbandonedEvent) {}},
	}
}

// BenchmarkHandle measures a message's way from the reader to its FIN.
func BenchmarkHandle(b *testing.B) {
	for _, handlers := range []int{1, 4, 64} {
		for _, hooks := range []bool{false, true} {
			b.Run(fmt.Sprintf("handlers=%d/hooks=%t", handlers, hooks), func(b *testing.B) {
				change := func(*Config) {}
				if hooks {
					change = hooksOfMessages
				}
				benchmarkHandle(b, newFed(b, handlers, change))
			})
		}
	}
}

func benchmarkHandle(b *testing.B, f *fed) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%messageSlab == 0 {
			f.feed()
		}
		if i%(100*messageSlab) == 0 {
			f.drain()
		}
	}
	f.drain()
}

// BenchmarkInFlight measures the same while 100,000 other messages are in flight: 1,000 in
// handlers, the others left to be acked later. With auto_touch and without.
func BenchmarkInFlight(b *testing.B) {
	for _, touch := range []time.Duration{0, time.Hour} {
		b.Run(fmt.Sprintf("auto_touch=%v", touch), func(b *testing.B) {
			f := newFed(b, 4, func(c *Config) { c.AutoTouch, c.MsgTimeout = touch, 2*time.Second })
			hold := make(chan struct{})
			f.mu.Lock()
			f.handlers = append(f.handlers, &addedHandler{Handler: HandlerFunc(func(*Message) error { <-hold; f.handled.Add(1); return nil })})
			f.adjustWorkers(1, 1000)
			f.mu.Unlock()
			for range 1000 * 64 { // until all 1,000 handlers have a message
				if f.queue.running() >= 1000 {
					break
				}
				f.feed()
				runtime.Gosched()
			}
			held := make([]Message, 99_000)
			for i := range held {
				held[i] = Message{conn: f.conn, state: manualResponse | detached, received: f.elapsed(), lease: 1 << 30}
			}
			f.queue.mu.Lock()
			for i := range held {
				f.queue.detached[&held[i]] = struct{}{}
			}
			f.queue.mu.Unlock()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				if i%messageSlab == 0 {
					f.feed()
				}
				if i%(100*messageSlab) == 0 {
					for f.handled.Load()+1000 < f.total {
						runtime.Gosched()
					}
				}
			}
			b.StopTimer()
			close(hold)
			f.drain()
		})
	}
}

// BenchmarkTake measures how a worker gets its next message while others, with slow
// handlers, work on one each and have had the rest of their batches stolen.
func BenchmarkTake(b *testing.B) {
	for _, slow := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("slow=%d", slow), func(b *testing.B) {
			d := newQueue(1<<20, 0, frozenClock)
			w, conn := &worker{batchSize: 1}, &consumerConn{}
			for range slow {
				d.put(numbered(conn, 0, 1), false)
				d.take(&worker{batchSize: 2})
				d.take(w)
			}
			messages := numbered(conn, 0)
			for b.Loop() {
				d.put(messages, false)
				d.take(w)
			}
		})
	}
}

// running returns how many workers have a message.
func (d *deliveryQueue) running() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.busy)
}
