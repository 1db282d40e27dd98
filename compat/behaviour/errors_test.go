package behaviour

import (
	"testing"
	"time"

	"github.com/rdyhq/nsq/compat/behaviour/client"
	"github.com/rdyhq/nsq/nsqtest"
)

// trouble is a reason why no connection can be made, or why it is lost.
type trouble struct {
	name    string
	nsqd    nsqtest.Options
	options options
	begin   func(*scene)
	differs string // rows of docs/MIGRATION.md, as of a scenario
	errors  string
}

// rejected returns a function that has nsqd close the connection after a command, with
// this reply.
func rejected(command string, reply []byte) func(*scene) {
	return func(s *scene) { s.nsqd.Inject(nsqtest.Fault{Command: command, Reply: reply, Close: true}) }
}

// withoutConnection are the ways in which connecting fails.
var withoutConnection = []trouble{
	{name: "no nsqd", begin: func(s *scene) { s.nsqd.Kill() }},
	{name: "a refused IDENTIFY", begin: func(s *scene) { s.nsqd.Reject("IDENTIFY", "E_BAD_BODY", "no such luck") }},
	{name: "IDENTIFY, cut", begin: rejected("IDENTIFY", []byte{})},
	{name: "IDENTIFY, cut in the reply", begin: rejected("IDENTIFY", []byte{0, 0, 0, 6, 0})},
	{name: "IDENTIFY, no JSON", differs: rowConnect, begin: rejected("IDENTIFY", nsqtest.ResponseFrame("{no"))},
	{name: "HTTP", differs: rowConnect, begin: rejected("IDENTIFY", []byte("HTTP/1.1 400 Bad Request\r\n\r\n"))},
	{name: "TLS that is not offered", options: options{"tls_v1": true, "tls_insecure_skip_verify": true},
		differs: "TLS that nsqd does not offer", errors: "TLS that nsqd does not offer", begin: func(*scene) {}},
	{name: "TLS, cut", options: options{"tls_v1": true, "tls_insecure_skip_verify": true}, differs: rowConnect,
		begin: rejected("IDENTIFY", nsqtest.ResponseFrame(`{"tls_v1":true}`))},
	{name: "snappy, cut", options: options{"snappy": true}, differs: rowConnect,
		begin: rejected("IDENTIFY", nsqtest.ResponseFrame(`{"snappy":true}`))},
	{name: "deflate, cut", options: options{"deflate": true}, differs: rowConnect,
		begin: rejected("IDENTIFY", nsqtest.ResponseFrame(`{"deflate":true}`))},
	{name: "AUTH without a secret", nsqd: nsqtest.Options{AuthSecret: "secret"}, differs: rowConnect, begin: func(*scene) {}},
	{name: "a refused AUTH", nsqd: nsqtest.Options{AuthSecret: "secret"}, options: options{"auth_secret": "wrong"},
		differs: rowConnect, begin: func(*scene) {}},
	{name: "AUTH, cut", nsqd: nsqtest.Options{AuthSecret: "secret"}, options: options{"auth_secret": "secret"},
		begin: rejected("AUTH", []byte{})},
}

const rowConnect = "connect errors"

// connecting plays the same with every trouble.
func connecting(troubles []trouble, play func(*scene)) []scenario {
	var scenarios []scenario
	for _, t := range troubles {
		scenarios = append(scenarios, scenario{name: t.name, nsqd: t.nsqd, options: t.options,
			differs: t.differs, errors: t.errors, play: func(s *scene) {
				t.begin(s)
				play(s)
			}})
	}
	return scenarios
}

