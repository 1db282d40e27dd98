package nsqwatermill

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds waits for the nsqd's process.
const patience = time.Minute

// nsqdProcess is a real nsqd in a process of its own, which keeps its address and its
// messages over restarts. Only the nsqd's process runs nsqd, whose own data races are not
// ours.
type nsqdProcess struct {
	dir  string
	port int

	mu    sync.Mutex // guards what follows: the suite may restart the nsqd twice at once
	cmd   *exec.Cmd
	stdin io.Closer // its end ends the process
}

// startNSQD starts an nsqd, which ends with the test and its subtests.
func startNSQD(t *testing.T) *nsqdProcess {
	t.Helper()
	d := &nsqdProcess{dir: t.TempDir(), port: freePort(t)}
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *nsqdProcess) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(d.port)) }

// restartCommand returns a command that restarts the nsqd, and exits when it is back.
func (d *nsqdProcess) restartCommand(t *testing.T) []string {
	t.Helper()
	control := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := d.restart(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	t.Cleanup(control.Close)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{self, restartArg, control.URL}
}

func (d *nsqdProcess) restart() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.stop(); err != nil {
		return err
	}
	return d.start()
}

func (d *nsqdProcess) start() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	// The race detector would delay the exit by a second.
	cmd.Env = append(os.Environ(), nsqdEnv+"="+d.dir, portEnv+"="+strconv.Itoa(d.port), "GORACE=exitcode=0 atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	d.cmd, d.stdin = cmd, stdin
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != readyLine {
		return errors.Join(fmt.Errorf("nsqd printed %q", line), err, d.stop())
	}
	return nil
}

// stop has the nsqd save its messages and exit.
func (d *nsqdProcess) stop() error {
	late := time.AfterFunc(patience, func() { _ = d.cmd.Process.Kill() })
	defer late.Stop()
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // Wait says if it has exited already
	if err := d.cmd.Wait(); err != nil {
		return fmt.Errorf("nsqd: %w", err)
	}
	return nil
}

// freePort returns a port below those that the system assigns to outgoing connections: a
// client that keeps dialling the nsqd could get its port.
func freePort(t *testing.T) int {
	t.Helper()
	const first, ports = 12000, 18000
	begin := rand.IntN(ports)
	for i := range ports {
		port := first + (begin+i)%ports
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}
