package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rdyhq/nsq/broker"
	"go.uber.org/goleak"
)

// runMainEnv is an environment variable that makes the test binary run main.
// Tests of signals and broken pipes need a process of their own.
const runMainEnv = "RDY_TEST_AS_MAIN"

// testTimeout bounds every wait in the tests. It is far longer than any wait
// takes.
const testTimeout = 2 * time.Minute

func TestMain(m *testing.M) {
	if os.Getenv(runMainEnv) != "" {
		main()
		return
	}
	for _, key := range append(profileKeyNames(), profilesKey) { // no test may touch a cluster of the developer's
		if err := os.Unsetenv(envName(key)); err != nil {
			panic(err)
		}
	}
	_ = os.Setenv(configEnv, filepath.Join(os.TempDir(), "no-such-directory", "rdy.toml"))
	_ = os.Setenv("NO_PROXY", "*") // read once, at the first request
	goleak.VerifyTestMain(m)
}

// output collects what a command writes. A test may read it while the command
// runs.
type output struct {
	mu    sync.Mutex
	data  bytes.Buffer
	wrote chan struct{} // closed at the next write; nil if nothing waits for it
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.wrote != nil {
		close(o.wrote)
		o.wrote = nil
	}
	return o.data.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.data.String()
}

// await waits until the output contains text.
func (o *output) await(t *testing.T, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	for {
		o.mu.Lock()
		if strings.Contains(o.data.String(), text) {
			o.mu.Unlock()
			return
		}
		if o.wrote == nil {
			o.wrote = make(chan struct{})
		}
		wrote := o.wrote
		o.mu.Unlock()
		select {
		case <-wrote:
		case <-ctx.Done():
			t.Fatalf("the output does not contain %q after %v: %q", text, testTimeout, o.String())
		}
	}
}

// await polls until cond is true. cond queries a daemon, which paces the polling.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	for !cond() {
		if ctx.Err() != nil {
			t.Fatalf("no %s after %v", what, testTimeout)
		}
	}
}

// command is a command line running in this process.
type command struct {
	stdout, stderr output
	interrupt      context.CancelCauseFunc
	code           chan int
}

func start(t *testing.T, args ...string) *command {
	t.Helper()
	return startWith(t, strings.NewReader(""), args...)
}

// startWith starts a command with the given standard input.
func startWith(t *testing.T, stdin io.Reader, args ...string) *command {
	t.Helper()
	c := &command{code: make(chan int, 1)}
	ctx, cancel := context.WithCancelCause(t.Context())
	c.interrupt = cancel
	go func() { c.code <- run(ctx, args, stdin, &c.stdout, &c.stderr) }()
	return c
}

// wait waits until the command has ended and returns its exit code.
func (c *command) wait(t *testing.T) int {
	t.Helper()
	// Not t.Context(), which has ended when cleanups run.
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	select {
	case code := <-c.code:
		c.code <- code
		return code
	case <-ctx.Done():
		t.Fatalf("the command still runs after %v; stderr: %s", testTimeout, c.stderr.String())
		return 0
	}
}

// execute runs a command line to its end.
func execute(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return executeWith(t, "", args...)
}

// executeWith runs a command line to its end with the given standard input.
func executeWith(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c := startWith(t, strings.NewReader(stdin), args...)
	code = c.wait(t)
	return code, c.stdout.String(), c.stderr.String()
}

// process is a command line running in a process of its own.
type process struct {
	*exec.Cmd
	stderr output
}

// prepare returns a process that is still to be started.
func prepare(t *testing.T, stdout io.Writer, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.CommandContext(t.Context(), os.Args[0], args...)}
	p.Env = append(os.Environ(), runMainEnv+"=1")
	p.Stdout, p.Stderr = stdout, &p.stderr
	return p
}

func launch(t *testing.T, stdout io.Writer, args ...string) *process {
	t.Helper()
	p := prepare(t, stdout, args...)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *process) signal(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
}

// wait waits until the process has ended and returns its exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	kill := time.AfterFunc(testTimeout, func() { _ = p.Process.Kill() })
	defer kill.Stop()
	_ = p.Wait() // callers check the exit code
	return p.ProcessState.ExitCode()
}

// cluster is the running cluster of a test.
type cluster struct {
	nsqds    []broker.NSQD
	lookupds []string
}

func startCluster(t *testing.T, nsqds int) *cluster {
	t.Helper()
	b, err := broker.Start(t.Context(), broker.Options{NSQDs: nsqds, Lookupds: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &cluster{nsqds: b.NSQDs(), lookupds: b.LookupdHTTPAddrs()}
}

// flags returns the --nsqd flags for all nsqds.
func (c *cluster) flags() []string {
	var flags []string
	for _, n := range c.nsqds {
		flags = append(flags, "--nsqd", n.TCPAddr)
	}
	return flags
}

// allFlags returns the --nsqd and --nsqd-http flags for all nsqds.
func (c *cluster) allFlags() []string { return append(c.flags(), c.httpFlags()...) }

func post(t *testing.T, httpAddr, path, body string) {
	t.Helper()
	resp, err := statsClient.Post("http://"+httpAddr+path, "", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		t.Fatalf("POST %s: %s %s", path, resp.Status, body)
	}
}

// publish creates the topic and, unless its name is empty, the channel on the i-th
// nsqd, and publishes the bodies there.
func (c *cluster) publish(t *testing.T, i int, topic, channel string, bodies ...string) {
	t.Helper()
	addr := c.nsqds[i].HTTPAddr
	post(t, addr, "/topic/create?topic="+topic, "")
	if channel != "" {
		post(t, addr, "/channel/create?topic="+topic+"&channel="+channel, "")
	}
	for _, body := range bodies {
		post(t, addr, "/pub?topic="+topic, body)
	}
}

// channelStats holds nsqd's statistics of a channel.
type channelStats struct {
	Depth    int `json:"depth"`
	InFlight int `json:"in_flight_count"`
	Deferred int `json:"deferred_count"`
	Messages int `json:"message_count"`
	Timeouts int `json:"timeout_count"`
}

// stats returns the statistics of the channel "ch", summed over all nsqds.
func (c *cluster) stats(t *testing.T, topic string) channelStats {
	t.Helper()
	var sum channelStats
	for _, n := range c.nsqds {
		resp, err := statsClient.Get("http://" + n.HTTPAddr + "/stats?format=json&topic=" + topic + "&channel=ch")
		if err != nil {
			t.Fatal(err)
		}
		var stats struct {
			Topics []struct{ Channels []channelStats }
		}
		err = json.NewDecoder(resp.Body).Decode(&stats)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range stats.Topics {
			for _, ch := range topic.Channels {
				sum.Depth += ch.Depth
				sum.InFlight += ch.InFlight
				sum.Deferred += ch.Deferred
				sum.Messages += ch.Messages
				sum.Timeouts += ch.Timeouts
			}
		}
	}
	return sum
}

// expectOneLine checks that text is one line that begins with "rdy: ".
func expectOneLine(t *testing.T, text string) {
	t.Helper()
	if !strings.HasPrefix(text, "rdy: ") || strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
		t.Errorf("got %q, want one line that begins with rdy:", text)
	}
}
