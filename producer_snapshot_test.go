package nsq

import (
	"errors"
	"io"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// A snapshot shows the Producer's state, what is pending, and the last error of nsqd.
func TestProducerSnapshot(t *testing.T) {
	produce(t, func(s *producing) {
		expect := func(want ProducerSnapshot) {
			s.Helper()
			synctest.Wait()
			got := s.p.Snapshot()
			if !errors.Is(got.LastError, want.LastError) || (want.LastError == nil) != (got.LastError == nil) {
				s.Errorf("last error %v, want %v", got.LastError, want.LastError)
			}
			got.LastError = want.LastError
			if got != want {
				s.Errorf("got  %+v\nwant %+v", got, want)
			}
		}
		want := ProducerSnapshot{Addr: "a:1", State: ProducerDisconnected}
		expect(want)

		s.net.Blackhole("a:1")
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.p.Ping() })
		want.State = ProducerConnecting
		expect(want)
		wg.Wait()
		s.net.Refuse("a:1", nil)
		redialAllowed()
		_ = s.p.Ping()
		want.State, want.LastError = ProducerDisconnected, syscall.ECONNREFUSED
		expect(want)
		s.net.Allow("a:1")
		redialAllowed()

		s.d.Inject(nsqtest.Fault{Command: "PUB", Times: 1, Delay: time.Second})
		wg.Go(func() { _ = s.p.Publish("t", make([]byte, 100)) })
		synctest.Wait()
		wg.Go(func() { _ = s.p.MultiPublish("t", [][]byte{make([]byte, 50)}) })
		want.State, want.Pending, want.PendingBytes, want.Connects = ProducerConnected, 2, 64+100+64+4+4+50, 1
		expect(want)
		wg.Wait()
		want.Pending, want.PendingBytes, want.Published = 0, 0, 2
		expect(want)
		s.d.Disconnect(s.d.Clients()[0].Conn)
		want.State, want.LastError = ProducerDisconnected, io.EOF
		expect(want)

		s.publishes()
		want.State, want.Published, want.Connects = ProducerConnected, 3, 2
		expect(want)
		s.d.Inject(nsqtest.Fault{Command: "PUB", Times: 1, Delay: time.Second})
		wg.Go(func() { _ = s.p.Publish("t", make([]byte, 100)) })
		synctest.Wait()
		wg.Go(s.p.Stop)
		want.State, want.Pending, want.PendingBytes = ProducerStopping, 1, 164
		expect(want)
		wg.Wait()
		want.State, want.Pending, want.PendingBytes, want.Published = ProducerStopped, 0, 0, 4
		expect(want)
	}, quietly)
}
