package nsqpubsub

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gocloud.dev/gcerrors"
	"gocloud.dev/pubsub"
	"gocloud.dev/pubsub/batcher"

	"github.com/rdyhq/nsq"
)

func TestOpenTopicRefuses(t *testing.T) {
	inScene(t, func(s *scene) {
		pool := s.pool()
		for name, open := range map[string]func() (*pubsub.Topic, error){
			"no publisher":      func() (*pubsub.Topic, error) { return OpenTopic(nil, "orders", nil) },
			"an invalid name":   func() (*pubsub.Topic, error) { return OpenTopic(pool, "orders and more", nil) },
			"no name":           func() (*pubsub.Topic, error) { return OpenTopic(pool, "", nil) },
			"a name of 65":      func() (*pubsub.Topic, error) { return OpenTopic(pool, strings.Repeat("x", 65), nil) },
			"a name with slash": func() (*pubsub.Topic, error) { return OpenTopic(pool, "orders/new", nil) },
		} {
			if topic, err := open(); err == nil || topic != nil {
				s.Errorf("%s: no error", name)
			}
		}
		if n := s.network.Dials(); n != 0 {
			s.Errorf("%d dials", n)
		}
	})
}

// What is published is the body alone, if it can do without an envelope.
func TestSend(t *testing.T) {
	inScene(t, func(s *scene) {
		topic := s.topic(s.pool(), nil)
		for _, m := range []*pubsub.Message{
			{Body: []byte("a pen")},
			{Body: []byte("a pen"), Metadata: map[string]string{"Customer": "Ada"}},
			{},
			{Body: []byte("NSQ-Envelope: 1\na: 1\n\nx")},
		} {
			if err := topic.Send(context.Background(), m); err != nil {
				s.Fatal(err)
			}
		}
		want := []string{
			"a pen",
			"NSQ-Envelope: 1\n_gocloud_names: Customer\ncustomer: Ada\n\na pen",
			"NSQ-Envelope: 1\n\n",
			"NSQ-Envelope: 1\n\nNSQ-Envelope: 1\na: 1\n\nx",
		}
		if got := s.nsqd.Queued("orders", ""); !slices.Equal(got, want) {
			s.Errorf("nsqd has %q, want %q", got, want)
		}
	})
}

// Concurrent Sends do not share their errors: each message is a command of its own.
func TestSendsFailAlone(t *testing.T) {
	inScene(t, func(s *scene) {
		s.config.MaxMsgSize = 100
		topic := s.topic(s.pool(), nil)
		var sends sync.WaitGroup
		for i := range 20 {
			sends.Go(func() {
				size := 10
				if i == 7 {
					size = 1000
				}
				err := topic.Send(context.Background(), &pubsub.Message{Body: make([]byte, size)})
				if (err == nil) != (i != 7) {
					s.Errorf("message %d of %d bytes: %v", i, size, err)
				}
			})
		}
		sends.Wait()
		if n := len(s.nsqd.Queued("orders", "")); n != 19 {
			s.Errorf("nsqd has %d messages, want 19", n)
		}
	})
}

func TestSendBatches(t *testing.T) {
	inScene(t, func(s *scene) {
		topic := s.topic(s.pool(), &TopicOptions{BatcherOptions: batcher.Options{MinBatchSize: 3, MaxBatchSize: 3}})
		var sends sync.WaitGroup
		for range 6 {
			sends.Go(func() {
				if err := topic.Send(context.Background(), &pubsub.Message{Body: []byte("a pen")}); err != nil {
					s.Error(err)
				}
			})
		}
		sends.Wait()
		commands := slices.DeleteFunc(s.nsqd.CommandsOf(1), func(c string) bool { return !strings.HasPrefix(c, "MPUB") })
		if len(commands) != 2 || len(s.nsqd.Queued("orders", "")) != 6 {
			s.Errorf("nsqd received %q", s.nsqd.Commands())
		}
	})
}

// A ProducerPool's Sends wait while nsqd restarts, and fail when it does not come back.
func TestSendWhileNSQDIsDown(t *testing.T) {
	inScene(t, func(s *scene) {
		topic := s.topic(s.pool(), nil)
		s.nsqd.Kill()
		sent := make(chan error, 1)
		go func() { sent <- topic.Send(context.Background(), &pubsub.Message{Body: []byte("a pen")}) }()
		after(8 * time.Second)
		s.nsqd.Restart()
		if err := <-sent; err != nil {
			s.Error(err)
		}

		s.nsqd.Kill()
		start := time.Now()
		err := topic.Send(context.Background(), &pubsub.Message{Body: []byte("a pencil")})
		if took := time.Since(start); took != sendTimeout || !errors.Is(err, nsq.ErrNotSent) || !errors.Is(err, errSendTimeout) {
			s.Errorf("after %v: %v", took, err)
		}
		wantCode(s, err, gcerrors.Unknown)
		s.nsqd.Restart()
		after(time.Minute)
		if got := s.nsqd.Queued("orders", ""); !slices.Equal(got, []string{"a pen"}) {
			s.Errorf("nsqd has %q", got)
		}
	})
}

