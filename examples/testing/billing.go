// Package billing has a handler, and tests that show how to test one.
package billing

import (
	"context"
	"errors"
	"time"

	"github.com/rdyhq/nsq"
)

// ErrBusy means that the bank cannot charge now and wants to be asked again later.
var ErrBusy = errors.New("the bank is busy")

// Biller charges for orders.
type Biller struct {
	Charge func(ctx context.Context, order string) error
}

// HandleMessage charges for one order. If the bank is busy, nsqd delivers the
// order again in five minutes. Meanwhile other orders are handled as usual.
func (b *Biller) HandleMessage(m *nsq.Message) error {
	err := b.Charge(m.Context(), string(m.Body))
	if errors.Is(err, ErrBusy) {
		return nsq.RetryAfter(5*time.Minute, err)
	}
	return err
}
