package nsq

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// N22: a record that comes every second for a day is written at once, then at growing
// intervals, and each time with how many were not.
func TestRepeatsGrowRarer(t *testing.T) {
	var rs repeats
	key := repeatKey{text: "down", about: "a:1"}
	start := time.Unix(1e9, 0)
	var at []string
	told := 0
	for s := range 24 * 3600 {
		more, since, write := rs.admit(start.Add(time.Duration(s)*time.Second), key, repeatable{}, &heldRecord{})
		if !write {
			continue
		}
		told += 1 + more
		if told != s+1 || more > 0 && since.IsZero() {
			t.Fatalf("after %d s %d were told, %d now since %v", s, told, more, since)
		}
		at = append(at, strconv.Itoa(s))
	}
	if got := strings.Join(at[:7], " "); got != "0 1 11 71 671 1271 1871" || len(at) != 4+24*6-1 {
		t.Errorf("written %d times, first after %s", len(at), got)
	}
	// After ten minutes of silence it is new.
	again := start.Add(24*time.Hour + 10*time.Minute)
	for i, want := range []bool{true, false} {
		if _, _, write := rs.admit(again, key, repeatable{}, &heldRecord{}); write != want {
			t.Errorf("after a silence, time %d: written %v", i+1, write)
		}
	}
}

// N22: records about different nsqds, and of different kinds, do not fold. However many
// there are, memory is bounded, and what does not fit is folded by its text alone.
func TestRepeatsAreBounded(t *testing.T) {
	var rs repeats
	now := time.Unix(1e9, 0)
	written := 0
	for i := range 100_000 {
		for _, kind := range []string{"", "E_X"} {
			if _, _, write := rs.admit(now, repeatKey{"down", fmt.Sprint(i), kind}, repeatable{}, &heldRecord{}); write {
				written++
			}
		}
	}
	if len(rs.known) != mostRepeats+1 || written != mostRepeats+1 {
		t.Errorf("%d known, %d written, want %d and one for the rest", len(rs.known), written, mostRepeats)
	}
	if more, _, write := rs.admit(now.Add(time.Minute), repeatKey{"down", "new", ""}, repeatable{}, nil); !write || more != 200_000-mostRepeats-1 {
		t.Errorf("written %v with %d more", write, more)
	}
	// Those that stay away make room: at once if nothing is left to tell of them, and
	// otherwise after an hour.
	rs.admit(now.Add(time.Second), repeatKey{"down", "7", ""}, repeatable{}, nil)
	rs.admit(now.Add(time.Second), repeatKey{"down", "7", ""}, repeatable{}, nil)
	for after, want := range map[time.Duration]int{20 * time.Minute: 2, 2 * time.Hour: 1} {
		known := maps.Clone(rs.known)
		rs.admit(now.Add(after), repeatKey{"down", "later", ""}, repeatable{}, nil)
		if len(rs.known) != want {
			t.Errorf("%d known after %v, want %d", len(rs.known), after, want)
		}
		rs = repeats{known: known}
	}
}

// N22: an outage that begins is written after a minute at most, and what was written of
// one makes its end be written.
func TestRepeatsOfOutages(t *testing.T) {
	var rs repeats
	now := time.Unix(1e9, 0)
	down := repeatKey{text: "down"}
	up := repeatKey{text: "up"}
	wrote := func(key repeatKey, how repeatable) bool {
		_, _, write := rs.admit(now, key, how, &heldRecord{})
		return write
	}
	trouble := repeatable{recovery: "up"}
	for range 3600 {
		wrote(down, trouble)
		now = now.Add(time.Second)
	}
	if wrote(down, trouble) {
		t.Fatal("written although the last one is not ten minutes old")
	}
	now = now.Add(time.Minute)
	if !wrote(down, repeatable{begins: true, recovery: "up"}) {
		t.Error("a new outage is not written")
	}
	for i, want := range []bool{true, false} {
		if got := wrote(up, repeatable{}); got != want {
			t.Errorf("up, time %d: written %v", i+1, got)
		}
	}
	for range 90 { // up alone, which grows rarer
		now = now.Add(time.Second)
		wrote(up, repeatable{})
	}
	if wrote(up, repeatable{}) {
		t.Fatal("written too often")
	}
	if !wrote(down, repeatable{begins: true, recovery: "up"}) || !wrote(up, repeatable{}) {
		t.Error("the next outage, or its end, is not written")
	}
}

