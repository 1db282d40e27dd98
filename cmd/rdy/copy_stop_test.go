package main

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// expectGivenBack checks that each of n messages of the source is either finished, and copied
// once, or given back and not copied.
func (s *copyScene) expectGivenBack(d *nsqtest.Nsqd, n int) {
	s.Helper()
	copies, st := d.Stats("t", "got").Depth, s.source.Stats("t", "ch")
	if copies == 0 || st.Finished != copies || st.Depth+st.Deferred != n-copies || st.InFlight != 0 {
		s.Errorf("%d copies, %+v", copies, st)
	}
	if r := s.report(); r.Copied != copies || r.Requeued != st.Requeued {
		s.Errorf("%+v, and the source %+v", r, st)
	}
}

// slowPublishes makes each publish to an nsqd take two seconds.
func slowPublishes(d *nsqtest.Nsqd) {
	for _, command := range []string{"PUB", "MPUB"} {
		d.Inject(nsqtest.Fault{Command: command, Delay: 2 * time.Second})
	}
}

// A stop waits for the publish under way, and gives the other messages back.
func TestCopyStopFinishesWhatIsUnderWay(t *testing.T) {
	inCopyScene(t, func(s *copyScene) {
		d := s.destination("to:4150", nsqtest.Options{})
		slowPublishes(d)
		s.source.Publish("t", copyBodies(100)...)
		s.start("--to", "to:4150", "--max-in-flight", "20")
		sleep(time.Second)
		if err := s.end(); err != nil {
			s.Error(err)
		}
		s.expectGivenBack(d, 100)
	})
}

// Once a stop has begun no publish begins. It would be cut off when the stop can wait no longer,
// and what it has stored would be given back as well.
func TestCopyStopBeginsNoPublish(t *testing.T) {
	large := strings.Repeat("x", 700_000) // of which a command has room for one
	for name, tc := range map[string]struct {
		padding string
		jq      string
		after   time.Duration // when the stop begins
	}{
		"messages that came later":    {after: 200 * time.Millisecond},
		"the next batch":              {padding: large, after: 2200 * time.Millisecond},
		"the next command of a batch": {jq: ". * 50000", after: 2200 * time.Millisecond},
	} {
		for range 8 { // a select of several ready channels takes any of them
			inCopyScene(t, func(s *copyScene) {
				d := s.destination("to:4150", nsqtest.Options{})
				slowPublishes(d)
				s.source.Publish("t", strconv.Quote("first"))
				args := []string{"--to", "to:4150", "--max-in-flight", "20"}
				if tc.jq != "" {
					args = append(args, "--jq", tc.jq)
				}
				s.start(args...)
				for _, body := range copyBodies(2) {
					s.source.Publish("t", strconv.Quote(body+tc.padding))
				}
				sleep(tc.after)
				if err := s.end(); err != nil {
					s.Errorf("%s: %v", name, err)
				}
				s.expectGivenBack(d, 3)
			})
		}
	}
}

// A stop while the destination is down gives all messages back, and does not take long.
func TestCopyStopsWhileDestinationIsDown(t *testing.T) {
	inCopyScene(t, func(s *copyScene) {
		s.source.Publish("t", copyBodies(100)...)
		s.start("--to", "to:4150", "--max-in-flight", "20")
		sleep(time.Minute)
		begun := time.Now()
		if err := s.end(); err != nil {
			s.Error(err)
		}
		if took := time.Since(begun); took > stopTimeout {
			s.Errorf("the stop took %v", took)
		}
		if st := s.source.Stats("t", "ch"); st.Finished != 0 || st.InFlight != 0 || st.Depth+st.Deferred != 100 {
			s.Errorf("%+v", st)
		}
	})
}
