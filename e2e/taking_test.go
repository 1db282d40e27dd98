package e2e

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nsqio/nsq/nsqd"

	"github.com/rdyhq/nsq"
)

var batched = flag.Int("batched", 20_000, "how many messages TestBatchesWhileAnNSQDIsKilled publishes")

// 100 messages at a time, of which 3 % fail, and one nsqd of two is killed twice. Each
// message is handled. The FINs that a batch has for an nsqd leave in one write.
//
// nsqd keeps the messages on disk, but loses those in flight when it is killed. Only so many
// are published again.
func TestBatchesWhileAnNSQDIsKilled(t *testing.T) {
	onDisk := func(o *nsqd.Options) { o.MemQueueSize, o.SyncEvery = 0, 1 }
	steady, victim := StartNSQD(t, onDisk), StartNSQD(t, onDisk)
	each := *batched / 2
	publish(t, steady, "steady", each)
	publish(t, victim, "victim", each)
	var writes writeCounts
	cfg := testConfig(t)
	cfg.MaxInFlight, cfg.DialContext = 800, writes.dial
	cfg.Logger = slog.New(slog.DiscardHandler) // it would log each failure
	handled := newLedger()
	var batches, pairs, succeeded, failed atomic.Int64
	c := connectTaker(t, cfg, func(c *nsq.Consumer) {
		c.AddBatchHandler(nsq.BatchHandlerFunc(func(_ context.Context, batch []*nsq.Message) error {
			time.Sleep(10 * time.Millisecond)
			of := map[string]bool{}
			for _, m := range batch {
				of[m.NSQDAddress] = true
				if n := numberOf(m.Body); n%100 < 3 && m.Attempts == 1 {
					failed.Add(1)
					m.Answer(errors.New("simulated"))
				} else {
					succeeded.Add(1)
					handled.add(m.Body)
				}
			}
			batches.Add(1)
			pairs.Add(int64(len(of)))
			return nil
		}), nsq.BatchLimits{Messages: 100, Wait: 50 * time.Millisecond}, 4)
	}, steady, victim)
	for _, part := range []int{each / 4, each / 2} {
		eventually(t, patience, func() bool { return handled.begins("victim") >= part })
		victim.Kill()
		t.Logf("killed when %d of %d of its messages were handled", handled.begins("victim"), each)
		victim.Start()
	}
	drained := func() bool {
		for _, n := range []*NSQD{steady, victim} {
			if s := n.Stats(topic, "c"); s.Depth+s.InFlight+s.Deferred > 0 || len(s.Clients) == 0 {
				return false
			}
		}
		return true
	}
	eventually(t, patience, drained)
	if n := handled.begins("steady"); n != each {
		t.Errorf("%d of %d messages of the nsqd that went on were handled", n, each)
	}
	var lost []string
	for i := range each {
		if body := fmt.Sprint("victim-", i); !handled.has(body) {
			lost = append(lost, body)
		}
	}
	if most := 2 * (cfg.MaxInFlight + 10); len(lost) > most {
		t.Errorf("%d messages are lost, more than the %d that can have been in flight at two kills", len(lost), most)
	}
	if len(lost) > 0 {
		victim.Publish(topic, lost...)
	}
	eventually(t, patience, func() bool { return handled.distinct() == 2*each && drained() })
	stop(t, c)
	counts := c.Snapshot().Counts
	if counts.Finished > uint64(succeeded.Load()) {
		t.Errorf("%d FINs for %d messages that were handled", counts.Finished, succeeded.Load())
	}
	fins, all := writes.fins.Load(), writes.all.Load()
	if fins > pairs.Load() {
		t.Errorf("%d writes with FINs for %d batches, which had messages of %d nsqds", fins, batches.Load(), pairs.Load())
	}
	t.Logf("%d messages, %d failed, %d published again; %d batches of %.1f; writes with FINs per batch %.2f, per batch and nsqd %.2f; all writes per batch %.2f",
		2*each, failed.Load(), len(lost), batches.Load(), float64(succeeded.Load()+failed.Load())/float64(batches.Load()),
		float64(fins)/float64(batches.Load()), float64(fins)/float64(pairs.Load()), float64(all)/float64(batches.Load()))
}

// "Just the next 10" from two nsqds, one of them empty: nsqds never send more than was asked
// for, and no RDY is above it.
func TestFetchJustTheNextTen(t *testing.T) {
	for _, maxInFlight := range []int{1, 10, 200} {
		for _, takes := range []time.Duration{0, 5 * time.Millisecond} {
			t.Run(fmt.Sprintf("max_in_flight=%d/%v", maxInFlight, takes), func(t *testing.T) {
				fetchTen(t, maxInFlight, takes)
			})
		}
	}
}

