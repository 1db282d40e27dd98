package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// pubScene is "rdy pub" with fake nsqds, in virtual time.
type pubScene struct {
	*testing.T
	net            *nsqtest.Network
	p              *pub
	stdout, stderr output
}

func inPubScene(t *testing.T, input string, test func(s *pubScene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &pubScene{T: t, net: nsqtest.NewNetwork()}
		s.p = &pub{
			app:   &app{stdin: strings.NewReader(input), stdout: &s.stdout, stderr: &s.stderr, json: true, level: defaultLogLevel},
			topic: "t", mode: modeFailover, files: []string{stdinName}, delimiter: []byte("\n"),
			batch: 200, maxMsgSize: maxSize, retryFor: 30 * time.Second, quiet: true,
		}
		test(s)
		synctest.Wait()
		if dials, closes := s.net.Dials(), s.net.Closes(); dials != closes {
			t.Errorf("%d connections were dialled, %d closed", dials, closes)
		}
	})
}

// nsqd starts a fake nsqd and adds it to the pub's --nsqd flags.
func (s *pubScene) nsqd(addr string) *nsqtest.Nsqd {
	s.p.nsqds = append(s.p.nsqds, addr)
	return nsqtest.NewNsqd(s, nsqtest.Options{Network: s.net, Addr: addr, MaxMsgSize: 1000})
}

func (s *pubScene) run(ctx context.Context) (*pubResult, error) {
	s.Helper()
	cfg, err := s.p.producerConfig()
	if err != nil {
		s.Fatal(err)
	}
	cfg.DialContext = s.net.DialContext
	err = s.p.run(ctx, cfg)
	return parsePubResult(s.T, s.stdout.String()), err
}

func parsePubResult(t *testing.T, stdout string) *pubResult {
	t.Helper()
	var keys map[string]any
	if err := json.Unmarshal([]byte(stdout), &keys); err != nil {
		t.Fatalf("%v in %q", err, stdout)
	}
	for _, key := range []string{"published", "failed", "unknown", "skipped", "bytes", "batches", "seconds", "rate"} {
		if _, ok := keys[key]; !ok {
			t.Errorf("no %q in %s", key, stdout)
		}
	}
	r := new(pubResult)
	if err := json.Unmarshal([]byte(stdout), r); err != nil {
		t.Fatal(err)
	}
	return r
}

// expect checks the counts.
func (s *pubScene) expect(r *pubResult, published, failed, unknown, skipped int) {
	s.Helper()
	got := [4]int{r.Published, r.Failed, r.Unknown, r.Skipped}
	if want := [4]int{published, failed, unknown, skipped}; got != want {
		s.Errorf("published, failed, unknown and skipped are %v, want %v; stderr %q", got, want, s.stderr.String())
	}
}

func (s *pubScene) expectStopped(err error, parts ...string) {
	s.Helper()
	if _, ok := errors.AsType[*stopError](err); !ok {
		s.Fatalf("got error %v, want a *stopError", err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			s.Errorf("error %q does not contain %q", err, part)
		}
	}
}

func stored(d *nsqtest.Nsqd) []string { return d.Queued("t", "") }

// countCommands returns how many commands of a name an nsqd has received.
func countCommands(d *nsqtest.Nsqd, name string) int {
	n := 0
	for _, line := range d.Commands() {
		if strings.Fields(line)[1] == name {
			n++
		}
	}
	return n
}

// numberedLines returns the numbers from 1 to n, separately and as lines.
func numberedLines(n int) (numbers []string, lines string) {
	for i := range n {
		numbers = append(numbers, fmt.Sprint(i+1))
	}
	return numbers, strings.Join(numbers, "\n") + "\n"
}

// Lines arrive in order, although several batches are outstanding.
func TestPubKeepsOrder(t *testing.T) {
	numbers, lines := numberedLines(10_000)
	inPubScene(t, lines, func(s *pubScene) {
		d := s.nsqd("a:1")
		d.Inject(nsqtest.Fault{Command: "MPUB", Delay: 100 * time.Millisecond, Times: 10})
		r, err := s.run(s.Context())
		if err != nil {
			t.Error(err)
		}
		s.expect(r, 10_000, 0, 0, 0)
		if got := stored(d); !slices.Equal(got, numbers) {
			t.Errorf("nsqd has %d messages, or has them in another order", len(got))
		}
		if n := countCommands(d, "MPUB"); n != r.Batches || n < 50 || n > 60 || countCommands(d, "PUB") > 0 {
			t.Errorf("%d MPUBs for %d batches, %d PUBs", n, r.Batches, countCommands(d, "PUB"))
		}
	})
}

