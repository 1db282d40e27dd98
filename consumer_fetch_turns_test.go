package nsq

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

// Fetches that ask for fewer messages than there are nsqds take turns: each nsqd with messages
// has its part, and with a single caller a turn is over in a quarter of a second. Turns cost
// little time.
func TestFetchTakesTurns(t *testing.T) {
	for _, tt := range []struct{ nsqds, messages, callers int }{
		{2, 1, 1}, {3, 1, 1}, {3, 2, 1}, {5, 1, 1}, {5, 2, 1}, {5, 3, 1}, {5, 4, 1}, {5, 1, 3},
	} {
		for takes, rounds := range map[time.Duration]int{2 * time.Millisecond: 3000, 100 * time.Millisecond: 500} {
			t.Run(fmt.Sprintf("%d times %d of %d, each %v", tt.callers, tt.messages, tt.nsqds, takes), func(t *testing.T) {
				inScene(t, func(s *scene) {
					all := s.nsqds(tt.nsqds)
					for _, d := range all {
						publishMany(d, rounds*tt.callers*tt.messages)
					}
					c := s.taker(all...)
					begin := time.Now()
					got, _ := s.fetchLoops(c, tt.callers, rounds, tt.messages, takes)
					took := time.Since(begin)
					counts := make(map[string]int)
					last, gap := make(map[string]time.Time), time.Duration(0)
					for i, f := range got {
						counts[f.from]++
						if i > len(got)/2 {
							gap = max(gap, f.at.Sub(last[f.from]))
						}
						last[f.from] = f.at
					}
					for _, d := range all {
						if n := counts[d.Addr()]; n < len(got)/tt.nsqds/2 {
							s.Errorf("messages of each nsqd: %v", counts)
							break
						}
					}
					if most := time.Duration(tt.nsqds) * (300*time.Millisecond + takes); tt.callers*tt.messages == 1 && gap > most {
						s.Errorf("an nsqd waited %v for its turn, want %v at most", gap, most)
					}
					if work := takes * time.Duration(rounds*tt.messages); took > work*5/4 {
						s.Errorf("work of %v took %v", work, took)
					}
				})
			})
		}
	}
}

// While Fetches that ask for fewer messages than there are nsqds empty a busy one, the others
// are visited in turn, even if they are farther away. A Fetch waits less than 100 ms for
// visits, and all visits together take a fifth of the time at most.
func TestFetchVisitsQuietNSQDs(t *testing.T) {
	const messages, far = 10_000, 10 * time.Millisecond
	for _, n := range []int{1, 2, 4} {
		for _, quiet := range []int{1, 4} {
			t.Run(fmt.Sprintf("%d messages, %d quiet", n, quiet), func(t *testing.T) {
				inScene(t, func(s *scene) {
					all := s.nsqds(quiet + 1)
					s.cfg.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
						conn, err := s.net.DialContext(ctx, network, addr)
						if err == nil && addr != all[0].Addr() {
							conn = &distantConn{Conn: conn, delay: far}
						}
						return conn, err
					}
					publishMany(all[0], messages)
					c := s.taker(all...)
					var visits sync.WaitGroup
					visits.Go(func() {
						for _, d := range all[1:] {
							after(time.Second)
							d.Publish("t", d.Addr())
							after(time.Duration(quiet)*280*time.Millisecond + 100*time.Millisecond)
							if d.Stats("t", "c").Finished == 0 {
								s.Errorf("the message of %s was not fetched", d.Addr())
							}
						}
					})
					begin := time.Now()
					_, longest := s.fetchLoops(c, 1, messages/n, n, time.Millisecond)
					took := time.Since(begin)
					visits.Wait()
					if n > quiet {
						return // each Fetch asks each nsqd
					}
					if took > messages*time.Millisecond*5/4 || longest > 100*time.Millisecond {
						s.Errorf("%d messages, of 1 ms each, took %v, one Fetch %v", messages, took, longest)
					}
				})
			})
		}
	}
}

