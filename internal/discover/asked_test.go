package discover

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// asked returns a result's times, each as the time since begin, "-" if zero.
func asked(r Result, begin time.Time) string {
	since := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.Sub(begin).String()
	}
	text := ""
	for _, p := range r.Producers {
		text += fmt.Sprintf("%s %s, ", p.Addr, since(p.Asked))
	}
	return fmt.Sprintf("%sresponded %s, all failed %s", text, since(r.Responded), since(r.AllFailed))
}

// N1: a result says when the requests that it comes from were sent, not when they were
// responded to.
func TestTimesOfRequests(t *testing.T) {
	inScene(t, func(s *scene) {
		begin := time.Now()
		want := func(want string) {
			t.Helper()
			if got := asked(s.last(), begin); got != want {
				t.Errorf("after %v: %s; want %s", time.Since(begin), got, want)
			}
		}
		l1, l2 := s.lookupd("l1:1", "a:1", "both:1"), s.lookupd("l2:1", "b:1", "both:1")
		l2.Hang()
		s.poller("l1:1", "l2:1")
		want("a:1 0s, both:1 0s, responded 0s, all failed -")
		sleep(10 * time.Second)
		s.p.Poke()
		want("a:1 10s, both:1 10s, responded 10s, all failed -") // l2 has not responded yet
		sleep(20 * time.Second)
		want("a:1 10s, both:1 10s, responded 10s, all failed -") // and has failed now
		l2.Recover()
		s.p.Poke()
		want("a:1 30s, b:1 30s, both:1 30s, responded 30s, all failed -")

		l1.Kill()
		sleep(time.Second)
		s.p.Poke()
		want("a:1 30s, b:1 31s, both:1 31s, responded 31s, all failed -")
		l2.Hang()
		sleep(time.Second)
		s.p.Poke()
		want("a:1 30s, b:1 31s, both:1 31s, responded 31s, all failed -")
		sleep(time.Second)
		s.p.Poke()              // asks l1 alone: at 33s, and with the schedule at 60s
		sleep(29 * time.Second) // l2's request of 32s fails
		want("a:1 30s, b:1 31s, both:1 31s, responded 31s, all failed 32s")
		s.p.Poke()
		want("a:1 30s, b:1 31s, both:1 31s, responded 31s, all failed 32s")
		sleep(30 * time.Second)
		want("a:1 30s, b:1 31s, both:1 31s, responded 31s, all failed 1m2s")
		l1.Restart()
		s.p.Poke()
		want("a:1 1m32s, b:1 31s, both:1 1m32s, responded 1m32s, all failed -")
		s.remove("l1:1")
		want("b:1 31s, both:1 31s, responded 31s, all failed 1m2s")
		s.remove("l2:1")
		want("responded -, all failed -")
	})
}

// N3: the last response of an nsqlookupd that is down for good is forgotten after ten
// intervals, and not before, but only if others respond.
func TestLastResponseIsForgotten(t *testing.T) {
	inScene(t, func(s *scene) {
		l1, l2 := s.lookupd("l1:1", "a:1"), s.lookupd("l2:1", "b:1")
		l1.Reply(fmt.Sprintf(`{"producers":[%s,{"hostname":"bad"}]}`,
			`{"broadcast_address":"a","tcp_port":1}`))
		s.poller("l1:1", "l2:1")
		l1.Kill()
		sleep(10*time.Minute + time.Second)
		if r := s.last(); len(r.Producers) != 2 || len(r.Skipped) != 1 {
			t.Errorf("after ten intervals: %s", describe(r))
		}
		sleep(time.Minute)
		if r := s.last(); len(r.Producers) != 1 || r.Producers[0].Addr != "b:1" || len(r.Skipped) != 0 {
			t.Errorf("after eleven intervals: %s", describe(r))
		}
		l2.Fail(http.StatusInternalServerError, "OOPS")
		sleep(time.Hour)
		if r := s.last(); len(r.Producers) != 1 {
			t.Errorf("an hour after the last response of any: %s", describe(r))
		}
	})
}

// N3: 10,000 nsqds that come and go leave nothing in the Poller's memory, though an
// nsqlookupd has listed some of them and is down for good.
func TestChurnWithADeadLookupd(t *testing.T) {
	inScene(t, func(s *scene) {
		dead, live := s.lookupd("dead:1"), s.lookupd("live:1")
		s.poller("dead:1", "live:1")
		for round := range 100 {
			for _, l := range []*nsqtest.Lookupd{dead, live} {
				l.DeleteTopic("t")
				for i := range 100 {
					l.Register("t", fmt.Sprintf("n%d-%d:1", round, i))
				}
			}
			if round == 50 {
				dead.Kill()
			}
			sleep(time.Minute)
		}
		live.DeleteTopic("t")
		sleep(time.Minute)
		s.want("0 of 2 waiting, failed [http://dead:1/lookup] dial tcp dead:1: connection refused")
		for _, l := range s.p.lookupds {
			if len(l.producers) > 0 {
				t.Errorf("%d producers of %s are remembered", len(l.producers), l.name)
			}
		}
	})
}

// A result has the state of every nsqlookupd, and the request whose end made it.
func TestStatesOfLookupds(t *testing.T) {
	inScene(t, func(s *scene) {
		begin := time.Now()
		want := func(want string) {
			t.Helper()
			r := s.last()
			got := ""
			for _, l := range r.Lookupds {
				responded := "never"
				if !l.Responded.IsZero() {
					responded = l.Responded.Sub(begin).String()
				}
				got += fmt.Sprintf("%s %s %d %t, ", l.Name, responded, l.Producers, l.Err != nil)
			}
			if e := r.Ended; e != nil {
				got += fmt.Sprintf("ended %s after %v with %d %t", e.Lookupd, e.Took, e.Producers, e.Err != nil)
			}
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}
		s.lookupd("l1:1", "a:1", "b:1")
		l2 := s.lookupd("l2:1", "b:1")
		l2.Hang()
		s.poller("l1:1", "l2:1")
		want("http://l1:1/lookup 0s 2 false, http://l2:1/lookup never 0 false, ended http://l1:1/lookup after 0s with 2 false")
		sleep(30 * time.Second)
		want("http://l1:1/lookup 0s 2 false, http://l2:1/lookup never 0 true, ended http://l2:1/lookup after 30s with 0 true")
		l2.Recover()
		s.remove("l1:1")
		want("http://l2:1/lookup never 0 true, ")
		sleep(30 * time.Second)
		want("http://l2:1/lookup 1m0s 1 false, ended http://l2:1/lookup after 0s with 1 false")
		l2.Kill()
		sleep(time.Minute)
		want("http://l2:1/lookup 1m0s 1 true, ended http://l2:1/lookup after 0s with 0 true")
	})
}
