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

// AppendAuth adds AUTH with the client's secret.
func AppendAuth(dst []byte, secret string) []byte {
	dst = append(dst, CmdAuth+"\n"...)
	dst = AppendBodyHead(dst, len(secret))
	return append(dst, secret...)
}

// AppendSub adds SUB: this connection will consume a channel of a topic.
func AppendSub(dst []byte, topic, channel string) []byte {
	return appendLine(dst, CmdSub, topic, channel)
}

// AppendRdy adds RDY: at most n messages may be in flight on this connection.
func AppendRdy(dst []byte, n int) []byte {
	dst = append(dst, CmdRdy+" "...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, '\n')
}

// AppendFin adds FIN: the message is done.
func AppendFin(dst []byte, id *ID) []byte {
	dst = append(dst, CmdFin+" "...)
	dst = append(dst, id[:]...)
	return append(dst, '\n')
}

// AppendReq adds REQ: nsqd is to deliver the message again after a delay. A
// negative delay, which would cost the connection, becomes 0.
func AppendReq(dst []byte, id *ID, delayMs int64) []byte {
	dst = append(dst, CmdReq+" "...)
	dst = append(dst, id[:]...)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, max(delayMs, 0), 10)
	return append(dst, '\n')
}

// AppendTouch adds TOUCH: the message is still being worked on.
func AppendTouch(dst []byte, id *ID) []byte {
	dst = append(dst, CmdTouch+" "...)
	dst = append(dst, id[:]...)
	return append(dst, '\n')
}

// AppendCls adds CLS: nsqd is to send no more messages.
func AppendCls(dst []byte) []byte { return append(dst, CmdCls+"\n"...) }

// AppendNop adds NOP, the answer to a heartbeat.
func AppendNop(dst []byte) []byte { return append(dst, CmdNop+"\n"...) }

// AppendPub adds PUB. The body must not be empty, or nsqd closes.
func AppendPub(dst []byte, topic string, body []byte) []byte {
	return appendBody(appendLine(dst, CmdPub, topic), body)
}

// AppendPubHead adds PUB without its body of n bytes, which follows.
func AppendPubHead(dst []byte, topic string, n int) []byte {
	return AppendBodyHead(appendLine(dst, CmdPub, topic), n)
}

// AppendDpub adds DPUB: a message to be delivered after a delay. A negative
// delay becomes 0; one over nsqd's max-req-timeout costs the connection.
func AppendDpub(dst []byte, topic string, delayMs int64, body []byte) []byte {
	return append(AppendDpubHead(dst, topic, delayMs, len(body)), body...)
}

// AppendDpubHead adds DPUB without its body of n bytes, which follows.
func AppendDpubHead(dst []byte, topic string, delayMs int64, n int) []byte {
	dst = append(dst, CmdDpub+" "...)
	dst = append(dst, topic...)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, max(delayMs, 0), 10)
	dst = append(dst, '\n')
	return AppendBodyHead(dst, n)
}

// AppendMpub adds MPUB: several messages for one topic. Neither the list nor
// a body in it may be empty.
func AppendMpub(dst []byte, topic string, bodies [][]byte) []byte {
	return AppendMpubBody(AppendBodyHead(appendLine(dst, CmdMpub, topic), MpubLen(bodies)), bodies)
}

// AppendMpubBody adds what an MPUB has behind its line and its length.
func AppendMpubBody(dst []byte, bodies [][]byte) []byte {
	dst = AppendBodyHead(dst, len(bodies))
	for _, b := range bodies {
		dst = appendBody(dst, b)
	}
	return dst
}

// AppendMpubHead adds MPUB without its messages, which follow, each with a
// head of its own.
func AppendMpubHead(dst []byte, topic string, bodies [][]byte) []byte {
	dst = AppendBodyHead(appendLine(dst, CmdMpub, topic), MpubLen(bodies))
	return AppendBodyHead(dst, len(bodies))
}

// MpubLen is the length of an MPUB's body, which nsqd bounds by max-body-size:
// a count, and a length before each message.
func MpubLen(bodies [][]byte) int {
	n := 4
	for _, b := range bodies {
		n += 4 + len(b)
	}
	return n
}

func appendLine(dst []byte, name string, params ...string) []byte {
	dst = append(dst, name...)
	for _, p := range params {
		dst = append(dst, ' ')
		dst = append(dst, p...)
	}
	return append(dst, '\n')
}

// AppendBodyHead adds the length of a body of n bytes, which follows.
func AppendBodyHead(dst []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(n)) // callers bound bodies to 2 GiB
}

func appendBody(dst, body []byte) []byte { return append(AppendBodyHead(dst, len(body)), body...) }
