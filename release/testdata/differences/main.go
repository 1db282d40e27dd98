// A program for go-nsq with every idiom that compat/differences.sh finds. A comment
// "row:" names the row of docs/MIGRATION.md that the script prints for the next line.
package main

import (
	"errors"
	"log"
	"runtime"
	"strings"
	"time"

	"github.com/nsqio/go-nsq"
)

// worker embeds a Consumer.
type worker struct {
	// row: Switching
	*nsq.Consumer
	last nsq.Message
}

func (w *worker) HandleMessage(m *nsq.Message) error {
	// row: the goroutine of a handler
	runtime.LockOSThread()
	// row: an ack after msg-timeout
	m.DisableAutoResponse()
	if len(m.Body) == 0 {
		// row: a handler that panics
		panic("no body")
	}
	// row: a copy of a message
	w.last = *m
	// row: a copy of a message
	w.last.Delegate = nil
	m.Requeue(-1) // the automatic delay, as ever
	// row: negative requeue delay
	m.RequeueWithoutBackoff(-time.Second)
	return errors.New("panic() in a text is none")
}

// row: `DiscoveryFilter`
func (w *worker) Filter(addrs []string) []string { return addrs }

func main() {
	cfg := nsq.NewConfig()
	cfg.MaxBackoffDuration = 0
	for option, value := range map[string]interface{}{
		// row: `max_backoff_duration`
		"max_backoff_duration": "500ms",
		// row: requeues by Stop count as attempts
		"max_attempts": 3,
		// row: `max_in_flight` below the number of nsqds
		"low_rdy_idle_timeout": "10s",
		// row: `tls_*` options
		"tls_insecure_skip_verify": true,
		// row: `max_msg_size`
		"max_msg_size": 1 << 20,
		"deflate":      true,
		// row: deflate and snappy together
		"snappy": true,
	} {
		if err := cfg.Set(option, value); err != nil {
			log.Fatal(err)
		}
	}
	// row: requeues by Stop count as attempts
	cfg.MaxAttempts = 3
	// row: `tls_*` options
	cfg.TlsV1 = true
	// row: `user_agent`
	cfg.UserAgent = "go-nsq/" + nsq.VERSION

	// row: a process that ends without `Stop`
	c, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		log.Fatal(err)
	}
	w := &worker{Consumer: c}
	// row: `DiscoveryFilter`
	w.SetBehaviorDelegate(w)
	w.AddHandler(w)
	// row: connect errors
	if err := w.ConnectToNSQD("127.0.0.1:4150"); err != nil && strings.Contains(err.Error(), "refused") {
		log.Fatal(err)
	}
	// row: `DisconnectFromNSQD` of a listed nsqd
	_ = w.DisconnectFromNSQD("127.0.0.1:4150")
	// row: the last nsqlookupd
	_ = w.DisconnectFromNSQLookupd("127.0.0.1:4161")
	// row: `MessagesFinished`, `MessagesRequeued`
	log.Print(w.Stats().MessagesFinished)
	w.Stop()
}
