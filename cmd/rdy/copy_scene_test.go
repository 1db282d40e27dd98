package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// copyScene is "rdy copy" with fake nsqds, in virtual time.
type copyScene struct {
	*testing.T
	net            *nsqtest.Network
	source         *nsqtest.Nsqd
	stdout, stderr output
	lookup         func(ctx context.Context, host string) ([]string, error)

	stop context.CancelCauseFunc
	done chan error
}

func inCopyScene(t *testing.T, test func(s *copyScene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &copyScene{T: t, net: nsqtest.NewNetwork()}
		s.lookup = func(_ context.Context, host string) ([]string, error) { return []string{"ip of " + host}, nil }
		s.source = s.nsqd("source:4150", nsqtest.Options{})
		s.source.CreateChannel("t", "ch")
		test(s)
		synctest.Wait()
		if dials, closes := s.net.Dials(), s.net.Closes(); dials != closes {
			t.Errorf("%d connections were dialled, %d closed", dials, closes)
		}
	})
}

func (s *copyScene) nsqd(addr string, opts nsqtest.Options) *nsqtest.Nsqd {
	s.Helper()
	opts.Network, opts.Addr = s.net, addr
	return nsqtest.NewNsqd(s, opts)
}

// destination starts an nsqd that keeps the copies in the channel "got" of topic t.
func (s *copyScene) destination(addr string, opts nsqtest.Options) *nsqtest.Nsqd {
	s.Helper()
	d := s.nsqd(addr, opts)
	d.CreateChannel("t", "got")
	return d
}

// start starts the command with topic t and channel ch.
func (s *copyScene) start(args ...string) {
	s.Helper()
	c := defaultCopy(&app{stdout: &s.stdout, stderr: &s.stderr, level: defaultLogLevel, json: true})
	c.dial, c.lookup, c.lookupdClient = s.net.DialContext, s.lookup, s.net.HTTPClient()
	cmd := c.command()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(append([]string{"t", "--nsqd", "source:4150", "--channel", "ch"}, args...))
	ctx, stop := context.WithCancelCause(s.Context())
	s.stop, s.done = stop, make(chan error, 1)
	go func() { s.done <- cmd.ExecuteContext(ctx) }()
	synctest.Wait()
}

// end stops the command and waits until it has ended.
func (s *copyScene) end() error {
	s.stop(errInterrupted)
	return <-s.done
}

// finish waits until the source has got n FINs, stops the command and returns its report.
func (s *copyScene) finish(n int) copyReport {
	s.Helper()
	s.source.WaitFor(24*time.Hour, func() bool { return s.source.Stats("t", "ch").Finished == n })
	if err := s.end(); err != nil {
		s.Error(err)
	}
	return s.report()
}

func (s *copyScene) report() copyReport {
	s.Helper()
	lines := strings.Split(strings.TrimSpace(s.stdout.String()), "\n")
	var r copyReport
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil || !r.Final {
		s.Fatalf("stdout %q, error %v", s.stdout.String(), err)
	}
	return r
}

// copyBodies returns n different bodies.
func copyBodies(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("message-%05d", i)
	}
	return all
}

// expectCopies checks which copies an nsqd has, in any order.
func (s *copyScene) expectCopies(d *nsqtest.Nsqd, want ...string) {
	s.Helper()
	got := slices.Sorted(slices.Values(d.Queued("t", "got")))
	if slices.Sort(want); !slices.Equal(got, want) {
		s.Errorf("%s has %d copies, want %d: %.300q", d.Addr(), len(got), len(want), got)
	}
}

