package nsq_test

import (
	"fmt"
	"testing"

	"github.com/rdyhq/nsq/nsqtest"
)

// startNSQD starts a fake nsqd on a free port of this machine, with these messages in
// topic orders. stop stops the fake.
func startNSQD(messages ...string) (d *nsqtest.Nsqd, stop func()) {
	tb := &exampleTB{}
	d = nsqtest.NewNsqd(tb, nsqtest.Options{})
	d.CreateChannel("orders", "billing")
	d.Publish("orders", messages...)
	return d, tb.stop
}

// startListedNSQD starts an nsqd, and an nsqlookupd that lists it for these topics.
func startListedNSQD(topics ...string) (d *nsqtest.Nsqd, l *nsqtest.Lookupd, stop func()) {
	tb := &exampleTB{}
	d, l = nsqtest.NewNsqd(tb, nsqtest.Options{}), nsqtest.NewLookupd(tb, nsqtest.LookupdOptions{})
	for _, topic := range topics {
		l.Register(topic, d.Addr())
	}
	return d, l, tb.stop
}

// exampleTB is the testing.TB that nsqtest asks for: an example has none.
type exampleTB struct {
	testing.TB
	cleanups []func()
}

func (*exampleTB) Helper()                      {}
func (*exampleTB) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
func (*exampleTB) Fatal(args ...any)            { panic(fmt.Sprint(args...)) }
func (tb *exampleTB) Cleanup(f func())          { tb.cleanups = append(tb.cleanups, f) }
func (tb *exampleTB) stop() {
	for _, f := range tb.cleanups {
		f()
	}
}
