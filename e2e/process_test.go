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
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// patience bounds waits in tests that are not about time. It ends a test that hangs, and
// is far longer than any wait takes on a busy machine with a slow disk.
const patience = 2 * time.Minute

// process is a daemon in a child process. It keeps its addresses and its data
// over restarts. Only the test's goroutine may call its methods, which end the
// test when they fail.
type process struct {
	t         testing.TB
	order     order
	tcp, http string
	cmd       *exec.Cmd // nil while the daemon does not run
	stdin     io.Closer // the child exits when it is closed
	log       logBuffer
}

// startProcess starts a daemon. When the test ends it kills the daemon, and
// shows its log if the test failed. tcp and http are the addresses in the
// order.
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

// TCPAddr returns the address for clients: of an nsqd for consumers and
// producers, of an nsqlookupd for nsqds.
func (p *process) TCPAddr() string { return p.tcp }

// HTTPAddr returns the address for HTTP requests.
func (p *process) HTTPAddr() string { return p.http }

// Start starts the daemon, also after Stop or Kill, and returns when it responds.
func (p *process) Start() {
	p.t.Helper()
	if p.cmd != nil {
		p.t.Fatalf("%s is running already", p)
	}
	cmd, stdin, stdout, err := p.command()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		p.t.Fatalf("%s: %v", p, err)
	}
	p.cmd, p.stdin = cmd, stdin

	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if !late.Stop() || err != nil {
		_ = cmd.Process.Kill()
		p.t.Fatalf("%s did not start: %v", p, p.wait())
	}
	if line != readyLine {
		p.t.Fatalf("%s first printed %q, want %q", p, line, readyLine)
	}
	p.get("/ping", nil)
}

// command returns the command that runs the child process, with our ends of its
// standard input and output.
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
	// These tests do not look for data races in nsqd, so a race does not change
	// the child's exit status. Nor does the race detector delay the exit by a
	// second, as it does by default.
	cmd.Env = append(os.Environ(), childEnv+"="+string(text), "GORACE=exitcode=0 atexit_sleep_ms=0")
	cmd.Stderr = &p.log
	if stdin, err = cmd.StdinPipe(); err != nil {
		return nil, nil, nil, err
	}
	stdout, err = cmd.StdoutPipe()
	return cmd, stdin, stdout, err
}

// Stop tells the daemon to exit, as an operator would, and waits until it has.
// An nsqd saves its messages first.
func (p *process) Stop() {
	p.t.Helper()
	child := p.signal(syscall.SIGTERM)
	late := time.AfterFunc(patience, func() { _ = child.Kill() })
	defer late.Stop()
	if err := p.wait(); err != nil {
		p.t.Fatalf("%s did not stop cleanly: %v", p, err)
	}
}

// Kill kills the daemon, so that it loses what it has only in memory.
func (p *process) Kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	err := p.wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Exited() {
		p.t.Fatalf("%s had exited before it was killed: %v", p, err)
	}
}

func (p *process) signal(s os.Signal) *os.Process {
	p.t.Helper()
	if p.cmd == nil {
		p.t.Fatalf("%s is not running", p)
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("%s: %v", p, err)
	}
	return p.cmd.Process
}

// wait waits until the process has exited. It returns an error unless the exit
// status is 0.
func (p *process) wait() error {
	err := p.cmd.Wait()
	p.cmd = nil
	return err
}

// maxLog bounds the memory that the log of a child process takes.
const maxLog = 256 << 10

// logBuffer keeps the end of what a child process logs.
type logBuffer struct {
	mu  sync.Mutex
	log []byte
}

func (b *logBuffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.log = append(b.log, text...); len(b.log) > maxLog {
		b.dropPolls()
		b.log = b.log[max(0, len(b.log)-maxLog/2):]
	}
	return len(text), nil
}

// withoutPolls returns the log without the HTTP requests for stats and the
// like, of which a waiting test makes hundreds.
func (b *logBuffer) withoutPolls() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dropPolls()
	return string(b.log)
}

// dropPolls removes these requests. Callers hold the mutex.
func (b *logBuffer) dropPolls() {
	var log []byte
	for line := range bytes.Lines(b.log) {
		if !bytes.Contains(line, []byte("200 GET /")) {
			log = append(log, line...)
		}
	}
	b.log = log
}

// Ports for daemons lie below the range from which operating systems assign
// ports to outgoing connections. A daemon needs its port again when it restarts.
// If the port came from that range, the system could have assigned it in the
// meantime to a client that keeps dialling the daemon.
const firstPort, ports = 12000, 18000

var nextPort atomic.Uint32

func init() { nextPort.Store(rand.Uint32N(ports)) }

// freeAddr returns a loopback address that nothing listens on and that it has
// not returned before.
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
