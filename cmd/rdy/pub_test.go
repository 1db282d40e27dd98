package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
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