// An nsqd that is farther away than a visit lasts has its part, and does not keep callers from
// a near one: its slot leaves before the message comes.
func TestFetchTakesTurnsWithADistantNSQD(t *testing.T) {
	for _, far := range []time.Duration{26 * time.Millisecond, 40 * time.Millisecond, 80 * time.Millisecond} {
		t.Run(far.String(), func(t *testing.T) {
			inScene(t, func(s *scene) {
				const messages = 3000
				all := s.nsqds(2)
				s.cfg.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := s.net.DialContext(ctx, network, addr)
					if err == nil && addr == all[1].Addr() {
						conn = lateConn{conn, far}
					}
					return conn, err
				}
				for _, d := range all {
					publishMany(d, messages)
				}
				c := s.taker(all...)
				begin := time.Now()
				s.fetchLoops(c, 1, messages, 1, time.Millisecond)
				if took := time.Since(begin); took > 3*time.Second*4/3 {
					s.Errorf("%d messages, of 1 ms each, took %v", messages, took)
				}
				if n := all[1].Stats("t", "c").Finished; n < 10 {
					s.Errorf("%d messages of the distant nsqd", n)
				}
			})
		})
	}
}

// lateConn is a connection on which everything comes late.
type lateConn struct {
	net.Conn
	delay time.Duration
}

func (c lateConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	sleep(c.delay)
	return n, err
}

// Callers that give up before a visit is over find what any nsqd has all the same.
func TestImpatientFetchFindsMessages(t *testing.T) {
	for _, patience := range []time.Duration{10 * time.Millisecond, 24 * time.Millisecond} {
		inScene(t, func(s *scene) {
			all := s.nsqds(5)
			c := s.taker(all...)
			fetch := func(patience time.Duration) {
				ctx, cancel := context.WithTimeout(s.Context(), patience)
				defer cancel()
				messages, _ := c.Fetch(ctx, BatchLimits{Messages: 1})
				for _, m := range messages {
					m.Answer(nil)
				}
				sleep(time.Millisecond)
			}
			fetch(time.Second) // visits all
			for _, d := range all {
				d.Publish("t", "x")
				for begin := time.Now(); d.Stats("t", "c").Finished == 0; fetch(patience) {
					if time.Since(begin) > 2*time.Second {
						s.Fatalf("Fetches of %v each did not find the message of %s", patience, d.Addr())
					}
				}
			}
		})
	}
}

// While a single nsqd has a message now and then, each of two others is visited every second
// round: no visit is lost to a message that was on its way.
func TestFetchLosesNoVisit(t *testing.T) {
	for _, every := range []time.Duration{time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond} {
		inScene(t, func(s *scene) {
			all := s.nsqds(3)
			c := s.taker(all...)
			ctx, cancel := context.WithTimeout(s.Context(), 10*time.Second)
			defer cancel()
			var loops sync.WaitGroup
			loops.Go(func() {
				for {
					messages, err := c.Fetch(ctx, BatchLimits{Messages: 1})
					if err != nil {
						return
					}
					for _, m := range messages {
						m.Answer(nil)
					}
				}
			})
			loops.Go(func() {
				for ctx.Err() == nil {
					all[0].Publish("t", "x")
					sleep(every)
				}
			})
			quiet := all[1:]
			seen := []time.Time{time.Now(), time.Now()} // when the quiet ones last had an RDY
			for ctx.Err() == nil {
				sleep(333 * time.Microsecond)
				for i, d := range quiet {
					if clients := d.Clients(); len(clients) == 1 && clients[0].RDY == 1 {
						seen[i] = time.Now()
					}
					if waits := time.Since(seen[i]); waits > 2*300*time.Millisecond {
						s.Fatalf("a message each %v: no visit for %v", every, waits)
					}
				}
			}
			loops.Wait()
		})
	}
}

// fetched is a message that came by a Fetch.
type fetched struct {
	from string // the nsqd's address
	at   time.Time
}

// fetchLoops has callers fetch and finish messages, each in so many rounds. A message takes
// some time. fetchLoops returns the messages, and how long the longest Fetch took: a caller's
// first one, which has to find an nsqd with messages, does not count.
func (s *scene) fetchLoops(c *Consumer, callers, rounds, messages int, takes time.Duration) (all []fetched, longest time.Duration) {
	s.Helper()
	var mu sync.Mutex
	var loops sync.WaitGroup
	for range callers {
		loops.Go(func() {
			for round := range rounds {
				begin := time.Now()
				got := s.fetch(c, BatchLimits{Messages: messages})
				mu.Lock()
				if round > 0 {
					longest = max(longest, time.Since(begin))
				}
				for _, m := range got {
					all = append(all, fetched{m.NSQDAddress, time.Now()})
				}
				mu.Unlock()
				for _, m := range got {
					sleep(takes)
					m.Answer(nil)
				}
			}
		})
	}
	loops.Wait()
	return all, longest
}
