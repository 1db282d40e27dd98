package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxLine is the length of the longest command line that nsqd reads, newline
// included.
const MaxLine = 16384

// ErrLineTooLong means that a command line exceeds [MaxLine]. nsqd then closes
// the connection without an error frame.
var ErrLineTooLong = errors.New("wire: command line too long")

// Limits bound the bodies that a server accepts.
type Limits struct {
	MsgSize  int // of a message: nsqd's max-msg-size
	BodySize int // of an IDENTIFY, AUTH or MPUB: nsqd's max-body-size
}

// DefaultLimits are nsqd's defaults.
var DefaultLimits = Limits{MsgSize: 1 << 20, BodySize: 5 << 20}

// A Command is a command as a server reads it: its line split at every space,
// and the body of those commands that have one.
type Command struct {
	Name   string
	Params []string
	Body   []byte
}

// String returns the command's line without its newline.
func (c *Command) String() string {
	line := appendLine(nil, c.Name, c.Params...)
	return string(line[:len(line)-1])
}

// ParseLine reads the line of the command at the front of b and returns how many bytes
// it takes. What follows may be the command's body.
func ParseLine(b []byte) (Command, int, error) {
	end := indexByte(b[:min(len(b), MaxLine)], '\n')
	if end < 0 {
		if len(b) >= MaxLine {
			return Command{}, 0, ErrLineTooLong
		}
		return Command{}, 0, ErrShort
	}
	line := b[:end]
	if end > 0 && line[end-1] == '\r' {
		line = line[:end-1]
	}
	return splitLine(string(line)), end + 1, nil
}

// ParseCommand reads the command at the front of b and returns how many bytes
// it takes. If a body is empty or over its limit, the error is an [*Error] with
// nsqd's code and description. ParseCommand returns it as soon as the length has
// arrived, together with the command without its body.
//
// As in nsqd, the body of an MPUB ends with its last message, whatever length is
// announced for it: that length must only be within its limit.
func ParseCommand(b []byte, lim Limits) (Command, int, error) {
	c, n, err := ParseLine(b)
	if err != nil || !c.hasBody() {
		return c, n, err
	}
	if len(b) < n+4 {
		return Command{}, 0, ErrShort
	}
	size := int32(binary.BigEndian.Uint32(b[n:])) // signed, as in nsqd
	if err := c.checkBody(int(size), lim); err != nil {
		return c, 0, err
	}
	n += 4
	length := int(size)
	if c.Name == CmdMpub {
		if length, err = mpubBodyLen(b[n:], lim); errors.Is(err, ErrShort) {
			return Command{}, 0, err
		} else if err != nil {
			return c, 0, err
		}
	}
	if len(b)-n < length {
		return Command{}, 0, ErrShort
	}
	c.Body = b[n : n+length : n+length]
	return c, n + length, nil
}

// mpubBodyLen returns the length of an MPUB's body at the front of b. The last message may
// not have arrived yet. A bad length of a message is refused as soon as it has arrived.
func mpubBodyLen(b []byte, lim Limits) (int, error) {
	if len(b) < MpubCountLen {
		return 0, ErrShort
	}
	count := int32(binary.BigEndian.Uint32(b)) // signed, as in nsqd
	if count <= 0 || int(count) > maxMessages(lim) {
		return 0, invalidCount(count)
	}
	n := MpubCountLen
	for i := range int(count) {
		if len(b)-n < 4 {
			return 0, ErrShort
		}
		size := int32(binary.BigEndian.Uint32(b[n:])) // signed, as in nsqd
		if err := checkMessage(i, size, lim); err != nil {
			return 0, err
		}
		n += 4 + int(size)
	}
	return n, nil
}

// maxMessages is the largest count of an MPUB: a message takes at least five bytes, its
// length and one byte of body.
func maxMessages(lim Limits) int { return (lim.BodySize - MpubCountLen) / 5 }

func invalidCount(count int32) *Error {
	return &Error{BadBody, fmt.Sprintf("MPUB invalid message count %d", count)}
}

// checkMessage checks the length of the i-th message of an MPUB.
func checkMessage(i int, size int32, lim Limits) error {
	switch {
	case size <= 0:
		return &Error{BadMessage, fmt.Sprintf("MPUB invalid message(%d) body size %d", i, size)}
	case int(size) > lim.MsgSize:
		return &Error{BadMessage, fmt.Sprintf("MPUB message too big %d > %d", size, lim.MsgSize)}
	}
	return nil
}

