package nsq_test

import (
	"fmt"
	"time"

	"github.com/rdyhq/nsq"
)

// recorder is a MessageDelegate that prints what a handler does with a message.
type recorder struct{}

var _ nsq.MessageDelegate = recorder{}

func (recorder) OnFinish(*nsq.Message) { fmt.Println("ack") }
func (recorder) OnTouch(*nsq.Message)  { fmt.Println("touch") }
func (recorder) OnRequeue(_ *nsq.Message, delay time.Duration, backoff bool) {
	fmt.Println("requeue", delay, backoff)
}

// A test of a handler that acks messages itself, without an nsqd.
func ExampleMessageDelegate() {
	handler := nsq.HandlerFunc(func(m *nsq.Message) error {
		m.DisableAutoResponse()
		m.Touch()
		m.RequeueWithoutBackoff(time.Minute)
		return nil
	})

	m := nsq.NewMessage(nsq.MessageID{'1'}, []byte("pen"))
	m.Delegate = recorder{}
	fmt.Println(handler.HandleMessage(m), m.HasResponded())
	// Output:
	// touch
	// requeue 1m0s false
	// <nil> true
}
