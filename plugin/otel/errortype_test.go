package nsqotel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/rdyhq/nsq"
)

type named struct{ error }

func (named) ErrorType() string { return "out_of_stock" }

func TestErrorType(t *testing.T) {
	dial := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errors.New("text"), "_OTHER"},
		{fmt.Errorf("text %d", 1), "_OTHER"},
		{fmt.Errorf("text: %w", io.EOF), "_OTHER"},
		{errors.Join(io.EOF, errors.New("text")), "_OTHER"},
		{nsq.RetryAfter(0, nsq.NoBackoff(nsq.Discard(errors.New("text")))), "_OTHER"},
		{fmt.Errorf("text: %w", nsq.Discard(&refused{})), "*nsqotel.refused"},
		{fmt.Errorf("text: %w", dial), "syscall.Errno"},
		{errors.Join(io.EOF, dial), "syscall.Errno"},
		{fmt.Errorf("%w and %w", &refused{}, dial), "*nsqotel.refused"},
		{fmt.Errorf("text: %w", named{io.EOF}), "out_of_stock"},
		{&nsq.PanicError{Value: dial}, "panic"},
		{&nsq.ProtocolError{Code: "E_BAD_TOPIC", Desc: "text"}, "E_BAD_TOPIC"},
		{nsq.ErrProtocol{Reason: "E_MPUB_FAILED text"}, "E_MPUB_FAILED"},
		{&nsq.ProtocolError{Code: "E_\n"}, "*nsq.ProtocolError"},
		{&nsq.ProtocolError{Code: "anything 17"}, "*nsq.ProtocolError"},
		{fmt.Errorf("%w: %w", nsq.ErrNotSent, dial), "nsq.ErrNotSent"},
		{fmt.Errorf("%w: %w", nsq.ErrUnknownOutcome, context.DeadlineExceeded), "nsq.ErrUnknownOutcome"},
		{fmt.Errorf("text: %w", context.Canceled), "context.Canceled"},
		{context.DeadlineExceeded, "context.DeadlineExceeded"},
	} {
		if got := errorType(tt.err); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.err, got, tt.want)
		}
	}
}
