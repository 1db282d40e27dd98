package nsq

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"
)

// RetryAfter, NoBackoff, DeadLetter and Discard are found through any wrapping. The outermost delay
// counts. Delays of a year pass unchanged, negative ones become 0.
func TestResultOf(t *testing.T) {
	const year = 365 * 24 * time.Hour
	wrap := func(err error) error { return fmt.Errorf("order 7: %w", err) }
	for name, tc := range map[string]struct {
		err  error
		want handlerResult
	}{
		"plain":                {io.EOF, handlerResult{delay: -1}},
		"RetryAfter":           {RetryAfter(time.Minute, io.EOF), handlerResult{delay: time.Minute}},
		"RetryAfter 0":         {RetryAfter(0, io.EOF), handlerResult{delay: 0}},
		"RetryAfter negative":  {RetryAfter(-1, io.EOF), handlerResult{delay: 0}},
		"RetryAfter 16 h":      {RetryAfter(16*time.Hour, io.EOF), handlerResult{delay: 16 * time.Hour}},
		"RetryAfter a year":    {RetryAfter(year, io.EOF), handlerResult{delay: year}},
		"outermost delay":      {RetryAfter(1, wrap(RetryAfter(2, io.EOF))), handlerResult{delay: 1}},
		"NoBackoff":            {wrap(NoBackoff(io.EOF)), handlerResult{delay: -1, noBackoff: true}},
		"NoBackoff RetryAfter": {NoBackoff(wrap(RetryAfter(1, io.EOF))), handlerResult{delay: 1, noBackoff: true}},
		"Discard RetryAfter":   {Discard(RetryAfter(1, io.EOF)), handlerResult{delay: 1, discard: true}},
		"RetryAfter Discard":   {wrap(RetryAfter(1, Discard(io.EOF))), handlerResult{delay: 1, discard: true}},
		"DeadLetter":           {wrap(DeadLetter(io.EOF)), handlerResult{delay: -1, deadLetter: true}},
		"all":                  {DeadLetter(RetryAfter(1, wrap(NoBackoff(Discard(io.EOF))))), handlerResult{delay: 1, noBackoff: true, deadLetter: true, discard: true}},
		"joined":               {errors.Join(io.EOF, NoBackoff(io.EOF)), handlerResult{delay: -1, noBackoff: true}},
	} {
		if got := resultOf(tc.err); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
		if !errors.Is(tc.err, io.EOF) {
			t.Errorf("%s does not wrap its cause", name)
		}
	}
	for name, err := range map[string]error{
		"RetryAfter": RetryAfter(time.Second, nil), "NoBackoff": NoBackoff(nil), "Discard": Discard(nil), "DeadLetter": DeadLetter(nil),
	} {
		if err != nil {
			t.Errorf("%s of nil is %v", name, err)
		}
	}
}

// A message is decided by some errors, and by what its handler has done with it.
func TestDecided(t *testing.T) {
	leave := func(*Message) {}
	for name, tc := range map[string]struct {
		do   func(*Message)
		err  error
		want bool
	}{
		"nil":                  {leave, nil, false},
		"plain":                {leave, io.EOF, false},
		"NoBackoff":            {leave, NoBackoff(io.EOF), false},
		"PanicError":           {leave, &PanicError{Value: io.EOF}, false},
		"RetryAfter 0":         {leave, fmt.Errorf("order 7: %w", RetryAfter(0, io.EOF)), true},
		"RetryAfter NoBackoff": {leave, NoBackoff(RetryAfter(1, io.EOF)), true},
		"Discard":              {leave, fmt.Errorf("order 7: %w", Discard(io.EOF)), true},
		"DeadLetter":           {leave, fmt.Errorf("order 7: %w", DeadLetter(io.EOF)), true},
		"finished":             {(*Message).Finish, io.EOF, true},
		"finished, nil":        {(*Message).Finish, nil, true},
		"requeued":             {func(m *Message) { m.Requeue(-1) }, io.EOF, true},
		"touched":              {(*Message).Touch, io.EOF, false},
		"left for later":       {(*Message).DisableAutoResponse, io.EOF, true},
	} {
		m := NewMessage(MessageID{}, nil)
		copied := m.WithContext(t.Context())
		tc.do(copied)
		if m.Decided(tc.err) != tc.want || copied.Decided(tc.err) != tc.want {
			t.Errorf("%s: decided %v, want %v", name, m.Decided(tc.err), tc.want)
		}
	}
}