// Each line is published as soon as it arrives, and the last one needs no
// delimiter.
func TestPubSendsWhatIsThere(t *testing.T) {
	inPubScene(t, "", func(s *pubScene) {
		d := s.nsqd("a:1")
		r, w := io.Pipe()
		s.p.stdin = r
		ended := make(chan error)
		go func() {
			_, err := s.run(s.Context())
			ended <- err
		}()
		for i := range 3 {
			_, _ = io.WriteString(w, "line\n")
			synctest.Wait()
			if n := len(stored(d)); n != i+1 {
				t.Errorf("%d of %d lines were published", n, i+1)
			}
		}
		time.Sleep(time.Hour) //nolint:forbidigo // inside a synctest bubble
		_, _ = io.WriteString(w, "line\nunfinished")
		_ = w.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := len(stored(d)); n != 5 || s.net.Dials() != 1 {
			t.Errorf("%d messages over %d connections, want 5 over 1", n, s.net.Dials())
		}
	})
}

func TestPubRejectsLines(t *testing.T) {
	const input = `{"a":1}` + "\n\nnot json\n" + `[1]` + "\n" + `"` + "0123456789\n" + `"last"`
	inPubScene(t, input, func(s *pubScene) {
		d := s.nsqd("a:1")
		s.p.jsonLines, s.p.maxMsgSize = true, 10
		r, err := s.run(s.Context())
		s.expect(r, 3, 2, 0, 1)
		if err == nil || r.Bytes != 16 {
			t.Errorf("error %v, %d bytes; want an error and 16", err, r.Bytes)
		}
		if want := []string{`{"a":1}`, `[1]`, `"last"`}; !slices.Equal(stored(d), want) {
			t.Errorf("stored %q", stored(d))
		}
		if want := "rdy: line 3: not valid JSON\nrdy: line 5: longer than 10 bytes\n"; s.stderr.String() != want {
			t.Errorf("stderr %q", s.stderr.String())
		}
	})
}

// nsqd refuses a batch because of one message. Only that message fails, although
// other batches follow.
func TestPubFindsTheGuilty(t *testing.T) {
	numbers, _ := numberedLines(1000)
	numbers[342] = strings.Repeat("x", 1001)
	inPubScene(t, strings.Join(numbers, "\n"), func(s *pubScene) {
		d := s.nsqd("a:1")
		r, err := s.run(s.Context())
		s.expect(r, 999, 1, 0, 0)
		if err == nil || !strings.HasPrefix(s.stderr.String(), "rdy: line 343: E_BAD_MESSAGE") {
			t.Errorf("error %v, stderr %q", err, s.stderr.String())
		}
		expectOneLine(t, s.stderr.String())
		got, want := stored(d), slices.Delete(numbers, 342, 343)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("nsqd has %d messages, want %d different ones", len(got), len(want))
		}
	})
}

// A batch without a reply is not sent again.
func TestPubUnknownOutcome(t *testing.T) {
	_, lines := numberedLines(600)
	inPubScene(t, lines, func(s *pubScene) {
		d := s.nsqd("a:1")
		s.p.batch = 100
		d.Inject(nsqtest.Fault{Command: "MPUB", Skip: 2, Times: 1, Mute: true, Close: true})
		r, err := s.run(s.Context())
		if err == nil || r.Unknown < 100 || r.Published+r.Unknown != 600 || r.Failed != 0 {
			t.Errorf("%+v, error %v", r, err)
		}
		if !strings.Contains(s.stderr.String(), "line 201 to line 300: ") {
			t.Errorf("stderr %q", s.stderr.String())
		}
		got := stored(d)
		slices.Sort(got)
		if len(slices.Compact(got)) != len(stored(d)) {
			t.Error("nsqd has duplicate messages")
		}
	})
}

