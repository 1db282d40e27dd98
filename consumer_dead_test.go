package nsq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/rdyhq/nsq/envelope"
	"github.com/rdyhq/nsq/nsqtest"
)

// burial is a scene with an nsqd for messages, at a:1, and one for dead letters, at b:1.
type burial struct {
	*scene
	policy       *DeadLetterPolicy // of the scene's Config; To is a Producer
	source, dead *nsqtest.Nsqd

	mu     sync.Mutex // guards buried
	buried []BuriedEvent
}

// bury runs a test in a bubble. Backoff is off, and failed messages come back after a second.
func bury(t *testing.T, test func(s *burial)) {
	t.Helper()
	inScene(t, func(base *scene) {
		s := &burial{scene: base, source: base.nsqd("a:1"), dead: base.nsqd("b:1")}
		s.cfg.MaxBackoffDuration, s.cfg.DefaultRequeueDelay, s.cfg.MaxRequeueDelay = 0, time.Second, time.Second
		p := s.producer("b:1")
		s.policy = &DeadLetterPolicy{To: p}
		s.cfg.DeadLetter = s.policy
		s.cfg.Hooks = []Hooks{{Buried: func(e BuriedEvent) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.buried = append(s.buried, e)
		}}}
		defer func() { // in the order that DeadLetterPolicy.To asks for
			if s.c != nil {
				s.stopped()
			}
			p.Stop()
		}()
		test(s)
	})
}

// letters returns the bodies of the dead letters in a topic, opened.
func (s *burial) letters(topic string) []string {
	var bodies []string
	for _, letter := range s.dead.Queued(topic, "") {
		_, body, _ := envelope.Open([]byte(letter))
		bodies = append(bodies, string(body))
	}
	return bodies
}

// publisherFunc is a user's Publisher of single messages.
type publisherFunc func(ctx context.Context, topic string, body []byte) error

func (f publisherFunc) PublishContext(ctx context.Context, topic string, body []byte) error {
	return f(ctx, topic, body)
}

func (publisherFunc) MultiPublishContext(context.Context, string, [][]byte) error {
	panic("not called")
}

// A message becomes a dead letter when its last attempt fails. The dead letter has the body
// and says where it comes from.
func TestDeadLetter(t *testing.T) {
	bury(t, func(s *burial) {
		s.policy.After = 3
		s.cfg.Hostname = "here"
		attempts := 0
		s.consumer(1, func(m *Message) error {
			attempts = int(m.Attempts)
			return errors.New("no such\ncustomer")
		})
		out := s.logged(LogLevelWarning)
		s.connect(s.source)
		published := time.Now()
		id := s.source.Publish("t", "pen")[0]
		after(time.Minute)
		letters := s.dead.Queued("t.c.dead", "")
		if attempts != 3 || len(letters) != 1 {
			s.Fatalf("%d attempts, dead letters %q", attempts, letters)
		}
		h, body, ok := envelope.Open([]byte(letters[0]))
		want := envelope.Header{
			"origin-topic": "t", "origin-channel": "c", "origin-nsqd": "a:1", "origin-id": id, "origin-attempts": "3",
			"origin-published": published.UTC().Format(time.RFC3339Nano),
			"failed-at":        published.Add(2 * time.Second).UTC().Format(time.RFC3339Nano),
			"failed-error":     "no such\ncustomer", "failed-host": "here",
		}
		if !ok || string(body) != "pen" || !maps.Equal(h, want) {
			s.Errorf("headers %q\nwant    %q, body %q", h, want, body)
		}
		if got := commands(s.source, "FIN", "REQ"); !slices.Equal(got, []string{"REQ " + id + " 1000", "REQ " + id + " 1000", "FIN " + id}) {
			s.Errorf("sent %q", got)
		}
		if len(s.buried) != 1 {
			s.Fatalf("events %+v", s.buried)
		}
		e := s.buried[0]
		if e.Topic != "t" || e.Channel != "c" || e.DeadTopic != "t.c.dead" || string(e.ID[:]) != id || e.NSQDAddress != "a:1" ||
			e.Attempts != 3 || e.Err.Error() != "no such\ncustomer" || e.PublishErr != nil {
			s.Errorf("event %+v", e)
		}
		if c := s.balanced(); c.Buried != 1 || c.GivenUp != 0 || c.Finished != 1 || c.Requeued != 2 {
			s.Errorf("%+v", c)
		}
		text := strings.Join(out.take(), "\n")
		if strings.Count(text, "the message becomes a dead letter") != 1 || strings.Count(text, "\n") != 2 {
			s.Errorf("logged %s", text)
		}
	})
}

