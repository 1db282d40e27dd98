package wire

import (
	"encoding/binary"
	"strconv"
)

// The names of the commands.
const (
	CmdIdentify   = "IDENTIFY"
	CmdAuth       = "AUTH"
	CmdSub        = "SUB"
	CmdPub        = "PUB"
	CmdMpub       = "MPUB"
	CmdDpub       = "DPUB"
	CmdRdy        = "RDY"
	CmdFin        = "FIN"
	CmdReq        = "REQ"
	CmdTouch      = "TOUCH"
	CmdCls        = "CLS"
	CmdNop        = "NOP"
	CmdRegister   = "REGISTER"   // nsqlookupd
	CmdUnregister = "UNREGISTER" // nsqlookupd
	CmdPing       = "PING"       // nsqlookupd
)

// AppendAuth appends AUTH with the client's secret.
func AppendAuth(dst []byte, secret string) []byte {
	dst = append(dst, CmdAuth+"\n"...)
	dst = AppendBodyHead(dst, len(secret))
	return append(dst, secret...)
}

// AppendSub appends SUB, which makes the connection consume a channel of a
// topic.
func AppendSub(dst []byte, topic, channel string) []byte {
	return appendLine(dst, CmdSub, topic, channel)
}

// AppendRdy appends RDY: nsqd sends messages while fewer than n are in flight on
// this connection.
func AppendRdy(dst []byte, n int) []byte {
	dst = append(dst, CmdRdy+" "...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, '\n')
}

// AppendFin appends FIN: the message is done.
func AppendFin(dst []byte, id *ID) []byte {
	dst = append(dst, CmdFin+" "...)
	dst = append(dst, id[:]...)
	return append(dst, '\n')
}

// AppendReq appends REQ: nsqd delivers the message again after a delay. A
// negative delay becomes 0, because nsqd would close the connection.
func AppendReq(dst []byte, id *ID, delayMs int64) []byte {
	dst = append(dst, CmdReq+" "...)
	dst = append(dst, id[:]...)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, max(delayMs, 0), 10)
	return append(dst, '\n')
}

// AppendTouch appends TOUCH, which restarts the message's timeout.
func AppendTouch(dst []byte, id *ID) []byte {
	dst = append(dst, CmdTouch+" "...)
	dst = append(dst, id[:]...)
	return append(dst, '\n')
}

// AppendCls appends CLS, which asks nsqd to stop sending messages.
func AppendCls(dst []byte) []byte { return append(dst, CmdCls+"\n"...) }

// AppendNop appends NOP, which a client sends for every heartbeat.
func AppendNop(dst []byte) []byte { return append(dst, CmdNop+"\n"...) }

// AppendPub appends PUB. The body must not be empty: nsqd would close the
// connection.
func AppendPub(dst []byte, topic string, body []byte) []byte {
	return appendBody(appendLine(dst, CmdPub, topic), body)
}

// AppendPubHead appends PUB up to its body of n bytes. The caller appends the
// body.
func AppendPubHead(dst []byte, topic string, n int) []byte {
	return AppendBodyHead(appendLine(dst, CmdPub, topic), n)
}

// AppendDpub appends DPUB, which publishes a message that nsqd delivers after a
// delay. A negative delay becomes 0. nsqd closes the connection on a delay over
// its max-req-timeout.
func AppendDpub(dst []byte, topic string, delayMs int64, body []byte) []byte {
	return append(AppendDpubHead(dst, topic, delayMs, len(body)), body...)
}

// AppendDpubHead appends DPUB up to its body of n bytes. The caller appends the
// body.
func AppendDpubHead(dst []byte, topic string, delayMs int64, n int) []byte {
	dst = append(dst, CmdDpub+" "...)
	dst = append(dst, topic...)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, max(delayMs, 0), 10)
	dst = append(dst, '\n')
	return AppendBodyHead(dst, n)
}

// AppendMpub appends MPUB, which publishes several messages to one topic.
// Neither the list nor a body in it may be empty.
func AppendMpub(dst []byte, topic string, bodies [][]byte) []byte {
	return appendMessages(AppendMpubHead(dst, topic, bodies), bodies)
}

// AppendMpubHead appends MPUB up to its messages. The caller appends each
// message as [AppendBodyHead] and the body.
func AppendMpubHead(dst []byte, topic string, bodies [][]byte) []byte {
	dst = AppendBodyHead(appendLine(dst, CmdMpub, topic), int(MpubLen(bodies)))
	return AppendBodyHead(dst, len(bodies))
}

// AppendMpubBody appends the body of an MPUB: the count and the messages.
func AppendMpubBody(dst []byte, bodies [][]byte) []byte {
	return appendMessages(AppendBodyHead(dst, len(bodies)), bodies)
}

func appendMessages(dst []byte, bodies [][]byte) []byte {
	for _, b := range bodies {
		dst = appendBody(dst, b)
	}
	return dst
}

// MpubLen returns the length of an MPUB's body: a count, and each message with its
// length before it. nsqd bounds it by max-body-size, the protocol by 2 GiB - 1. It is
// an int64 because the length of a longer list overflows an int of 32 bits.
func MpubLen(bodies [][]byte) int64 {
	n := int64(MpubCountLen)
	for _, b := range bodies {
		n += int64(MpubMessageLen(len(b)))
	}
	return n
}

// MpubCountLen is the length of the count at the front of an MPUB's body.
const MpubCountLen = 4

// MpubMessageLen returns how many bytes of an MPUB's body a message of n bytes
// takes.
func MpubMessageLen(n int) int { return 4 + n }

func appendLine(dst []byte, name string, params ...string) []byte {
	dst = append(dst, name...)
	for _, p := range params {
		dst = append(dst, ' ')
		dst = append(dst, p...)
	}
	return append(dst, '\n')
}

// AppendBodyHead appends the length of a body of n bytes. The caller appends the
// body.
func AppendBodyHead(dst []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(n)) // callers keep bodies below 2 GiB
}

func appendBody(dst, body []byte) []byte { return append(AppendBodyHead(dst, len(body)), body...) }