// publishCalls are all ways to publish. Each is played with a producer of its own, since
// one that has failed to connect does not dial for a while.
var publishCalls = map[string]func(s *scene, p client.Producer){
	"publish": func(s *scene, p client.Producer) { s.result("publish", p.Publish(topic, []byte("a"))) },
	"several": func(s *scene, p client.Producer) { s.result("several", p.MultiPublish(topic, [][]byte{[]byte("a")})) },
	"deferred": func(s *scene, p client.Producer) {
		s.result("deferred", p.DeferredPublish(topic, time.Second, []byte("a")))
	},
	"async": func(s *scene, p client.Producer) { transaction(s, "async")(p.PublishAsync(topic, []byte("a"))) },
	"several, async": func(s *scene, p client.Producer) {
		transaction(s, "several, async")(p.MultiPublishAsync(topic, [][]byte{[]byte("a")}))
	},
	"deferred, async": func(s *scene, p client.Producer) {
		transaction(s, "deferred, async")(p.DeferredPublishAsync(topic, time.Second, []byte("a")))
	},
	"ping": func(s *scene, p client.Producer) { s.result("ping", p.Ping()) },
}

// A publish without a connection returns the dial's error, or that of the handshake.
func TestPublishWithoutConnection(t *testing.T) {
	for name, call := range publishCalls {
		t.Run(name, func(t *testing.T) {
			compare(t, connecting(withoutConnection, produce(call)))
		})
	}
}

// A publish whose connection is lost returns ErrNotConnected.
func TestPublishLosesConnection(t *testing.T) {
	var scenarios []scenario
	for name, call := range publishCalls {
		if name == "ping" {
			continue
		}
		for _, reply := range [][]byte{{}, {0, 0, 0, 6, 0}, nsqtest.ResponseFrame("_heartbeat_")} {
			scenarios = append(scenarios, scenario{name: name, play: produce(func(s *scene, p client.Producer) {
				for _, command := range []string{"PUB", "MPUB", "DPUB"} {
					rejected(command, reply)(s)
				}
				call(s, p)
			})})
		}
	}
	compare(t, scenarios)
}

// ConnectToNSQD and, for one address, ConnectToNSQDs return the same errors.
func TestConnectErrors(t *testing.T) {
	for name, connect := range map[string]func(*scene, client.Consumer) error{
		"one": func(s *scene, c client.Consumer) error { return c.ConnectToNSQD(s.nsqd.Addr()) },
		"a list of one": func(s *scene, c client.Consumer) error {
			return c.ConnectToNSQDs([]string{s.nsqd.Addr()})
		},
	} {
		t.Run(name, func(t *testing.T) {
			scenarios := connecting(withoutConnection, func(s *scene) {
				c := s.consumer(finish)
				s.result("connect", connect(s, c))
				c.Stop()
				await(s.t, c.Stopped())
			})
			compare(t, append(scenarios, scenario{name: "a refused SUB", differs: "`ConnectToNSQD`", errors: "`ConnectToNSQD`",
				play: func(s *scene) {
					s.nsqd.Reject("SUB", "E_BAD_TOPIC", "no such luck")
					c := s.consumer(finish)
					s.result("connect", connect(s, c))
					c.Stop()
					await(s.t, c.Stopped())
				}}))
		})
	}
	compare(t, []scenario{
		{name: "a list of two, none there", differs: "`ConnectToNSQDs`", errors: "`ConnectToNSQDs`", play: func(s *scene) {
			s.nsqd.Kill()
			c := s.consumer(finish)
			s.result("connect", c.ConnectToNSQDs([]string{s.nsqd.Addr(), "127.0.0.1:1"}))
			c.Stop()
			await(s.t, c.Stopped())
		}},
		{name: "a list, connected already", play: func(s *scene) {
			s.consume(finish, func(c client.Consumer) {
				s.result("again", c.ConnectToNSQDs([]string{s.nsqd.Addr()}))
				s.result("twice", c.ConnectToNSQDs([]string{s.nsqd.Addr(), s.nsqd.Addr()}))
				s.result("none", c.ConnectToNSQDs(nil))
			})
		}},
		{name: "compression that is not offered", options: options{"snappy": true}, play: func(s *scene) {
			s.consume(finish, func(client.Consumer) { publishOneByOne(s, "a") })
		}},
	})
}

