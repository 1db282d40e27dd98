package behaviour

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/compat/behaviour/client"
	"github.com/rdyhq/nsq/nsqtest"
)

// produce creates a producer, calls play and stops the producer.
func produce(play func(*scene, client.Producer)) func(*scene) {
	return func(s *scene) {
		p := s.producer()
		play(s, p)
		p.Stop()
	}
}

// transaction notes the results of an asynchronous publish.
func transaction(s *scene, call string) func(<-chan client.Transaction, error) {
	return func(done <-chan client.Transaction, err error) {
		s.result(call, err)
		if err == nil {
			tx := await(s.t, done)
			s.result(fmt.Sprintf("%s, transaction %v", call, tx.Args), tx.Error)
		}
	}
}

func TestPublish(t *testing.T) {
	pair := [][]byte{[]byte("a"), []byte("bc")}
	compare(t, []scenario{
		{name: "every way", play: produce(func(s *scene, p client.Producer) {
			s.result("ping", p.Ping())
			s.result("publish", p.Publish(topic, []byte("a")))
			s.result("several", p.MultiPublish(topic, pair))
			s.result("deferred", p.DeferredPublish(topic, 1500*time.Microsecond, []byte("a")))
			s.result("ephemeral", p.Publish("a.b-c_D#ephemeral", []byte("a")))
			s.note("%s has %q and %q", p.String(), s.nsqd.Queued(topic, ""), s.nsqd.Queued("a.b-c_D#ephemeral", ""))
		})},
		{name: "every way, asynchronously", play: produce(func(s *scene, p client.Producer) {
			transaction(s, "publish")(p.PublishAsync(topic, []byte("a"), "x", 1))
			transaction(s, "several")(p.MultiPublishAsync(topic, pair))
			transaction(s, "deferred")(p.DeferredPublishAsync(topic, time.Second, []byte("a"), nil))
		})},
		{name: "stopped", play: produce(func(s *scene, p client.Producer) {
			s.result("publish", p.Publish(topic, []byte("a")))
			p.Stop()
			s.result("publish", p.Publish(topic, []byte("a")))
			s.result("several", p.MultiPublish(topic, pair))
			s.result("ping", p.Ping())
			transaction(s, "later")(p.PublishAsync(topic, []byte("a")))
		})},
		{name: "stopped before the first publish", play: produce(func(s *scene, p client.Producer) {
			p.Stop()
			s.result("publish", p.Publish(topic, []byte("a")))
		})},
		{name: "AUTH", nsqd: nsqtest.Options{AuthSecret: "secret"}, options: options{"auth_secret": "secret"},
			play: produce(func(s *scene, p client.Producer) { s.result("publish", p.Publish(topic, []byte("a"))) })},
	})
}

// Publishes return the same error for every error code of nsqd.
func TestPublishErrors(t *testing.T) {
	commands := map[string]func(client.Producer) error{
		"PUB":  func(p client.Producer) error { return p.Publish(topic, []byte("a")) },
		"MPUB": func(p client.Producer) error { return p.MultiPublish(topic, [][]byte{[]byte("a")}) },
		"DPUB": func(p client.Producer) error { return p.DeferredPublish(topic, time.Second, []byte("a")) },
	}
	codes := []string{"E_INVALID", "E_BAD_TOPIC", "E_BAD_MESSAGE", "E_BAD_BODY", "E_%s_FAILED", "E_AUTH_FAILED",
		"E_AUTH_FIRST", "E_UNAUTHORIZED"}
	var scenarios []scenario
	for command, publish := range commands {
		for _, code := range codes {
			code = strings.Replace(code, "%s", command, 1)
			for _, desc := range []string{"", command + " failed"} {
				scenarios = append(scenarios, scenario{name: command + " " + code + " " + desc,
					play: produce(func(s *scene, p client.Producer) {
						s.nsqd.Reject(command, code, desc)
						s.result("publish", publish(p))
					})})
			}
		}
	}
	compare(t, scenarios)
}

// Publishes that nsqd would refuse by closing the connection fail before they are
// sent.
func TestPublishValidation(t *testing.T) {
	const row = "publishing an empty body, a bad topic, an empty list"
	tests := []struct {
		name    string
		publish func(client.Producer) error
		errors  string
	}{
		{"empty body", func(p client.Producer) error { return p.Publish(topic, []byte{}) }, ""},
		{"bad topic", func(p client.Producer) error { return p.Publish("a b", []byte("a")) }, row}, // go-nsq publishes to topic a
		{"empty list", func(p client.Producer) error { return p.MultiPublish(topic, nil) }, ""},
		{"empty body in a list", func(p client.Producer) error { return p.MultiPublish(topic, [][]byte{{}}) }, ""},
		{"negative delay", func(p client.Producer) error { return p.DeferredPublish(topic, -time.Second, []byte("a")) }, ""},
	}
	var scenarios []scenario
	for _, tt := range tests {
		scenarios = append(scenarios, scenario{name: tt.name, differs: row, errors: tt.errors, play: produce(func(s *scene, p client.Producer) {
			s.result("publish", tt.publish(p))
		})})
	}
	compare(t, scenarios)
}
