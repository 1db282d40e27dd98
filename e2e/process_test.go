package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	// Generous, for machines that are busy with other tests.
	startTimeout = 30 * time.Second
	stopTimeout  = 30 * time.Second
)

// process is a daemon in a child process, over all its restarts, which keep its addresses and its data. Its methods are
// for the goroutine of the test, and end the test when they fail.
type process struct {
	t         testing.TB
	order     order
	tcp, http string
	cmd       *exec.Cmd // nil while the daemon does not run
	stdin     io.Closer // the child's, who ends when it is closed
	log       logBuffer
}

// startProcess starts a daemon that is killed at the end of the test, and whose log is shown if the test failed. The
// addresses are those in the order.
func startProcess(t testing.TB, o order, tcp, http string) *process {
	t.Helper()
	p := &process{t: t, order: o, tcp: tcp, http: http}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s logged:\n%s", p, p.log.withoutPolls())
		}
	})
	t.Cleanup(func() {
		if p.cmd != nil {
			p.Kill()
		}
	})
	p.Start()
	return p
}

func (p *process) String() string { return p.order.daemon() + " " + p.tcp }

// TCPAddr is where clients connect: consumers and producers to an nsqd, nsqds to an nsqlookupd.
func (p *process) TCPAddr() string { return p.tcp }

// HTTPAddr is where the daemon answers HTTP requests.
func (p *process) HTTPAddr() string { return p.http }

// Start starts the daemon again after Stop or Kill and returns when it answers.
func (p *process) Start() {
	p.t.Helper()
	if p.cmd != nil {
		p.t.Fatalf("%s runs already", p)
	}
	cmd, stdin, stdout, err := p.command()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		p.t.Fatalf("%s: %v", p, err)
	}
	p.cmd, p.stdin = cmd, stdin

	late := time.AfterFunc(startTimeout, func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if !late.Stop() || err != nil {
		_ = cmd.Process.Kill()
		p.t.Fatalf("%s does not start: %v", p, p.wait())
	}
	if line != readyLine {
		p.t.Fatalf("%s begins with %q, want %q", p, line, readyLine)
	}
	p.get("/ping", nil)
}

// command prepares the child process, with both ends of its standard input and output.
func (p *process) command() (cmd *exec.Cmd, stdin io.Closer, stdout io.Reader, err error) {
	text, err := json.Marshal(p.order)
	if err != nil {
		return nil, nil, nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, nil, err
	}
	cmd = exec.Command(self)
	// A data race within nsqd is not for these tests to find, so it does not change the child's exit status. Nor does
	// the race detector hold up its end by a second, as it does otherwise.
	cmd.Env = append(os.Environ(), childEnv+"="+string(text), "GORACE=exitcode=0 atexit_sleep_ms=0")
	cmd.Stderr = &p.log
	if stdin, err = cmd.StdinPipe(); err != nil {
		return nil, nil, nil, err
	}
	stdout, err = cmd.StdoutPipe()
	return cmd, stdin, stdout, err
}

// Stop tells the daemon to end, as an operator would, and waits until it has. An nsqd saves its messages.
func (p *process) Stop() {
	p.t.Helper()
	child := p.signal(syscall.SIGTERM)
	late := time.AfterFunc(stopTimeout, func() { _ = child.Kill() })
	defer late.Stop()
	if err := p.wait(); err != nil {
		p.t.Fatalf("%s did not stop well: %v", p, err)
	}
}

// Kill ends the daemon at once, so that it loses what it has only in memory.
func (p *process) Kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	err := p.wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Exited() {
		p.t.Fatalf("%s had ended before it was killed: %v", p, err)
	}
}

func (p *process) signal(s os.Signal) *os.Process {
	p.t.Helper()
	if p.cmd == nil {
		p.t.Fatalf("%s does not run", p)
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("%s: %v", p, err)
	}
	return p.cmd.Process
}

// wait waits until the process is gone and returns how it ended.
func (p *process) wait() error {
	err := p.cmd.Wait()
	p.cmd = nil
	return err
}

// logBuffer collects what a child process logs.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(text)
}

// withoutPolls is the log without the requests for statistics and the like, which a waiting test makes by the hundred.
func (b *logBuffer) withoutPolls() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var log strings.Builder
	for line := range strings.Lines(b.buf.String()) {
		if !strings.Contains(line, "200 GET /") {
			log.WriteString(line)
		}
	}
	return log.String()
}

// Ports for daemons come from below the range that operating systems take ports for outgoing connections from. A daemon
// needs its port again when it restarts, and in that range a client that keeps dialling it could have got it meanwhile.
const firstPort, ports = 12000, 18000

var nextPort atomic.Uint32

func init() { nextPort.Store(rand.Uint32N(ports)) }

// freeAddr returns a loopback address that nothing listens on and that it has not returned before.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range ports {
		port := firstPort + nextPort.Add(1)%ports
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("no free ports")
	return ""
}
