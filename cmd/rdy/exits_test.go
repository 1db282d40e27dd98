package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
	"github.com/spf13/cobra"
)

// The ways in which a command ends.
const (
	exitWorks   = "works"
	exitDead    = "dead address"
	exitRefused = "error of the daemon"
	exitUnknown = "unknown topic or channel"
	exitAtStart = "interrupted at the start"
	exitMiddle  = "interrupted in the middle"
	exitJQ      = "failing --jq"
	exitFull    = "full disk"
	exitGone    = "closed pipe"
)

// exitCodes are exit codes, by the ways in which a command ends. A way that is not in them
// cannot be had, or is tested elsewhere.
type exitCodes map[string]int

// with returns the codes with others in their place.
func (c exitCodes) with(others exitCodes) exitCodes {
	c = maps.Clone(c)
	maps.Copy(c, others)
	return c
}

var (
	// A command that does not get a result fails.
	exitOnce = exitLocal.with(exitCodes{
		exitDead: exitFailure, exitRefused: exitFailure, exitUnknown: exitFailure, exitAtStart: exitFailure, exitMiddle: exitFailure,
	})
	// A command that creates what is unknown.
	exitCreates = exitOnce.with(exitCodes{exitUnknown: exitOK})
	// A command that runs until Ctrl-C does so without daemons as well.
	exitRuns = exitLocal.with(exitCodes{exitDead: exitOK, exitRefused: exitOK, exitMiddle: exitOK})
	// A command that Ctrl-C only ends early prints what it has.
	exitEndless = exitOnce.with(exitCodes{exitAtStart: exitOK, exitMiddle: exitOK})
	// A check has the codes of Nagios.
	exitCheck = exitCodes{
		exitWorks: checkOK, exitDead: checkUnknown, exitRefused: checkUnknown, exitUnknown: checkCritical, exitAtStart: checkUnknown,
		exitMiddle: checkUnknown, exitJQ: checkUnknown, exitFull: checkUnknown, exitGone: checkUnknown,
	}
	exitCheckDaemons = exitCheck.with(exitCodes{exitDead: checkCritical, exitRefused: checkCritical})
	// A command that needs no daemon.
	exitLocal = exitCodes{exitWorks: exitOK, exitAtStart: exitOK, exitJQ: exitFailure, exitFull: exitFailure, exitGone: exitFailure}
)

// exitCase is a command line, and how it ends.
type exitCase struct {
	// line has HTTP, TCP and TO for addresses of daemons, ID for the id of a message, and DIR
	// for a directory as nsqd has one.
	line  string
	codes exitCodes
	lines bool          // it prints a JSON document on each line, as its help says
	runs  time.Duration // it runs until Ctrl-C, which comes when it has written something, or after this time; 0 if it ends by itself
}

// exitSoon is longer than what a command usually takes to write something, if it does.
const exitSoon = 300 * time.Millisecond