// An nsqd that fails midway through an MPUB may have stored its first messages.
func TestPubFailsMidway(t *testing.T) {
	_, lines := numberedLines(10)
	inPubScene(t, lines, func(s *pubScene) {
		d := s.nsqd("a:1")
		d.Reject("MPUB", "E_MPUB_FAILED", "MPUB failed disk full")
		r, _ := s.run(s.Context())
		s.expect(r, 0, 0, 10, 0)
	})
}

// An nsqd that starts within --retry-for receives every line, in order.
func TestPubWaitsForNSQD(t *testing.T) {
	numbers, lines := numberedLines(1000)
	inPubScene(t, lines, func(s *pubScene) {
		d := s.nsqd("a:1")
		d.Kill()
		time.AfterFunc(25*time.Second, d.Restart)
		r, err := s.run(s.Context())
		if err != nil {
			t.Error(err)
		}
		s.expect(r, 1000, 0, 0, 0)
		if !slices.Equal(stored(d), numbers) {
			t.Error("nsqd has other messages, or has them in another order")
		}
		if !strings.HasPrefix(s.stderr.String(), "rdy: retrying for up to 30s: not connected") {
			t.Errorf("stderr %q", s.stderr.String())
		}
		expectOneLine(t, s.stderr.String())
	})
}

// endless is an input without an end that counts the bytes read. Reading it cannot
// be interrupted, and may go on after the command has ended.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, "line\n")
	e.read.Add(int64(n))
	return n, nil
}

// Without an nsqd the command stops after --retry-for, and has read little.
func TestPubGivesUp(t *testing.T) {
	for _, retryFor := range []time.Duration{0, 30 * time.Second} {
		inPubScene(t, "", func(s *pubScene) {
			d := s.nsqd("a:1")
			d.Kill()
			in := &endless{}
			s.p.stdin, s.p.retryFor = in, retryFor
			start := time.Now()
			r, err := s.run(s.Context())
			s.expectStopped(err, "stopped before line 1: ", "[a:1]", "; 0 lines were published")
			if took := time.Since(start); took < retryFor || took > retryFor+5*time.Second {
				t.Errorf("stopped after %v, want %v", took, retryFor)
			}
			if read := in.read.Load(); r.Published != 0 || r.Failed == 0 || read > int64(100*len("line\n")) {
				t.Errorf("%+v, %d bytes read", r, read)
			}
		})
	}
}

// The error names the first line that was not published.
func TestPubGivesUpMidway(t *testing.T) {
	inPubScene(t, "", func(s *pubScene) {
		d := s.nsqd("a:1")
		r, w := io.Pipe()
		s.p.stdin = r
		var result *pubResult
		ended := make(chan error)
		go func() {
			var err error
			result, err = s.run(s.Context())
			ended <- err
		}()
		_, _ = io.WriteString(w, "one\ntwo\n\n")
		synctest.Wait()
		d.Kill()
		_, _ = io.WriteString(w, "four\n")
		s.expectStopped(<-ended, "before line 4: ")
		s.expect(result, 2, 1, 0, 1)
		_ = w.Close()
	})
}

// An error that no message caused and no retry can cure stops the command at
// once.
func TestPubHopeless(t *testing.T) {
	_, lines := numberedLines(1000)
	inPubScene(t, lines, func(s *pubScene) {
		d := s.nsqd("a:1")
		d.Reject("MPUB", "E_UNAUTHORIZED", "AUTH failed for MPUB on \"t\" \"\"")
		start := time.Now()
		r, err := s.run(s.Context())
		s.expectStopped(err, "before line 1: ", "E_UNAUTHORIZED")
		if r.Published+r.Unknown != 0 || time.Since(start) > time.Second {
			t.Errorf("%+v after %v", r, time.Since(start))
		}
	})
}

func TestPubAll(t *testing.T) {
	numbers, lines := numberedLines(1000)
	inPubScene(t, lines, func(s *pubScene) {
		a, b := s.nsqd("a:1"), s.nsqd("b:1")
		s.p.mode = modeAll
		r, err := s.run(s.Context())
		if err != nil {
			t.Error(err)
		}
		s.expect(r, 1000, 0, 0, 0)
		for _, d := range []*nsqtest.Nsqd{a, b} {
			if !slices.Equal(stored(d), numbers) {
				t.Errorf("%s has %d messages, or has them in another order", d.Addr(), len(stored(d)))
			}
		}
	})
}

