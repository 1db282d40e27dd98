package delay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/envelope"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestTwelveHours(t *testing.T) {
	inScene(t, func(s *scene) {
		s.publish(12 * time.Hour)
		s.start()
		sleep(12*time.Hour - time.Nanosecond)
		s.expectStored(0)
		sleep(time.Second)
		s.expectExact(1)
		if requeues := s.waiting().Requeued; requeues > 73 {
			s.Errorf("%d requeues in 12 hours", requeues)
		}
	})
}

// The relay does not need to run when messages are published. Those that are due by the time
// it starts come at once.
func TestRelayStartsLate(t *testing.T) {
	inScene(t, func(s *scene) {
		for i := range 24 {
			s.publish(time.Duration(i+1) * time.Hour)
		}
		sleep(12*time.Hour + time.Minute)
		s.start()
		s.expectStored(12)
		sleep(12 * time.Hour)
		s.expectStored(24)
	})
}

// nsqd forgets the delays of messages when it restarts, and delivers them at once. They come
// at their time all the same.
func TestRestarts(t *testing.T) {
	inScene(t, func(s *scene) {
		s.start()
		for i := range 120 {
			s.publish(time.Duration(i+1) * 7 * time.Minute)
		}
		for range 14 {
			sleep(30*time.Minute + 30*time.Second)
			s.source.Kill()
			s.source.Restart()
			sleep(29*time.Minute + 30*time.Second)
			s.stop()
			s.start()
		}
		sleep(time.Second)
		s.expectExact(120)
	})
}

// nsqd's max-req-timeout may be less than the time that the relay asks for, or nsqd's clock
// may be fast. The message comes back early, and waits on. After 65,535 attempts nsqd begins
// again at 0.
func TestNSQDDelaysForLess(t *testing.T) {
	for _, most := range []time.Duration{time.Minute, 500 * time.Millisecond} {
		inScene(t, func(s *scene) {
			s.publish(12 * time.Hour)
			s.start()
			sleep(12*time.Hour + time.Second)
			s.expectExact(1)
			if requeues, want := s.waiting().Requeued, int(12*time.Hour/most); requeues < want {
				s.Errorf("%d requeues, want at least %d", requeues, want)
			}
		}, func(o *nsqtest.Options) { o.MaxReqTimeout = most })
	}
}

// requeues records the delays of requeues.
type requeues struct{ delays []time.Duration }

func (*requeues) OnFinish(*nsq.Message) {}
func (*requeues) OnTouch(*nsq.Message)  {}
func (r *requeues) OnRequeue(_ *nsq.Message, delay time.Duration, backoff bool) {
	if backoff {
		delay = -1
	}
	r.delays = append(r.delays, delay)
}

// When a message is due depends on the relay's clock alone, not on nsqd's.
func TestSkewedClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &capture{}
		if err := Publish(t.Context(), c, "t", time.Now().Add(90*time.Second), []byte("body")); err != nil {
			t.Fatal(err)
		}
		waiting := c.body
		h := &relay{topic: "t", to: c}
		for _, skew := range []time.Duration{-10 * time.Hour, 0, 10 * time.Hour} {
			for range 2 {
				m, acks := nsq.NewMessage(nsq.MessageID{}, waiting), &requeues{}
				m.Timestamp, m.Delegate = time.Now().Add(skew).UnixNano(), acks
				*c = capture{}
				if err := h.HandleMessage(m); err != nil {
					t.Error(err)
				}
				if fmt.Sprint(acks.delays) != "[1m30s]" || c.topic != "" {
					t.Errorf("nsqd's clock %v ahead: requeued %v, published to %q", skew, acks.delays, c.topic)
				}
			}
		}
		sleep(90*time.Second - 1)
		m, acks := nsq.NewMessage(nsq.MessageID{}, waiting), &requeues{}
		m.Delegate = acks
		if err := h.HandleMessage(m); err != nil || fmt.Sprint(acks.delays) != "[1ms]" {
			t.Errorf("%v, requeued %v", err, acks.delays)
		}
		sleep(1)
		m, acks = nsq.NewMessage(nsq.MessageID{}, waiting), &requeues{}
		m.Delegate = acks
		if err := h.HandleMessage(m); err != nil || acks.delays != nil || c.topic != "t" || string(c.body) != "body" {
			t.Errorf("%v, requeued %v, published to %q: %q", err, acks.delays, c.topic, c.body)
		}
	})
}

