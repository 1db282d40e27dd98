package nsq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// valve is what a scene's connections write through. While it is shut they wait.
type valve struct {
	mu   sync.Mutex
	shut chan struct{} // nil while it is open
}

// valved puts a valve before the scene's nsqd.
func valved(s *scene) *valve {
	v := &valve{}
	s.cfg.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := s.net.DialContext(ctx, network, addr)
		return valvedConn{conn, v}, err
	}
	return v
}

type valvedConn struct {
	net.Conn
	v *valve
}

func (c valvedConn) Write(p []byte) (int, error) {
	c.v.mu.Lock()
	shut := c.v.shut
	c.v.mu.Unlock()
	if shut != nil {
		<-shut
		defer sleep(1) // so that nsqd reads the next write by itself
	}
	return c.Conn.Write(p)
}

// together calls functions that publish to t one after the other, so that all that they
// queue is sent by one write, and waits for them. nsqd has accepted a message before.
func (v *valve) together(s *producing, publish ...func()) {
	s.Helper()
	s.publishes()
	if s.p.nsqd.ping() != nil {
		s.Fatal("not connected")
	}
	synctest.Wait()
	v.mu.Lock()
	v.shut = make(chan struct{})
	v.mu.Unlock()
	if err := s.p.nsqd.ping(); err != nil { // which keeps the writer busy
		s.Fatal(err)
	}
	synctest.Wait()
	var wg sync.WaitGroup
	for _, f := range publish {
		wg.Go(f)
		synctest.Wait()
	}
	v.mu.Lock()
	close(v.shut)
	v.shut = nil
	v.mu.Unlock()
	wg.Wait()
}

// each publishes single messages together, and returns their results.
func (v *valve) each(s *producing, publish func(topic string, body []byte) error, bodies ...string) []error {
	s.Helper()
	errs := make([]error, len(bodies))
	var calls []func()
	for i, body := range bodies {
		calls = append(calls, func() { errs[i] = publish("t", []byte(body)) })
	}
	v.together(s, calls...)
	return errs
}

// publishContext is PublishContext without an end.
func (s *producing) publishContext(topic string, body []byte) error {
	return s.p.PublishContext(s.Context(), topic, body)
}

// awaited returns PublishAsync with a wait for its transaction.
func (s *producing) awaited(topic string, body []byte) error {
	done := make(chan *ProducerTransaction, 1)
	if err := s.p.PublishAsync(topic, body, done, string(body)); err != nil {
		return err
	}
	return s.result(done, string(body))
}

// packed returns the commands that publish to t, since the last call.
func packed(s *producing) func() []string {
	seen := 0
	return func() []string {
		all := commands(s.d, "PUB", "MPUB")
		defer func() { seen = len(all) }()
		return all[seen:]
	}
}

// Publishes that wait for one write leave as one MPUB, in order. Each gets its result, and
// counts as one.
func TestPublishesPack(t *testing.T) {
	for _, on := range []bool{true, false} {
		t.Run(fmt.Sprint(on), func(t *testing.T) {
			var v *valve
			var mu sync.Mutex
			var told []PublishedEvent
			produce(t, func(s *producing) {
				sent := packed(s)
				done := make(chan *ProducerTransaction, 10)
				var calls []func()
				for i := range 3 { // one after the other, as a goroutine may
					calls = append(calls, func() {
						for j := range 2 {
							if err := s.p.PublishAsync("t", fmt.Append(nil, i, j), done, i, j); err != nil {
								s.Error(err)
							}
						}
						if err := s.p.Publish("t", fmt.Append(nil, i, 2)); err != nil {
							s.Error(err)
						}
					})
				}
				v.together(s, calls...)
				for i := range 3 {
					for j := range 2 {
						if err := s.result(done, i, j); err != nil {
							s.Error(err)
						}
					}
				}
				want := []string{"well?", "0 0", "0 1", "0 2", "1 0", "1 1", "1 2", "2 0", "2 1", "2 2"}
				if got := s.stored(); !slices.Equal(got, want) {
					s.Errorf("stored %q, want %q", got, want)
				}
				commands := []string{"PUB t", "MPUB t"}
				if !on {
					commands = slices.Repeat([]string{"PUB t"}, 10)
				}
				if got := sent(); !slices.EqualFunc(got, commands, strings.HasPrefix) {
					s.Errorf("sent %q", got)
				}
				if got := s.p.Snapshot(); got.Published != 10 || got.Pending != 0 || got.PendingBytes != 0 {
					s.Errorf("%+v", got)
				}
				s.p.Stop()
				for _, e := range told {
					if e.Messages != 1 || e.Err != nil {
						s.Errorf("%+v", e)
					}
				}
				if len(told) != 10 {
					s.Errorf("%d events, want 10", len(told))
				}
			}, func(s *scene) {
				v = valved(s)
				s.cfg.PackPublishes = on
				s.cfg.Hooks = []Hooks{{Published: func(e PublishedEvent) {
					mu.Lock()
					defer mu.Unlock()
					told = append(told, e)
				}}}
			})
		})
	}
}

