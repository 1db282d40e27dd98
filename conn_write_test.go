package nsq

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Commands of concurrent goroutines do not mix, and every WriteCommand returns.
func TestConnWritesConcurrently(t *testing.T) {
	const writers, each = 20, 50
	inConnScene(t, func(s *connScene) {
		s.connect()
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				for j := range each {
					s.send(Publish("t", fmt.Append(nil, i, " ", j)))
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		stored := s.d.Queued("t", "")
		slices.Sort(stored)
		if n := len(slices.Compact(stored)); n != writers*each {
			t.Errorf("%d different messages", n)
		}
		if got := s.told.take(); len(got) != writers*each || slices.Compact(got)[0] != "response OK" {
			t.Errorf("%d responses, want %d, all of them OK", len(got), writers*each)
		}
	})
}

// A command written in parts is sent whole by Flush or with the next command, even if
// heartbeats arrive between the parts.
func TestConnWriteAndFlush(t *testing.T) {
	inConnScene(t, func(s *connScene) {
		s.connect()
		for _, part := range []string{"PU", "B t\n", "\x00\x00\x00", "\x01x"} {
			if n, err := s.conn.Write([]byte(part)); n != len(part) || err != nil {
				t.Errorf("%d, %v", n, err)
			}
			after(35 * time.Second)
		}
		if got := s.d.Queued("t", ""); len(got) != 0 {
			t.Errorf("stored before Flush: %q", got)
		}
		if err := s.conn.Flush(); err != nil {
			t.Error(err)
		}
		if _, err := Publish("t", []byte("y")).WriteTo(s.conn); err != nil {
			t.Error(err)
		}
		s.send(Publish("t", []byte("z")))
		synctest.Wait()
		if got := s.d.Queued("t", ""); !slices.Equal(got, []string{"x", "y", "z"}) {
			t.Errorf("stored %q", got)
		}
		if err := s.conn.Flush(); err != nil {
			t.Errorf("nothing to flush: %v", err)
		}
	})
}

// WriteCommand waits while nsqd does not read, so that a fast writer does not fill the
// memory.
func TestConnWriteWaits(t *testing.T) {
	inConnScene(t, func(s *connScene) {
		s.connect()
		s.d.StopReading()
		sent := make(chan error, 1)
		go func() { sent <- s.conn.WriteCommand(Publish("t", []byte(strings.Repeat("x", 1<<20)))) }()
		synctest.Wait()
		select {
		case err := <-sent:
			t.Fatalf("returned %v at once", err)
		default:
		}
		s.d.StartReading()
		if err := <-sent; err != nil {
			t.Error(err)
		}
		s.expectHeard("response OK")
	})
}
