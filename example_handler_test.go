package nsq_test

import (
	"context"
	"fmt"

	"github.com/rdyhq/nsq"
)

// A shop holds what a handler needs, such as a database.
type shop struct{ prices map[string]int }

// HandleMessage makes a shop a Handler. After an error nsqd delivers the message again.
func (s *shop) HandleMessage(m *nsq.Message) error {
	return s.bill(m.Context(), string(m.Body))
}

// bill knows nothing of messages, so it can be tested without them.
func (s *shop) bill(_ context.Context, item string) error {
	price, ok := s.prices[item]
	if !ok {
		return nsq.Discard(fmt.Errorf("no such item: %s", item))
	}
	fmt.Println(item, price)
	return nil
}

// A handler is called from as many goroutines as AddConcurrentHandlers is given. Its test needs
// no nsqd.
func ExampleHandler() {
	var handler nsq.Handler = &shop{prices: map[string]int{"pen": 2}}
	fmt.Println(handler.HandleMessage(nsq.NewMessage(nsq.MessageID{}, []byte("pen"))))
	fmt.Println(handler.HandleMessage(nsq.NewMessage(nsq.MessageID{}, []byte("ink"))))
	// Output:
	// pen 2
	// <nil>
	// no such item: ink
}
