package nsq

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/publishing"
	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// nsqd's refusal is the error of that publish. The next one succeeds at once, over a
// new connection.
func TestRefusedPublish(t *testing.T) {
	for _, code := range []string{
		"E_INVALID", "E_BAD_TOPIC", "E_BAD_BODY", "E_BAD_MESSAGE", "E_PUB_FAILED", "E_MPUB_FAILED",
		"E_AUTH_FIRST", "E_AUTH_FAILED", "E_UNAUTHORIZED", "E_SOMETHING_NEW",
	} {
		for _, desc := range []string{"", `PUB topic "x" is no good`} {
			produce(t, func(s *producing) {
				for name, publish := range map[string]func() error{
					"PUB":  func() error { return s.p.PublishContext(s.Context(), "t", []byte("m")) },
					"MPUB": func() error { return s.p.MultiPublishContext(s.Context(), "t", [][]byte{[]byte("m"), []byte("n")}) },
				} {
					s.d.Inject(nsqtest.Fault{Command: name, Times: 1, Reply: nsqtest.ErrorFrame(code, desc), Close: true})
					err := publish()
					if _, ok := errors.AsType[ErrProtocol](err); !ok || err.Error() != strings.TrimSpace(code+" "+desc) {
						s.Errorf("%s: %v", name, err)
					}
					refused, ok := errors.AsType[*ProtocolError](err)
					if !ok || refused.Code != code || refused.Desc != desc || errors.Is(err, ErrNotConnected) {
						s.Errorf("%s: %v, as a ProtocolError %+v", name, err, refused)
					}
					s.publishes()
				}
			}, quietly)
		}
	}
}

// refuseSlowly has nsqd refuse a command, a second after it arrives, for a reason that no
// limit explains.
func refuseSlowly(s *producing, command string, times int) {
	s.d.Inject(nsqtest.Fault{
		Command: command, Times: times, Delay: time.Second, Reply: nsqtest.ErrorFrame("E_INVALID", "no"), Close: true,
	})
}

// D53: nsqd refuses one publish while the commands of others are queued behind it. It
// closes the connection without executing them: each is published once, over a new one.
func TestRefusalHurtsNobodyElse(t *testing.T) {
	produce(t, func(s *producing) {
		refuseSlowly(s, "DPUB", 1)
		errs := make([]error, 9)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				sleep(time.Duration(i) * time.Millisecond)
				if i == 3 {
					errs[i] = s.p.DeferredPublishContext(s.Context(), "t", time.Hour, []byte("no"))
				} else {
					errs[i] = s.p.PublishContext(s.Context(), "t", fmt.Append(nil, i))
				}
			})
		}
		wg.Wait()
		for i, err := range errs {
			if _, refused := errors.AsType[ErrProtocol](err); refused != (i == 3) || i != 3 && err != nil {
				s.Errorf("%d: %v", i, err)
			}
		}
		stored := s.stored()
		slices.Sort(stored)
		if want := strings.Split("01245678", ""); !slices.Equal(stored, want) || s.net.Dials() != 2 {
			s.Errorf("stored %q over %d connections", stored, s.net.Dials())
		}
	})
}

// D53: ten refusals, each of which costs a connection, do not fail the publishes behind
// them.
func TestRefusalsHurtNobodyElse(t *testing.T) {
	produce(t, func(s *producing) {
		refuseSlowly(s, "DPUB", 10)
		errs := make([]error, 20)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				sleep(time.Duration(i) * time.Millisecond)
				if i < 10 {
					errs[i] = s.p.DeferredPublishContext(s.Context(), "t", time.Hour, []byte("no"))
				} else {
					errs[i] = s.p.PublishContext(s.Context(), "t", fmt.Append(nil, i))
				}
			})
		}
		wg.Wait()
		for i, err := range errs {
			if _, refused := errors.AsType[ErrProtocol](err); refused != (i < 10) || i >= 10 && err != nil {
				s.Errorf("%d: %v", i, err)
			}
		}
		if n := len(s.stored()); n != 10 || s.net.Dials() > 11 { // ten refusals; they may come last
			s.Errorf("%d stored over %d connections", n, s.net.Dials())
		}
	}, quietly)
}

// nsqd may execute what is behind an error that this package does not know: the
// outcome is unknown.
func TestUnknownRefusal(t *testing.T) {
	produce(t, func(s *producing) {
		s.d.Inject(nsqtest.Fault{Command: "PUB", Times: 1, Delay: time.Second, Reply: nsqtest.ErrorFrame("E_NEW", "full"), Close: true})
		errs := make([]error, 5)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				sleep(time.Duration(i) * time.Millisecond)
				errs[i] = s.p.PublishContext(s.Context(), "t", fmt.Append(nil, i))
			})
		}
		wg.Wait()
		if _, ok := errors.AsType[ErrProtocol](errs[0]); !ok {
			s.Errorf("refused: %v", errs[0])
		}
		for _, err := range errs[1:] {
			if _, ok := errors.AsType[ErrProtocol](err); ok || !errors.Is(err, ErrUnknownOutcome) || !strings.Contains(err.Error(), "E_NEW full") {
				s.Errorf("bystander: %v", err)
			}
		}
	})
}