// Messages that become due while the destination is down arrive soon after it is back. Those
// that wait meanwhile are not held up. The log stays readable.
func TestDestinationDown(t *testing.T) {
	inScene(t, func(s *scene) {
		s.start()
		for i := range 200 {
			s.publish(time.Duration(i+1) * 10 * time.Second)
		}
		for i := range 200 {
			s.publish(2*time.Hour + time.Duration(i)*10*time.Second)
		}
		s.target.Kill()
		sleep(time.Hour)
		s.expectStored(0)
		if lines := s.log.matching("handler returned an error"); len(lines) < 100 || len(lines) > 1000 {
			s.Errorf("%d lines about failed publishes in an hour", len(lines))
		}
		s.target.Restart()
		sleep(2*retryWithin + 5*time.Second)
		s.expectStored(200)
		before := len(s.to.arrived())
		sleep(2 * time.Hour)
		s.expectStored(400)
		for _, a := range s.to.arrived()[before:] {
			if due, err := time.Parse(time.RFC3339Nano, a.body); err != nil || a.at.Sub(due) > time.Second {
				s.Errorf("%s arrived at %v", a.body, a.at)
			}
		}
	})
}

// If the destination takes a message but its reply is lost, the message is published again.
func TestLostReplies(t *testing.T) {
	inScene(t, func(s *scene) {
		s.target.Inject(nsqtest.Fault{Command: "PUB", Times: 1, Mute: true, Close: true})
		s.start()
		s.publish(time.Hour)
		sleep(time.Hour + time.Minute)
		stored := s.target.Queued("t", "")
		if len(stored) != 2 || stored[0] != stored[1] || s.waiting().Finished != 1 {
			s.Errorf("%q stored, %+v", stored, s.waiting())
		}
	})
}

// A destination that hangs takes half of the lease. The message is requeued while it still can
// be, and other messages go on waiting.
func TestDestinationHangs(t *testing.T) {
	inScene(t, func(s *scene) {
		s.hang()
		s.start()
		s.publish(time.Minute)
		s.publish(time.Hour)
		sleep(time.Minute + 29*time.Second)
		if st := s.waiting(); st.InFlight != 1 || st.Requeued != 2 {
			s.Errorf("before half of the lease: %+v", st)
		}
		sleep(2 * time.Second)
		if st := s.waiting(); st.InFlight != 0 || st.Requeued != 3 || st.TimedOut != 0 {
			s.Errorf("after half of the lease: %+v", st)
		}
		s.target.StartReading()
		sleep(2 * time.Hour)
		if st := s.waiting(); st.Finished != 2 || st.TimedOut != 0 || len(s.log.matching("too late")) > 0 {
			s.Errorf("%+v", st)
		}
	})
}

// A message is not acked if the relay is stopped while the destination hangs.
func TestStopWhilePublishing(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.StopTimeout = time.Second
		s.hang()
		s.publish(time.Minute)
		s.publish(time.Hour)
		s.start()
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error)
		go func() { ran <- s.relay.Run(ctx) }()
		sleep(time.Minute + time.Second)
		cancel()
		if err := <-ran; err != nil {
			s.Errorf("the handlers did not return: %v", err)
		}
		s.expectStored(0)
		s.target.StartReading()
		s.start()
		sleep(time.Hour)
		if st := s.waiting(); st.Finished != 2 {
			s.Errorf("%+v", st)
		}
		stored := map[string]bool{}
		for _, body := range s.target.Queued("t", "") {
			stored[body] = true
		}
		if len(stored) != 2 {
			s.Errorf("stored %v", stored)
		}
	})
}