// What a handler returns decides whether the message becomes a dead letter, and whether
// backoff counts that. Message.Outcome foretells what the Handled hook is told.
func TestWhatBecomesADeadLetter(t *testing.T) {
	const stored, kept = "FIN, stored", "REQ 1000"
	wrap := func(err error) error { return fmt.Errorf("while trying: %w", err) }
	returning := func(err error) HandlerFunc { return func(*Message) error { return err } }
	for name, tt := range map[string]struct {
		after   uint16
		handle  HandlerFunc
		want    string // what becomes of the message
		outcome Outcome
		backoff bool
	}{
		"the last failure":             {1, returning(errBoom), stored, OutcomeBuried, true},
		"an earlier failure":           {2, returning(errBoom), kept, OutcomeRequeued, true},
		"without backoff":              {1, returning(NoBackoff(errBoom)), stored, OutcomeBuried, false},
		"a planned retry":              {1, returning(RetryAfter(time.Second, errBoom)), kept, OutcomeRequeued, false},
		"a request":                    {5, returning(wrap(DeadLetter(errBoom))), stored, OutcomeBuried, false},
		"a request and a planned one":  {5, returning(RetryAfter(time.Second, DeadLetter(errBoom))), stored, OutcomeBuried, false},
		"a request, the other way":     {5, returning(DeadLetter(RetryAfter(time.Second, errBoom))), stored, OutcomeBuried, false},
		"discard":                      {1, returning(Discard(errBoom)), "FIN", OutcomeDiscarded, false},
		"discard a request":            {1, returning(DeadLetter(wrap(Discard(errBoom)))), "FIN", OutcomeDiscarded, false},
		"success":                      {1, returning(nil), "FIN", OutcomeFinished, false},
		"panic":                        {1, func(*Message) error { panic("poison") }, stored, OutcomeBuried, true},
		"panic of a request":           {2, func(*Message) error { panic(DeadLetter(errBoom)) }, kept, OutcomeRequeued, true},
		"acked and failed":             {1, func(m *Message) error { m.Finish(); return errBoom }, "FIN", OutcomeAnswered, false},
		"requeued and failed":          {1, func(m *Message) error { m.RequeueWithoutBackoff(time.Second); return errBoom }, kept, OutcomeAnswered, false},
		"left for later and failed":    {1, func(m *Message) error { m.DisableAutoResponse(); return errBoom }, "", OutcomePending, false},
		"left for later and panicking": {1, func(m *Message) error { m.DisableAutoResponse(); panic("poison") }, stored, OutcomeBuried, true},
	} {
		t.Run(name, func(t *testing.T) {
			bury(t, func(s *burial) {
				s.cfg.MaxBackoffDuration = time.Minute
				s.policy.After = tt.after
				var told, foretold Outcome
				s.cfg.Hooks = append(s.cfg.Hooks, Hooks{Handled: func(e HandledEvent) { told = e.Outcome }})
				s.consumer(1, func(m *Message) error {
					var err error = &PanicError{}
					defer func() { foretold, _ = m.Outcome(err) }()
					err = tt.handle(m)
					return err
				})
				s.connect(s.source)
				id := s.source.Publish("t", "m")[0]
				synctest.Wait()
				got := strings.Replace(strings.Join(commands(s.source, "FIN", "REQ"), ","), " "+id, "", 1)
				if len(s.letters("t.c.dead")) == 1 && len(s.buried) == 1 {
					got += ", stored"
				} else if len(s.buried) > 0 {
					s.Errorf("event %+v", s.buried[0])
				}
				if got != tt.want || told != tt.outcome || foretold != told {
					s.Errorf("%q, outcome %s, foretold %s; want %q, outcome %s", got, told, foretold, tt.want, tt.outcome)
				}
				if level := s.c.Snapshot().BackoffLevel; level > 0 != tt.backoff {
					s.Errorf("backoff level %d, want backoff: %v", level, tt.backoff)
				}
			})
		})
	}
}