// With --mode all, a line has the outcome of the nsqd where it failed.
func TestPubAllOneFails(t *testing.T) {
	_, lines := numberedLines(10)
	for code, want := range map[string][2]int{"E_BAD_MESSAGE": {10, 0}, "E_MPUB_FAILED": {0, 10}} {
		inPubScene(t, lines, func(s *pubScene) {
			a, b := s.nsqd("a:1"), s.nsqd("b:1")
			b.Reject("MPUB", code, "")
			b.Reject("PUB", code, "")
			s.p.mode = modeAll
			r, err := s.run(s.Context())
			s.expect(r, 0, want[0], want[1], 0)
			if err == nil || len(stored(a)) != 10 || len(stored(b)) != 0 {
				t.Errorf("error %v, %d and %d messages", err, len(stored(a)), len(stored(b)))
			}
		})
	}
}

// With --mode all, one unreachable nsqd stops the command, although the other one
// works.
func TestPubAllOneDead(t *testing.T) {
	_, lines := numberedLines(1000)
	inPubScene(t, lines, func(s *pubScene) {
		s.nsqd("a:1")
		s.nsqd("b:1").Kill()
		s.p.mode = modeAll
		_, err := s.run(s.Context())
		s.expectStopped(err, "before line 1: ", "[b:1]")
	})
}

func TestPubFailover(t *testing.T) {
	numbers, lines := numberedLines(5000)
	inPubScene(t, lines, func(s *pubScene) {
		a, b, c := s.nsqd("a:1"), s.nsqd("b:1"), s.nsqd("c:1")
		b.Kill()
		r, err := s.run(s.Context())
		if err != nil {
			t.Error(err)
		}
		s.expect(r, 5000, 0, 0, 0)
		got := append(stored(a), stored(c)...)
		slices.Sort(got)
		slices.Sort(numbers)
		if !slices.Equal(got, numbers) || len(stored(a)) == 0 || len(stored(c)) == 0 {
			t.Errorf("the two reachable nsqds have %d and %d messages", len(stored(a)), len(stored(c)))
		}
	})
}

func TestPubDefer(t *testing.T) {
	_, lines := numberedLines(300)
	inPubScene(t, lines, func(s *pubScene) {
		d := s.nsqd("a:1")
		d.CreateChannel("t", "c")
		s.p.deferFor = 5 * time.Second
		r, err := s.run(s.Context())
		if err != nil {
			t.Error(err)
		}
		s.expect(r, 300, 0, 0, 0)
		if n, deferred := countCommands(d, "DPUB"), d.Stats("t", "c").Deferred; n != 300 || deferred != 300 {
			t.Errorf("%d DPUBs, %d deferred messages; want 300 of each", n, deferred)
		}
	})
}

func TestPubRate(t *testing.T) {
	_, lines := numberedLines(1000)
	for perSecond, want := range map[float64]time.Duration{100: 10 * time.Second, 0.5: 2000 * time.Second} {
		inPubScene(t, lines, func(s *pubScene) {
			s.nsqd("a:1")
			s.p.rate = perSecond
			start := time.Now()
			r, err := s.run(s.Context())
			if took := time.Since(start); err != nil || took > want || took < want*9/10 {
				t.Errorf("error %v after %v, want none after %v", err, took, want)
			}
			s.expect(r, 1000, 0, 0, 0)
		})
	}
}

// After an interruption the command completes the publishes under way and
// reports where it stopped.
func TestPubInterrupted(t *testing.T) {
	inPubScene(t, "", func(s *pubScene) {
		d := s.nsqd("a:1")
		s.p.stdin = &endless{}
		d.Inject(nsqtest.Fault{Command: "MPUB", Delay: 50 * time.Millisecond})
		d.Inject(nsqtest.Fault{Command: "PUB", Delay: 50 * time.Millisecond})
		ctx, cancel := context.WithCancelCause(s.Context())
		time.AfterFunc(time.Second, func() { cancel(errInterrupted) })
		start := time.Now()
		r, err := s.run(ctx)
		s.expectStopped(err, "interrupted")
		if took := time.Since(start); took > time.Second+2*stopTimeout {
			t.Errorf("stopped after %v", took)
		}
		if n := len(stored(d)); r.Published == 0 || n < r.Published || n > r.Published+r.Unknown {
			t.Errorf("nsqd has %d messages, the result is %+v", n, r)
		}
	})
}