// exitCases are all commands that print data.
var exitCases = []exitCase{
	{line: "bench latency --nsqd TCP --duration 10ms --warmup 0 --rate 100", codes: exitOnce},
	{line: "bench latency t --nsqd TCP --nsqd-http HTTP --duration 10ms --warmup 0 --rate 100", codes: exitOnce.with(exitCodes{exitUnknown: exitOK})},
	{line: "bench pub --nsqd TCP -n 1", codes: exitOnce},
	{line: "bench sub t --nsqd TCP --channel c -n 1", codes: exitEndless},
	{line: "bench sub t --nsqd TCP --nsqd-http HTTP --duration 100ms", codes: exitEndless.with(exitCodes{exitUnknown: exitOK})},
	{line: "broker", codes: exitLocal.with(exitCodes{exitAtStart: exitFailure}), runs: exitSoon},
	{line: "channel create t c --nsqd-http HTTP", codes: exitCreates},
	{line: "channel delete t c --nsqd-http HTTP --yes", codes: exitOnce},
	{line: "channel describe t c --nsqd-http HTTP", codes: exitOnce},
	{line: "channel empty t c --nsqd-http HTTP --yes", codes: exitOnce},
	{line: "channel list t --nsqd-http HTTP", codes: exitOnce},
	{line: "channel pause t c --nsqd-http HTTP", codes: exitOnce},
	{line: "channel unpause t c --nsqd-http HTTP", codes: exitOnce},
	{line: "check channel t c --nsqd-http HTTP", codes: exitCheck},
	{line: "check cluster --nsqd-http HTTP", codes: exitCheckDaemons},
	{line: "check nsqd --nsqd-http HTTP", codes: exitCheckDaemons},
	{line: "check topic t --nsqd-http HTTP", codes: exitCheck},
	{line: "copy t --nsqd TCP --channel c --to TO", codes: exitRuns, runs: exitSoon},
	{line: "dead drop t --all --channel c --nsqd-http HTTP --yes", codes: exitOnce},
	{line: "dead list --nsqd-http HTTP", codes: exitOnce},
	{line: "dead list t --channel c --nsqd-http HTTP", codes: exitOnce},
	{line: "dead replay t --all --to r --channel c --nsqd-http HTTP", codes: exitOnce},
	{line: "dead show t ID --channel c --nsqd-http HTTP", codes: exitOnce},
	{line: "demo --messages 1 --nsqds 1", codes: exitLocal.with(exitCodes{exitAtStart: exitFailure})},
	{line: "doctor --nsqd-http HTTP --for 500ms", codes: exitOnce.with(exitCodes{exitWorks: exitFailure})},
	{line: "exporter --nsqd-http HTTP --listen 127.0.0.1:0", codes: exitRuns, runs: exitSoon},
	{line: "node config max-rdy-count --nsqd-http HTTP", codes: exitOnce},
	{line: "node list --nsqd-http HTTP", codes: exitOnce},
	{line: "peek t --nsqd-http HTTP --for 100ms", codes: exitEndless.with(exitCodes{exitUnknown: exitOK, exitJQ: exitOK, exitFull: exitOK, exitGone: exitOK}), lines: true},
	{line: "peek t c --backlog --yes --nsqd-http HTTP -n 1", codes: exitOnce.with(exitCodes{exitGone: exitOK}), lines: true},
	{line: "peek --data-dir DIR", codes: exitLocal},
	{line: "profile list", codes: exitLocal},
	{line: "profile show", codes: exitLocal},
	{line: "pub t --nsqd TCP --retry-for 0", codes: exitOnce},
	{line: "stat --nsqd-http HTTP --no-rates", codes: exitOnce},
	{line: "tail t --nsqd TCP --channel c -n 1", codes: exitEndless.with(exitCodes{exitGone: exitOK}), lines: true},
	{line: "to-file t --nsqd TCP --channel c --output-dir DIR", codes: exitRuns, runs: exitSoon},
	{line: "to-http t http://HTTP/ --nsqd TCP --channel c", codes: exitEndless, runs: exitSoon},
	{line: "top --plain --every 1s --interval 500ms --nsqd-http HTTP", codes: exitRuns.with(exitCodes{exitGone: exitOK}), lines: true, runs: 10 * exitSoon},
	{line: "topic create t --nsqd-http HTTP", codes: exitCreates},
	{line: "topic delete t --nsqd-http HTTP --yes", codes: exitOnce},
	{line: "topic describe t --nsqd-http HTTP", codes: exitOnce},
	{line: "topic empty t --nsqd-http HTTP --yes", codes: exitOnce},
	{line: "topic list --nsqd-http HTTP", codes: exitOnce},
	{line: "topic pause t --nsqd-http HTTP", codes: exitOnce},
	{line: "topic tombstone t HTTP --lookupd HTTP --yes", codes: exitOnce},
	{line: "topic unpause t --nsqd-http HTTP", codes: exitOnce},
	{line: "version", codes: exitLocal},
}

// printsJSON reports whether a command prints data, as JSON with --json.
func printsJSON(cmd *cobra.Command) bool {
	return cmd.LocalFlags().Lookup("jq") != nil || slices.Contains([]string{"to-file", "to-http"}, cmd.Name())
}

