package main

import (
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

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

// If none of several nsqds can be reached, the command stops after --retry-for and says so.
func TestPubReachesNone(t *testing.T) {
	for _, retryFor := range []time.Duration{0, 5 * time.Second, 30 * time.Second} {
		for _, hang := range []bool{false, true} {
			inPubScene(t, "one\ntwo\n", func(s *pubScene) {
				for _, addr := range []string{"a:1", "b:1"} {
					s.nsqd(addr).Kill()
					if hang {
						s.net.Blackhole(addr)
					}
				}
				s.p.retryFor = retryFor
				start := time.Now()
				r, err := s.run(s.Context())
				s.expectStopped(err, "stopped before line 1: no nsqd could be reached: ", "[a:1]", "[b:1]")
				s.expect(r, 0, 2, 0, 0)
				if strings.Contains(s.stderr.String(), `\n`) {
					t.Errorf("stderr %q", s.stderr.String())
				}
				if took := time.Since(start); took < retryFor || took > retryFor+5*time.Second {
					t.Errorf("stopped after %v, want %v", took, retryFor)
				}
			})
		}
	}
}

// If one of several nsqds starts within --retry-for, it receives every line.
func TestPubWaitsForAny(t *testing.T) {
	_, lines := numberedLines(1000)
	inPubScene(t, lines, func(s *pubScene) {
		s.nsqd("a:1").Kill()
		d := s.nsqd("b:1")
		d.Kill()
		time.AfterFunc(25*time.Second, d.Restart)
		r, err := s.run(s.Context())
		if err != nil {
			t.Error(err)
		}
		s.expect(r, 1000, 0, 0, 0)
		expectOneLine(t, s.stderr.String())
	})
}