// N22: what is kept back is written when the owner ends, at the level and with the attrs
// of the last record. User code is never called under the lock.
func TestRepeatsAreWrittenInTheEnd(t *testing.T) {
	l, out := newTestLogs(1, LogLevelInfo)
	conn := l.logger.With("nsqd", "a:1")
	l.SetLogger(outputFunc(func(_ int, s string) error {
		_ = out.Output(0, regexp.MustCompile(`since=\S+`).ReplaceAllString(s, "since=then"))
		conn.WarnContext(repeating, "late", "id", "of the logger")
		return nil
	}), LogLevelInfo)
	for i := range 4 {
		conn.WarnContext(repeating, "late", "id", i)
	}
	l.logger.With("nsqd", "b:1").WarnContext(repeating, "late", "id", 9)
	expectLines(t, out, "WRN    1 (a:1) late id=0", "WRN    1 (b:1) late id=9")
	l.writeRest()
	expectLines(t, out, `WRN    1 (a:1) late id="of the logger" more=4 since=then`)

	var b bytes.Buffer
	l = newLogs(slog.New(slog.NewJSONHandler(&b, nil)))
	for range 3 {
		l.logger.WarnContext(repeating, "late")
	}
	first := decodeRecord(t, &b)
	l.writeRest()
	rest := decodeRecord(t, &b)
	_, err := time.Parse(time.RFC3339, fmt.Sprint(rest["since"]))
	if len(first) != 2 || rest["more"] != 1.0 || err != nil {
		t.Errorf("records %v and %v", first, rest)
	}
	l.SetLoggerLevel(LogLevelError)
	l.logger.WarnContext(repeating, "late")
	l.writeRest()
	if b.Len() > 0 {
		t.Errorf("written below the level: %s", b.String())
	}
}

var moreIn = regexp.MustCompile(` more=(\d+)`)

// events returns how many events lines tell of, repeats included.
func events(lines []string) (n int) {
	for _, line := range lines {
		n++
		if m := moreIn.FindStringSubmatch(line); m != nil {
			more, _ := strconv.Atoi(m[1])
			n += more
		}
	}
	return n
}

// matching returns the lines that contain a text.
func matching(lines []string, text string) (out []string) {
	for _, line := range lines {
		if strings.Contains(line, text) {
			out = append(out, line)
		}
	}
	return out
}

// N22: an nsqd that is down is an error once, then a warning, rarer and rarer; its return
// is told.
func TestDeadNSQDsInTheLog(t *testing.T) {
	inScene(t, func(s *scene) {
		var nsqds []*nsqtest.Nsqd
		for _, addr := range []string{"a:1", "b:1", "c:1"} {
			nsqds = append(nsqds, s.nsqd(addr))
		}
		s.consumer(1, noError)
		log := s.logged(LogLevelInfo)
		s.connect(nsqds...)
		log.take()
		for _, d := range nsqds {
			d.Kill()
		}
		after(30 * time.Second)
		lines := log.take()
		if len(lines) > 13 || len(matching(lines, "ERR")) != 3 || len(matching(lines, "connection to nsqd lost")) != 3 {
			s.Errorf("%d lines in 30 s: %q", len(lines), lines)
		}
		after(time.Hour)
		dials := s.net.Attempts("a:1")
		lines = append(lines, log.take()...)
		if n := len(matching(lines, "(a:1) not connected")); n > 11 || len(matching(lines, "ERR")) != 3 {
			s.Errorf("%d lines in an hour, want one each ten minutes", n)
		}
		nsqds[0].Restart()
		after(2 * time.Minute)
		lines = append(lines, log.take()...)
		if got := matching(lines, "(a:1) connected to nsqd"); len(got) != 1 {
			s.Errorf("its return is not told: %q", got)
		}
		s.stopped()
		lines = matching(append(lines, log.take()...), "(a:1) not connected")
		if got := events(lines); got != dials-1 {
			s.Errorf("the log tells of %d failed dials, want %d: %q", got, dials-1, lines)
		}
	})
}

// N22: what a person must fix is an error each time that it is written.
func TestRefusalsStayErrors(t *testing.T) {
	for name, prepare := range map[string]func(s *scene, d *nsqtest.Nsqd){
		"SUB": func(_ *scene, d *nsqtest.Nsqd) {
			d.Inject(nsqtest.Fault{Command: "SUB", Reply: nsqtest.ErrorFrame("E_BAD_CHANNEL", "no"), Close: true})
		},
		"AUTH": func(_ *scene, d *nsqtest.Nsqd) {
			d.Inject(nsqtest.Fault{Command: "IDENTIFY", Reply: nsqtest.ResponseFrame(`{"auth_required":true}`)})
		},
		"TLS": func(s *scene, _ *nsqtest.Nsqd) { s.cfg.TlsV1 = true },
		"IDENTIFY": func(_ *scene, d *nsqtest.Nsqd) {
			d.Inject(nsqtest.Fault{Command: "IDENTIFY", Reply: nsqtest.ErrorFrame("E_BAD_BODY", "no"), Close: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1")
				prepare(s, d)
				s.consumer(1, noError)
				log := s.logged(LogLevelInfo)
				if err := s.c.ConnectToNSQD("a:1"); err == nil {
					s.Fatal("connected")
				}
				after(time.Hour)
				lines := matching(log.take(), "not connected to nsqd")
				if len(lines) < 5 || len(lines) > 11 || len(matching(lines, "ERR ")) != len(lines) {
					s.Errorf("%d lines, want all to be errors: %q", len(lines), lines)
				}
			})
		})
	}
}

