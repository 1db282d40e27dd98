package main

import (
	"io"

	gonsq "github.com/nsqio/go-nsq"
)

type delegate struct{}

// row: `OnIOError`
func (delegate) OnIOError(*gonsq.Conn, error) {}

// row: `OnClose` of a lost connection
func (delegate) OnClose(c *gonsq.Conn) {}

// row: `OnHeartbeat`
func (delegate) OnHeartbeat(*gonsq.Conn) {}

func nop(c *gonsq.Conn, r io.Reader) error {
	// row: `Conn.WriteCommand`
	if err := c.WriteCommand(gonsq.Nop()); err != nil {
		return err
	}
	// row: `ReadResponse`, `ReadUnpackedResponse`
	if _, err := gonsq.ReadResponse(r); err != nil {
		// row: a literal `ErrIdentify{"text"}`
		return gonsq.ErrIdentify{"no response"}
	}
	return nil
}

var _ = nop
