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

// floorLibrary is what is left of a client when everything is taken away that
// can be: no backoff, reconnecting, accounting, deadlines or leases. Inline, it
// handles messages on the goroutine that reads and sends one write of answers per
// read. With a hop, it hands batches over to the handlers' goroutines, and
// whoever finds nobody writing writes the answers of all.
type floorLibrary struct{ hop bool }

var errFloor = errors.New("the floor clients do not do this")

func (lib floorLibrary) consume(c Case, where addresses, handle func(byte, []byte)) (func() bool, error) {
	if where.Lookupd != "" || c.Handler != "" {
		return nil, errFloor
	}
	share := max(c.InFlight/max(c.Conns, 1), 1)
	q := &floorQueue{}
	q.some.L = &q.mu
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
	if err := f.response(); err != nil {
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
	return f, f.response()
}

// flushing flushes what it compresses at each write.
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

// response reads one frame.
func (f *floor) response() error {
	header := make([]byte, 4)
	if _, err := io.ReadFull(f.r, header); err != nil {
		return err
	}
	rest := make([]byte, int(header[2])<<8|int(header[3]))
	_, err := io.ReadFull(f.r, rest)
	return err
}

// chunk is how much is read at once.
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

// read reads into a buffer, which fresh replaces after each read if it returns
// one, and gives whole frames to parse, which returns what it left.
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
		if len(rest) == len(next) { // a frame longer than the buffer
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

// floorQueue hands messages over in batches.
type floorQueue struct {
	mu    sync.Mutex
	some  sync.Cond
	queue []floorMessage
	idle  int
}

// handOver is how many messages a handler takes at most.
const handOver = 64

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
			q.some.Signal()
		}
		q.mu.Unlock()
		if nop {
			f.answer(wire.AppendNop)
		}
		return frames
	})
}

func (q *floorQueue) work(handle func(byte, []byte)) {
	batch := make([]floorMessage, handOver)
	for {
		q.mu.Lock()
		for len(q.queue) == 0 {
			q.idle++
			q.some.Wait()
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
			f.answer(func(b []byte) []byte {
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

// answer appends answers, and writes all there are if nobody else does.
func (f *floor) answer(appendTo func([]byte) []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pending = appendTo(f.pending)
	if f.writing {
		return
	}
	f.writing = true
	f.mu.Unlock()
	runtime.Gosched() // others have something, too
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
	go p.readAnswers()
	return p, nil
}

// floorPublisher pipelines publishes over one connection.
type floorPublisher struct {
	f *floor

	mu      sync.Mutex
	waiting []func()
}

func (p *floorPublisher) readAnswers() {
	p.f.read(func() []byte { return nil }, func(frames []byte) []byte {
		for {
			frame, n, err := wire.ParseFrame(frames)
			if err != nil {
				return frames
			}
			frames = frames[n:]
			if frame.IsHeartbeat() {
				p.f.answer(wire.AppendNop)
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

func (p *floorPublisher) send(done func(), appendTo func([]byte) []byte) {
	p.f.answer(func(b []byte) []byte {
		p.mu.Lock()
		p.waiting = append(p.waiting, done)
		p.mu.Unlock()
		return appendTo(b)
	})
}

func (p *floorPublisher) wait(appendTo func([]byte) []byte) error {
	answered := make(chan struct{})
	p.send(func() { close(answered) }, appendTo)
	select {
	case <-answered:
		return nil
	case <-time.After(time.Minute):
		return fmt.Errorf("no answer within a minute")
	}
}

func (p *floorPublisher) one(body []byte) error {
	return p.wait(func(b []byte) []byte { return wire.AppendPub(b, topic, body) })
}

func (p *floorPublisher) many(bodies [][]byte) error {
	return p.wait(func(b []byte) []byte { return wire.AppendMpub(b, topic, bodies) })
}

func (p *floorPublisher) stream(body []byte, done func(), stop *atomic.Bool) error {
	answers := make(chan struct{}, asyncWindow)
	publish := func() error {
		p.send(func() { answers <- struct{}{} }, func(b []byte) []byte { return wire.AppendPub(b, topic, body) })
		return nil
	}
	return stream(publish, answers, func(struct{}) error { return nil }, done, stop)
}
