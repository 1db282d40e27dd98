package wire

// Code is the first word of an error frame.
type Code string

// The error codes of nsqd v1.3.0. nsqlookupd sends some of them.
const (
	BadProtocol    Code = "E_BAD_PROTOCOL"
	Invalid        Code = "E_INVALID"
	BadTopic       Code = "E_BAD_TOPIC"
	BadChannel     Code = "E_BAD_CHANNEL"
	BadBody        Code = "E_BAD_BODY"
	BadMessage     Code = "E_BAD_MESSAGE"
	IdentifyFailed Code = "E_IDENTIFY_FAILED"
	SubFailed      Code = "E_SUB_FAILED"
	PubFailed      Code = "E_PUB_FAILED"
	MpubFailed     Code = "E_MPUB_FAILED"
	DpubFailed     Code = "E_DPUB_FAILED"
	AuthDisabled   Code = "E_AUTH_DISABLED"
	AuthFailed     Code = "E_AUTH_FAILED"
	AuthFirst      Code = "E_AUTH_FIRST"
	AuthError      Code = "E_AUTH_ERROR"
	Unauthorized   Code = "E_UNAUTHORIZED"
	FinFailed      Code = "E_FIN_FAILED"
	ReqFailed      Code = "E_REQ_FAILED"
	TouchFailed    Code = "E_TOUCH_FAILED"
)

// Fatal reports whether nsqd closes the connection after an error with this
// code. It does so after every code except those of a failed FIN, REQ or TOUCH,
// which usually came too late.
func (c Code) Fatal() bool {
	switch c {
	case FinFailed, ReqFailed, TouchFailed:
		return false
	}
	return true
}

// Error is the data of an error frame: "CODE description". For example, nsqd
// v1.3.0 refuses an MPUB for a topic that it is deleting or closing with the code
// E_MPUB_FAILED and the description "MPUB failed exiting".
type Error struct {
	Code Code
	Desc string // all that follows the code and one space; may be empty
}

// Error returns the text as [Printable] shows it.
func (e *Error) Error() string { return Printable(e.Text()) }

// Text returns the data of the frame.
func (e *Error) Text() string {
	if e.Desc == "" {
		return string(e.Code)
	}
	return string(e.Code) + " " + e.Desc
}

// ParseError reads the data of an error frame. It accepts any data; without a
// space all of it is the code. The result does not alias data.
func ParseError(data []byte) *Error {
	for i, c := range data {
		if c == ' ' {
			return &Error{Code: Code(data[:i]), Desc: string(data[i+1:])}
		}
	}
	return &Error{Code: Code(data)}
}

// AppendError appends an error frame.
func AppendError(dst []byte, e *Error) []byte {
	n := len(e.Code)
	if e.Desc != "" {
		n += 1 + len(e.Desc)
	}
	dst = appendFrameHeader(dst, FrameError, n)
	dst = append(dst, e.Code...)
	if e.Desc != "" {
		dst = append(dst, ' ')
		dst = append(dst, e.Desc...)
	}
	return dst
}
