package wire

import (
	"strings"
	"testing"
)

func TestCodes(t *testing.T) {
	tests := []struct {
		code  Code
		text  string
		fatal bool
	}{
		{BadProtocol, "E_BAD_PROTOCOL", true},
		{Invalid, "E_INVALID", true},
		{BadTopic, "E_BAD_TOPIC", true},
		{BadChannel, "E_BAD_CHANNEL", true},
		{BadBody, "E_BAD_BODY", true},
		{BadMessage, "E_BAD_MESSAGE", true},
		{IdentifyFailed, "E_IDENTIFY_FAILED", true},
		{SubFailed, "E_SUB_FAILED", true},
		{PubFailed, "E_PUB_FAILED", true},
		{MpubFailed, "E_MPUB_FAILED", true},
		{DpubFailed, "E_DPUB_FAILED", true},
		{AuthDisabled, "E_AUTH_DISABLED", true},
		{AuthFailed, "E_AUTH_FAILED", true},
		{AuthFirst, "E_AUTH_FIRST", true},
		{AuthError, "E_AUTH_ERROR", true},
		{Unauthorized, "E_UNAUTHORIZED", true},
		{FinFailed, "E_FIN_FAILED", false},
		{ReqFailed, "E_REQ_FAILED", false},
		{TouchFailed, "E_TOUCH_FAILED", false},
		{"E_NEW_IN_SOME_VERSION", "E_NEW_IN_SOME_VERSION", true},
		{"", "", true},
	}
	for _, tt := range tests {
		if string(tt.code) != tt.text || tt.code.Fatal() != tt.fatal {
			t.Errorf("%q: fatal %v; want %q, %v", tt.code, tt.code.Fatal(), tt.text, tt.fatal)
		}
	}
}

func TestParseError(t *testing.T) {
	tests := []struct {
		data string
		want Error
		text string // what Error returns; data if empty
	}{
		{data: "E_BAD_PROTOCOL", want: Error{Code: BadProtocol}},
		{data: "E_INVALID cannot SUB in current state", want: Error{Invalid, "cannot SUB in current state"}},
		{data: "E_BAD_TOPIC E_BAD_TOPIC MPUB topic name", want: Error{BadTopic, "E_BAD_TOPIC MPUB topic name"}},
		{data: "E_INVALID  two spaces\n", want: Error{Invalid, " two spaces\n"}},
		{data: "E_INVALID ", want: Error{Code: Invalid}, text: "E_INVALID"},
		{data: " no code", want: Error{"", "no code"}},
		{data: "\xff\x00", want: Error{Code: "\xff\x00"}},
		{data: "", want: Error{}},
	}
	for _, tt := range tests {
		e := ParseError([]byte(tt.data))
		if *e != tt.want {
			t.Errorf("%q: got %+v, want %+v", tt.data, *e, tt.want)
		}
		text := tt.text
		if text == "" {
			text = tt.data
		}
		if e.Text() != text {
			t.Errorf("%q: Text returns %q, want %q", tt.data, e, text)
		}
		if f, _, err := ParseFrame(AppendError(nil, e)); err != nil || f.Type != FrameError || string(f.Data) != text {
			t.Errorf("%q: appended as %+v, error %v", tt.data, f, err)
		}
	}
}

// TestParseErrorCopies: an error does not alias the read buffer.
func TestParseErrorCopies(t *testing.T) {
	data := []byte("E_INVALID gone")
	e := ParseError(data)
	copy(data, strings.Repeat("x", len(data)))
	if got := e.Error(); got != "E_INVALID gone" {
		t.Errorf("error became %q after the buffer was reused", got)
	}
}