// N22: which failures need a person.
func TestNeedsPerson(t *testing.T) {
	fails := func(op string, err error) error { return connectError("a:1", "t", "c", &link.Error{Op: op, Err: err}) }
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{fails(link.OpDial, &net.OpError{Op: "dial", Err: errors.New("connection refused")}), false},
		{fails(link.OpDial, &net.OpError{Op: "dial", Err: &net.AddrError{Err: "missing port in address"}}), true},
		{fails(link.OpDial, context.DeadlineExceeded), false},
		{fails(link.OpIdentify, io.EOF), false},
		{fails(link.OpIdentify, link.ErrHandshakeTimeout), false},
		{fails(link.OpIdentify, errors.New("this is HTTP")), true},
		{fails(link.OpTLS, &net.OpError{Op: "read", Err: errors.New("reset")}), false},
		{fails(link.OpTLS, &net.OpError{Op: "remote error", Err: tls.AlertError(42)}), true},
		{fails(link.OpTLS, &tls.CertificateVerificationError{Err: errors.New("expired")}), true},
		{fails(link.OpTLS, link.ErrTLSRefused), true},
		{fails(link.OpAuth, link.ErrAuthRequired), true},
		{fails(link.OpSub, &wire.Error{Code: "E_BAD_TOPIC"}), true},
		{fails(link.OpSub, &wire.Error{Code: "E_SUB_FAILED"}), false},
		{fails(link.OpSub, io.EOF), false},
	} {
		if got := needsPerson(tc.err); got != tc.want {
			t.Errorf("%v: needs a person: %v", tc.err, got)
		}
	}
}

// N22: a flood of refused acks is a handful of lines, with the count.
func TestFloodOfRefusedAcks(t *testing.T) {
	const flood = 50_000
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(1, noError)
		log := s.logged(LogLevelInfo)
		s.connect(d)
		frame := nsqtest.ErrorFrame("E_FIN_FAILED", "FIN 0123456789abcdef failed ID not in flight")
		for range flood / 1000 {
			d.Send(1, bytes.Repeat(frame, 1000))
			after(100 * time.Millisecond)
		}
		s.stopped()
		lines := matching(log.take(), "refused an ack")
		if len(lines) > 4 || events(lines) != flood || s.c.Snapshot().Refused != flood {
			s.Errorf("%d lines tell of %d: %q", len(lines), events(lines), lines)
		}
	})
}

// N22: so is a flood of acks that come too late.
func TestFloodOfLateAcks(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxInFlight = 200
		d := s.nsqd("a:1", leases(time.Second, time.Minute))
		release := make(chan struct{})
		s.consumer(200, func(*Message) error { <-release; return nil })
		log := s.logged(LogLevelInfo)
		s.connect(d)
		d.Publish("t", many(200)...)
		after(1500 * time.Millisecond)
		close(release)
		after(time.Second)
		s.stopped()
		lines := matching(log.take(), "acked too late")
		if len(lines) > 3 || events(lines) != 200 {
			s.Errorf("%d lines tell of %d late acks: %q", len(lines), events(lines), lines)
		}
	})
}

// N22: a Producer whose nsqd is down does not fill the log, however often it is asked, nor
// does a pool with many such nsqds.
func TestDeadNSQDOfAProducer(t *testing.T) {
	produce(t, func(s *producing) {
		log := &logLines{}
		s.p.SetLogger(log, LogLevelInfo)
		s.net.Refuse("a:1", nil)
		for range 36_000 {
			_ = s.p.Ping()
			sleep(100 * time.Millisecond)
		}
		dials := s.net.Attempts("a:1")
		s.p.Stop()
		lines := log.take()
		failed := matching(lines, "not connected")
		if len(lines) > 25 || events(failed) != dials || len(matching(failed, "ERR")) != 1 {
			s.Errorf("%d lines in an hour tell of %d failures, want %d: %q", len(lines), events(failed), dials, lines)
		}
	})
}