func fetchTen(t *testing.T, maxInFlight int, takes time.Duration) {
	const rounds = 20
	full, empty := StartNSQD(t, nil), StartNSQD(t, nil)
	publish(t, full, "m", 2*10*rounds)
	cfg := testConfig(t)
	cfg.MaxInFlight, cfg.OutputBufferTimeout = maxInFlight, 25*time.Millisecond
	c := connectTaker(t, cfg, nil, full, empty)
	var longest time.Duration
	mostRDY, mostInFlight := 0, 0
	look := func(want int) { // at what nsqds say while a round is under way, and after it
		t.Helper()
		sent := 0
		for _, n := range []*NSQD{full, empty} {
			for _, client := range n.Stats(topic, "c").Clients {
				sent += client.MessageCount
				mostRDY, mostInFlight = max(mostRDY, client.ReadyCount), max(mostInFlight, client.InFlight)
			}
		}
		if sent > want || mostRDY > 10 || mostInFlight > 10 {
			t.Fatalf("%d messages were sent, want at most %d; RDY up to %d, in flight up to %d", sent, want, mostRDY, mostInFlight)
		}
	}
	look(0)
	for round := range rounds {
		begin := time.Now()
		done := make(chan error, 1)
		go func() {
			messages, err := c.Fetch(t.Context(), nsq.BatchLimits{Messages: 10, Wait: patience})
			longest = max(longest, time.Since(begin))
			for _, m := range messages {
				time.Sleep(takes)
				m.Answer(nil)
			}
			if len(messages) != 10 {
				err = fmt.Errorf("%d messages, error %w", len(messages), err)
			}
			done <- err
		}()
		for fetching := true; fetching; {
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
				fetching = false
			default:
				look(10 * (round + 1))
			}
		}
		eventually(t, patience, func() bool {
			look(10 * (round + 1))
			s := full.Stats(topic, "c")
			return s.InFlight == 0 && s.Clients[0].ReadyCount == 0 && s.Clients[0].FinishCount == 10*(round+1)
		})
	}
	t.Logf("%d rounds: RDY up to %d, in flight up to %d; the longest Fetch took %v", rounds, mostRDY, mostInFlight, longest)
}

// A program that leaves its loop after 50 messages, and begins it again, gets each message
// once. Once it does not begin again, nothing stays leased.
func TestMessagesWithBreak(t *testing.T) {
	const each, atATime = 500, 50
	nsqds := []*NSQD{StartNSQD(t, nil), StartNSQD(t, nil)}
	for i, n := range nsqds {
		publish(t, n, fmt.Sprint("nsqd", i), each+100)
	}
	handled := newLedger()
	c := connectTaker(t, testConfig(t), nil, nsqds...)
	for range 2 * each / atATime {
		n := 0
		for m := range c.Messages(t.Context()) {
			handled.add(m.Body)
			m.Answer(nil)
			if n++; n == atATime {
				break
			}
		}
	}
	eventually(t, patience, func() bool {
		finished, depth := 0, 0
		for _, n := range nsqds {
			s := n.Stats(topic, "c")
			if s.InFlight > 0 || s.Clients[0].ReadyCount > 0 || s.TimeoutCount > 0 {
				return false
			}
			finished, depth = finished+s.Clients[0].FinishCount, depth+s.Depth
		}
		return finished == 2*each && depth == 200
	})
	if n := handled.distinct(); n != 2*each {
		t.Errorf("%d distinct messages were handled, want %d", n, 2*each)
	}
}

// connectTaker connects a consumer that takes messages otherwise than by handlers. add may
// add batch handlers. It stops the consumer when the test ends.
func connectTaker(t *testing.T, cfg *nsq.Config, add func(*nsq.Consumer), nsqds ...*NSQD) *nsq.Consumer {
	t.Helper()
	c, err := nsq.NewConsumer(topic, "c", cfg)
	if err != nil {
		t.Fatal(err)
	}
	if add != nil {
		add(c)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the consumer before its stop: %+v", c.Snapshot())
		}
		stop(t, c)
	})
	var addrs []string
	for _, n := range nsqds {
		addrs = append(addrs, n.TCPAddr())
	}
	if err := c.Connect(t.Context(), addrs...); err != nil {
		t.Fatal(err)
	}
	return c
}

// begins returns how many of the distinct messages that were handled begin with a prefix.
func (l *ledger) begins(prefix string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for body := range l.done {
		if strings.HasPrefix(body, prefix) {
			n++
		}
	}
	return n
}

// numberOf returns the number at the end of a body that publish has made.
func numberOf(body []byte) (n int) {
	_, number, _ := bytes.Cut(body, []byte("-"))
	for _, digit := range number {
		n = 10*n + int(digit-'0')
	}
	return n
}

// writeCounts counts the Write calls of connections, and those with at least one FIN.
type writeCounts struct {
	all, fins atomic.Int64
	dialer    net.Dialer
}

// dial is a Config's DialContext.
func (w *writeCounts) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := w.dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &countedConn{conn, w}, nil
}

type countedConn struct {
	net.Conn
	counts *writeCounts
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.counts.all.Add(1)
	if bytes.HasPrefix(p, []byte("FIN ")) || bytes.Contains(p, []byte("\nFIN ")) {
		c.counts.fins.Add(1)
	}
	return c.Conn.Write(p)
}

// Fetches of one message take turns with three nsqds, although each has more than enough.
func TestFetchTakesTurns(t *testing.T) {
	const rounds = 600
	all := []*NSQD{StartNSQD(t, nil), StartNSQD(t, nil), StartNSQD(t, nil)}
	for _, n := range all {
		publish(t, n, "m", rounds)
	}
	c := connectTaker(t, testConfig(t), nil, all...)
	counts := make(map[string]int)
	for range rounds {
		messages, err := c.Fetch(t.Context(), nsq.BatchLimits{Messages: 1})
		if err != nil {
			t.Fatal(err)
		}
		counts[messages[0].NSQDAddress]++
		time.Sleep(2 * time.Millisecond)
		messages[0].Answer(nil)
	}
	for _, n := range all {
		if counts[n.TCPAddr()] < rounds/len(all)/4 {
			t.Errorf("messages of each nsqd: %v", counts)
			break
		}
	}
}
