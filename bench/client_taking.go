package main

import (
	"context"
	"fmt"
	"os"

	"github.com/rdyhq/nsq"
)

// taker has a Consumer's messages taken, on as many goroutines as the case has handlers. It
// calls handle for each message.
type taker func(consumer *nsq.Consumer, goroutines int, handle func(byte, []byte))

// atOnce is how many messages a batch or a Fetch has at most.
const atOnce = 100

// takeBatches takes messages by a batch handler.
func takeBatches(consumer *nsq.Consumer, goroutines int, handle func(byte, []byte)) {
	consumer.AddBatchHandler(nsq.BatchHandlerFunc(func(_ context.Context, batch []*nsq.Message) error {
		for _, m := range batch {
			handle(m.ID[15], m.Body)
		}
		return nil
	}), nsq.BatchLimits{Messages: atOnce}, goroutines)
}

// takeByLoops takes messages by loops over Messages.
func takeByLoops(consumer *nsq.Consumer, goroutines int, handle func(byte, []byte)) {
	for range goroutines {
		go func() {
			for m := range consumer.Messages(context.Background()) {
				handle(m.ID[15], m.Body)
				m.Answer(nil)
			}
		}()
	}
}

// takeByFetch takes messages by calls of Fetch.
func takeByFetch(consumer *nsq.Consumer, goroutines int, handle func(byte, []byte)) {
	for range goroutines {
		go func() {
			for {
				messages, err := consumer.Fetch(context.Background(), nsq.BatchLimits{Messages: atOnce})
				if err != nil {
					_, _ = fmt.Fprintln(os.Stderr, "fetching:", err)
					return
				}
				for _, m := range messages {
					handle(m.ID[15], m.Body)
					m.Answer(nil)
				}
			}
		}()
	}
}