// CutShort returns what nsqd replies if its input ends within the command at the front
// of b, for which [ParseCommand] returns [ErrShort]. It is nil if the line itself is
// incomplete: nsqd then closes the connection without a reply.
func CutShort(b []byte) *Error {
	c, n, err := ParseLine(b)
	if err != nil {
		return nil
	}
	code, body := BadBody, "body"
	if c.Name == CmdPub || c.Name == CmdDpub {
		code, body = BadMessage, "message body"
	}
	switch rest := b[n:]; {
	case len(rest) < 4:
		return &Error{code, fmt.Sprintf("%s failed to read %s size", c.Name, body)}
	case c.Name != CmdMpub:
		return &Error{code, fmt.Sprintf("%s failed to read %s", c.Name, body)}
	case len(rest) < 4+MpubCountLen:
		return &Error{BadBody, "MPUB failed to read message count"}
	default:
		return cutMessage(rest[4+MpubCountLen:])
	}
}

// cutMessage returns CutShort's error if the input ends within the messages of an MPUB.
func cutMessage(b []byte) *Error {
	for i := 0; ; i++ {
		if len(b) < 4 {
			return &Error{BadMessage, fmt.Sprintf("MPUB failed to read message(%d) body size", i)}
		}
		size := int(binary.BigEndian.Uint32(b)) // ParseCommand has checked it
		if b = b[4:]; len(b) < size {
			return &Error{BadMessage, "MPUB failed to read message body"}
		}
		b = b[size:]
	}
}

func indexByte(b []byte, c byte) int {
	for i := range b {
		if b[i] == c {
			return i
		}
	}
	return -1
}

func splitLine(line string) Command {
	var c Command
	for i := 0; ; {
		j := i
		for j < len(line) && line[j] != ' ' {
			j++
		}
		if i == 0 {
			c.Name = line[:j]
		} else {
			c.Params = append(c.Params, line[i:j])
		}
		if j == len(line) {
			return c
		}
		i = j + 1
	}
}

func (c *Command) hasBody() bool {
	switch c.Name {
	case CmdIdentify, CmdAuth, CmdPub, CmdDpub, CmdMpub:
		return true
	}
	return false
}

func (c *Command) checkBody(size int, lim Limits) error {
	switch c.Name {
	case CmdPub, CmdDpub:
		if size <= 0 {
			return &Error{BadMessage, fmt.Sprintf("%s invalid message body size %d", c.Name, size)}
		}
		if size > lim.MsgSize {
			return &Error{BadMessage, fmt.Sprintf("%s message too big %d > %d", c.Name, size, lim.MsgSize)}
		}
	default:
		if size <= 0 {
			return &Error{BadBody, fmt.Sprintf("%s invalid body size %d", c.Name, size)}
		}
		if size > lim.BodySize {
			return &Error{BadBody, fmt.Sprintf("%s body too big %d > %d", c.Name, size, lim.BodySize)}
		}
	}
	return nil
}

// ParseMpub splits the body of MPUB into its messages, which alias it. Its
// errors are an [*Error] with nsqd's code.
func ParseMpub(body []byte, lim Limits) ([][]byte, error) {
	if len(body) < 4 {
		return nil, &Error{BadBody, "MPUB failed to read message count"}
	}
	count := int32(binary.BigEndian.Uint32(body)) // signed, as in nsqd
	// The length of the body bounds the count before anything is allocated.
	if count <= 0 || int(count) > maxMessages(lim) || int(count) > (len(body)-4)/5 {
		return nil, invalidCount(count)
	}
	bodies := make([][]byte, 0, count)
	rest := body[4:]
	for i := range int(count) {
		if len(rest) < 4 {
			return nil, &Error{BadMessage, fmt.Sprintf("MPUB failed to read message(%d) body size", i)}
		}
		size := int32(binary.BigEndian.Uint32(rest)) // signed, as in nsqd
		rest = rest[4:]
		if err := checkMessage(i, size, lim); err != nil {
			return nil, err
		}
		if int(size) > len(rest) {
			return nil, &Error{BadMessage, "MPUB failed to read message body"}
		}
		bodies = append(bodies, rest[:size:size])
		rest = rest[size:]
	}
	if len(rest) > 0 { // nsqd runs these bytes as commands
		return nil, &Error{Invalid, fmt.Sprintf("MPUB %d bytes after the last message", len(rest))}
	}
	return bodies, nil
}

// ParseNumber reads a numeric parameter as nsqd does: it accepts decimal digits
// only, an empty parameter is 0, and a number too large keeps its lowest 64 bits.
func ParseNumber(s string) (uint64, error) {
	var n uint64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, fmt.Errorf("wire: number %q", s)
		}
		n = 10*n + uint64(s[i]-'0')
	}
	return n, nil
}

// ParseID reads a message ID in a parameter.
func ParseID(s string) (ID, error) {
	if len(s) != IDLen {
		return ID{}, &Error{Invalid, "invalid message ID"}
	}
	return ID([]byte(s)), nil
}
