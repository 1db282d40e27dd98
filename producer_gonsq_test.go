package nsq

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// goNSQCalls are the publishes of go-nsq, and what they return.
func goNSQCalls(p *Producer) map[string]func() error {
	one, many := []byte("m"), [][]byte{[]byte("m"), []byte("n")}
	async := func(publish func(done chan *ProducerTransaction) error) error {
		done := make(chan *ProducerTransaction, 1)
		if err := publish(done); err != nil {
			return err
		}
		return (<-done).Error
	}
	return map[string]func() error{
		"PUB":  func() error { return p.Publish("t", one) },
		"MPUB": func() error { return p.MultiPublish("t", many) },
		"DPUB": func() error { return p.DeferredPublish("t", time.Second, one) },
		"PUB, async": func() error {
			return async(func(done chan *ProducerTransaction) error { return p.PublishAsync("t", one, done) })
		},
		"MPUB, async": func() error {
			return async(func(done chan *ProducerTransaction) error { return p.MultiPublishAsync("t", many, done) })
		},
		"DPUB, async": func() error {
			return async(func(done chan *ProducerTransaction) error {
				return p.DeferredPublishAsync("t", time.Second, one, done)
			})
		},
	}
}

// N13: go-nsq's calls return go-nsq's values and types, unwrapped.
func TestErrorsOfGoNSQ(t *testing.T) {
	inject := func(command string, reply []byte) func(*producing) {
		return func(s *producing) { s.d.Inject(nsqtest.Fault{Command: command, Reply: reply, Close: true}) }
	}
	is := func(want error) func(error) bool {
		return func(err error) bool { return err == want } //nolint:errorlint // go-nsq's users compare
	}
	identify := func(reason string) func(error) bool {
		return func(err error) bool {
			e, ok := err.(ErrIdentify) //nolint:errorlint // go-nsq's users assert
			return ok && e.Reason == reason
		}
	}
	tests := map[string]struct {
		prepare func(s *producing)
		ping    bool // Ping returns the same
		check   func(err error) bool
	}{
		"no nsqd": {func(s *producing) { s.net.Refuse("a:1", nil) }, true, func(err error) bool {
			_, ok := err.(*net.OpError) //nolint:errorlint // go-nsq's users assert
			return ok && errors.Is(err, syscall.ECONNREFUSED)
		}},
		"IDENTIFY":      {inject("IDENTIFY", nsqtest.ErrorFrame("E_BAD_BODY", "no")), true, identify("E_BAD_BODY no")},
		"IDENTIFY, EOF": {inject("IDENTIFY", []byte{}), true, identify("EOF")},
		"AUTH, EOF": {func(s *producing) {
			s.d.Inject(nsqtest.Fault{Command: "IDENTIFY", Reply: nsqtest.ResponseFrame(`{"auth_required":true}`)})
			s.d.Inject(nsqtest.Fault{Command: "AUTH", Reply: []byte{}, Close: true})
		}, true, is(io.EOF)},
		"no reply": {func(s *producing) {
			for _, command := range []string{"PUB", "MPUB", "DPUB"} {
				inject(command, []byte{})(s)
			}
		}, false, is(ErrNotConnected)},
		"stopped": {func(s *producing) { s.p.Stop() }, true, is(ErrStopped)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			produce(t, func(s *producing) {
				tt.prepare(s)
				calls := goNSQCalls(s.p)
				if tt.ping {
					calls["Ping"] = s.p.Ping
				}
				for call, publish := range calls {
					if err := publish(); !tt.check(err) {
						s.Errorf("%s: %T %v", call, err, err)
					}
					s.net.Allow("a:1")
					redialAllowed()
					tt.prepare(s)
				}
			}, quietly, func(s *scene) { s.cfg.AuthSecret = "secret" })
		})
	}
}

// N13: a publish whose connection is lost returns ErrNotConnected, also if there is no nsqd
// when it is sent again.
func TestLostPublishOfGoNSQ(t *testing.T) {
	produce(t, func(s *producing) {
		s.d.Inject(nsqtest.Fault{Command: "PUB", Times: 1, Delay: time.Second, Reply: nsqtest.ErrorFrame("E_PUB_FAILED", ""), Close: true})
		errs := make([]error, 2)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				sleep(time.Duration(i) * time.Millisecond)
				errs[i] = s.p.Publish("t", []byte("m"))
			})
		}
		after(500 * time.Millisecond)
		s.net.Refuse("a:1", nil)
		wg.Wait()
		if errs[0] != (ErrProtocol{Reason: "E_PUB_FAILED"}) || errs[1] != ErrNotConnected { //nolint:errorlint // go-nsq's users compare
			s.Errorf("%v", errs)
		}
	})
}