// nsqd refuses a pack for its size, or because it knows no MPUB. It has stored nothing: the
// messages are published singly. Those of asynchronous publishes are not sent, as whenever
// the connection is lost. For a minute there is no other pack.
func TestRefusedPack(t *testing.T) {
	for _, text := range []string{"E_BAD_BODY MPUB body too big 19 > 18", "E_INVALID invalid command MPUB"} {
		t.Run(text, func(t *testing.T) {
			var v *valve
			produce(t, func(s *producing) {
				code, desc, _ := strings.Cut(text, " ")
				s.d.Reject("MPUB", code, desc)
				sent := packed(s)
				var async error
				errs := make([]error, 3)
				publish := func(i int) func() { return func() { errs[i] = s.p.Publish("t", fmt.Append(nil, i)) } }
				v.together(s, publish(0), func() { async = s.awaited("t", []byte("async")) }, publish(1), publish(2))
				if err := errors.Join(errs...); err != nil {
					s.Error(err)
				}
				if !errors.Is(async, ErrNotSent) || !strings.Contains(async.Error(), text) {
					s.Errorf("async: %v", async)
				}
				stored := s.stored()
				slices.Sort(stored)
				if want := []string{"0", "1", "2", "well?"}; !slices.Equal(stored, want) || s.net.Dials() != 2 {
					s.Errorf("stored %q over %d connections", stored, s.net.Dials())
				}
				s.d.ClearFaults()
				after(time.Minute - time.Second)
				sent()
				expect := func(want ...string) {
					s.Helper()
					if err := errors.Join(v.each(s, s.publishContext, "a", "b", "c")...); err != nil {
						s.Error(err)
					}
					if got := sent(); !slices.EqualFunc(got, want, strings.HasPrefix) {
						s.Errorf("sent %q, want %q", got, want)
					}
				}
				expect("PUB", "PUB", "PUB", "PUB")
				after(time.Second)
				if code == "E_BAD_BODY" { // which is remembered
					expect("PUB", "MPUB", "PUB")
				} else {
					expect("PUB", "MPUB")
				}
			}, quietly, func(s *scene) { v = valved(s) })
		})
	}
}

// nsqd fails in a pack. It may have stored the first messages: the outcome is unknown. Under
// go-nsq's names the error is nsqd's. For a minute publishes are sent singly, so that it is
// known again what becomes of each.
func TestPackFailsMidway(t *testing.T) {
	var v *valve
	produce(t, func(s *producing) {
		fail := func(publish func(string, []byte) error) error {
			s.d.Inject(nsqtest.Fault{Command: "MPUB", Times: 1, Reply: nsqtest.ErrorFrame("E_MPUB_FAILED", "MPUB failed exiting"), Close: true})
			errs := v.each(s, publish, "a", "b")
			if errs[0] == nil || errs[0].Error() != errs[1].Error() {
				s.Errorf("%v, %v", errs[0], errs[1])
			}
			s.d.Inject(nsqtest.Fault{Command: "PUB", Times: 1, Skip: 1, Reply: nsqtest.ErrorFrame("E_PUB_FAILED", "PUB failed exiting"), Close: true})
			singly := v.each(s, publish, "c", "d")
			if !isRefusal(singly[0], "E_PUB_FAILED") || singly[1] != nil && !errors.Is(singly[1], ErrNotSent) {
				s.Errorf("singly: %v", singly)
			}
			s.d.ClearFaults()
			after(time.Minute)
			return errs[0]
		}
		if err := fail(s.p.Publish); err != (ErrProtocol{Reason: "E_PUB_FAILED PUB failed exiting"}) { //nolint:errorlint // go-nsq's users compare
			s.Errorf("Publish: %v", err)
		}
		for name, publish := range map[string]func(string, []byte) error{"PublishContext": s.publishContext, "PublishAsync": s.awaited} {
			err := fail(publish)
			refused, ok := errors.AsType[*ProtocolError](err)
			if !errors.Is(err, ErrUnknownOutcome) || !ok || refused.Code != "E_MPUB_FAILED" {
				s.Errorf("%s: %v", name, err)
			}
		}
	}, quietly, func(s *scene) { v = valved(s) })
}