// Of a batch whose handler fails, the messages that have had enough attempts become dead
// letters, and the others are requeued. What Message.Answer says of a message comes first.
func TestDeadLettersOfABatch(t *testing.T) {
	bury(t, func(s *burial) {
		s.policy.After = 2
		told := map[string]Outcome{}
		s.cfg.Hooks = append(s.cfg.Hooks, Hooks{Handled: func(e HandledEvent) { told[string(e.Message.Body)] = e.Outcome }})
		s.consumer(0, nil)
		var sizes []int
		s.c.AddBatchHandler(BatchHandlerFunc(func(_ context.Context, batch []*Message) error {
			sizes = append(sizes, len(batch))
			for _, m := range batch {
				switch string(m.Body) {
				case "good":
					m.Answer(nil)
				case "poison":
					m.Answer(DeadLetter(errBoom))
				}
			}
			return errBoom
		}), BatchLimits{Messages: 6, Wait: 10 * time.Second}, 1)
		s.connect(s.source)
		s.source.Publish("t", "old1", "old2")
		after(10500 * time.Millisecond) // they come back half a second later
		s.source.Publish("t", "new1", "new2", "good", "poison")
		after(time.Second)
		if !slices.Equal(sizes, []int{2, 6}) {
			s.Fatalf("batches of %d", sizes)
		}
		want := map[string]Outcome{
			"old1": OutcomeBuried, "old2": OutcomeBuried, "new1": OutcomeRequeued, "new2": OutcomeRequeued,
			"good": OutcomeFinished, "poison": OutcomeBuried,
		}
		if !maps.Equal(told, want) {
			s.Errorf("outcomes %v, want %v", told, want)
		}
		if got := s.letters("t.c.dead"); !slices.Equal(got, []string{"poison", "old1", "old2"}) {
			s.Errorf("dead letters %q", got)
		}
		if st := s.source.Stats("t", "c"); st.Finished != 4 || st.Requeued != 4 || s.balanced().Buried != 3 {
			s.Errorf("%+v, %+v", st, s.balanced())
		}
	})
}

// To backoff a batch that becomes dead letters is one failure, or none if its handler has
// asked for dead letters.
func TestBackoffOfDeadBatches(t *testing.T) {
	for _, asked := range []bool{false, true} {
		bury(t, func(s *burial) {
			s.policy.After, s.cfg.MaxBackoffDuration = 1, time.Minute
			s.consumer(0, nil)
			s.c.AddBatchHandler(BatchHandlerFunc(func(context.Context, []*Message) error {
				if asked {
					return DeadLetter(errBoom)
				}
				return errBoom
			}), BatchLimits{Messages: 3}, 1)
			s.connect(s.source)
			s.source.Publish("t", "1", "2", "3")
			synctest.Wait()
			level := s.c.Snapshot().BackoffLevel
			if level > 0 == asked || level > 1 || len(s.letters("t.c.dead")) != 3 {
				s.Errorf("asked: %v: backoff level %d, dead letters %q", asked, level, s.letters("t.c.dead"))
			}
		})
	}
}

// A message that a loop takes becomes a dead letter when it is answered, and one that is given
// up does before it is taken.
func TestAnswersWithDeadLetters(t *testing.T) {
	bury(t, func(s *burial) {
		s.policy.After = 2
		s.cfg.MaxAttempts = 2
		c := s.consumer(0, nil)
		ctx, cancel := context.WithCancel(context.Background())
		var taken []string
		var loop sync.WaitGroup
		loop.Go(func() {
			for m := range c.Messages(ctx) {
				taken = append(taken, fmt.Sprint(string(m.Body), m.Attempts))
				switch string(m.Body) {
				case "poison":
					m.Answer(DeadLetter(errBoom))
				case "fails":
					m.Answer(errBoom)
				default:
					m.Answer(RetryAfter(0, errBoom))
				}
			}
		})
		if err := c.Connect(ctx, "a:1"); err != nil {
			s.Fatal(err)
		}
		for _, body := range []string{"poison", "fails", "given up"} {
			s.source.Publish("t", body)
			after(2 * time.Second)
		}
		if got := fmt.Sprint(taken); got != "[poison1 fails1 fails2 given up1 given up2]" {
			s.Errorf("taken %s", got)
		}
		if got := s.letters("t.c.dead"); !slices.Equal(got, []string{"poison", "fails", "given up"}) {
			s.Errorf("dead letters %q", got)
		}
		if st := s.source.Stats("t", "c"); st.Finished != 3 || s.balanced().Lost != 0 {
			s.Errorf("%+v, %+v", st, s.balanced())
		}
		cancel()
		loop.Wait()
	})
}

