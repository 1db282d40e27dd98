package behaviour

import (
	"testing"

	"github.com/rdyhq/nsq/compat/behaviour/client"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestStop(t *testing.T) {
	// held calls play while the handler holds the first message, and the other
	// messages are published.
	held := func(play func(s *scene, c client.Consumer, release chan struct{})) func(*scene) {
		return func(s *scene) {
			begun, release := make(chan struct{}, 1), make(chan struct{})
			s.publish("a", "b", "c")
			s.consume(func(client.Delivery) error {
				select {
				case begun <- struct{}{}:
				default:
				}
				<-release
				return nil
			}, func(c client.Consumer) {
				await(s.t, begun)
				play(s, c, release)
			})
		}
	}
	three := options{"max_in_flight": 3}
	compare(t, []scenario{
		{name: "idle", play: func(s *scene) { s.consume(finish, func(client.Consumer) {}) }},
		{name: "twice", play: func(s *scene) {
			s.consume(finish, func(c client.Consumer) { c.Stop() })
		}},
		{name: "without a connection", play: func(s *scene) { s.stop(s.consumer(finish)) }},
		{name: "with a message in hand", play: held(func(s *scene, c client.Consumer, release chan struct{}) {
			c.Stop()
			s.awaitCommand(1, "CLS")
			close(release)
		})},
		{name: "with messages received", options: three, differs: "`Stop`",
			play: held(func(s *scene, c client.Consumer, release chan struct{}) {
				c.Stop()
				s.awaitCommand(1, "CLS")
				close(release)
			})},
		{name: "connecting afterwards", play: func(s *scene) {
			c := s.consumer(finish)
			s.stop(c)
			s.result("connect", c.ConnectToNSQD(s.nsqd.Addr()))
			s.result("connect to a list", c.ConnectToNSQDs([]string{s.nsqd.Addr()}))
			s.result("connect to nsqlookupd", c.ConnectToNSQLookupd("127.0.0.1:4161"))
		}},
	})
}

func TestConnecting(t *testing.T) {
	compare(t, []scenario{
		{name: "without a handler", play: func(s *scene) {
			c, err := s.client.NewConsumer(topic, channel, s.config)
			s.result("new", err)
			s.result("connect", c.ConnectToNSQD(s.nsqd.Addr()))
			s.result("connect to nsqlookupd", c.ConnectToNSQLookupd("127.0.0.1:4161"))
			c.Stop()
		}},
		{name: "names", differs: "an invalid name", play: func(s *scene) {
			for _, name := range []string{"", "a b", "ok", "ok#ephemeral", "a#b", "ü"} {
				_, err := s.client.NewConsumer(name, channel, s.config)
				s.result("topic "+name, err)
				_, err = s.client.NewConsumer(topic, name, s.config)
				s.result("channel "+name, err)
			}
		}},
		{name: "twice", play: func(s *scene) {
			s.consume(finish, func(c client.Consumer) {
				s.result("again", c.ConnectToNSQD(s.nsqd.Addr()))
			})
		}},
		{name: "disconnecting what is unknown", play: func(s *scene) {
			c := s.consumer(finish)
			s.result("disconnect", c.DisconnectFromNSQD(s.nsqd.Addr()))
			s.result("disconnect from nsqlookupd", c.DisconnectFromNSQLookupd("127.0.0.1:4161"))
			s.stop(c)
		}},
		{name: "disconnecting", differs: "`DisconnectFromNSQD`", play: func(s *scene) {
			c := s.consumer(finish)
			s.result("connect", c.ConnectToNSQD(s.nsqd.Addr()))
			s.awaitCommand(1, "RDY")
			s.result("disconnect", c.DisconnectFromNSQD(s.nsqd.Addr()))
			s.nsqd.WaitFor(waitTimeout, func() bool { return len(s.nsqd.Clients()) == 0 })
			s.stop(c)
		}},
		{name: "a handler after connecting", play: func(s *scene) {
			s.consume(finish, func(c client.Consumer) {
				defer func() { s.note("panic: %v", recover()) }()
				c.Handle(finish, nil, 1)
			})
		}},
	})
}

func TestMaxInFlight(t *testing.T) {
	change := func(steps ...int) func(*scene) {
		return func(s *scene) {
			s.consume(finish, func(c client.Consumer) {
				for i, n := range steps {
					c.ChangeMaxInFlight(n)
					s.awaitCommand(i+2, "RDY")
				}
			})
		}
	}
	compare(t, []scenario{
		{name: "lowered and raised", options: options{"max_in_flight": 5}, play: change(3, 1, 7)},
		{name: "paused and resumed", options: options{"max_in_flight": 5}, play: change(0, 5)},
		{name: "raised above nsqd's limit", options: options{"max_in_flight": 5}, nsqd: nsqtest.Options{MaxRdyCount: 10},
			play: change(20, 4)},
		{name: "above nsqd's limit from the start", options: options{"max_in_flight": 50},
			nsqd: nsqtest.Options{MaxRdyCount: 10}, play: change(4)},
		{name: "starved", options: options{"max_in_flight": 2}, play: func(s *scene) {
			begun, release := make(chan bool, 2), make(chan bool)
			s.publish("a", "b")
			s.consume(func(client.Delivery) error {
				begun <- true
				<-release
				return nil
			}, func(c client.Consumer) {
				await(s.t, begun)
				s.nsqd.WaitFor(waitTimeout, func() bool { return s.nsqd.Stats(topic, channel).InFlight == 2 })
				s.note("starved %t", c.IsStarved())
				close(release)
				s.awaitCommand(2, "FIN")
			})
		}},
	})
}
