package wire

import "encoding/binary"

// A Pack is a PUB at the end of a buffer that further messages to its topic may join. With
// the first of them it becomes an MPUB.
type Pack struct {
	Topic    string
	Messages int // at least 1: that of the PUB

	start int // where the command begins in the buffer
}

// packGrowth is how much longer an MPUB of one message is than a PUB: by a letter, the
// length of the body and the count.
const packGrowth = len(CmdMpub) - len(CmdPub) + 4 + MpubCountLen

// NewPack returns the Pack of a PUB that begins at start and ends where its buffer does.
func NewPack(topic string, start int) Pack { return Pack{Topic: topic, Messages: 1, start: start} }

// Grows returns by how many bytes a message of n bytes makes the command longer.
func (p *Pack) Grows(n int) int {
	if p.Messages == 1 {
		return packGrowth + MpubMessageLen(n)
	}
	return MpubMessageLen(n)
}

// BodyLen returns how long the body of the MPUB is once a message of n bytes has joined.
// end is where the buffer ends before that.
func (p *Pack) BodyLen(end, n int) int { return end + p.Grows(n) - p.bodyHead() - 4 }

// Append adds a message to the command at the end of buf. The body must not be empty.
func (p *Pack) Append(buf, body []byte) []byte {
	size := p.bodyHead()
	if p.Messages == 1 {
		messages := size - 1 // a PUB has them right behind its line
		buf = append(buf, make([]byte, packGrowth)...)
		copy(buf[messages+packGrowth:], buf[messages:])
		copy(buf[p.start:], CmdMpub+" ")
		copy(buf[p.start+len(CmdMpub+" "):], p.Topic)
		buf[size-1] = '\n'
	}
	p.Messages++
	buf = appendBody(buf, body)
	binary.BigEndian.PutUint32(buf[size:], uint32(len(buf)-size-4)) // #nosec G115 -- a buffer is far shorter than 2 GiB
	binary.BigEndian.PutUint32(buf[size+4:], uint32(p.Messages))    // #nosec G115 -- each has bytes in the buffer
	return buf
}

// bodyHead returns where the length of the MPUB's body is.
func (p *Pack) bodyHead() int { return p.start + len(CmdMpub+" \n") + len(p.Topic) }