// Without a policy DeadLetter changes nothing about an error.
func TestDeadLetterWithoutPolicy(t *testing.T) {
	bury(t, func(s *burial) {
		s.cfg.DeadLetter, s.cfg.MaxBackoffDuration = nil, time.Minute
		s.consumer(1, func(m *Message) error {
			if string(m.Body) == "later" {
				return DeadLetter(RetryAfter(2*time.Second, errBoom))
			}
			return DeadLetter(errBoom)
		})
		s.connect(s.source)
		later := s.source.Publish("t", "later")[0]
		synctest.Wait()
		id := s.source.Publish("t", "m")[0]
		synctest.Wait()
		if got := commands(s.source, "FIN", "REQ"); !slices.Equal(got, []string{"REQ " + later + " 2000", "REQ " + id + " 1000"}) {
			s.Errorf("sent %q", got)
		}
		if level := s.c.Snapshot().BackoffLevel; level != 1 {
			s.Errorf("backoff level %d", level)
		}
	})
}

// A message that is given up becomes a dead letter after LogFailedMessage, unless that has
// acked it.
func TestGivenUpMessageBecomesADeadLetter(t *testing.T) {
	for _, acks := range []bool{false, true} {
		bury(t, func(s *burial) {
			s.cfg.MaxAttempts = 1
			failed := 0
			s.consumer(0, nil)
			s.c.AddHandler(&ackingLogger{
				HandlerFunc: func(*Message) error { return RetryAfter(0, errBoom) },
				ack: func(m *Message) {
					if failed++; acks {
						m.Finish()
					}
				},
			})
			s.connect(s.source)
			s.source.Publish("t", "m")
			after(time.Minute)
			want := []string{"m"}
			if acks {
				want = nil
			}
			if got := s.letters("t.c.dead"); !slices.Equal(got, want) || failed != 1 {
				s.Errorf("acks: %v: dead letters %q, LogFailedMessage was called %d times", acks, got, failed)
			}
			if st := s.source.Stats("t", "c"); st.Finished != 1 || st.Requeued != 1 {
				s.Errorf("%+v", st)
			}
			if c := s.balanced(); c.GivenUp != 1 || c.Buried != uint64(len(want)) {
				s.Errorf("%+v", c)
			}
			if !acks && s.buried[0].Err.Error() != "delivered 2 times, max_attempts is 1" {
				s.Errorf("event %+v", s.buried[0])
			}
		})
	}
}

// A message whose dead letter cannot be stored is requeued, with a delay, until it can be: it
// is never acked before that, however many attempts it has had, and its handler is not called
// again beyond max_attempts.
func TestDeadLetterIsNotStored(t *testing.T) {
	for name, tt := range map[string]struct {
		fail func(s *burial)
		heal func(s *burial)
		err  string // part of the error of the event
		took time.Duration
		left int // dead letters in the end
	}{
		"nsqd is down": {
			fail: func(s *burial) { s.net.Refuse("b:1", nil) },
			heal: func(s *burial) { s.net.Allow("b:1") },
			err:  "nothing was published", left: 1,
		},
		"nsqd refuses it": {
			fail: func(s *burial) { s.dead.Reject("PUB", "E_BAD_MESSAGE", "too big") },
			err:  "E_BAD_MESSAGE", left: 1,
		},
		"the reply is lost": {
			fail: func(s *burial) { s.dead.Inject(nsqtest.Fault{Command: "PUB", Times: 3, Mute: true, Close: true}) },
			err:  "outcome unknown", left: 4,
		},
		"nsqd does not reply": {
			fail: func(s *burial) {
				if err := s.policy.To.(*Producer).Ping(); err != nil {
					s.Fatal(err)
				}
				s.dead.StopReading()
			},
			heal: func(s *burial) { s.dead.StartReading() },
			err:  "half of what was left of the message's lease is over", took: 30 * time.Second, left: 4,
		},
		"the publisher panics": {
			fail: func(s *burial) {
				calls := 0
				s.policy.To = publisherFunc(func(_ context.Context, topic string, body []byte) error {
					if calls++; calls <= 3 {
						panic("broken")
					}
					s.dead.Publish(topic, string(body))
					return nil
				})
			},
			err: "the publisher panicked: broken", left: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bury(t, func(s *burial) {
				s.cfg.MaxAttempts, s.cfg.DefaultRequeueDelay, s.cfg.MaxInFlight = 2, 0, 1
				tt.fail(s)
				handled := 0
				s.consumer(1, func(*Message) error { handled++; return errBoom })
				out := s.logged(LogLevelError)
				s.connect(s.source)
				id := s.source.Publish("t", "m")[0]
				for i := range 3 {
					after(tt.took)
					if len(s.buried) != i+1 || !strings.Contains(fmt.Sprint(s.buried[i].PublishErr), tt.err) || s.buried[i].Attempts != uint16(i+2) {
						s.Fatalf("events %+v", s.buried)
					}
					got := commands(s.source, "FIN", "REQ")
					if want := "REQ " + id + " 1000"; len(got) != i+2 || got[i+1] != want || got[0] != "REQ "+id+" 0" {
						s.Fatalf("sent %q, want %s", got, want)
					}
					after(time.Second)
				}
				if tt.heal != nil {
					tt.heal(s)
				} else {
					s.dead.ClearFaults()
				}
				after(3 * time.Minute)
				if got := s.letters("t.c.dead"); len(got) != tt.left || got[0] != "m" {
					s.Errorf("dead letters %q, want %d", got, tt.left)
				}
				if st := s.source.Stats("t", "c"); st.Finished != 1 || handled != 2 {
					s.Errorf("%+v, handled %d times", st, handled)
				}
				if c := s.balanced(); c.Buried != 1 || c.Lost != 0 {
					s.Errorf("%+v", c)
				}
				if text := strings.Join(out.take(), "\n"); !strings.Contains(text, "not stored as a dead letter, requeueing it") || !strings.Contains(text, tt.err) {
					s.Errorf("logged %s", text)
				}
			})
		})
	}
}

