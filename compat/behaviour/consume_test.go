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

var errHandler = errors.New("handler failed")

func finish(client.Delivery) error { return nil }

// failTimes returns a handler that fails the first n deliveries of each message.
func failTimes(n uint16) func(client.Delivery) error {
	return func(d client.Delivery) error {
		if d.Attempts <= n {
			return errHandler
		}
		return nil
	}
}

// publishOneByOne publishes each message after the previous one was finished.
func publishOneByOne(s *scene, bodies ...string) {
	for i, body := range bodies {
		s.publish(body)
		s.awaitCommand(i+1, "FIN")
	}
}

func TestConsume(t *testing.T) {
	noBackoff := options{"max_backoff_duration": 0, "default_requeue_delay": "10ms"}
	compare(t, []scenario{
		{name: "one at a time", play: func(s *scene) {
			s.consume(finish, func(client.Consumer) { publishOneByOne(s, "a", "b", "c") })
		}},
		{name: "five at a time", options: options{"max_in_flight": 5}, play: func(s *scene) {
			s.publish("a", "b", "c", "d", "e", "f", "g")
			s.consume(finish, func(client.Consumer) { s.awaitCommand(7, "FIN") })
		}},
		{name: "requeue after an error", options: noBackoff, play: func(s *scene) {
			s.consume(failTimes(2), func(client.Consumer) {
				s.publish("a")
				s.awaitCommand(1, "FIN")
			})
		}},
		{name: "the automatic delay is capped", options: options{"max_backoff_duration": 0,
			"default_requeue_delay": "30ms", "max_requeue_delay": "40ms"}, play: func(s *scene) {
			s.consume(failTimes(3), func(client.Consumer) {
				s.publish("a")
				s.awaitCommand(1, "FIN")
			})
		}},
		{name: "the default delay", options: options{"max_backoff_duration": 0},
			nsqd: nsqtest.Options{MaxReqTimeout: 10 * time.Millisecond}, play: func(s *scene) {
				s.consume(failTimes(4), func(client.Consumer) {
					s.publish("a")
					s.awaitCommand(1, "FIN")
				})
			}},
	})
}

// Handlers respond to a message themselves.
func TestHandlerResponses(t *testing.T) {
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
				s.awaitCommand(1, "FIN")
			})
		}},
		{name: "the first response counts", options: noBackoff, play: func(s *scene) {
			s.consume(func(d client.Delivery) error {
				d.Finish()
				d.Finish()
				d.Requeue(0)
				d.Touch()
				return errHandler
			}, func(client.Consumer) { publishOneByOne(s, "a", "b") })
		}},
		{name: "touch", play: func(s *scene) {
			s.consume(func(d client.Delivery) error {
				d.Touch()
				d.Touch()
				return nil
			}, func(client.Consumer) { publishOneByOne(s, "a") })
		}},
		{name: "finished later", options: options{"max_in_flight": 2}, play: func(s *scene) {
			later := make(chan client.Delivery, 2)
			s.consume(func(d client.Delivery) error {
				d.DisableAutoResponse()
				later <- d
				return errHandler // does not requeue the message
			}, func(client.Consumer) {
				s.publish("a", "b")
				a, b := await(s.t, later), await(s.t, later)
				s.note("disabled %t, responded %t", a.IsAutoResponseDisabled(), a.HasResponded())
				b.Finish()
				s.awaitCommand(1, "FIN")
				a.Touch()
				a.Finish()
				s.awaitCommand(2, "FIN")
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
				s.awaitCommand(1, "FIN")
			})
		}},
		{name: "a refused FIN", play: func(s *scene) {
			s.nsqd.Inject(nsqtest.Fault{Command: "FIN", Times: 1, Reply: nsqtest.ErrorFrame("E_FIN_FAILED", "FIN failed")})
			s.consume(finish, func(client.Consumer) {
				s.publish("a")
				s.awaitCommand(1, "FIN")
				s.nsqd.Empty(topic, channel)
				s.publish("b")
				s.awaitCommand(2, "FIN")
			})
		}},
		{name: "a heartbeat", play: func(s *scene) {
			s.consume(finish, func(client.Consumer) {
				s.nsqd.Send(1, nsqtest.ResponseFrame("_heartbeat_"))
				s.awaitCommand(1, "NOP")
			})
		}},
		{name: "AUTH", nsqd: nsqtest.Options{AuthSecret: "secret"}, options: options{"auth_secret": "secret"},
			play: func(s *scene) {
				s.consume(finish, func(client.Consumer) { publishOneByOne(s, "a") })
			}},
		{name: "compression", nsqd: nsqtest.Options{Snappy: true}, options: options{"snappy": true},
			play: func(s *scene) {
				s.consume(finish, func(client.Consumer) { publishOneByOne(s, "a") })
			}},
	})
}

// IDENTIFY carries the same value for every option that it has.
func TestIdentify(t *testing.T) {
	play := func(s *scene) {
		s.consume(finish, func(client.Consumer) {
			var identify map[string]any
			if err := json.Unmarshal(s.nsqd.Clients()[0].Identify, &identify); err != nil {
				s.t.Fatal(err)
			}
			for _, key := range slices.Sorted(maps.Keys(identify)) {
				// Only later versions of nsqd use the topology.
				if !strings.HasPrefix(key, "topology_") {
					s.note("%s: %v", key, identify[key])
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
			s.consume(always, func(client.Consumer) { publishOneByOne(s, "a", "b") })
		}},
		{name: "0 means no limit", options: unlimited, play: func(s *scene) {
			s.consume(failTimes(9), func(client.Consumer) { publishOneByOne(s, "a") })
		}},
	})
}

// afterResume delays a handler until go-nsq has ended its backoff pause. Without
// that delay a result could get lost in go-nsq:
//  1. go-nsq's resume writes RDY 1, and nsqd delivers a message.
//  2. The handler returns, and go-nsq ignores its result because the pause has
//     not ended yet.
//  3. resume ends the pause.
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
	// once plays one message that fails a few times. It ends when the consumer has
	// left backoff, which the given number of RDY commands shows.
	once := func(failures uint16, rdy string, times int) func(*scene) {
		return func(s *scene) {
			s.consume(afterResume(failTimes(failures)), func(client.Consumer) {
				s.publish("a")
				s.awaitCommand(1, "FIN")
				s.awaitCommand(times, "RDY "+rdy)
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
			}, func(client.Consumer) { publishOneByOne(s, "a") })
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
				s.awaitCommand(1, "FIN")
				s.awaitCommand(3, "RDY 1") // the probe at level 1
				s.publish("b")
				s.awaitCommand(2, "RDY 5")
				s.awaitCommand(2, "FIN")
			})
		}},
	})
}
