package nsq

import (
	"strings"
	"testing"
)

// N16: a StopChan that the program closes does not end the process.
func TestStopChanClosedByTheProgram(t *testing.T) {
	inScene(t, func(s *scene) {
		s.nsqd("a:1")
		var log logLines
		c, err := NewConsumer("t", "c", s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		c.SetLogger(&log, LogLevelError)
		c.AddHandler(HandlerFunc(func(*Message) error { return nil }))
		if err := c.ConnectToNSQD("a:1"); err != nil {
			s.Error(err)
		}
		close(c.StopChan)
		c.Stop()
		after(stopSilence)
		select {
		case <-c.Stopped():
		default:
			s.Error("Stopped is not closed")
		}
		if got := log.take(); len(got) != 1 || !strings.Contains(got[0], "StopChan was closed") {
			s.Errorf("logged %q", got)
		}
	})
}

// A nil handler is refused at once, not with the first message.
func TestNilHandler(t *testing.T) {
	inScene(t, func(s *scene) {
		c, err := NewConsumer("t", "c", s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		defer func() {
			if p := recover(); p != "nil handler" {
				s.Errorf("panic %v", p)
			}
			c.Stop()
			<-c.StopChan
		}()
		c.AddHandler(nil)
	})
}