// An interruption ends the retries of an unreachable nsqd.
func TestPubInterruptedInTrouble(t *testing.T) {
	// The last line has a delimiter. Without it the splitter would return that line
	// on its own, and it might not have been sent when the interruption comes.
	inPubScene(t, "one\ntwo\n", func(s *pubScene) {
		s.nsqd("a:1").Kill()
		ctx, cancel := context.WithCancelCause(s.Context())
		time.AfterFunc(time.Second, func() { cancel(errInterrupted) })
		start := time.Now()
		r, err := s.run(ctx)
		s.expectStopped(err, "before line 1: interrupted")
		s.expect(r, 0, 2, 0, 0)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("stopped after %v, want 1s", took)
		}
	})
}

// An interruption does not wait for a blocked read.
func TestPubInterruptedWhileReading(t *testing.T) {
	c := startCluster(t, 1)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close(); _ = w.Close() }()
	p := startWith(t, r, append(c.flags(), "pub", "--topic", "reading")...)
	_, _ = w.WriteString("one\n")
	await(t, "message", func() bool { return countMessages(t, c, "reading") == 1 })
	p.interrupt(errInterrupted)
	if code := p.wait(t); code != exitFailure || !strings.Contains(p.stderr.String(), "rdy: stopped before line 2: interrupted") {
		t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
	}
}

// countMessages returns how many messages a topic has received, over all nsqds.
func countMessages(t *testing.T, c *cluster, topic string) int {
	t.Helper()
	sum := 0
	for _, n := range c.nsqds {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.HTTPAddr+"/stats?format=json&topic="+topic, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := statsClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var stats struct {
			Topics []struct {
				Messages int `json:"message_count"`
			}
		}
		err = json.NewDecoder(resp.Body).Decode(&stats)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range stats.Topics {
			sum += topic.Messages
		}
	}
	return sum
}

// tail prints what pub has published to a real nsqd, from a file and standard
// input.
func TestPub(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "pub", "ch")
	numbers, lines := numberedLines(3000)
	file := filepath.Join(t.TempDir(), "numbers")
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startWith(t, strings.NewReader("a\n\nb"), append(c.flags(), "pub", "--topic", "pub", "--set", "snappy,true", file, "-")...)
	// The width of the column depends on the rate.
	summary := regexp.MustCompile(`^published +3002\n`)
	if code := p.wait(t); code != exitOK || p.stdout.String() != "" || !summary.MatchString(p.stderr.String()) {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, p.stdout.String(), p.stderr.String())
	}
	_, stdout, _ := execute(t, append(c.flags(), "tail", "pub", "--channel", "ch", "-n", "3002")...)
	got, want := strings.Fields(stdout), slices.Concat(numbers, []string{"a", "b"})
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("tail printed %d messages that differ from the %d published", len(got), len(want))
	}
}

// A real nsqd refuses a batch with one message above its limit.
func TestPubGuiltyAtRealNSQD(t *testing.T) {
	c := startCluster(t, 1)
	input := "a\n" + strings.Repeat("x", maxSize+1) + "\nb\n"
	args := append(c.flags(), "pub", "--topic", "guilty", "--max-msg-size", "2000000", "--json", "--quiet")
	p := startWith(t, strings.NewReader(input), args...)
	code := p.wait(t)
	if r := parsePubResult(t, p.stdout.String()); code != exitFailure || r.Published != 2 || r.Failed != 1 || countMessages(t, c, "guilty") != 2 {
		t.Errorf("exit code %d, %+v", code, r)
	}
	if !strings.Contains(p.stderr.String(), "rdy: line 2: E_BAD_MESSAGE") {
		t.Errorf("stderr %q", p.stderr.String())
	}
}

