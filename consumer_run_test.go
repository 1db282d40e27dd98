package nsq

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// holdLoop has the run loop run an event that ends when the returned function is called.
// Events that are posted in between are taken together after that.
func (s *scene) holdLoop(first func(now time.Time)) (release func()) {
	held := make(chan struct{})
	s.c.post(func(now time.Time) {
		first(now)
		<-held
	})
	synctest.Wait()
	return func() { close(held) }
}

// The commands of an event are carried out before the next event: those of a disconnect
// name a connection that is gone after its end.
func TestCommandsAreCarriedOutAfterEachEvent(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(1, noError)
		s.connect(d)
		release := s.holdLoop(func(time.Time) {})
		result := make(chan error, 1)
		go func() { result <- s.c.DisconnectFromNSQD(d.Addr()) }()
		synctest.Wait()
		d.Disconnect(1)
		synctest.Wait()
		release()
		synctest.Wait()
		if err := <-result; err != nil {
			s.Error(err)
		}
		if got := s.c.Snapshot().Connections; len(got) != 0 {
			s.Errorf("%+v, want no connection", got)
		}
	})
}

// A call that the run loop finds when it ends is answered.
func TestCallAtTheEndIsAnswered(t *testing.T) {
	inScene(t, func(s *scene) {
		s.consumer(0, nil)
		release := s.holdLoop(func(now time.Time) { s.c.loop.machine.Stop(now, now) })
		result := make(chan error, 1)
		go func() { result <- s.c.DisconnectFromNSQD("a:1") }()
		synctest.Wait()
		release()
		synctest.Wait()
		select {
		case err := <-result:
			if !errors.Is(err, ErrNotConnected) {
				s.Errorf("%v, want ErrNotConnected", err)
			}
		default:
			s.Fatal("the call still waits")
		}
	})
}

// Snapshot tells why the last connection was lost, also when there is another one.
func TestLastErrorOfAnotherConnection(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(1, noError)
		s.connect(d)
		if got := s.c.Snapshot().Connections; len(got) != 1 || got[0].LastError != nil {
			s.Errorf("%+v, want one connection without an error", got)
		}
		d.Disconnect(1)
		after(4 * time.Second)
		if got := s.c.Snapshot().Connections; len(got) != 1 || got[0].State != ConnectionUp || got[0].LastError == nil {
			s.Errorf("%+v, want one connection, and why the one before it was lost", got)
		}
	})
}
