package behaviour

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/compat/behaviour/client"
	"github.com/rdyhq/nsq/nsqtest"
)

var errHandler = errors.New("of the handler")

func finish(client.Delivery) error { return nil }

// failTimes fails the first deliveries of each message.
func failTimes(n uint16) func(client.Delivery) error {
	return func(d client.Delivery) error {
		if d.Attempts <= n {
			return errHandler
		}
		return nil
	}
}

// oneByOne publishes each message when the one before it was answered.
func oneByOne(s *scene, bodies ...string) {
	for i, body := range bodies {
		s.publish(body)
		s.sees(i+1, "FIN")
	}
}

func TestConsume(t *testing.T) {
	noBackoff := options{"max_backoff_duration": 0, "default_requeue_delay": "10ms"}
	compare(t, []scenario{
		{name: "one at a time", play: func(s *scene) {
			s.consume(finish, func(client.Consumer) { oneByOne(s, "a", "b", "c") })
		}},
		{name: "five at a time", options: options{"max_in_flight": 5}, play: func(s *scene) {
			s.publish("a", "b", "c", "d", "e", "f", "g")
			s.consume(finish, func(client.Consumer) { s.sees(7, "FIN") })
		}},
		{name: "requeue after an error", options: noBackoff, play: func(s *scene) {
			s.consume(failTimes(2), func(client.Consumer) {
				s.publish("a")
				s.sees(1, "FIN")
			})
		}},
		{name: "the automatic delay is capped", options: options{"max_backoff_duration": 0,
			"default_requeue_delay": "30ms", "max_requeue_delay": "40ms"}, play: func(s *scene) {
			s.consume(failTimes(3), func(client.Consumer) {
				s.publish("a")
				s.sees(1, "FIN")
			})
		}},
		{name: "the default delay", options: options{"max_backoff_duration": 0},
			nsqd: nsqtest.Options{MaxReqTimeout: 10 * time.Millisecond}, play: func(s *scene) {
				s.consume(failTimes(4), func(client.Consumer) {
					s.publish("a")
					s.sees(1, "FIN")
				})
			}},
	})
}

// What handlers do with a message themselves.
func TestAnswers(t *testing.T) {
	noBackoff := options{"max_backoff_duration": 0, "default_requeue_delay": "10ms"}
	compare(t, []scenario{
		{name: "requeued by the handler", options: noBackoff, play: func(s *scene) {
			s.consume(func(d client.Delivery) error {
				switch d.Attempts {
				case 1:
					d.Requeue(25 * time.Millisecond)
				case 2:
					d.Requeue(-1)
				case 3:
					d.RequeueWithoutBackoff(1500 * time.Microsecond)
				}
				s.note("attempt %d, responded %t", d.Attempts, d.HasResponded())
				return nil
			}, func(client.Consumer) {
				s.publish("a")
				s.sees(1, "FIN")
			})
		}},
		{name: "the first answer counts", options: noBackoff, play: func(s *scene) {
			s.consume(func(d client.Delivery) error {
				d.Finish()
				d.Finish()
				d.Requeue(0)
				d.Touch()
				return errHandler
			}, func(client.Consumer) { oneByOne(s, "a", "b") })
		}},
		{name: "touch", play: func(s *scene) {
			s.consume(func(d client.Delivery) error {
				d.Touch()
				d.Touch()
				return nil
			}, func(client.Consumer) { oneByOne(s, "a") })
		}},
		{name: "answered later", options: options{"max_in_flight": 2}, play: func(s *scene) {
			later := make(chan client.Delivery, 2)
			s.consume(func(d client.Delivery) error {
				d.DisableAutoResponse()
				later <- d
				return errHandler // not answered all the same
			}, func(client.Consumer) {
				s.publish("a", "b")
				a, b := await(s.t, later), await(s.t, later)
				s.note("disabled %t, responded %t", a.IsAutoResponseDisabled(), a.HasResponded())
				b.Finish()
				s.sees(1, "FIN")
				a.Touch()
				a.Finish()
				s.sees(2, "FIN")
			})
		}},
	})
}

func TestConnection(t *testing.T) {
	noBackoff := options{"max_backoff_duration": 0, "default_requeue_delay": "10ms"}
	compare(t, []scenario{
		{name: "what a delivery says", options: noBackoff, play: func(s *scene) {
			s.consume(func(d client.Delivery) error {
				s.note("%s, attempts %d, from %s", d.Body, d.Attempts, d.NSQDAddress)
				return failTimes(1)(d)
			}, func(client.Consumer) {
				s.publish("a")
				s.sees(1, "FIN")
			})
		}},
		{name: "a refused FIN", play: func(s *scene) {
			s.nsqd.Inject(nsqtest.Fault{Command: "FIN", Times: 1, Reply: nsqtest.ErrorFrame("E_FIN_FAILED", "FIN failed")})
			s.consume(finish, func(client.Consumer) {
				s.publish("a")
				s.sees(1, "FIN")
				s.nsqd.Empty(topic, channel)
				s.publish("b")
				s.sees(2, "FIN")
			})
		}},
		{name: "a heartbeat", play: func(s *scene) {
			s.consume(finish, func(client.Consumer) {
				s.nsqd.Send(1, nsqtest.ResponseFrame("_heartbeat_"))
				s.sees(1, "NOP")
			})
		}},
		{name: "AUTH", nsqd: nsqtest.Options{AuthSecret: "secret"}, options: options{"auth_secret": "secret"},
			play: func(s *scene) {
				s.consume(finish, func(client.Consumer) { oneByOne(s, "a") })
			}},
		{name: "compression", nsqd: nsqtest.Options{Snappy: true}, options: options{"snappy": true},
			play: func(s *scene) {
				s.consume(finish, func(client.Consumer) { oneByOne(s, "a") })
			}},
	})
}