func TestLookupdErrors(t *testing.T) {
	lookupds := func(addrs ...string) func(*scene) {
		return func(s *scene) {
			c := s.consumer(finish)
			for _, addr := range addrs {
				s.result("connect to "+addr, c.ConnectToNSQLookupd(addr))
				s.result("disconnect from "+addr, c.DisconnectFromNSQLookupd(addr))
			}
			s.result("connect to all", c.ConnectToNSQLookupds(addrs))
			s.result("connect to none", c.ConnectToNSQLookupds(nil))
			c.Stop()
			await(s.t, c.Stopped())
		}
	}
	compare(t, []scenario{
		{name: "no port", differs: rowLookupdAddr, play: lookupds("localhost")},
		{name: "no URL", differs: rowLookupdAddr, errors: rowLookupdAddr, play: lookupds("http://%zz:4161")},
		{name: "unknown", play: func(s *scene) {
			c := s.consumer(finish)
			s.result("disconnect", c.DisconnectFromNSQLookupd("127.0.0.1:4161"))
			c.Stop()
			await(s.t, c.Stopped())
		}},
		{name: "the last one", differs: "the last nsqlookupd", errors: "the last nsqlookupd", play: func(s *scene) {
			c := s.consumer(finish)
			s.result("connect", c.ConnectToNSQLookupd("127.0.0.1:1"))
			s.result("disconnect", c.DisconnectFromNSQLookupd("127.0.0.1:1"))
			c.Stop()
			await(s.t, c.Stopped())
		}},
	})
}

const rowLookupdAddr = "an invalid address of an nsqlookupd"

// What is wrong with a program is told in the same way: by an error or a panic.
func TestMisuse(t *testing.T) {
	compare(t, []scenario{
		{name: "an invalid config", options: options{"heartbeat_interval": "90s"}, play: func(s *scene) {
			_, err := s.client.NewProducer(s.nsqd.Addr(), s.config)
			s.result("producer", err)
			_, err = s.client.NewConsumer(topic, channel, s.config)
			s.result("consumer", err)
		}},
		{name: "no behavior", play: func(s *scene) {
			c := s.consumer(finish)
			s.panics("a number", func() { c.SetBehaviorDelegate(5) })
			s.panics("nil", func() { c.SetBehaviorDelegate(nil) })
			s.stop(c)
		}},
		{name: "a nil handler", differs: "a nil handler", play: func(s *scene) {
			c := s.consumer(finish)
			s.panics("nil handler", c.HandleNothing)
			c.Stop()
			await(s.t, c.Stopped())
		}},
		{name: "files that are not there", differs: rowKeyPair, errors: rowKeyPair, play: func(s *scene) {
			s.result("tls_cert", s.config.Set("tls_cert", "/no/such/cert.pem"))
			s.result("tls_key", s.config.Set("tls_key", "/no/such/key.pem"))
		}},
	})
}

const rowKeyPair = "files of `tls_cert` and `tls_key` that cannot be read"

func TestConnErrors(t *testing.T) {
	scenarios := connecting(withoutConnection, func(s *scene) {
		s.result("connect", s.client.NewConn(s.nsqd.Addr(), s.config).Connect())
	})
	scenarios = append(scenarios,
		scenario{name: "in good order", play: func(s *scene) {
			c := s.client.NewConn(s.nsqd.Addr(), s.config)
			s.result("connect", c.Connect())
			s.result("NOP", c.Nop())
			_, err := c.Write([]byte("NOP\n"))
			s.result("write", err)
			s.result("flush", c.Flush())
			s.awaitCommand(2, "NOP")
			s.result("close", c.Close())
			s.result("close again", c.Close())
		}},
		scenario{name: "closed", differs: "`Conn.WriteCommand`", errors: "`Conn.WriteCommand`", play: func(s *scene) {
			c := s.client.NewConn(s.nsqd.Addr(), s.config)
			s.result("connect", c.Connect())
			s.result("close", c.Close())
			s.nsqd.WaitFor(waitTimeout, func() bool { return len(s.nsqd.Clients()) == 0 })
			await(s.t, time.After(100*time.Millisecond)) // go-nsq closes its side then
			s.result("NOP", c.Nop())
		}},
	)
	compare(t, scenarios)
}