// N22: that nsqlookupd does not list an nsqd yet hides no failed dial. The first one of an
// outage is an error, and there is no other.
func TestDeadNSQDOfADiscoveredPool(t *testing.T) {
	inDiscoveredPool(t, func(s *poolDiscovering) {
		log := &logLines{}
		s.pool.SetLogger(log, LogLevelInfo)
		s.la.Register("t", "a:1")
		s.publish(1)
		s.la.Unregister("t", "a:1")
		s.nsqds[0].Kill()
		if err := s.pool.Publish("t", []byte("m")); !errors.Is(err, errNoConsent) {
			s.Error(err)
		}
		s.la.Register("t", "a:1")
		after(700 * time.Millisecond)
		lines := matching(log.take(), "not connected to nsqd")
		if len(lines) < 2 || !strings.HasPrefix(lines[0], "INF") || !strings.HasPrefix(lines[1], "ERR") {
			s.Errorf("%q", lines)
		}
		s.la.Unregister("t", "a:1")
		after(5 * time.Second)
		s.la.Register("t", "a:1")
		after(5 * time.Minute)
		if lines := matching(log.take(), "not connected to nsqd"); len(lines) == 0 || len(matching(lines, "ERR")) > 0 {
			s.Errorf("later: %q", lines)
		}
	})
}

// N22: an nsqd that a pool lets go does not have the pool write what it keeps back.
func TestFoldingOutlastsMembers(t *testing.T) {
	inPool(t, func(s *pooling) {
		log := &logLines{}
		s.pool.SetLogger(log, LogLevelInfo)
		for range 3 {
			s.pool.log.WarnContext(repeating, "kept back")
		}
		s.pool.letGo(s.pool.members[0])
		after(time.Minute)
		if lines := matching(log.take(), "kept back"); len(lines) != 1 {
			s.Errorf("%q", lines)
		}
		s.pool.Stop()
		if lines := matching(log.take(), "kept back"); len(lines) != 1 || events(lines) != 2 {
			s.Errorf("at the end: %q", lines)
		}
	}, quietly)
}

// N22: an nsqlookupd that fails at every other poll.
func TestFlappingLookupd(t *testing.T) {
	inScene(t, func(s *scene) {
		l := s.lookupd("l:1", s.nsqd("a:1"))
		s.cfg.LookupdPollInterval = time.Second
		s.consumer(1, noError)
		log := s.logged(LogLevelInfo)
		s.discover("l:1")
		for range 600 {
			l.Fail(503, "BUSY")
			after(3 * time.Second)
			l.Recover()
			after(3 * time.Second)
		}
		s.stopped()
		lines := log.take()
		failed := matching(lines, "nsqlookupd failed")
		if len(failed) > 11 || events(failed) != 600 || len(matching(lines, "recovered")) > len(failed)+2 {
			s.Errorf("%d lines tell of %d failures: %q", len(lines), events(failed), lines)
		}
	})
}

// N23: what nsqd and nsqlookupd say stays on one line, and reaches no terminal as it is.
func TestForgedLines(t *testing.T) {
	const bad = "\nERR    1 forged \x1b[2J \x9b2J"
	l, out := newTestLogs(1, LogLevelInfo)
	l.logger.With("nsqd", bad).Info("up", "version", "\x9b2J", "err", errors.New(bad))
	l.logger.With("nsqd", "\x9b2J").Info("up")
	for _, line := range out.take() {
		if strings.ContainsAny(line, "\n\x1b") || !strings.Contains(line, `\x9b`) || strings.Contains(line, "\x9b") {
			t.Errorf("logged %q", line)
		}
	}
	long := bad + strings.Repeat("x", 60_000)
	for _, reply := range [][]byte{nsqtest.ErrorFrame("E_BAD_CHANNEL", long), nsqtest.ResponseFrame(long)} {
		inScene(t, func(s *scene) {
			d := s.nsqd("a:1")
			d.Inject(nsqtest.Fault{Command: "SUB", Reply: reply, Close: true})
			s.consumer(1, noError)
			log := s.logged(LogLevelInfo)
			err := s.c.ConnectToNSQD("a:1")
			s.stopped()
			for _, line := range append(log.take(), err.Error()) {
				if strings.ContainsAny(line, "\n\x1b") || strings.Contains(line, "\x9b") || len(line) > 1000 {
					s.Errorf("%d bytes: %.200q", len(line), line)
				}
			}
		})
	}
	produce(t, func(s *producing) {
		s.d.Inject(nsqtest.Fault{Command: "PUB", Reply: nsqtest.ErrorFrame("E_BAD_TOPIC", bad), Close: true})
		err := s.p.Publish("t", []byte("m"))
		refused, ok := errors.AsType[ErrProtocol](err)
		if !ok || refused.Reason != "E_BAD_TOPIC "+bad || strings.ContainsAny(err.Error(), "\n\x1b") || strings.Contains(err.Error(), "\x9b") {
			s.Errorf("error %q, reason %q", err, refused.Reason)
		}
	})
}