// That an nsqd hangs ends a Send as well.
func TestSendToHangingNSQD(t *testing.T) {
	inScene(t, func(s *scene) {
		topic := s.topic(s.pool(), nil)
		if err := topic.Send(context.Background(), &pubsub.Message{Body: []byte("a pen")}); err != nil {
			s.Fatal(err)
		}
		s.nsqd.StopReading()
		start := time.Now()
		err := topic.Send(context.Background(), &pubsub.Message{Body: []byte("a pencil")})
		if took := time.Since(start); took != sendTimeout || !errors.Is(err, nsq.ErrUnknownOutcome) {
			s.Errorf("after %v: %v", took, err)
		}
		s.nsqd.StartReading()
	})
}

func TestSendErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare  func(s *scene)
		metadata map[string]string
		want     gcerrors.ErrorCode
		refused  string // code of the *nsq.ProtocolError
	}{
		"no such host": {
			prepare: func(s *scene) { s.network.Refuse(s.nsqd.Addr(), unknownHost("tcp", s.nsqd.Addr())) },
			want:    gcerrors.NotFound,
		},
		"unauthorized": {
			prepare: func(s *scene) { s.nsqd.Reject("PUB", "E_UNAUTHORIZED", "no") },
			want:    gcerrors.PermissionDenied, refused: "E_UNAUTHORIZED",
		},
		"too big": {
			prepare: func(s *scene) { s.nsqd.Reject("PUB", "E_BAD_MESSAGE", "PUB message too big 3 > 2") },
			want:    gcerrors.InvalidArgument, refused: "E_BAD_MESSAGE",
		},
		"invalid metadata": {
			metadata: map[string]string{"": "x"},
			want:     gcerrors.InvalidArgument,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				topic := s.topic(s.pool(), nil)
				if tt.prepare != nil {
					tt.prepare(s)
				}
				err := topic.Send(context.Background(), &pubsub.Message{Body: []byte("pen"), Metadata: tt.metadata})
				wantCode(s, err, tt.want)
				var refused *nsq.ProtocolError
				if topic.ErrorAs(err, &refused) != (tt.refused != "") || refused != nil && refused.Code != tt.refused {
					s.Errorf("error %v is %v, want %q", err, refused, tt.refused)
				}
				if topic.ErrorAs(err, new(string)) {
					s.Error("an error is a string")
				}
			})
		})
	}
}

// After the program has stopped the ProducerPool, Sends fail at once.
func TestSendAfterStop(t *testing.T) {
	inScene(t, func(s *scene) {
		pool := s.pool()
		topic := s.topic(pool, nil)
		pool.Stop()
		wantCode(s, topic.Send(context.Background(), &pubsub.Message{Body: []byte("pen")}), gcerrors.FailedPrecondition)
	})
}

// The callbacks of a Send are called once, even if the ProducerPool has to try again.
func TestSendCallbacks(t *testing.T) {
	inScene(t, func(s *scene) {
		topic := s.topic(s.pool(), nil)
		s.nsqd.Kill()
		var calls []string
		note := func(name string) func(func(any) bool) error {
			return func(as func(any) bool) error {
				var p nsq.Publisher
				if as(&p) {
					s.Error("there is a type for As")
				}
				calls = append(calls, name)
				return nil
			}
		}
		done := make(chan error)
		go func() {
			done <- topic.Send(context.Background(), &pubsub.Message{
				Body: []byte("pen"), BeforeSend: note("before"), AfterSend: note("after"),
			})
		}()
		after(3 * time.Second)
		if !slices.Equal(calls, []string{"before"}) {
			s.Errorf("calls %q while nsqd is down", calls)
		}
		s.nsqd.Restart()
		if err := <-done; err != nil || !slices.Equal(calls, []string{"before", "after"}) {
			s.Errorf("calls %q, error %v", calls, err)
		}
	})
}

func TestSendCallbackFails(t *testing.T) {
	inScene(t, func(s *scene) {
		topic := s.topic(s.pool(), nil)
		errCallback := errors.New("callback failed")
		failing := func(func(any) bool) error { return errCallback }
		after := func(func(any) bool) error { s.Error("called after a failure"); return nil }
		err := topic.Send(context.Background(), &pubsub.Message{Body: []byte("1"), BeforeSend: failing, AfterSend: after})
		if !errors.Is(err, errCallback) {
			s.Errorf("error of BeforeSend: %v", err)
		}
		err = topic.Send(context.Background(), &pubsub.Message{Body: []byte("2"), AfterSend: failing})
		if !errors.Is(err, errCallback) {
			s.Errorf("error of AfterSend: %v", err)
		}
		if got := s.nsqd.Queued("orders", ""); !slices.Equal(got, []string{"2"}) {
			s.Errorf("nsqd has %q", got)
		}
	})
}

// Shutdown of a topic leaves a publisher that the program has made alone.
func TestShutdownKeepsPublisher(t *testing.T) {
	inScene(t, func(s *scene) {
		pool := s.pool()
		topic, err := OpenTopic(pool, "orders", nil)
		if err != nil {
			s.Fatal(err)
		}
		if err := topic.Shutdown(context.Background()); err != nil {
			s.Error(err)
		}
		if err := pool.Publish("orders", []byte("pen")); err != nil {
			s.Error(err)
		}
		synctest.Wait()
	})
}