// notices returns how many lines of standard error contain text.
func (s *copyScene) notices(text string) (n int) {
	for line := range strings.Lines(s.stderr.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// commands returns how many commands of a name an nsqd has received.
func commands(d *nsqtest.Nsqd, name string) (n int) {
	for _, line := range d.Commands() {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == name {
			n++
		}
	}
	return n
}

// Messages are published in batches, and finished only when the copies are confirmed.
func TestCopyFinishesWhatIsStored(t *testing.T) {
	inCopyScene(t, func(s *copyScene) {
		d := s.destination("to:4150", nsqtest.Options{})
		d.Inject(nsqtest.Fault{Command: "MPUB", Delay: 3 * time.Second, Times: 1})
		all := copyBodies(1000)
		s.source.Publish("t", all...)
		s.start("--to", "to:4150", "--max-in-flight", "400", "--set", "msg_timeout,1s")
		sleep(2 * time.Second)
		if st := s.source.Stats("t", "ch"); st.Finished != 0 || st.InFlight != 400 || commands(s.source, "TOUCH") == 0 {
			s.Errorf("before nsqd has replied: %+v", st)
		}
		r := s.finish(1000)
		s.expectCopies(d, all...)
		if r.Copied != 1000 || r.Published != 1000 || r.Requeued != 0 || commands(d, "MPUB")+commands(d, "PUB") > 40 {
			s.Errorf("%+v, %d MPUBs, %d PUBs", r, commands(d, "MPUB"), commands(d, "PUB"))
		}
		if want := []copiedTo{{NSQD: "to:4150", Published: 1000}}; !slices.Equal(r.NSQDs, want) {
			s.Errorf("nsqds %+v, want %+v", r.NSQDs, want)
		}
		if s.stderr.String() != "" {
			s.Errorf("stderr %q", s.stderr.String())
		}
	})
}

// While nothing can be published, messages are kept, and neither requeued nor more than
// max-in-flight. The trouble is told once, and so is its end.
func TestCopyDestinationDown(t *testing.T) {
	inCopyScene(t, func(s *copyScene) {
		d := s.destination("to:4150", nsqtest.Options{})
		d.Kill()
		all := copyBodies(100)
		s.source.Publish("t", all...)
		s.start("--to", "to:4150", "--max-in-flight", "20")
		sleep(12 * time.Minute)
		if st := s.source.Stats("t", "ch"); st.Finished != 0 || st.InFlight != 20 || st.Requeued != 0 || st.TimedOut != 0 {
			s.Errorf("while the destination is down: %+v", st)
		}
		d.Restart()
		r := s.finish(100)
		s.expectCopies(d, all...)
		if r.Copied != 100 || r.Requeued != 0 {
			s.Errorf("%+v", r)
		}
		if s.notices("no copies go to nsqd to:4150") != 1 || s.notices("to:4150 works again") != 1 || s.notices("") != 2 {
			s.Errorf("stderr %q", s.stderr.String())
		}
	})
}

// Nothing is lost if the destination is down for longer than nsqd allows messages to be kept.
func TestCopyDestinationDownForLong(t *testing.T) {
	inCopyScene(t, func(s *copyScene) {
		d := s.destination("to:4150", nsqtest.Options{})
		d.Kill()
		all := copyBodies(50)
		s.source.Publish("t", all...)
		s.start("--to", "to:4150", "--max-in-flight", "20")
		sleep(3 * time.Hour)
		// A lease ends every 15 minutes.
		if st := s.source.Stats("t", "ch"); st.Finished != 0 || st.Requeued != 0 || st.TimedOut > 20*12 || st.InFlight > 20 {
			s.Errorf("%+v", st)
		}
		d.Restart()
		s.finish(50)
		s.expectCopies(d, all...) // also of those that rdy had twice
	})
}

// A connection that is lost before nsqd has replied costs a copy at worst, and no message.
func TestCopyUnknownOutcome(t *testing.T) {
	inCopyScene(t, func(s *copyScene) {
		d := s.destination("to:4150", nsqtest.Options{})
		d.Inject(nsqtest.Fault{Command: "MPUB", Skip: 1, Times: 1, Mute: true, Close: true})
		all := copyBodies(200)
		s.source.Publish("t", all...)
		s.start("--to", "to:4150", "--max-in-flight", "80")
		s.finish(200)
		seen := make(map[string]bool)
		for _, body := range d.Queued("t", "got") {
			seen[body] = true
		}
		if len(seen) != 200 {
			s.Errorf("%d of 200 messages have a copy", len(seen))
		}
	})
}

// One message that nsqd refuses neither holds up the others nor is lost.
func TestCopyRefused(t *testing.T) {
	const large = 2000
	for _, deadLetter := range []bool{true, false} {
		inCopyScene(t, func(s *copyScene) {
			d := s.destination("to:4150", nsqtest.Options{MaxMsgSize: 1000})
			s.source.CreateChannel("dead", "ch")
			all := copyBodies(200)
			for i, body := range all {
				s.source.Publish("t", body)
				if i == 90 || i == 120 {
					s.source.Publish("t", strings.Repeat("x", large))
				}
			}
			args := []string{"--to", "to:4150"}
			finished := 200
			if deadLetter {
				args, finished = append(args, "--dead-letter", "dead"), 202
			}
			s.start(args...)
			r := s.finish(finished)
			s.expectCopies(d, all...)
			if deadLetter {
				if dead := s.source.Queued("dead", "ch"); len(dead) != 2 || !strings.Contains(dead[0], strings.Repeat("x", large)) || r.DeadLetters != 2 || r.Requeued != 0 {
					s.Errorf("%d dead letters, %+v", len(dead), r)
				}
				return
			}
			if st := s.source.Stats("t", "ch"); st.Deferred != 2 || r.Requeued != 2 || s.notices("comes again in 15m") != 1 {
				s.Errorf("%+v, %+v, stderr %q", st, r, s.stderr.String())
			}
		})
	}
}

// If nsqd refuses everything, the backlog stays in its queue instead of being deferred.
func TestCopyRefusesEverything(t *testing.T) {
	inCopyScene(t, func(s *copyScene) {
		s.source.Publish("t", copyBodies(10_000)...)
		s.start("--to", "to:4150", "--jq", ".", "--max-in-flight", "100")
		sleep(time.Minute)
		if st := s.source.Stats("t", "ch"); st.Deferred > 500 || st.Finished != 0 {
			s.Errorf("%+v", st)
		}
		if err := s.end(); err != nil {
			s.Error(err)
		}
	})
}

// With --mode all each nsqd gets each message once, although another one refuses to take it
// at first.
func TestCopyAll(t *testing.T) {
	inCopyScene(t, func(s *copyScene) {
		a, b := s.destination("a:4150", nsqtest.Options{}), s.destination("b:4150", nsqtest.Options{})
		for _, command := range []string{"PUB", "MPUB"} {
			b.Inject(nsqtest.Fault{Command: command, Times: 2, Reply: nsqtest.ErrorFrame("E_UNAUTHORIZED", "no")})
		}
		all := copyBodies(300)
		s.source.Publish("t", all...)
		s.start("--to", "a:4150", "--to", "b:4150", "--mode", "all", "--max-in-flight", "100")
		r := s.finish(300)
		s.expectCopies(a, all...)
		s.expectCopies(b, all...)
		if r.Copied != 300 || r.Published != 600 || r.Requeued != 0 || s.notices("topic t is not copied") == 0 || s.notices("topic t is not copied") != s.notices("topic t is copied again") {
			s.Errorf("%+v, stderr %q", r, s.stderr.String())
		}
	})
}

// Several nsqds share the messages. If one fails, the others get all.
func TestCopyFailover(t *testing.T) {
	inCopyScene(t, func(s *copyScene) {
		a, b := s.destination("a:4150", nsqtest.Options{}), s.destination("b:4150", nsqtest.Options{})
		s.source.Publish("t", copyBodies(400)...)
		s.start("--to", "a:4150", "--to", "b:4150", "--max-in-flight", "40")
		s.source.WaitFor(time.Minute, func() bool { return s.source.Stats("t", "ch").Finished == 400 })
		if n, m := a.Stats("t", "got").Depth, b.Stats("t", "got").Depth; n == 0 || m == 0 || n+m != 400 {
			s.Errorf("%d and %d copies", n, m)
		}
		before := a.Stats("t", "got").Depth
		b.Kill()
		s.source.Publish("t", copyBodies(400)...)
		s.finish(800)
		if n := a.Stats("t", "got").Depth - before; n != 400 {
			s.Errorf("%d copies after the failure, want 400", n)
		}
	})
}

// A retry goes only to those that lack the message, also after nsqd has delivered it again.
func TestCopyAllForLong(t *testing.T) {
	inCopyScene(t, func(s *copyScene) {
		a, b := s.destination("a:4150", nsqtest.Options{}), s.destination("b:4150", nsqtest.Options{})
		b.Kill()
		all := copyBodies(30)
		s.source.Publish("t", all...)
		s.start("--to", "a:4150", "--to", "b:4150", "--mode", "all", "--max-in-flight", "10")
		sleep(time.Hour)
		if st := s.source.Stats("t", "ch"); st.Finished != 0 || st.TimedOut == 0 {
			s.Errorf("%+v", st)
		}
		b.Restart()
		s.finish(30)
		s.expectCopies(a, all...)
		s.expectCopies(b, all...)
	})
}

// Messages of two topics may have the same ID. Both are copied.
func TestCopySameIDs(t *testing.T) {
	one, other := copyMessage("same"), copyMessage("same")
	shared := &copier{
		copyCommand: defaultCopy(&app{}), copies: make(map[string]*topicCopier), stopped: make(chan struct{}),
		stats: newCopyStats(0, time.Now()),
	}
	var end context.CancelFunc
	shared.stopping, end = context.WithCancel(t.Context())
	a, b := shared.copierOf("a"), shared.copierOf("b")
	a.remember(one, 1, false, false)
	if has := b.partial.of(keyOf(other)); has != 0 {
		t.Errorf("targets %b have a message of another topic", has)
	}
	if has := a.partial.of(keyOf(one)); has != 1 {
		t.Errorf("targets %b have the message, want 1", has)
	}
	end()
	close(shared.stopped)
	shared.running.Wait()
}

func copyMessage(id string) *nsq.Message {
	m := nsq.NewMessage(nsq.MessageID{}, nil)
	copy(m.ID[:], id)
	m.NSQDAddress = "nsqd:4150"
	return m
}

// A destination that hangs costs no message, and copies of one batch at worst. Another one gets
// the messages in its place.
func TestCopyDestinationHangs(t *testing.T) {
	inCopyScene(t, func(s *copyScene) {
		a, b := s.destination("a:4150", nsqtest.Options{}), s.destination("b:4150", nsqtest.Options{})
		s.source.Publish("t", copyBodies(40)...)
		s.start("--to", "a:4150", "--to", "b:4150", "--max-in-flight", "20")
		s.source.WaitFor(time.Minute, func() bool { return s.source.Stats("t", "ch").Finished == 40 })
		b.StopReading()
		before := a.Stats("t", "got").Depth
		s.source.Publish("t", copyBodies(400)...)
		s.source.WaitFor(2*time.Minute, func() bool { return s.source.Stats("t", "ch").Finished == 440 })
		if n := a.Stats("t", "got").Depth - before; n != 400 {
			s.Errorf("%d copies, want 400", n)
		}
		if st := s.source.Stats("t", "ch"); st.TimedOut != 0 || st.Requeued != 0 {
			s.Errorf("%+v", st)
		}
		b.StartReading()
		if err := s.end(); err != nil {
			s.Error(err)
		}
		if n := a.Stats("t", "got").Depth + b.Stats("t", "got").Depth; n < 440 || n > 460 {
			s.Errorf("%d copies of 440 messages", n)
		}
	})
}

// While nsqlookupd lists no nsqd for the copies, that is told once. One that is listed later
// gets all.
func TestCopyToLookupd(t *testing.T) {
	inCopyScene(t, func(s *copyScene) {
		d := s.destination("to:4150", nsqtest.Options{})
		lookupd := nsqtest.NewLookupd(s, nsqtest.LookupdOptions{Network: s.net, Addr: "lookupd:4161"})
		all := copyBodies(50)
		s.source.Publish("t", all...)
		s.start("--to-lookupd", "lookupd:4161", "--max-in-flight", "20")
		sleep(5 * time.Minute)
		if s.notices("topic t is not copied, trying again: ") != 1 || s.notices("") != 1 {
			s.Errorf("stderr %q", s.stderr.String())
		}
		lookupd.Register("t", "to:4150")
		s.finish(50)
		s.expectCopies(d, all...)
		if s.notices("topic t is copied again") != 1 {
			s.Errorf("stderr %q", s.stderr.String())
		}
	})
}

// What jq makes of messages is copied. What it drops is finished without a copy.
func TestCopyFilters(t *testing.T) {
	inCopyScene(t, func(s *copyScene) {
		d := s.destination("to:4150", nsqtest.Options{})
		s.source.CreateChannel("dead", "ch")
		s.source.Publish("t", `{"ids":[1,2]}`, `{"ids":[]}`, `{"ids":[3]}`, "no JSON", `{"ids":7}`)
		s.start("--to", "to:4150", "--jq", ".ids[]", "--dead-letter", "dead", "--status-every", "2")
		r := s.finish(5)
		s.expectCopies(d, "1", "2", "3")
		if r.Copied != 2 || r.Published != 3 || r.Filtered != 1 || r.DeadLetters != 2 {
			s.Errorf("%+v", r)
		}
		if dead := s.source.Queued("dead", "ch"); len(dead) != 2 {
			s.Errorf("dead letters %q", dead)
		}
		if lines := strings.Count(s.stdout.String(), "\n"); lines < 2 {
			s.Errorf("stdout %q", s.stdout.String())
		}
	})
}

// Dead letters do not flood standard error: the first has a line, and the others are counted.
func TestCopyTellsOfDeadLetters(t *testing.T) {
	inCopyScene(t, func(s *copyScene) {
		s.destination("to:4150", nsqtest.Options{})
		s.source.CreateChannel("dead", "ch")
		s.source.Publish("t", copyBodies(1000)...)
		s.start("--to", "to:4150", "--jq", ".", "--dead-letter", "dead", "--max-in-flight", "100")
		s.source.WaitFor(time.Minute, func() bool { return s.source.Stats("t", "ch").Finished == 1000 })
		if n := s.notices("rdy: a dead letter is in topic dead, and others will be counted: message "); n != 1 {
			s.Errorf("stderr %q", s.stderr.String())
		}
		sleep(time.Hour)
		if s.notices(" more in topic dead; the latest is message ") != 1 || s.notices("rdy: 999 dead letters more") != 1 {
			s.Errorf("stderr %q", s.stderr.String())
		}
		s.source.Publish("t", "no JSON either")
		sleep(burialInterval)
		r := s.finish(1001)
		if r.DeadLetters != 1001 || s.notices("rdy: 1 dead letter more in topic dead; ") != 1 || s.notices("") != 3 {
			s.Errorf("%+v, stderr %q", r, s.stderr.String())
		}
	})
}

func TestCopyInvalid(t *testing.T) {
	inCopyScene(t, func(s *copyScene) {
		d := s.destination("to:4150", nsqtest.Options{})
		s.source.Publish("t", `{"id":1}`, "no JSON", `[2]`)
		s.start("--to", "to:4150", "--jq", ".id", "--copy-invalid")
		r := s.finish(3)
		s.expectCopies(d, "1", "no JSON", "[2]")
		if r.Copied != 3 || r.Invalid != 2 {
			s.Errorf("%+v", r)
		}
	})
}

// An nsqd that gets copies of what is read there is found out by its IP address, before
// anything is copied.
func TestCopyIntoItself(t *testing.T) {
	inCopyScene(t, func(s *copyScene) {
		s.lookup = func(context.Context, string) ([]string, error) { return []string{"10.0.0.1", "::1"}, nil }
		s.destination("alias:4150", nsqtest.Options{})
		s.source.Publish("t", copyBodies(10)...)
		s.start("--to", "alias:4150")
		if err := <-s.done; err == nil || !strings.Contains(err.Error(), "copying topic t to nsqd source:4150, where it comes from, would never end") {
			s.Errorf("error %v", err)
		}
		if st := s.source.Stats("t", "ch"); st.Finished != 0 || st.Depth != 10 {
			s.Errorf("%+v", st)
		}
	})
}

// Copies to another topic of the same nsqd are no loop.
func TestCopyToAnotherTopic(t *testing.T) {
	inCopyScene(t, func(s *copyScene) {
		s.source.CreateChannel("t.copy", "got")
		s.source.Publish("t", copyBodies(10)...)
		s.start("--to", "source:4150", "--to-topic", "<TOPIC>.copy")
		s.finish(10)
		if n := s.source.Stats("t.copy", "got").Depth; n != 10 {
			s.Errorf("%d copies, want 10", n)
		}
	})
}

// The secret of the source does not go to the destination, nor the other way round.
func TestCopySecrets(t *testing.T) {
	t.Setenv(secretEnv, "of the source")
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("of the destination\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	inCopyScene(t, func(s *copyScene) {
		s.nsqd("locked:4150", nsqtest.Options{AuthSecret: "of the source"}).CreateChannel("t", "ch")
		d := s.destination("to:4150", nsqtest.Options{AuthSecret: "of the destination"})
		s.source.Publish("t", "one")
		s.start("--nsqd", "locked:4150", "--to", "to:4150", "--to-auth-secret-file", file)
		s.finish(1)
		s.expectCopies(d, "one")
	})
	inCopyScene(t, func(s *copyScene) {
		d := s.destination("to:4150", nsqtest.Options{AuthSecret: "of the source"})
		s.source.Publish("t", "one")
		s.start("--to", "to:4150")
		sleep(time.Minute)
		if commands(d, "AUTH") != 0 || d.Stats("t", "got").Depth != 0 {
			s.Error("the destination got the secret of the source")
		}
		if err := s.end(); err != nil {
			s.Error(err)
		}
	})
}

// --rate holds within a batch's worth of messages, and costs no lease.
func TestCopyRate(t *testing.T) {
	inCopyScene(t, func(s *copyScene) {
		d := s.destination("to:4150", nsqtest.Options{})
		s.source.Publish("t", copyBodies(2000)...)
		s.start("--to", "to:4150", "--rate", "100", "--set", "msg_timeout,2s")
		sleep(10 * time.Second)
		if n := d.Stats("t", "got").Depth; n < 950 || n > 1060 {
			s.Errorf("%d copies in 10 s", n)
		}
		if err := s.end(); err != nil {
			s.Error(err)
		}
		if st := s.source.Stats("t", "ch"); st.TimedOut != 0 || st.InFlight != 0 {
			s.Errorf("%+v", st)
		}
	})
}

// A sample is of the share that was asked for, and the rest is finished.
func TestCopySample(t *testing.T) {
	inCopyScene(t, func(s *copyScene) {
		d := s.destination("to:4150", nsqtest.Options{})
		s.source.Publish("t", copyBodies(2000)...)
		s.start("--to", "to:4150", "--sample", "0.25")
		r := s.finish(2000)
		if n := d.Stats("t", "got").Depth; n < 400 || n > 600 || r.Copied != n || r.NotSampled != 2000-n {
			s.Errorf("%d copies, %+v", n, r)
		}
	})
}
