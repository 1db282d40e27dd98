package main

import (
	"compress/flate"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/snappy"

	"github.com/rdyhq/nsq/internal/wire"
)

// floorLibrary is a client that leaves out everything that a client can do
// without: backoff, reconnecting, accounting, deadlines, leases.
//
// Without hop, the goroutine that reads also handles the messages, and makes one
// write of FINs per read. With hop, it hands batches to handler goroutines. A
// handler that finds no write under way writes the FINs of all handlers.
type floorLibrary struct{ hop bool }

var errUnsupported = errors.New("the floor clients do not support this case")

func (lib floorLibrary) consume(c Case, where addresses, handle func(byte, []byte)) (func() bool, error) {
	if where.Lookupd != "" || c.Handler != "" {
		return nil, errUnsupported
	}
	share := max(c.InFlight/max(c.Conns, 1), 1)
	q := &floorQueue{}
	q.nonEmpty.L = &q.mu
	if lib.hop {
		for range max(c.Handlers, 1) {
			go q.work(handle)
		}
	}
	for _, addr := range where.NSQDs {
		f, err := dialFloor(c, addr)
		if err != nil {
			return nil, err
		}
		setUp := wire.AppendSub(nil, topic, channel)
		setUp = wire.AppendRdy(setUp, share)
		if _, err := f.w.Write(setUp); err != nil {
			return nil, err
		}
		if lib.hop {
			go f.readAndHandOver(q)
		} else {
			go f.readAndHandle(handle)
		}
	}
	return func() bool { return true }, nil
}

// floor is one connection.
type floor struct {
	r io.Reader
	w io.Writer

	mu      sync.Mutex
	pending []byte
	writing bool
}

func dialFloor(c Case, addr string) (*floor, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	f := &floor{r: conn, w: conn}
	hello, err := wire.AppendIdentify([]byte(wire.MagicV2), &wire.Identify{
		ClientID: "floor", Hostname: "floor", UserAgent: "floor", FeatureNegotiation: true, HeartbeatInterval: 30_000,
		TLSv1: c.Transport == "tls", Snappy: c.Transport == "snappy", Deflate: c.Transport == "deflate", DeflateLevel: 6,
		OutputBufferSize: 16 << 10, OutputBufferTimeout: 250,
	})
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(hello); err != nil {
		return nil, err
	}
	if err := f.readReply(); err != nil {
		return nil, err
	}
	switch c.Transport {
	case "":
		return f, nil
	case "tls":
		secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // #nosec G402 -- the server is this program
		f.r, f.w = secure, secure
	case "snappy":
		f.r, f.w = snappy.NewReader(conn), flushing{snappy.NewBufferedWriter(conn)}
	case "deflate":
		w, err := flate.NewWriter(conn, 6)
		if err != nil {
			return nil, err
		}
		f.r, f.w = flate.NewReader(conn), flushing{w}
	}
	return f, f.readReply()
}

// flushing compresses, and flushes after each write.
type flushing struct {
	w interface {
		io.Writer
		Flush() error
	}
}

func (f flushing) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	if err == nil {
		err = f.w.Flush()
	}
	return n, err
}

// readReply reads one frame and discards it. The frame must be shorter than 64 KiB.
func (f *floor) readReply() error {
	header := make([]byte, 4)
	if _, err := io.ReadFull(f.r, header); err != nil {
		return err
	}
	rest := make([]byte, int(header[2])<<8|int(header[3]))
	_, err := io.ReadFull(f.r, rest)
	return err
}

// chunk is the size of a read.
const chunk = 64 << 10

func (f *floor) readAndHandle(handle func(byte, []byte)) {
	var out []byte
	f.read(func() []byte { return nil }, func(frames []byte) (rest []byte) {
		out = out[:0]
		for {
			frame, n, err := wire.ParseFrame(frames)
			if err != nil {
				break
			}
			frames = frames[n:]
			if frame.Type != wire.FrameMessage {
				if frame.IsHeartbeat() {
					out = wire.AppendNop(out)
				}
				continue
			}
			m, _ := wire.ParseMessage(frame.Data)
			handle(m.ID[15], m.Body)
			out = wire.AppendFin(out, &m.ID)
		}
		if len(out) > 0 {
			_, _ = f.w.Write(out)
		}
		return frames
	})
}

// read reads into a buffer and passes its content to parse, which returns the
// bytes of an incomplete frame. If fresh returns a buffer, read goes on in that
// one.
func (f *floor) read(fresh func() []byte, parse func([]byte) []byte) {
	buf, w := make([]byte, chunk), 0
	for {
		n, err := f.r.Read(buf[w:])
		if err != nil {
			return
		}
		w += n
		rest := parse(buf[:w])
		next := fresh()
		if next == nil {
			next = buf
		}
		if len(rest) == len(next) { // the frame is longer than the buffer
			next = make([]byte, 2*len(next))
		}
		w = copy(next, rest)
		buf = next
	}
}