// If the lease or the connection ends during the publish, the message is not acked, because
// nsqd delivers it again. It becomes a dead letter once more.
func TestLeaseEndsDuringBurial(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(s *burial)
		lost error
	}{
		"lease":      {func(*burial) { after(time.Minute) }, ErrMessageTimedOut},
		"connection": {func(s *burial) { s.source.Disconnect(1) }, ErrConnectionLost},
	} {
		t.Run(name, func(t *testing.T) {
			bury(t, func(s *burial) {
				s.cfg.MaxAttempts = 1
				release := make(chan struct{})
				var cause error
				to := s.policy.To
				s.policy.To = publisherFunc(func(ctx context.Context, topic string, body []byte) error {
					<-release // whatever becomes of ctx
					if cause == nil {
						cause = context.Cause(ctx)
					}
					return to.PublishContext(context.Background(), topic, body)
				})
				var why error
				s.cfg.Hooks = append(s.cfg.Hooks, Hooks{Abandoned: func(e AbandonedEvent) { why = e.Why }})
				s.consumer(1, func(*Message) error { return errBoom })
				s.connect(s.source)
				s.source.Publish("t", "m")
				synctest.Wait()
				tt.end(s)
				synctest.Wait()
				close(release)
				synctest.Wait()
				if !errors.Is(why, tt.lost) || cause == nil {
					s.Errorf("abandoned because of %v, the context ended with %v", why, cause)
				}
				after(3 * time.Minute)
				if st := s.source.Stats("t", "c"); st.Finished != 1 || st.Requeued != 0 || st.InFlight != 0 {
					s.Errorf("%+v", st)
				}
				if got := s.letters("t.c.dead"); len(got) != 2 || s.balanced().Lost != 1 {
					s.Errorf("dead letters %q, %+v", got, s.balanced())
				}
			})
		})
	}
}

// A message whose lease has ended in its handler is not made a dead letter: nsqd delivers it
// again.
func TestNoBurialAfterTheLease(t *testing.T) {
	bury(t, func(s *burial) {
		s.cfg.MaxAttempts = 1
		s.consumer(1, func(m *Message) error {
			sleep(61 * time.Second)
			return errBoom
		})
		s.connect(s.source)
		s.source.Publish("t", "m")
		after(70 * time.Second) // given up at the second delivery
		if got := s.letters("t.c.dead"); len(got) != 1 || len(s.buried) != 1 || s.buried[0].Attempts != 2 {
			s.Errorf("dead letters %q, events %+v", got, s.buried)
		}
	})
}

