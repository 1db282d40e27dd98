package nsq

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// producing is a scene with one nsqd, at a:1, and one producer.
type producing struct {
	*scene
	d *nsqtest.Nsqd
	p *Producer
}

// produce runs a test in a bubble, stops the producer, and then checks that it
// leaves nothing behind: no goroutine, and each connection closed exactly once.
func produce(t *testing.T, test func(s *producing), change ...func(*scene)) {
	t.Helper()
	inScene(t, func(base *scene) {
		for _, f := range change {
			f(base)
		}
		s := &producing{scene: base, d: base.nsqd("a:1")}
		p, err := NewProducer("a:1", s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		s.p = p
		defer func() {
			s.p.Stop()
			if s.c != nil {
				s.c.Stop()
				<-s.c.StopChan
			}
			for i, c := range s.net.Conns() {
				if n := c.Closes(); n != 1 {
					s.Errorf("connection %d was closed %d times, want once", i+1, n)
				}
			}
		}()
		test(s)
	})
}

// quietly turns logging off, for tests that make very many connections.
func quietly(s *scene) { s.cfg.Logger = slog.New(slog.DiscardHandler) }

// redialAllowed waits until calls no longer fail at once because of a failed attempt
// to connect.
func redialAllowed() { after(2 * time.Second) }

// stored returns the messages of topic t in order.
func (s *producing) stored() []string { return s.d.Queued("t", "") }

// publishes checks that a publish succeeds.
func (s *producing) publishes() {
	s.Helper()
	synctest.Wait() // nsqd may still be storing what came over an earlier connection
	before := len(s.stored())
	if err := s.p.Publish("t", []byte("well?")); err != nil {
		s.Errorf("publish: %v", err)
	}
	if n := len(s.stored()) - before; n != 1 {
		s.Errorf("%d messages stored, want 1", n)
	}
}

// isRefusal reports whether nsqd refused a publish with this code.
func isRefusal(err error, code string) bool {
	refusal, ok := errors.AsType[*ProtocolError](err)
	return ok && refusal.Code == code && !errors.Is(err, ErrNotConnected)
}

// expectVerdict checks that the error of a publish agrees with what nsqd has stored.
func expectVerdict(t *testing.T, err error, stored bool) {
	t.Helper()
	unknown, notSent := errors.Is(err, ErrUnknownOutcome), errors.Is(err, ErrNotSent)
	switch {
	case err == nil && !stored:
		t.Error("no error, but the message is not stored")
	case err != nil && !unknown && stored:
		t.Errorf("the message is stored, but the error is %v", err)
	case unknown && notSent:
		t.Errorf("the error is both ErrUnknownOutcome and ErrNotSent: %v", err)
	case (unknown || notSent) && !errors.Is(err, ErrNotConnected):
		t.Errorf("the error does not match ErrNotConnected: %v", err)
	}
}

// traffic records what passes over a scene's only connection.
type traffic struct {
	mu       sync.Mutex
	writes   []string
	received int // bytes
}

// tapped records the scene's traffic.
func tapped(s *scene) *traffic {
	tr := &traffic{}
	s.cfg.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := s.net.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return tap{conn.(*nsqtest.Conn), tr}, nil
	}
	return tr
}

type tap struct {
	*nsqtest.Conn
	*traffic
}

func (t tap) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.writes = append(t.writes, string(p))
	t.mu.Unlock()
	return t.Conn.Write(p)
}

func (t tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.mu.Lock()
	t.received += n
	t.mu.Unlock()
	return n, err
}

// result receives a transaction and returns its Cause. It checks that the transaction
// belongs to the call with these args, and that Error is what go-nsq reports for Cause.
func (s *producing) result(done chan *ProducerTransaction, args ...any) error {
	s.Helper()
	t := <-done
	if !slices.Equal(t.Args, args) {
		s.Errorf("transaction of the call with %v, want %v", t.Args, args)
	}
	if want := asGoNSQ(t.Cause); t.Error != want { //nolint:errorlint // go-nsq's users compare
		s.Errorf("the transaction's Error is %v, want %v", t.Error, want)
	}
	return t.Cause
}

// expectNoQueues checks that no doneChan has a queue, as none has an outstanding
// transaction.
func (s *producing) expectNoQueues() {
	s.Helper()
	synctest.Wait()
	s.p.queues.mu.Lock()
	defer s.p.queues.mu.Unlock()
	if n := len(s.p.queues.open); n != 0 {
		s.Errorf("%d queues are left", n)
	}
}

// expectStopped checks that calls return ErrStopped itself.
func expectStopped(t *testing.T, p *Producer) {
	t.Helper()
	for _, err := range []error{p.Publish("t", []byte("m")), p.MultiPublish("t", [][]byte{[]byte("m")}), p.Ping()} {
		if err != ErrStopped { //nolint:errorlint // go-nsq's users compare
			t.Errorf("after Stop: %v", err)
		}
	}
}

// dialTimes records the times of a scene's dials.
func dialTimes(s *scene) *[]time.Time {
	var times []time.Time // one dial at a time
	s.cfg.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		times = append(times, time.Now())
		return s.net.DialContext(ctx, network, addr)
	}
	return &times
}

// replyOK is an nsqd that replies OK to every publish and stores nothing.
func replyOK(l net.Listener) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	ok := nsqtest.ResponseFrame(wire.OK)
	in := bufio.NewReaderSize(conn, 1<<20)
	_, _ = in.Discard(len(wire.MagicV2))
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		if string(line) == wire.CmdNop+"\n" {
			continue
		}
		size, err := in.Peek(4)
		if err != nil {
			return
		}
		_, _ = in.Discard(4 + int(size[1])<<16 + int(size[2])<<8 + int(size[3]))
		if _, err := conn.Write(ok); err != nil {
			return
		}
	}
}

// endsAfter is a context whose end is seen once all goroutines of the bubble are
// blocked.
type endsAfter struct{ context.Context }

func (c endsAfter) Done() <-chan struct{} {
	synctest.Wait()
	return c.Context.Done()
}

func (c endsAfter) Err() error { return nil }

func limitMessages(s *scene) { s.cfg.MaxMsgSize = 100 }

// helloSizes returns how many bytes client and nsqd send in a handshake.
func helloSizes(t *testing.T) (sent, received int) {
	t.Helper()
	var tr *traffic
	produce(t, func(s *producing) {
		if err := s.p.Ping(); err != nil {
			s.Fatal(err)
		}
		synctest.Wait()
		sent, received = len(tr.writes[0]), tr.received
	}, func(s *scene) { tr = tapped(s) })
	return sent, received
}
