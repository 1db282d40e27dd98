package nsq

import (
	"fmt"
	"strings"

	"github.com/rdyhq/nsq/internal/wire"
)

// StopError reports what a Consumer left unfinished because its time to stop had run
// out. nsqd delivers the messages again.
type StopError struct {
	Topic, Channel string
	Running        []Unfinished // messages whose handlers had not returned
	Unanswered     []Unfinished // messages that handlers had left to be acked later
	Cut            []string     // addresses of nsqds that did not take the last acks in time

	cause error
}

// Error names the messages, up to five of each kind, and the nsqds.
func (e *StopError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "consumer of %s/%s stopped", e.Topic, e.Channel)
	for _, left := range []struct {
		what     string
		messages []Unfinished
	}{{"handler%s running", e.Running}, {"message%s not acked", e.Unanswered}} {
		if n := len(left.messages); n > 0 {
			plural := "s"
			if n == 1 {
				plural = ""
			}
			fmt.Fprintf(&b, ", %d "+left.what+":", n, plural)
			for _, u := range left.messages[:min(n, 5)] {
				fmt.Fprintf(&b, " %s of %s", wire.Printable(string(u.ID[:])), u.NSQDAddress)
			}
			if n > 5 {
				b.WriteString(" ...")
			}
		}
	}
	if len(e.Cut) > 0 {
		fmt.Fprintf(&b, ", acks not taken by %s", strings.Join(e.Cut, " "))
	}
	if e.cause != nil {
		fmt.Fprintf(&b, ": %v", e.cause)
	}
	return b.String()
}

// Unwrap returns why time ran out: the context's cause, or an error for stop_timeout.
func (e *StopError) Unwrap() error { return e.cause }

// Unfinished is a message that a handler had begun when a Consumer stopped.
type Unfinished struct {
	ID          MessageID
	NSQDAddress string
}