// What IDENTIFY says of every option that it has.
func TestIdentify(t *testing.T) {
	play := func(s *scene) {
		s.consume(finish, func(client.Consumer) {
			var said map[string]any
			if err := json.Unmarshal(s.nsqd.Clients()[0].Identify, &said); err != nil {
				s.t.Fatal(err)
			}
			for _, key := range slices.Sorted(maps.Keys(said)) {
				// The topology is of later versions of NSQ, whose nsqd alone looks at it.
				if !strings.HasPrefix(key, "topology_") {
					s.note("%s: %v", key, said[key])
				}
			}
		})
	}
	compare(t, []scenario{
		{name: "defaults", options: options{"user_agent": "test"}, play: play},
		{name: "user agent", differs: "`user_agent`", play: play},
		{name: "all options", options: options{"user_agent": "test", "client_id": "id", "hostname": "host",
			"deflate": true, "deflate_level": 3, "heartbeat_interval": "5s", "sample_rate": 7,
			"output_buffer_size": 64, "output_buffer_timeout": "30ms", "msg_timeout": "2s"}, play: play},
		{name: "unbuffered", options: options{"user_agent": "test", "output_buffer_size": -1,
			"output_buffer_timeout": -1}, play: play},
	})
}

func TestMaxAttempts(t *testing.T) {
	always := func(client.Delivery) error { return errHandler }
	twice := options{"max_attempts": 2, "max_backoff_duration": 0, "default_requeue_delay": 0}
	unlimited := options{"max_attempts": 0, "max_backoff_duration": 0, "default_requeue_delay": 0}
	compare(t, []scenario{
		{name: "given up", options: twice, play: func(s *scene) {
			s.consume(always, func(client.Consumer) { oneByOne(s, "a", "b") })
		}},
		{name: "0 is without limit", options: unlimited, play: func(s *scene) {
			s.consume(failTimes(9), func(client.Consumer) { oneByOne(s, "a") })
		}},
	})
}

// afterResume holds a handler back until go-nsq has ended its pause: it does so
// just after it wrote the RDY 1 that brings the message, and ignores what it is
// told until then.
func afterResume(handle func(client.Delivery) error) func(client.Delivery) error {
	return func(d client.Delivery) error {
		stacks := make([]byte, 1<<20)
		for bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("go-nsq.(*Consumer).resume")) {
			runtime.Gosched()
		}
		return handle(d)
	}
}

func TestBackoff(t *testing.T) {
	quick := func(more options) options {
		o := options{"backoff_multiplier": "10ms", "default_requeue_delay": 0, "max_attempts": 0}
		for name, value := range more {
			o[name] = value
		}
		return o
	}
	// once waits until the consumer is out of the backoff, which its last RDY says, before the next message.
	once := func(failures uint16, rdy string, times int) func(*scene) {
		return func(s *scene) {
			s.consume(afterResume(failTimes(failures)), func(client.Consumer) {
				s.publish("a")
				s.sees(1, "FIN")
				s.sees(times, "RDY "+rdy)
			})
		}
	}
	compare(t, []scenario{
		{name: "one failure", options: quick(options{"max_in_flight": 5}), play: once(1, "5", 2)},
		{name: "one failure, one slot", options: quick(nil), play: once(1, "1", 2)},
		{name: "without backoff", options: quick(options{"max_in_flight": 5, "max_backoff_duration": 0}), play: once(2, "5", 1)},
		{name: "requeued without backoff", options: quick(options{"max_in_flight": 5}), play: func(s *scene) {
			s.consume(func(d client.Delivery) error {
				if d.Attempts < 3 {
					d.RequeueWithoutBackoff(0)
				}
				return nil
			}, func(client.Consumer) { oneByOne(s, "a") })
		}},
		{name: "two failures and two successes", options: quick(options{"max_in_flight": 5}), play: func(s *scene) {
			first := failTimes(2)
			handle := func(d client.Delivery) error {
				if d.Body == "a" {
					return first(d)
				}
				return nil
			}
			s.consume(afterResume(handle), func(client.Consumer) {
				s.publish("a")
				s.sees(1, "FIN")
				s.sees(3, "RDY 1") // the probe at level 1
				s.publish("b")
				s.sees(2, "RDY 5")
			})
		}},
	})
}