// nsqd does not let the client publish to a topic: that is the error of each publish, and
// does not name MPUB, which nobody called.
func TestUnauthorizedPack(t *testing.T) {
	var v *valve
	produce(t, func(s *producing) {
		s.d.Inject(nsqtest.Fault{Command: "MPUB", Times: 1, Reply: nsqtest.ErrorFrame("E_UNAUTHORIZED", `AUTH failed for MPUB on "t" ""`), Close: true})
		for _, err := range v.each(s, s.publishContext, "a", "b", "c") {
			if err != (ErrProtocol{Reason: `E_UNAUTHORIZED AUTH failed for PUB on "t" ""`}) { //nolint:errorlint // go-nsq's users compare
				s.Errorf("%v", err)
			}
		}
		s.publishes()
	}, quietly, func(s *scene) { v = valved(s) })
}

// A caller of a pack leaves when its context ends. Its message may be stored. The others wait
// for nsqd's reply.
func TestCallerLeavesPack(t *testing.T) {
	var v *valve
	produce(t, func(s *producing) {
		s.d.Inject(nsqtest.Fault{Command: "MPUB", Delay: time.Second})
		ctx, cancel := context.WithTimeout(s.Context(), time.Millisecond)
		defer cancel()
		calls := 0
		errs := v.each(s, func(topic string, body []byte) error {
			if calls++; calls == 2 {
				return s.p.PublishContext(ctx, topic, body)
			}
			return s.publishContext(topic, body)
		}, "a", "b", "c")
		if errs[0] != nil || !errors.Is(errs[1], ErrUnknownOutcome) || !errors.Is(errs[1], context.DeadlineExceeded) || errs[2] != nil {
			s.Errorf("%v", errs)
		}
		if n := len(s.stored()); n != 4 {
			s.Errorf("%d stored, want 4", n)
		}
	}, func(s *scene) { v = valved(s) })
}

// The connection breaks after each byte of a pack, and after each of its reply. The error of
// each publish agrees with what nsqd has stored, and none is stored twice.
func TestPackCutAtEveryByte(t *testing.T) {
	helloSent, helloReceived := helloSizes(t)
	before := helloSent + len(wire.AppendPub(nil, "t", []byte("well?"))) + 2*len("NOP\n")
	size := len(wire.AppendMpub(nil, "t", [][]byte{[]byte("a"), []byte("b"), []byte("c")}))
	reply := len(nsqtest.ResponseFrame("OK"))
	cut := func(t *testing.T, prepare func(s *producing)) (stored int, errs []error) {
		var v *valve
		produce(t, func(s *producing) {
			prepare(s)
			errs = make([]error, 3)
			v.together(s,
				func() { errs[0] = s.publishContext("t", []byte("a")) },
				func() { errs[1] = s.awaited("t", []byte("b")) },
				func() { errs[2] = s.publishContext("t", []byte("c")) })
			synctest.Wait()
			for i, body := range []string{"a", "b", "c"} {
				n := 0
				for _, m := range s.stored() {
					if m == body {
						n++
					}
				}
				expectVerdict(s.T, errs[i], n > 0)
				if stored += n; n > 1 {
					s.Errorf("%q is stored %d times", body, n)
				}
			}
			redialAllowed()
			s.publishes()
		}, quietly, func(s *scene) { v = valved(s) })
		return stored, errs
	}
	t.Run("sent", func(t *testing.T) {
		for n := range size + 1 {
			stored, errs := cut(t, func(s *producing) { s.d.CutAfterReceived(before + n) })
			if whole := n == size; (stored == 3) != whole {
				t.Errorf("after %d of %d bytes: %d stored, %v", n, size, stored, errs)
			}
		}
	})
	t.Run("reply", func(t *testing.T) {
		for n := 1; n <= reply; n++ {
			stored, errs := cut(t, func(s *producing) { s.d.CutAfterSent(helloReceived + reply + n) })
			for _, err := range errs {
				if (err == nil) != (n == reply) || n < reply && !errors.Is(err, ErrUnknownOutcome) || stored != 3 {
					t.Errorf("after %d of %d bytes: %d stored, %v", n, reply, stored, errs)
				}
			}
		}
	})
}