// The error says why no connection can be made. Calls right after the attempt get the
// same error; when redialling is allowed the next call tries again.
func TestProducerConnectErrors(t *testing.T) {
	tests := map[string]struct {
		prepare func(s *producing)
		text    string
		check   func(err error) bool
	}{
		"refused": {
			func(s *producing) { s.net.Refuse("a:1", nil) }, "[a:1] failed to connect - ",
			func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) },
		},
		"identify": {
			func(s *producing) { s.d.Reject("IDENTIFY", "E_BAD_BODY", "no") }, "failed to IDENTIFY - E_BAD_BODY no",
			func(err error) bool {
				refused, ok := errors.AsType[*ProtocolError](err)
				_, identify := errors.AsType[ErrIdentify](err)
				return ok && identify && refused.Code == "E_BAD_BODY"
			},
		},
		"auth": {
			func(s *producing) {
				s.d.Inject(nsqtest.Fault{Command: "IDENTIFY", Reply: nsqtest.ResponseFrame(`{"auth_required":true}`)})
			}, "[a:1] failed to authenticate - auth required",
			func(err error) bool { return errors.Is(err, link.ErrAuthRequired) },
		},
		"http": {
			func(s *producing) {
				s.d.Inject(nsqtest.Fault{Command: "IDENTIFY", Reply: []byte("HTTP/1.1 400 Bad Request\r\n\r\n")})
			}, "failed to IDENTIFY - ",
			func(err error) bool { return errors.Is(err, wire.ErrHTTP) },
		},
		"silence": {
			func(s *producing) { s.d.Inject(nsqtest.Fault{Command: "IDENTIFY", Reply: []byte{}}) }, "failed to IDENTIFY - ",
			func(err error) bool { return errors.Is(err, link.ErrHandshakeTimeout) },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			produce(t, func(s *producing) {
				tt.prepare(s)
				for _, call := range []func() error{
					s.p.nsqd.ping,
					func() error { return s.p.PublishContext(s.Context(), "t", []byte("m")) },
				} {
					for range 3 { // the last two do not dial
						if err := call(); !errors.Is(err, ErrNotSent) || !strings.Contains(err.Error(), tt.text) || !tt.check(err) {
							s.Errorf("%v", err)
						}
					}
					redialAllowed()
				}
				if n := s.net.Attempts("a:1"); n != 2 {
					s.Errorf("%d attempts, want one per kind of call", n)
				}
				s.net.Allow("a:1")
				s.d.ClearFaults()
				s.publishes()
			}, func(s *scene) { s.cfg.HeartbeatInterval, s.cfg.ReadTimeout = 5*time.Second, 10*time.Second })
		})
	}
}

// nsqd refuses a command as soon as it has read the length, while the body is still
// being sent. The publish gets the refusal, not the failed write.
func TestRefusedWhileSending(t *testing.T) {
	produce(t, func(s *producing) {
		for want, publish := range map[string]func() error{
			"E_BAD_MESSAGE PUB message too big 2097152 > 1048576": func() error { return s.p.PublishContext(s.Context(), "t", make([]byte, 2<<20)) },
			"E_BAD_BODY MPUB body too big 6291484 > 5242880": func() error {
				return s.p.MultiPublishContext(s.Context(), "t", slices.Repeat([][]byte{make([]byte, 1<<20)}, 6))
			},
		} {
			err := publish()
			if _, ok := errors.AsType[ErrProtocol](err); !ok || err.Error() != want {
				s.Errorf("%v, want %s", err, want)
			}
			s.publishes()
		}
	})
}

// What the errors of a publish mean to a pool and to a Batcher, wrapped or not.
func TestVerdictOf(t *testing.T) {
	refused := func(text string) error { return ErrProtocol{Reason: text} }
	for name, tt := range map[string]struct {
		err  error
		want publishing.Verdict
	}{
		"unknown":                      {fmt.Errorf("%w: EOF", ErrUnknownOutcome), publishing.Unknown},
		"unknown behind a refusal":     {fmt.Errorf("%w: %w", ErrUnknownOutcome, refused("E_NEW")), publishing.Unknown},
		"not sent":                     {fmt.Errorf("%w: EOF", ErrNotSent), publishing.NotSent},
		"not sent behind a refusal":    {fmt.Errorf("%w: %w", ErrNotSent, refused("E_BAD_MESSAGE")), publishing.NotSent},
		"stopped":                      {ErrStopped, publishing.Final},
		"refused":                      {refused("E_BAD_TOPIC"), publishing.Final},
		"content":                      {refused("E_BAD_MESSAGE too big"), publishing.Content},
		"not stored":                   {refused("E_PUB_FAILED disk is full"), publishing.StoreFailed},
		"stored in part, exiting":      {refused("E_MPUB_FAILED MPUB failed exiting"), publishing.StoredInPart},
		"stored in part":               {refused("E_MPUB_FAILED MPUB failed disk is full"), publishing.StoredInPart},
		"stored in part, own error":    {&ProtocolError{Code: "E_MPUB_FAILED", Desc: "disk is full"}, publishing.StoredInPart},
		"empty body":                   {pub("t", nil).check(10), publishing.Content},
		"large body":                   {mpub("t", [][]byte{make([]byte, 11)}).check(10), publishing.Content},
		"topic":                        {pub("a b", []byte("m")).check(10), publishing.Final},
		"no messages":                  {mpub("t", nil).check(10), publishing.Final},
		"not connected, and refused":   {fmt.Errorf("%w: %w", ErrNotConnected, refused("E_BAD_BODY")), publishing.Final},
		"something of the Publisher's": {errors.New("quota exceeded"), publishing.Final},
	} {
		for _, err := range []error{tt.err, fmt.Errorf("wrapped: %w", tt.err)} {
			if got := verdictOf(err); got != tt.want {
				t.Errorf("%s: verdict %d of %v, want %d", name, got, err, tt.want)
			}
		}
	}
}