// N13: a publish that nsqd would refuse has the type of a refusal, though nothing is sent.
func TestInvalidPublishesAreRefusals(t *testing.T) {
	produce(t, func(s *producing) {
		for want, call := range map[string]func() error{
			`E_BAD_TOPIC PUB topic name "a b" is not valid`:           func() error { return s.p.Publish("a b", []byte("m")) },
			"E_BAD_MESSAGE PUB invalid message body size 0":           func() error { return s.p.Publish("t", nil) },
			"E_BAD_BODY MPUB invalid message count 0":                 func() error { return s.p.MultiPublish("t", nil) },
			"E_BAD_MESSAGE MPUB message too big 101 > 100":            func() error { return s.p.MultiPublish("t", [][]byte{make([]byte, 101)}) },
			"E_INVALID DPUB timeout -1000 out of range 0-31536000000": func() error { return s.p.DeferredPublish("t", -time.Second, []byte("m")) },
			"E_BAD_MESSAGE DPUB invalid message body size 0":          func() error { return s.p.DeferredPublishAsync("t", time.Second, nil, nil) },
			"E_BAD_MESSAGE MPUB invalid message(1) body size 0":       func() error { return s.p.MultiPublishAsync("t", [][]byte{{'m'}, {}}, nil) },
			`E_BAD_TOPIC PUB topic name "" is not valid`:              func() error { return s.p.PublishAsync("", nil, nil) },
		} {
			if err := call(); err != (ErrProtocol{Reason: want}) { //nolint:errorlint // go-nsq's users compare
				s.Errorf("%T %v, want %s", err, err, want)
			}
		}
		if n := s.net.Attempts("a:1"); n != 0 {
			s.Errorf("%d dials", n)
		}
	}, limitMessages)
}

// N13: Cause has the reason that Error leaves out, and says what nsqd has stored.
func TestTransactionCause(t *testing.T) {
	produce(t, func(s *producing) {
		s.d.Inject(nsqtest.Fault{Command: "PUB", Reply: []byte{}, Close: true})
		done := make(chan *ProducerTransaction, 1)
		if err := s.p.PublishAsync("t", []byte("m"), done, 1); err != nil {
			s.Fatal(err)
		}
		tr := <-done
		if tr.Error != ErrNotConnected || !errors.Is(tr.Cause, ErrUnknownOutcome) || !strings.Contains(fmt.Sprint(tr.Cause), `[a:1] publish to "t"`) { //nolint:errorlint // go-nsq's users compare
			s.Errorf("error %v, cause %v", tr.Error, tr.Cause)
		}
		s.d.ClearFaults()
		s.d.Reject("PUB", "E_PUB_FAILED", "disk is full")
		if err := s.p.PublishAsync("t", []byte("m"), done); err != nil {
			s.Fatal(err)
		}
		if tr := <-done; tr.Error != (ErrProtocol{Reason: "E_PUB_FAILED disk is full"}) || tr.Cause != tr.Error { //nolint:errorlint // go-nsq's users compare
			s.Errorf("error %v, cause %v", tr.Error, tr.Cause)
		}
		s.d.ClearFaults()
		if err := s.p.PublishAsync("t", []byte("m"), done); err != nil {
			s.Fatal(err)
		}
		if tr := <-done; tr.Error != nil || tr.Cause != nil {
			s.Errorf("error %v, cause %v", tr.Error, tr.Cause)
		}
	})
}

// N13: a loop written for go-nsq retries on what go-nsq returns while nsqd restarts, and
// loses no message.
func TestRetryLoopOfGoNSQ(t *testing.T) {
	produce(t, func(s *producing) {
		time.AfterFunc(250*time.Millisecond, s.d.Kill)
		time.AfterFunc(3*time.Second, s.d.Restart)
		var published []string
		for i := range 100 {
			body := fmt.Sprint(i)
			for {
				err := s.p.Publish("t", []byte(body))
				if _, down := err.(*net.OpError); err == ErrNotConnected || down { //nolint:errorlint // as written for go-nsq
					sleep(10 * time.Millisecond)
					continue
				}
				if err != nil {
					s.Errorf("%d is dropped: %v", i, err)
				}
				break
			}
			published = append(published, body)
			sleep(5 * time.Millisecond)
		}
		stored := s.stored()
		for _, body := range published {
			if !slices.Contains(stored, body) {
				s.Errorf("%s is lost", body)
			}
		}
	}, quietly)
}
