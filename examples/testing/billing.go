// Package billing is a handler to be tested; its test shows how.
package billing

import (
	"context"
	"errors"
	"time"

	"github.com/rdyhq/nsq"
)

// ErrBusy says that the bank wants to be asked again later.
var ErrBusy = errors.New("the bank is busy")

// Biller charges for orders.
type Biller struct {
	Charge func(ctx context.Context, order string) error
}

// HandleMessage charges for one order.
func (b *Biller) HandleMessage(m *nsq.Message) error {
	err := b.Charge(m.Context(), string(m.Body))
	if errors.Is(err, ErrBusy) {
		return nsq.NoBackoff(nsq.RetryAfter(5*time.Minute, err))
	}
	return err
}