func TestExitsCoverEveryCommand(t *testing.T) {
	has := make(map[*cobra.Command]bool)
	root := newRoot(&app{})
	for _, c := range exitCases {
		cmd, _, err := root.Find(strings.Fields(c.line))
		if err != nil || !printsJSON(cmd) {
			t.Errorf("%s: %v", c.line, err)
		}
		has[cmd] = true
	}
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		if printsJSON(cmd) && !has[cmd] {
			t.Errorf("%s has no line", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(root)
}

// However a command ends, standard output is empty or JSON, an error is one line, and the
// exit code is the right one.
func TestExits(t *testing.T) {
	for _, c := range exitCases {
		t.Run(c.line, func(t *testing.T) {
			t.Parallel()
			for _, end := range []string{exitWorks, exitDead, exitRefused, exitUnknown, exitAtStart, exitMiddle, exitJQ, exitFull, exitGone} {
				if c.has(end) {
					t.Run(end, func(t *testing.T) { c.run(t, end) })
				}
			}
		})
	}
}

// has reports whether a command can end in a way.
func (c *exitCase) has(end string) bool {
	_, ok := c.codes[end]
	switch end {
	case exitUnknown:
		return ok && strings.Contains(c.line, " t ") && strings.Contains(c.line, "-http HTTP")
	case exitJQ:
		cmd, _, _ := newRoot(&app{}).Find(strings.Fields(c.line))
		return ok && cmd.LocalFlags().Lookup("template") != nil // to-http and the like shape nothing
	}
	return ok
}

// run runs a command that ends in a way, and checks what it leaves.
func (c *exitCase) run(t *testing.T, end string) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	interrupt := func() { cancel(errInterrupted) }
	if end == exitAtStart {
		interrupt()
	}
	stdout, stderr := &exitOutput{}, &exitOutput{}
	if c.runs > 0 {
		stdout.wrote, stderr.wrote = interrupt, interrupt
		defer time.AfterFunc(c.runs, interrupt).Stop()
	}
	args := append(strings.Fields(exitDaemons(t, end, interrupt).Replace(c.line)), "--json")
	if end == exitJQ {
		args = append(args[:len(args)-1], "--jq", `error("x")`)
	}
	out := io.Writer(stdout)
	switch end {
	case exitFull:
		out = fullOutput(t)
	case exitGone:
		out = goneOutput(t)
	}
	code := run(ctx, args, strings.NewReader("one\n"), out, stderr)
	if want := c.codes[end]; code != want {
		t.Errorf("exit code %d, want %d; stdout %q, stderr %q", code, want, stdout.String(), stderr.String())
	}
	stdout.expectJSON(t, c.lines)
	if end == exitWorks && stdout.String() == "" && !c.lines { // there may be no message to print
		t.Errorf("no result; stderr %q", stderr.String())
	}
	if stdout.String() == "" || !strings.HasPrefix(c.line, "check") { // the result of a check tells its faults
		stderr.expectError(t, code != exitOK)
	}
}

// exitOutput collects what a command writes.
type exitOutput struct {
	output
	wrote func() // called after each write; nil for nothing
}

func (o *exitOutput) Write(p []byte) (int, error) {
	n, err := o.output.Write(p)
	if o.wrote != nil {
		o.wrote()
	}
	return n, err
}

// expectJSON checks that the output is empty or JSON: one document, or any number of lines.
func (o *exitOutput) expectJSON(t *testing.T, lines bool) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(o.String()))
	for n := 0; ; n++ {
		var v any
		err := d.Decode(&v)
		if errors.Is(err, io.EOF) && (lines || n <= 1) {
			return
		}
		if err != nil {
			t.Errorf("%v: %d documents in %q", err, n, o.String())
			return
		}
	}
}

// exitNotices are in the lines of standard error that tell no failure: what a command is about
// to do, and that it keeps trying.
var exitNotices = []string{
	"time=", " published ", "rdy: what is ", " will be lost", "rdy: peek takes ", "rdy: these are the messages on disk",
	"rdy: creating channel ", "rdy: still trying",
}