// auto_touch keeps the lease alive while the dead letter is published.
func TestAutoTouchDuringBurial(t *testing.T) {
	bury(t, func(s *burial) {
		s.cfg.MaxAttempts, s.cfg.AutoTouch = 1, time.Minute
		s.dead.Inject(nsqtest.Fault{Command: "PUB", Delay: 20 * time.Second})
		s.consumer(1, func(*Message) error { sleep(15 * time.Second); return errBoom })
		s.connect(s.source)
		s.source.Publish("t", "m")
		after(36 * time.Second)
		if st := s.source.Stats("t", "c"); st.Finished != 1 || len(commands(s.source, "TOUCH")) != 1 || len(s.letters("t.c.dead")) != 1 {
			s.Errorf("%+v, sent %q, dead letters %q", st, commands(s.source, "TOUCH"), s.letters("t.c.dead"))
		}
	})
}

// A stop waits for a publish under way. When its time is over, it ends the publish, and the
// message is requeued.
func TestStopDuringBurial(t *testing.T) {
	for _, tt := range []struct {
		takes, took time.Duration
		command     string
	}{
		{2 * time.Second, 2 * time.Second, "FIN"},
		{time.Hour, 5 * time.Second, "REQ"},
	} {
		bury(t, func(s *burial) {
			s.cfg.MaxAttempts = 1
			s.dead.Inject(nsqtest.Fault{Command: "PUB", Delay: tt.takes})
			s.consumer(1, func(*Message) error { return errBoom })
			s.connect(s.source)
			s.source.Publish("t", "m")
			synctest.Wait()
			took, err := s.shutdown(5 * time.Second)
			if got := commands(s.source, "FIN", "REQ"); took != tt.took || err != nil || len(got) != 1 || !strings.HasPrefix(got[0], tt.command) {
				s.Errorf("stopped after %v with error %v, sent %q, want %v and %s", took, err, got, tt.took, tt.command)
			}
			s.dead.Kill()
		})
	}
}

// With Raw the dead letter is the body itself, in the topic that the policy names.
func TestRawDeadLetter(t *testing.T) {
	bury(t, func(s *burial) {
		s.policy.Raw, s.policy.Topic = true, "graveyard"
		s.cfg.RecycleBodies = true
		s.consumer(1, func(*Message) error { return DeadLetter(errBoom) })
		body := strings.Repeat("m", 5000)
		s.policy.Topic, s.policy.Raw = "elsewhere", false // too late
		s.connect(s.source)
		s.source.Publish("t", body)
		synctest.Wait()
		if got := s.dead.Queued("graveyard", ""); !slices.Equal(got, []string{body}) {
			s.Errorf("dead letters %.100q", got)
		}
	})
}

// A Consumer's dead letters must not go to its own topic.
func TestDeadLettersToTheOwnTopic(t *testing.T) {
	cfg := NewConfig()
	cfg.DeadLetter = &DeadLetterPolicy{To: &Producer{}, Topic: "t"}
	_, err := NewConsumer("t", "c", cfg)
	expectError(t, err, "DeadLetter.Topic t is the consumer's own topic")
}

// A dead letter with a long error still is an envelope, and the text is cut between two
// characters. An error whose text cannot be had does no harm.
func TestErrorsOfDeadLetters(t *testing.T) {
	bury(t, func(s *burial) {
		s.consumer(1, func(m *Message) error {
			switch string(m.Body) {
			case "long":
				return DeadLetter(errors.New("x" + strings.Repeat("é", 10000)))
			case "binary":
				return DeadLetter(errors.New(strings.Repeat("\x00", 10000)))
			}
			return DeadLetter(evilError{})
		})
		s.connect(s.source)
		s.source.Publish("t", "long", "binary", "evil")
		synctest.Wait()
		texts := map[string]string{}
		for _, letter := range s.dead.Queued("t.c.dead", "") {
			h, body, _ := envelope.Open([]byte(letter))
			texts[string(body)] = h[HeaderFailedError]
		}
		if long := texts["long"]; len(long) != 4095 || !utf8.ValidString(long) {
			s.Errorf("%d bytes: %.20q", len(long), long)
		}
		if texts["binary"] != strings.Repeat("\x00", 4096) || !strings.Contains(texts["evil"], "PANIC") {
			s.Errorf("%.100q", texts)
		}
	})
}

// evilError panics for its text.
type evilError struct{}

func (evilError) Error() string { panic("evil") }
