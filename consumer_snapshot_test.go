package nsq

import (
	"encoding/json"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// fell returns the name of a count that is lower than before, or "" if none is.
func fell(before, now Counts) string {
	b, n := reflect.ValueOf(before), reflect.ValueOf(now)
	for i := range b.NumField() {
		if n.Field(i).Uint() < b.Field(i).Uint() {
			return b.Type().Field(i).Name
		}
	}
	return ""
}

// No count ever falls, neither in total nor for one nsqd, although connections are cut 20
// times while acks wait to be sent. Acks that were not sent are counted.
func TestCountsNeverFall(t *testing.T) {
	inScene(t, func(s *scene) {
		s.net.Capacity = 200 // less than the FINs of a batch
		s.cfg.WriteTimeout = time.Minute
		s.cfg.MaxInFlight = 40
		s.cfg.MaxBackoffDuration = 0
		s.cfg.DefaultRequeueDelay = 0
		var n atomic.Int64
		s.consumer(2, func(*Message) error {
			if n.Add(1)%10 == 0 {
				return errBoom
			}
			return nil
		})
		nsqds := []*nsqtest.Nsqd{s.nsqd("a:1"), s.nsqd("b:1")}
		s.connect(nsqds...)
		var sum Counts
		before := map[string]Counts{}
		look := func() {
			s.Helper()
			synctest.Wait()
			s.balanced()
			shown := s.c.Snapshot()
			var all Counts
			now := map[string]Counts{}
			for _, c := range shown.Connections {
				of := now[c.Addr]
				of.add(&c.Counts)
				now[c.Addr] = of
				all.add(&c.Counts)
			}
			if what := fell(sum, shown.Counts); what != "" {
				s.Errorf("%s fell: %+v, before %+v", what, shown.Counts, sum)
			}
			for addr := range before {
				if what := fell(before[addr], now[addr]); what != "" {
					s.Errorf("%s of %s fell: %+v, before %+v", what, addr, now[addr], before[addr])
				}
			}
			if all != shown.Counts {
				s.Errorf("the nsqds count %+v, the Consumer %+v", all, shown.Counts)
			}
			sum, before = shown.Counts, now
		}
		for cut := range 20 {
			d := nsqds[cut%2]
			after(3 * time.Minute) // connections that last are redialled soon
			look()
			d.StopReading()
			flood(d, 30)
			look()
			d.Disconnect(d.Clients()[0].Conn)
			look()
			d.StartReading()
			look()
		}
		if sum.Unsent < 20 || sum.Finished < 400 || sum.Requeued < 20 {
			s.Errorf("%+v: hardly any ack was cut off, so the test shows nothing", sum)
		}

		// While an old connection closes, the nsqd has two entries.
		if err := s.c.DisconnectFromNSQD("a:1"); err != nil {
			s.Fatal(err)
		}
		s.connect(nsqds[0])
		look()
		if err := s.c.DisconnectFromNSQD("a:1"); err != nil {
			s.Fatal(err)
		}
		after(time.Minute)
		if got := s.c.Snapshot(); len(got.Connections) != 1 || got.Connections[0].Addr != "b:1" || fell(sum, got.Counts) != "" {
			s.Errorf("%+v", got)
		}
		nsqds[1].Disconnect(nsqds[1].Clients()[0].Conn)
		after(time.Minute)
		if past := s.c.loop.past.byNSQD; len(past) > 1 {
			s.Errorf("%d nsqds are remembered: %v", len(past), past)
		}
	})
}

// The counts of a Snapshot add up, for each nsqd and in total, while messages are acked.
func TestSnapshotAddsUpWhileMessagesAreAcked(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 100
		s.consumer(4, func(*Message) error { return nil })
		d := s.nsqd("a:1")
		s.connect(d)
		const messages = 20_000
		for range messages / 100 {
			d.Publish("t", slices.Repeat([]string{"m"}, 100)...)
		}
		for finished := uint64(0); finished < messages; {
			now := s.c.Snapshot()
			finished = now.Finished
			conn := now.Connections[0]
			if n := uint64(now.InFlight); now.Received != now.Finished+n || conn.Counts != now.Counts || conn.InFlight != now.InFlight {
				s.Fatalf("%d in flight of %+v; of the nsqd %d of %+v", n, now.Counts, conn.InFlight, conn.Counts)
			}
		}
	})
}