// expectError checks that standard error has a single line for a failure.
func (o *exitOutput) expectError(t *testing.T, failed bool) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(o.String()) {
		if !slices.ContainsFunc(exitNotices, func(part string) bool { return strings.Contains(line, part) }) {
			lines = append(lines, line)
		}
	}
	if failed || len(lines) > 0 {
		expectOneLine(t, strings.Join(lines, ""))
	}
}

// fullOutput returns a standard output with no room.
func fullOutput(t *testing.T) io.Writer {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil { // not Linux
		return failingWriter{errors.New("no space left on device")}
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// failingWriter stands for a standard output that the system does not have.
type failingWriter struct{ err error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }

// goneOutput returns a pipe whose reader is gone.
func goneOutput(t *testing.T) io.Writer {
	t.Helper()
	if runtime.GOOS == "windows" { // where writes have errors of its own
		return failingWriter{syscall.EPIPE}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	t.Cleanup(func() { _ = w.Close() })
	return w
}

// exitDaemons starts the daemons with which a command ends in a way, and returns what replaces
// the names of their addresses.
func exitDaemons(t *testing.T, end string, interrupt func()) *strings.Replacer {
	t.Helper()
	d := nsqtest.NewNsqd(t, nsqtest.Options{})
	d.CreateChannel("t", "c")
	id := d.Publish("t", "one")[0]
	tcp, to := d.Addr(), nsqtest.NewNsqd(t, nsqtest.Options{}).Addr()
	topics := `{"topic_name":"t","channels":[{"channel_name":"c","depth":1}]}`
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { exitRespond(w, r, tcp, topics) })
	switch end {
	case exitRefused:
		for _, command := range []string{"SUB", "PUB", "MPUB"} {
			d.Reject(command, "E_INVALID", "no")
		}
		serve = func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"message":"INTERNAL_ERROR"}`, http.StatusInternalServerError)
		}
	case exitUnknown:
		topics = ""
	case exitMiddle:
		tcp = silentListener(t, interrupt)
		serve = func(_ http.ResponseWriter, r *http.Request) {
			interrupt()
			<-r.Context().Done()
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nsqd.dat"), []byte(`{"topics":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(serve)
	t.Cleanup(s.Close)
	address := strings.TrimPrefix(s.URL, "http://")
	if end == exitDead {
		tcp, address = unreachable, unreachable
	}
	return strings.NewReplacer("HTTP", address, "TCP", tcp, "TO", to, "ID", id, "DIR", dir)
}

// silentListener listens, and never responds. It calls connected when a client has connected.
func silentListener(t *testing.T, connected func()) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			connected()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		accepting.Wait()
	})
	return l.Addr().String()
}

// exitRespond responds as an nsqd and an nsqlookupd with some topics.
func exitRespond(w http.ResponseWriter, r *http.Request, tcp, topics string) {
	_, tcpPort, _ := net.SplitHostPort(tcp)
	host, port, _ := net.SplitHostPort(r.Host)
	about := fmt.Sprintf(`"version":"1.3.0","broadcast_address":%q,"tcp_port":%s,"http_port":%s`, host, tcpPort, port)
	switch {
	case r.URL.Path == "/stats":
		_, _ = fmt.Fprintf(w, `{"version":"1.3.0","health":"OK","start_time":1,"topics":[%s]}`, topics)
	case r.URL.Path == "/info":
		_, _ = fmt.Fprintf(w, `{%s,"start_time":1}`, about)
	case r.URL.Path == "/nodes":
		names, stones := `"t"`, "false"
		if topics == "" {
			names, stones = "", ""
		}
		_, _ = fmt.Fprintf(w, `{"producers":[{%s,"topics":[%s],"tombstones":[%s]}]}`, about, names, stones)
	case strings.HasPrefix(r.URL.Path, "/config/"):
		_, _ = io.WriteString(w, "2500")
	case topics == "" && !strings.HasSuffix(r.URL.Path, "/create"):
		http.Error(w, `{"message":"TOPIC_NOT_FOUND"}`, http.StatusNotFound)
	case r.URL.Path == "/ping":
		_, _ = io.WriteString(w, "OK")
	}
}