// The topic may be an argument, and files follow it.
func TestPubTopicArgument(t *testing.T) {
	c := startCluster(t, 1)
	file := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"pub", "arg"}, {"pub", "arg", file}, {"pub", "--topic", "arg", file}, {"pub", "arg", "-", file}, {"pub", "--topic", "arg"}} {
		code, _, stderr := executeWith(t, "typed\n", append(args, append(c.flags(), "-q")...)...)
		if code != exitOK || stderr != "" {
			t.Errorf("%v: exit code %d, stderr %q", args, code, stderr)
		}
	}
	c.publish(t, 0, "arg", "ch")
	_, stdout, _ := execute(t, append(c.flags(), "tail", "arg", "--channel", "ch", "-n", "6")...)
	lines := strings.Split(stdout, "\n")
	slices.Sort(lines)
	if want := []string{"", "from a file", "from a file", "from a file", "typed", "typed", "typed"}; !slices.Equal(lines, want) {
		t.Errorf("got %q", lines)
	}
}

// With --lookupd lines go to the nsqds that are listed: to one of them each, or to all.
func TestPubLookupd(t *testing.T) {
	c := startCluster(t, 3)
	_, lines := numberedLines(1000)
	for _, tc := range []struct {
		mode string
		want int
	}{{modeFailover, 1000}, {modeAll, 3000}} {
		code, stdout, stderr := executeWith(t, lines, "pub", tc.mode, "--lookupd", c.lookupds[0], "--mode", tc.mode, "--batch", "10", "--json")
		if r := parsePubResult(t, stdout); code != exitOK || r.Published != 1000 || stderr != "" {
			t.Errorf("%s: exit code %d, stdout %s, stderr %q", tc.mode, code, stdout, stderr)
		}
		sum := 0
		for _, n := range c.nsqds {
			one, err := depth(t.Context(), n.HTTPAddr, tc.mode, "")
			if err != nil || one == 0 {
				t.Errorf("%s: nsqd %s has %d messages, error %v", tc.mode, n.TCPAddr, one, err)
			}
			sum += one
		}
		if sum != tc.want {
			t.Errorf("%s: %d messages are stored", tc.mode, sum)
		}
	}
}

// Without a list of the nsqds nothing is published, and the command says why.
func TestPubLookupdFails(t *testing.T) {
	c := startCluster(t, 1)
	empty := fakeDaemon(t, map[string]string{"/nodes": `{"producers":[]}`})
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--lookupd", empty, "--mode", "all"}, "the nsqlookupds list no nsqd"},
		{[]string{"--lookupd", c.lookupds[0], "--lookupd", unreachable, "--mode", "all"}, "nsqlookupd " + unreachable},
		{[]string{"--lookupd", unreachable}, "refused"},
	} {
		code, stdout, stderr := executeWith(t, "line\n", append([]string{"pub", "t", "-q", "--retry-for", "0", "--json"}, tc.args...)...)
		if code != exitFailure || !strings.Contains(stderr, tc.want) || strings.Contains(stderr, unreachable+": "+unreachable) {
			t.Errorf("%v: exit code %d, stderr %q", tc.args, code, stderr)
		}
		if !strings.HasPrefix(stdout, `{"published":0,`) {
			t.Errorf("%v: stdout %q", tc.args, stdout)
		}
	}
}

// pub waits for an nsqlookupd that does not respond yet, and says so once.
func TestPubAwaitsLookupd(t *testing.T) {
	c := startCluster(t, 1)
	polls := 0
	lookupd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if polls++; polls < 3 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		host, port, _ := net.SplitHostPort(c.nsqds[0].TCPAddr)
		_, _ = fmt.Fprintf(w, `{"producers":[{"broadcast_address":%q,"tcp_port":%s,"http_port":1}]}`, host, port)
	}))
	defer lookupd.Close()
	addr := strings.TrimPrefix(lookupd.URL, "http://")
	code, _, stderr := executeWith(t, "line\n", "pub", "later", "-q", "--lookupd", addr)
	if code != exitOK || strings.Count(stderr, "rdy: retrying for up to 30s: nsqlookupd "+addr) != 1 {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	expectOneLine(t, stderr)
	if n, err := depth(t.Context(), c.nsqds[0].HTTPAddr, "later", ""); n != 1 || err != nil {
		t.Errorf("%d messages, error %v", n, err)
	}
}