// Messages that Publish has not made are never acked. They are reported, and hold up no
// others.
func TestForeignMessages(t *testing.T) {
	inScene(t, func(s *scene) {
		foreign := map[string]string{
			"plain": errNotDelayed.Error(),
			string(envelope.Seal(nil, []byte("no time"))):                                                                  errNotDelayed.Error(),
			string(envelope.Seal(envelope.Header{untilHeader: "soon", topicHeader: "t"}, []byte("x"))):                     `delayed message for topic \"t\": parsing time`,
			string(envelope.Seal(envelope.Header{untilHeader: "2000-01-01T00:00:00Z", topicHeader: "other"}, []byte("x"))): `delayed message is for topic \"other\", want t`,
			string(envelope.Seal(envelope.Header{untilHeader: "2000-01-01T00:00:00Z"}, []byte("x"))):                       `delayed message is for topic \"\", want t`,
		}
		for body := range foreign {
			s.source.Publish("t.delayed", body)
		}
		s.start()
		for i := range 100 {
			s.publish(time.Duration(i+1) * time.Minute)
		}
		sleep(2 * time.Hour)
		s.expectExact(100)
		st := s.waiting()
		if left := st.Deferred + st.InFlight + st.Depth; left != len(foreign) {
			s.Errorf("%d messages are left, want %d: %+v", left, len(foreign), st)
		}
		for body, want := range foreign {
			if lines := s.log.matching(want); len(lines) == 0 || !strings.Contains(lines[0], "level=ERROR") {
				s.Errorf("%q: logged %q", body, lines)
			}
		}
	})
}

// With a DeadLetterPolicy foreign messages become dead letters, and nothing else does: neither
// what waits, whatever its attempts, nor what cannot be published while the destination is
// down.
func TestForeignMessagesBecomeDeadLetters(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.DeadLetter = &nsq.DeadLetterPolicy{To: s.p, Topic: "dead", After: 1}
		s.source.Publish("t.delayed", "plain")
		s.start()
		s.publish(4 * time.Hour)
		s.publish(time.Minute)
		s.target.Kill()
		sleep(time.Hour)
		s.target.Restart()
		sleep(4 * time.Hour)
		if stored := s.target.Queued("t", ""); len(stored) != 2 {
			s.Errorf("the destination has %q", stored)
		}
		dead := s.source.Queued("dead", "")
		if len(dead) != 1 || !strings.HasSuffix(dead[0], "\nplain") {
			s.Errorf("dead letters: %q", dead)
		}
		if st := s.waiting(); st.Deferred+st.InFlight+st.Depth != 0 {
			s.Errorf("%+v still wait", st)
		}
	})
}

// Ten thousand messages that wait cost a few requeues a second, and no line in the log.
func TestThousandsWaitQuietly(t *testing.T) {
	inScene(t, func(s *scene) {
		const n = 10_000
		at := time.Now().Add(time.Hour)
		bodies := make([]string, n)
		for i := range bodies {
			c := &capture{}
			if err := Publish(s.Context(), c, "t", at, fmt.Append(nil, i)); err != nil {
				s.Fatal(err)
			}
			bodies[i] = string(c.body)
		}
		s.source.Publish("t.delayed", bodies...)
		s.start()
		sleep(time.Minute)
		before, requeued := len(s.log.matching("")), s.waiting().Requeued
		sleep(50 * time.Minute)
		if lines := s.log.matching("")[before:]; len(lines) > 0 {
			s.Errorf("%d lines, such as %s", len(lines), lines[0])
		}
		if rate := (s.waiting().Requeued - requeued) / int(50*time.Minute/time.Second); rate > 17 {
			s.Errorf("%d requeues a second", rate)
		}
		s.expectStored(0)
		sleep(10 * time.Minute)
		s.expectStored(n)
	})
}