// floorMessage is a message on its way to a handler.
type floorMessage struct {
	id   wire.ID
	body []byte
	from *floor
}

// floorQueue is the queue between the readers and the handlers.
type floorQueue struct {
	mu       sync.Mutex // guards the fields below
	nonEmpty sync.Cond
	queue    []floorMessage
	idle     int // handlers that wait for messages
}

// hopBatch is the maximum number of messages that a handler takes at a time.
const hopBatch = 64

func (f *floor) readAndHandOver(q *floorQueue) {
	f.read(func() []byte { return make([]byte, chunk) }, func(frames []byte) []byte {
		var nop bool
		q.mu.Lock()
		for {
			frame, n, err := wire.ParseFrame(frames)
			if err != nil {
				break
			}
			frames = frames[n:]
			if frame.Type == wire.FrameMessage {
				m, _ := wire.ParseMessage(frame.Data)
				q.queue = append(q.queue, floorMessage{m.ID, m.Body, f})
			} else if frame.IsHeartbeat() {
				nop = true
			}
		}
		for range min(q.idle, len(q.queue)) {
			q.nonEmpty.Signal()
		}
		q.mu.Unlock()
		if nop {
			f.send(wire.AppendNop)
		}
		return frames
	})
}

func (q *floorQueue) work(handle func(byte, []byte)) {
	batch := make([]floorMessage, hopBatch)
	for {
		q.mu.Lock()
		for len(q.queue) == 0 {
			q.idle++
			q.nonEmpty.Wait()
			q.idle--
		}
		n := copy(batch, q.queue)
		q.queue = q.queue[n:]
		q.mu.Unlock()
		for from := 0; from < n; {
			f, to := batch[from].from, from
			for to < n && batch[to].from == f {
				handle(batch[to].id[15], batch[to].body)
				to++
			}
			f.send(func(b []byte) []byte {
				for i := range batch[from:to] {
					b = wire.AppendFin(b, &batch[from+i].id)
				}
				return b
			})
			from = to
		}
		clear(batch[:n])
	}
}

// send appends commands to pending. Unless another goroutine is writing, it then
// writes until nothing is pending.
func (f *floor) send(appendTo func([]byte) []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pending = appendTo(f.pending)
	if f.writing {
		return
	}
	f.writing = true
	f.mu.Unlock()
	runtime.Gosched() // lets other goroutines append to the same write
	f.mu.Lock()
	for len(f.pending) > 0 {
		out := f.pending
		f.pending = nil
		f.mu.Unlock()
		_, _ = f.w.Write(out)
		f.mu.Lock()
		if f.pending == nil {
			f.pending = out[:0]
		}
	}
	f.writing = false
}

func (lib floorLibrary) publisher(c Case, addr string) (publisher, error) {
	f, err := dialFloor(c, addr)
	if err != nil {
		return nil, err
	}
	p := &floorPublisher{f: f}
	go p.readReplies()
	return p, nil
}

// floorPublisher pipelines publishes over one connection.
type floorPublisher struct {
	f *floor

	mu      sync.Mutex
	waiting []func() // guarded by mu; called in the order of the replies
}

func (p *floorPublisher) readReplies() {
	p.f.read(func() []byte { return nil }, func(frames []byte) []byte {
		for {
			frame, n, err := wire.ParseFrame(frames)
			if err != nil {
				return frames
			}
			frames = frames[n:]
			if frame.IsHeartbeat() {
				p.f.send(wire.AppendNop)
				continue
			}
			p.mu.Lock()
			done := p.waiting[0]
			p.waiting = p.waiting[1:]
			p.mu.Unlock()
			done()
		}
	})
}

func (p *floorPublisher) publish(done func(), appendTo func([]byte) []byte) {
	p.f.send(func(b []byte) []byte {
		p.mu.Lock()
		p.waiting = append(p.waiting, done)
		p.mu.Unlock()
		return appendTo(b)
	})
}

func (p *floorPublisher) wait(appendTo func([]byte) []byte) error {
	replied := make(chan struct{})
	p.publish(func() { close(replied) }, appendTo)
	select {
	case <-replied:
		return nil
	case <-time.After(time.Minute):
		return fmt.Errorf("no reply after a minute")
	}
}

func (p *floorPublisher) one(body []byte) error {
	return p.wait(func(b []byte) []byte { return wire.AppendPub(b, topic, body) })
}

func (p *floorPublisher) many(bodies [][]byte) error {
	return p.wait(func(b []byte) []byte { return wire.AppendMpub(b, topic, bodies) })
}

func (p *floorPublisher) stream(body []byte, done func(), stop *atomic.Bool) error {
	results := make(chan struct{}, asyncWindow)
	publish := func() error {
		p.publish(func() { results <- struct{}{} }, func(b []byte) []byte { return wire.AppendPub(b, topic, body) })
		return nil
	}
	return stream(publish, results, func(struct{}) error { return nil }, done, stop)
}
