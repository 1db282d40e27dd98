package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/broker"
	"github.com/schollz/progressbar/v3"
)

// parseResult parses the one JSON object that a demo prints and checks its sums.
func parseResult(t *testing.T, stdout string) demoResult {
	t.Helper()
	var keys map[string]any
	// Unmarshal also fails if there is more than one object.
	if err := json.Unmarshal([]byte(stdout), &keys); err != nil {
		t.Fatalf("%v in %q", err, stdout)
	}
	for _, key := range []string{"published", "handled", "requeued", "duplicates", "lost", "left", "seconds", "rate", "nsqds"} {
		if _, ok := keys[key]; !ok {
			t.Errorf("no %q in %s", key, stdout)
		}
	}
	var r demoResult
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	var sum demoResult
	for _, n := range r.NSQDs {
		sum.Published += n.Published
		sum.Handled += n.Handled
		sum.Requeued += n.Requeued
	}
	if sum.Published != r.Published || sum.Handled != r.Handled || sum.Requeued != r.Requeued {
		t.Errorf("the nsqds' counts do not add up: %s", stdout)
	}
	if r.Handled+r.Lost+r.Left != r.Published {
		t.Errorf("handled, lost and left do not add up to published: %s", stdout)
	}
	return r
}

func TestDemo(t *testing.T) {
	code, stdout, stderr := execute(t, "demo", "--json",
		"--messages", "2001", "--nsqds", "3", "--handlers", "64", "--max-in-flight", "300", "--fail-rate", "0.2")
	if code != exitOK {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	r := parseResult(t, stdout)
	if r.Published != 2001 || r.Handled != 2001 || r.Duplicates != 0 || len(r.NSQDs) != 3 {
		t.Errorf("got %+v", r)
	}
	// A fifth of about 2500 deliveries; the bounds are ten deviations wide.
	if r.Requeued < 275 || r.Requeued > 725 {
		t.Errorf("%d requeued at a fail rate of 0.2", r.Requeued)
	}
	if r.Seconds <= 0 || r.Rate <= 0 {
		t.Errorf("took %v s, %v messages/s; want more than 0", r.Seconds, r.Rate)
	}
	for _, n := range r.NSQDs {
		if n.Published != 667 || n.Handled != 667 {
			t.Errorf("got %+v, want 667 messages", n)
		}
	}
}

func TestDemoTable(t *testing.T) {
	code, stdout, stderr := execute(t, "demo", "--messages", "100", "--size", "8", "--nsqds", "1")
	if code != exitOK {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	if !regexp.MustCompile(`(?m)^handled +100$`).MatchString(stdout) {
		t.Errorf("got\n%s", stdout)
	}
}

// With --keep the demo also counts messages that others publish.
func TestDemoKeep(t *testing.T) {
	c := start(t, "demo", "--keep", "--json", "--messages", "300")
	c.stderr.await(t, "stop:     Ctrl-C")
	http := regexp.MustCompile(`HTTP (\S+)`).FindStringSubmatch(c.stderr.String())[1]
	for range 5 {
		post(t, http, "/pub?topic="+demoTopic, "hello")
	}
	c.stderr.await(t, "published 305  handled 305")
	if c.stdout.String() != "" {
		t.Errorf("the demo printed a result before its end: %q", c.stdout.String())
	}
	c.interrupt(errInterrupted)
	if code := c.wait(t); code != exitOK {
		t.Errorf("exit code %d, stderr %q", code, c.stderr.String())
	}
	if r := parseResult(t, c.stdout.String()); r.Published != 305 || r.Handled != 305 || r.Duplicates != 0 {
		t.Errorf("got %+v", r)
	}
}

// An interruption loses no message: the nsqds still have the unhandled ones.
func TestDemoInterrupted(t *testing.T) {
	c := start(t, "demo", "--json", "--messages", "20000", "--work", "1s", "--fail-rate", "0.5")
	c.stderr.await(t, "handled")
	c.interrupt(errInterrupted)
	if code := c.wait(t); code != exitOK {
		t.Errorf("exit code %d, stderr %q", code, c.stderr.String())
	}
	if r := parseResult(t, c.stdout.String()); r.Lost != 0 || r.Left == 0 {
		t.Errorf("got %+v", r)
	}
}

// An interrupted demo keeps its result when the nsqds do not say what they still have,
// as when they are too busy, and when a publish fails.
func TestDemoKeepsItsResult(t *testing.T) {
	var stdout, stderr output
	b, stop, err := (&app{stderr: &stderr, level: defaultLogLevel}).startBroker(t.Context(), broker.Options{NSQDs: 1})
	if err != nil {
		t.Fatal(err)
	}
	d := &demo{
		app:         &app{stdout: &stdout, stderr: &stderr, json: true, level: defaultLogLevel},
		demoOptions: demoOptions{messages: 9, size: 50, nsqds: 1, handlers: 1, maxInFlight: 1},
		cluster:     b, ledger: newLedger(newBodies(9, 50, runName()), []string{b.NSQDs()[0].TCPAddr}),
	}
	d.ledger.recordPublished(b.NSQDs()[0].TCPAddr, 7)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	r, err := d.result(t.Context(), true, time.Now(), "plain")
	if err == nil || !strings.Contains(err.Error(), "cannot tell") {
		t.Errorf("error %v", err)
	}
	if err := d.report(r); err != nil {
		t.Error(err)
	}
	if r := parseResult(t, stdout.String()); r.Published != 7 || r.Left != 7 || r.Lost != 0 {
		t.Errorf("got %+v", r)
	}
}

// A demo handles what interrupted demos have left. Over all of them no message is
// lost or counted twice.
func TestDemoAgainOnTheSameData(t *testing.T) {
	dir := t.TempDir()
	left := 0
	for round := range 4 {
		work := "20ms"
		if round == 3 {
			work = "0s"
		}
		c := start(t, "demo", "--json", "--keep", "--messages", "5000", "--work", work, "--data-dir", dir)
		if round < 3 {
			c.stderr.await(t, "handled")
		} else {
			c.stderr.await(t, "stop:     Ctrl-C") // printed when all messages are handled
		}
		c.interrupt(errInterrupted)
		if code := c.wait(t); code != exitOK {
			t.Errorf("exit code %d, stderr %q", code, c.stderr.String())
		}
		r := parseResult(t, c.stdout.String())
		if r.Lost != 0 || r.Found != left || r.Published > left+5000 {
			t.Errorf("round %d, after %d left: %+v", round, left, r)
		}
		if left = r.Left; round < 3 && left == 0 {
			t.Errorf("round %d was not interrupted", round)
		}
	}
	if left != 0 {
		t.Errorf("%d messages are left in the end", left)
	}
}

// The demo uses verified TLS and compression with real nsqds, and reports them.
func TestDemoTransports(t *testing.T) {
	for flags, want := range map[string]string{
		"":                "plain",
		"--tls --snappy":  "TLS 1.3, snappy",
		"--deflate":       "plain, deflate",
		"--tls --deflate": "TLS 1.3, deflate",
	} {
		t.Run(flags, func(t *testing.T) {
			args := append([]string{"demo", "--json", "--messages", "2000"}, strings.Fields(flags)...)
			code, stdout, stderr := execute(t, args...)
			if code != exitOK {
				t.Fatalf("exit code %d, stderr %q", code, stderr)
			}
			if r := parseResult(t, stdout); r.Handled != 2000 || r.Connection != want {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A demo whose handlers never succeed gives up and reports its messages as lost.
func TestDemoLost(t *testing.T) {
	var stdout, stderr output
	d := &demo{
		app:         &app{stdout: &stdout, stderr: &stderr, json: true, level: defaultLogLevel},
		demoOptions: demoOptions{messages: 50, size: 50, nsqds: 2, handlers: 2, maxInFlight: 4, failRate: 1},
		giveUpAfter: 2 * time.Second,
	}
	err := d.run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "50 of 50 messages were lost") {
		t.Errorf("error %v", err)
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		t.Error("got a usage error")
	}
	if r := parseResult(t, stdout.String()); r.Lost != 50 || r.Requeued == 0 || r.Rate != 0 {
		t.Errorf("got %+v", r)
	}
}

func TestLease(t *testing.T) {
	for _, tc := range []struct {
		handlers, maxInFlight int
		work, want            time.Duration
	}{
		{16, 200, 0, 30 * time.Second},
		{16, 16, time.Second, 34 * time.Second},
		{16, 200, time.Second, 56 * time.Second},
		{1, 200, time.Minute, 15 * time.Minute},
	} {
		o := demoOptions{handlers: tc.handlers, maxInFlight: tc.maxInFlight, work: tc.work}
		if got := o.lease(); got != tc.want {
			t.Errorf("%+v: got %v", tc, got)
		}
	}
}

func TestResultTable(t *testing.T) {
	r := demoResult{
		Published: 20000, Handled: 19990, Requeued: 203, Lost: 3, Left: 7, Seconds: 0.614, Rate: 32573.3, Connection: "TLS 1.3, snappy",
		NSQDs: []account{
			{Address: "127.0.0.1:4150", Published: 10000, Handled: 9995, Requeued: 98},
			{Address: "127.0.0.1:34152", Published: 10000, Handled: 9995, Requeued: 105},
		},
	}
	const want = `published   20000
handled     19990
requeued      203
duplicates      0
lost            3
left            7
seconds      0.61
messages/s  32573
connection  TLS 1.3, snappy

nsqd             published  handled  requeued
127.0.0.1:4150       10000     9995        98
127.0.0.1:34152      10000     9995       105
`
	if got := string(r.table()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// On a narrow terminal lines are cut rather than wrapped, and a bar gives way when the
// terminal gets too narrow for it.
func TestProgressOnANarrowTerminal(t *testing.T) {
	var out output
	begin := time.Now()
	p := newProgress(&out, begin, 100)
	width := barColumns
	p.width = func() int { return width }
	p.bar = progressbar.NewOptions64(100, progressbar.OptionSetWriter(io.Discard))
	p.show(begin.Add(2*time.Second), 10, "published 10")
	if p.bar == nil || out.String() != "" {
		t.Errorf("no bar: %q", out.String())
	}
	width = 20
	p.show(begin.Add(4*time.Second), 20, "published 20  handled 20")
	if want := "   4s  published 20 \n"; p.bar != nil || out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// While lines are typed there is no progress to mix with them.
func TestNoProgressWhileTyping(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil || !isTerminal(terminal) {
		t.Skipf("no terminal to type at: %v", err)
	}
	defer func() { _ = terminal.Close() }()
	for _, tc := range []struct {
		stdin io.Reader
		files []string
		shown bool
	}{
		{terminal, []string{stdinName}, false},
		{terminal, []string{"file", stdinName}, false},
		{terminal, []string{"file"}, true},
		{strings.NewReader(""), []string{stdinName}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out output
			p := &pub{app: &app{stdin: tc.stdin, stderr: &out}, files: tc.files, tally: newTally(&out)}
			end := p.showProgress(time.Now())
			time.Sleep(2 * lineInterval) //nolint:forbidigo // inside a synctest bubble
			end()
			if got := out.String(); (got != "") != tc.shown {
				t.Errorf("%v: shown %q", tc.files, got)
			}
		})
	}
}

func TestProgressLines(t *testing.T) {
	var out output
	begin := time.Now()
	p := newProgress(&out, begin, 100, messagesBar("handled")...)
	for _, step := range []struct {
		after   time.Duration
		handled int
	}{
		{100 * time.Millisecond, 1}, // too early
		{time.Second, 10},
		{1100 * time.Millisecond, 11}, // too soon after the last line
		{2 * time.Second, 20},
		{3 * time.Second, 20}, // unchanged
		{4500 * time.Millisecond, 30},
	} {
		p.show(begin.Add(step.after), int64(step.handled), totals{published: 100, handled: step.handled}.String())
	}
	p.clearBar()
	const want = `   1s  published 100  handled 10  requeued 0
   2s  published 100  handled 20  requeued 0
   4s  published 100  handled 30  requeued 0
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
