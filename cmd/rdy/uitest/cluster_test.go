//go:build linux

package uitest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// interval is the time between two polls.
const interval = 500 * time.Millisecond

// rdy is the program, which TestMain builds.
var rdy string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "uitest")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// All that browsers write comes into dir, and all processes have it in their environment.
	if err := os.Setenv("TMPDIR", dir); err != nil {
		return 0, err
	}
	rdy = filepath.Join(dir, "rdy")
	build := exec.Command("go", "build", "-o", rdy, ".")
	build.Dir, build.Env = "..", append(os.Environ(), "GOWORK=")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	code := m.Run()
	return code, gone("TMPDIR=" + dir)
}

// gone waits until no process but this one has a variable in its environment. It returns an error
// if some have it after 5 s.
func gone(variable string) error {
	var left []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); pause(50 * time.Millisecond) {
		left = nil
		environments, err := filepath.Glob("/proc/[0-9]*/environ")
		if err != nil {
			return err
		}
		for _, path := range environments {
			environment, _ := os.ReadFile(path) // it may be gone, or that of another user
			if path != fmt.Sprintf("/proc/%d/environ", os.Getpid()) && bytes.Contains(environment, []byte(variable+"\x00")) {
				command, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
				left = append(left, strings.ReplaceAll(string(command), "\x00", " "))
			}
		}
		if len(left) == 0 {
			return nil
		}
	}
	return fmt.Errorf("processes are left: %q", left)
}

// process is a running rdy. It is killed when the test ends.
type process struct {
	*testing.T
	cmd  *exec.Cmd
	kill func()
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startCommand(t, exec.Command(rdy, args...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // if this process ends first
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{T: t, cmd: cmd}
	p.kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%v: %s", cmd.Args[1:], stderr.String())
		}
	})
	return p
}

func (p *process) signal(s os.Signal) {
	p.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.Fatal(err)
	}
}

func (p *process) hold() { p.signal(syscall.SIGSTOP) }
func (p *process) goOn() { p.signal(syscall.SIGCONT) }

// patience is how long a test waits for something. Polls are rare on a busy machine, and some
// things take several of them.
const patience = time.Minute

// await waits until ok returns true. It fails the test if that takes too long.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); pause(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %v", what, patience)
		}
	}
}

// pause waits. A browser and an nsqd have the clock of the machine.
func pause(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // see above

// freePort returns a port that nothing listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// nsqd is an nsqd of its own process.
type nsqd struct {
	*process
	TCP  string `json:"tcp"`
	HTTP string `json:"http"`
}

func startNSQD(t *testing.T) *nsqd {
	t.Helper()
	cmd := exec.Command(rdy, "broker", "--nsqds", "1", "--json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := startCommand(t, cmd)
	var said struct {
		NSQDs []nsqd `json:"nsqds"`
	}
	if err := json.NewDecoder(out).Decode(&said); err != nil || len(said.NSQDs) != 1 {
		t.Fatalf("broker: %v", err)
	}
	n := said.NSQDs[0]
	n.process = p
	return &n
}

// post sends a request to an nsqd.
func (n *nsqd) post(path, body string) {
	n.Helper()
	r, err := http.Post("http://"+n.HTTP+path, "", strings.NewReader(body))
	if err != nil {
		n.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	if text, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusOK {
		n.Fatalf("%s: %s %s", path, r.Status, text)
	}
}

// create creates a channel.
func (n *nsqd) create(topic, channel string) {
	n.Helper()
	n.post("/topic/create?topic="+topic, "")
	n.post("/channel/create?topic="+topic+"&channel="+url.QueryEscape(channel), "")
}

// publish publishes n messages.
func (n *nsqd) publish(topic string, count int) {
	n.Helper()
	n.post("/mpub?topic="+topic, strings.Repeat("{\"id\":1}\n", count))
}

// tryPublish publishes count messages, if the nsqd responds.
func (n *nsqd) tryPublish(topic string, count int) {
	if r, err := http.Post("http://"+n.HTTP+"/mpub?topic="+topic, "", strings.NewReader(strings.Repeat("{\"id\":1}\n", count))); err == nil {
		_ = r.Body.Close()
	}
}

// work publishes to a topic 20 times a second until the test ends.
func (n *nsqd) work(topic string) {
	stop := make(chan struct{})
	var working sync.WaitGroup
	working.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				n.tryPublish(topic, 1)
			}
		}
	})
	n.Cleanup(func() { close(stop); working.Wait() })
}

// subscribe subscribes as a client with this name, which takes no messages.
func (n *nsqd) subscribe(topic, channel, name string) {
	n.Helper()
	conn, err := net.Dial("tcp", n.TCP)
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() { _ = conn.Close() })
	identity, err := json.Marshal(map[string]any{"client_id": name, "hostname": name, "user_agent": name})
	if err != nil {
		n.Fatal(err)
	}
	command := binary.BigEndian.AppendUint32([]byte("  V2IDENTIFY\n"), uint32(len(identity)))
	command = fmt.Appendf(append(command, identity...), "SUB %s %s\n", topic, channel)
	if _, err := conn.Write(command); err != nil {
		n.Fatal(err)
	}
}

// site is a running rdy ui.
type site struct {
	*process
	url string
}

// serve starts a page of nsqds, and waits until it has polled them.
func serve(t *testing.T, nsqds []*nsqd, args ...string) *site {
	t.Helper()
	for _, n := range nsqds {
		args = append(args, "--nsqd-http", n.HTTP)
	}
	s := startSite(t, args...)
	await(t, "page", func() bool {
		r, err := http.Get(s.url + "/pulse")
		if err != nil {
			return false
		}
		defer func() { _ = r.Body.Close() }()
		text, _ := io.ReadAll(r.Body)
		return !bytes.Contains(text, []byte(`"at":0,`))
	})
	return s
}

// startSite starts a page.
func startSite(t *testing.T, args ...string) *site {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	args = append([]string{"ui", "--listen", addr, "--name", "test", "--interval", interval.String()}, args...)
	return &site{start(t, args...), "http://" + addr}
}