// adding is a Publisher that adds a header to envelopes, and puts other bodies into one, as
// that of plugin/otel does.
type adding struct{ nsq.Publisher }

func (a adding) PublishContext(ctx context.Context, topic string, body []byte) error {
	h, inner, ok := envelope.Open(body)
	if !ok {
		h = envelope.Header{}
	}
	h.Set("traceparent", "00-01")
	return a.Publisher.PublishContext(ctx, topic, envelope.Seal(h, inner))
}

// The destination gets what it would get if the message were published to it directly,
// whatever the body is, and whatever headers the Publisher adds.
func TestEnvelopes(t *testing.T) {
	seal := func(p nsq.Publisher) nsq.Publisher {
		return nsq.SealPublisher(p, func(context.Context, string) envelope.Header { return envelope.Header{"key": "7"} })
	}
	publishers := map[string]func(nsq.Publisher) nsq.Publisher{
		"plain":              func(p nsq.Publisher) nsq.Publisher { return p },
		"sealing":            seal,
		"sealing twice":      func(p nsq.Publisher) nsq.Publisher { return seal(seal(p)) },
		"adding":             func(p nsq.Publisher) nsq.Publisher { return adding{p} },
		"adding and sealing": func(p nsq.Publisher) nsq.Publisher { return adding{seal(p)} },
		"sealing and adding": func(p nsq.Publisher) nsq.Publisher { return seal(adding{p}) },
	}
	bodies := []string{
		"body",
		"\x00\xff",
		string(envelope.Seal(nil, []byte("body"))),
		string(envelope.Seal(envelope.Header{"a": "b", "traceparent": "old"}, nil)),
		"NSQ-Envelope: 1\r\nZ: 1\r\nA: 2\r\n\r\nbody",
		string(envelope.Seal(envelope.Header{untilHeader: "2100-01-02T02:04:05Z", topicHeader: "t"}, []byte("body"))),
	}
	for name, wrap := range publishers {
		for _, mw := range [][]nsq.Middleware{nil, {nsq.OpenEnvelopes()}} {
			inScene(t, func(s *scene) {
				s.startWith(s.to, mw...)
				for i, body := range bodies {
					if err := wrap(s.out).PublishContext(s.Context(), "t", []byte(body)); err != nil {
						s.Fatal(err)
					}
					if err := Publish(s.Context(), wrap(s.p), "t", time.Now().Add(time.Hour), []byte(body)); err != nil {
						s.Fatal(err)
					}
					sleep(2 * time.Hour)
					stored := s.target.Queued("t", "")
					if len(stored) != 2*(i+1) || stored[2*i] != stored[2*i+1] {
						s.Fatalf("%s, %d middleware: %q: stored %q", name, len(mw), body, stored)
					}
				}
			})
		}
	}
}

// NewRelay replaces the options with which messages would be lost or late, in a copy.
func TestNewRelayReplacesOptions(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.SampleRate, s.cfg.MaxInFlight = 50, 7
		before := *s.cfg
		s.start()
		if s.cfg.SampleRate != before.SampleRate || s.cfg.MaxAttempts != before.MaxAttempts ||
			s.cfg.BackoffPolicy != before.BackoffPolicy || s.cfg.MaxRequeueDelay != before.MaxRequeueDelay {
			s.Errorf("the config became %+v", s.cfg)
		}
		synctest.Wait()
		for _, c := range s.source.Clients() {
			var sent struct {
				SampleRate int `json:"sample_rate"`
			}
			if err := json.Unmarshal(c.Identify, &sent); err != nil || sent.SampleRate != 0 {
				s.Errorf("%v: %s", err, c.Identify)
			}
			if c.Topic != "t.delayed" || c.Channel != "relay" || c.RDY != 7 {
				s.Errorf("%+v", c)
			}
		}
		if n := s.relay.Snapshot().Handlers; n != 7 {
			s.Errorf("%d handlers", n)
		}
	})
}