// A Snapshot counts messages given up, messages discarded and panics separately, and shows
// what handlers are doing.
func TestSnapshotOfHandlers(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight, s.cfg.MaxAttempts, s.cfg.MaxBackoffDuration = 8, 1, 0
		s.cfg.DefaultRequeueDelay = 0
		begun := time.Now()
		s.consumer(3, hookedHandler)
		if got := s.c.Snapshot(); got.Handlers != 3 || got.Busy != 0 || got.State != ConsumerRunning || !got.Started.Equal(begun) {
			s.Errorf("%+v", got)
		}
		d := s.nsqd("a:1")
		s.connect(d)
		d.Publish("t", "fails", "discards", "panics")
		after(2 * time.Millisecond)
		got := s.c.Snapshot().Counts
		if want := (Counts{Received: 5, Finished: 3, Requeued: 2, GivenUp: 2, Discarded: 1, Panicked: 1}); got != want {
			s.Errorf("%+v, want %+v", got, want)
		}
		d.Publish("t", "slow", "slow", "slow")
		synctest.Wait()
		d.Publish("t", "m", "m")
		after(3 * time.Second)
		now := s.c.Snapshot()
		if now.Busy != 3 || now.Queued != 2 || now.InFlight != 5 || now.Oldest != 3*time.Second {
			s.Errorf("%d busy, %d queued, %d in flight, the oldest for %v", now.Busy, now.Queued, now.InFlight, now.Oldest)
		}
		s.c.Stop()
		if got := s.c.Snapshot().State; got != ConsumerStopping {
			s.Errorf("state %q during the stop", got)
		}
		<-s.c.StopChan
		if got := s.c.Snapshot(); got.State != ConsumerStopped || got.Handlers != 0 || got.Oldest != 0 {
			s.Errorf("%+v", got)
		}
	})
}

// As JSON, a Snapshot shows fields by name and states as words.
func TestSnapshotReadsWell(t *testing.T) {
	text, err := json.MarshalIndent(Snapshot{
		Topic: "t", Channel: "c", State: ConsumerRunning,
		Lookupds: []LookupdSnapshot{{Addr: "http://l:1/lookup", LastError: errBoom}},
	}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		State    string
		Finished int
		Lookupds []struct{ Addr, LastError string }
	}
	if err := json.Unmarshal(text, &got); err != nil || got.State != "running" || got.Lookupds[0].LastError != "boom" {
		t.Errorf("%v: %s", err, text)
	}
}

// An nsqd that the Consumer let go while it was not connected, and took again, counts from
// 0. A reader that adds up what it counts would otherwise add the old counts twice.
func TestCountsOfAnNSQDThatComesBack(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.LookupdPollInterval, s.cfg.LookupdPollJitter = time.Minute, 0
		a, b := s.nsqd("a:1"), s.nsqd("b:1")
		l := s.lookupd("l:1", b)
		s.consumer(1, noError)
		of := func(addr string) Counts {
			for _, c := range s.c.Snapshot().Connections {
				if c.Addr == addr {
					return c.Counts
				}
			}
			return Counts{}
		}
		s.connect(a)
		s.discover("l:1")
		flood(a, 3)
		flood(b, 2)
		after(time.Second)
		if of("a:1").Received != 3 || of("b:1").Received != 2 {
			s.Fatalf("%+v", s.c.Snapshot())
		}

		s.net.Refuse("a:1", nil)
		a.Disconnect(a.Clients()[0].Conn)
		after(time.Second)
		if got := of("a:1"); got.Received != 3 { // lost, and waiting for the redial
			s.Errorf("%+v", got)
		}
		if err := s.c.DisconnectFromNSQD("a:1"); err != nil {
			s.Fatal(err)
		}
		s.net.Allow("a:1")
		s.connect(a)
		if got := of("a:1"); got != (Counts{}) {
			s.Errorf("a was let go and is back with %+v", got)
		}

		s.net.Refuse("b:1", nil)
		l.Unregister("t", "b:1")
		b.Disconnect(b.Clients()[0].Conn)
		after(10 * time.Minute)
		s.net.Allow("b:1")
		l.Register("t", "b:1")
		after(2 * time.Minute)
		if got := s.c.Snapshot(); of("b:1") != (Counts{}) || len(got.Connections) != 2 || got.Received != 5 {
			s.Errorf("b was let go and is back: %+v", got)
		}
	})
}
