package nsq

import (
	"errors"
	"fmt"
	"testing"
)

// The text of a StopError counts and names what was left unfinished. It names at most
// five messages of a kind.
func TestStopErrorText(t *testing.T) {
	unfinished := func(n int) []Unfinished {
		var list []Unfinished
		for i := range n {
			list = append(list, Unfinished{ID: MessageID(fmt.Appendf(nil, "%016d", i+1)), NSQDAddress: "a:1"})
		}
		return list
	}
	const (
		one  = " 0000000000000001 of a:1"
		five = one + " 0000000000000002 of a:1 0000000000000003 of a:1 0000000000000004 of a:1 0000000000000005 of a:1"
	)
	cause := errors.New("late")
	for _, tc := range []struct {
		left StopError
		want string
	}{
		{StopError{}, ""},
		{StopError{cause: cause}, ": late"},
		{StopError{Running: unfinished(1)}, ", 1 handler running:" + one},
		{StopError{Running: unfinished(5)}, ", 5 handlers running:" + five},
		{StopError{Running: unfinished(6)}, ", 6 handlers running:" + five + " ..."},
		{StopError{Unanswered: unfinished(1)}, ", 1 message not acked:" + one},
		{
			StopError{Running: []Unfinished{{ID: MessageID([]byte("\x1b[2J0123456\nERR ")), NSQDAddress: "a:1"}}},
			`, 1 handler running: \x1b[2J0123456\nERR  of a:1`,
		},
		{StopError{Unanswered: unfinished(5)}, ", 5 messages not acked:" + five},
		{StopError{Unanswered: unfinished(1000)}, ", 1000 messages not acked:" + five + " ..."},
		{StopError{Cut: []string{"a:1"}}, ", acks not taken by a:1"},
		{StopError{Cut: []string{"a:1", "b:2"}, cause: cause}, ", acks not taken by a:1 b:2: late"},
		{
			StopError{Running: unfinished(1), Unanswered: unfinished(6), Cut: []string{"b:2"}, cause: cause},
			", 1 handler running:" + one + ", 6 messages not acked:" + five + " ..., acks not taken by b:2: late",
		},
	} {
		tc.left.Topic, tc.left.Channel = "t", "c"
		if got, want := tc.left.Error(), "consumer of t/c stopped"+tc.want; got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if got := tc.left.Unwrap(); !errors.Is(got, tc.left.cause) {
			t.Errorf("%q wraps %v, want %v", tc.want, got, tc.left.cause)
		}
	}
}