// A relay with max_in_flight 0 can be connected, and takes messages once it is allowed to.
func TestPausedRelay(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 0
		s.publish(time.Minute)
		s.start()
		sleep(time.Hour)
		s.expectStored(0)
		s.relay.ChangeMaxInFlight(1)
		s.expectStored(1)
	})
}

func TestNewRelayRefuses(t *testing.T) {
	for topic, want := range map[string]string{
		"t#ephemeral": "delay: topic t#ephemeral is ephemeral",
		"?":           `delay: invalid topic name "?"`,
	} {
		if c, err := NewRelay(topic, &capture{}, nsq.NewConfig()); c != nil || err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", topic, err)
		}
	}
	bad := nsq.NewConfig()
	bad.MaxInFlight = -1
	if c, err := NewRelay("t", &capture{}, bad); c != nil || err == nil {
		t.Errorf("max_in_flight -1: %v", err)
	}
	for name, call := range map[string]func() (*nsq.Consumer, error){
		"nil publisher": func() (*nsq.Consumer, error) { return NewRelay("t", nil, nsq.NewConfig()) },
		"Config{} must be created with NewConfig()": func() (*nsq.Consumer, error) { return NewRelay("t", &capture{}, &nsq.Config{}) },
	} {
		func() {
			defer func() {
				if p := recover(); p != name {
					t.Errorf("panic %v, want %s", p, name)
				}
			}()
			_, _ = call()
		}()
	}
}

// Hooks tell a requeue of a message that waits from a failed publish.
func TestHooks(t *testing.T) {
	inScene(t, func(s *scene) {
		var mu sync.Mutex
		counts := map[nsq.Outcome]int{}
		s.cfg.Hooks = []nsq.Hooks{{Handled: func(e nsq.HandledEvent) {
			mu.Lock()
			defer mu.Unlock()
			counts[e.Outcome]++
		}}}
		s.start()
		s.target.Inject(nsqtest.Fault{Command: "PUB", Times: 1, Reply: nsqtest.ErrorFrame("E_PUB_FAILED", "full"), Close: true})
		s.publish(time.Hour)
		sleep(2 * time.Hour)
		want := map[nsq.Outcome]int{nsq.OutcomeAnswered: 6, nsq.OutcomeRequeued: 1, nsq.OutcomeFinished: 1}
		mu.Lock()
		defer mu.Unlock()
		if fmt.Sprint(counts) != fmt.Sprint(want) {
			s.Errorf("%v, want %v", counts, want)
		}
	})
}

// A middleware of the caller's may hide the message's deadline: the publish is then bounded by
// the Producer only.
func TestContextWithoutDeadline(t *testing.T) {
	inScene(t, func(s *scene) {
		s.publish(time.Hour)
		s.startWith(s.to, func(next nsq.Handler) nsq.Handler {
			return nsq.HandlerFunc(func(m *nsq.Message) error {
				return next.HandleMessage(m.WithContext(context.WithoutCancel(m.Context())))
			})
		})
		sleep(time.Hour + time.Second)
		s.expectExact(1)
	})
}

// A Publisher that panics costs neither the relay nor the message.
func TestPublisherPanics(t *testing.T) {
	inScene(t, func(s *scene) {
		panicked := false
		s.startWith(publisherFunc(func(ctx context.Context, topic string, body []byte) error {
			if !panicked {
				panicked = true
				panic(errors.New("boom"))
			}
			return s.to.PublishContext(ctx, topic, body)
		}))
		s.publish(time.Hour)
		sleep(2 * time.Hour)
		s.expectStored(1)
	})
}

type publisherFunc func(ctx context.Context, topic string, body []byte) error

func (f publisherFunc) PublishContext(ctx context.Context, topic string, body []byte) error {
	return f(ctx, topic, body)
}

func (f publisherFunc) MultiPublishContext(context.Context, string, [][]byte) error {
	panic("not called by package delay")
}
