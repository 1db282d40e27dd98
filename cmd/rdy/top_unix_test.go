//go:build unix

package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
)

// topTerminal is a terminal with "rdy top" in it.
type topTerminal struct {
	*exec.Cmd
	pty    *os.File
	stderr output
	ends   sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	screen  *vt.Emulator
	raw     bytes.Buffer  // all that was written
	changed chan struct{} // closed at the next write
}

// startTop starts "rdy top" in a terminal of 80 columns and 24 lines.
func startTop(t *testing.T, args ...string) *topTerminal {
	t.Helper()
	p := &topTerminal{screen: vt.NewEmulator(80, 24), changed: make(chan struct{})}
	p.Cmd = exec.CommandContext(t.Context(), os.Args[0], args...)
	// With the race detector a process takes a second to exit, and rdy would say that it is
	// still stopping.
	p.Env = append(os.Environ(), runMainEnv+"=1", "TERM=xterm-256color", "GORACE=atexit_sleep_ms=0")
	p.Stderr = &p.stderr
	var err error
	if p.pty, err = pty.StartWithSize(p.Cmd, &pty.Winsize{Cols: 80, Rows: 24}); err != nil {
		t.Fatal(err)
	}
	p.ends.Go(p.read)
	answers := p.screen // what the terminal says to queries
	p.ends.Go(func() { _, _ = io.Copy(p.pty, answers) })
	return p
}

// read shows what the command writes, until it has ended.
func (p *topTerminal) read() {
	buf := make([]byte, 4096)
	for {
		n, err := p.pty.Read(buf)
		p.mu.Lock()
		_, _ = p.screen.Write(buf[:n])
		p.raw.Write(buf[:n])
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (p *topTerminal) text() (text string, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.screen.String(), p.changed
}

// await waits until the screen contains all texts.
func (p *topTerminal) await(t *testing.T, texts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	for {
		text, changed := p.text()
		missing := ""
		for _, want := range texts {
			if !strings.Contains(text, want) {
				missing = want
			}
		}
		if missing == "" {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("the screen lacks %q:\n%s\nstderr: %s", missing, text, p.stderr.String())
		}
	}
}

func (p *topTerminal) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := p.pty.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// finish waits for the end of the command, and checks that it has left the terminal as it was.
func (p *topTerminal) finish(t *testing.T) {
	t.Helper()
	kill := time.AfterFunc(testTimeout, func() { _ = p.Process.Kill() })
	defer kill.Stop()
	_ = p.Wait()
	if code := p.ProcessState.ExitCode(); code != exitOK || p.stderr.String() != "" {
		t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
	}
	_ = p.pty.Close()
	_ = p.screen.InputPipe().(io.Closer).Close()
	p.ends.Wait()
}

// expectRestored checks that the command has left the alternate screen and shows the cursor.
func (p *topTerminal) expectRestored(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	raw := p.raw.String()
	for _, mode := range []struct{ on, off string }{{"\x1b[?1049h", "\x1b[?1049l"}, {"\x1b[?25l", "\x1b[?25h"}} {
		if on, off := strings.LastIndex(raw, mode.on), strings.LastIndex(raw, mode.off); on < 0 || off < on {
			t.Errorf("%q at %d, %q at %d", mode.on, on, mode.off, off)
		}
	}
}

func TestTopOnTerminal(t *testing.T) {
	c := startCluster(t, 2)
	c.publish(t, 0, "orders", "ch", "a", "b", "c")
	c.publish(t, 1, "orders", "ch", "d")
	c.publish(t, 1, "emails", "smtp")
	p := startTop(t, append(c.httpFlags(), "top", "--interval", "500ms", "--name", "test")...)
	p.await(t, "rdy top  test", "2 channels, 1-2", "orders/ch", "1 needs you", "nsqd 2/2")
	p.press(t, "/smtp\r")
	p.await(t, "1 channel like smtp")
	p.press(t, "\x1b")
	p.await(t, "2 channels, 1-2")
	p.press(t, "\r")
	p.await(t, "CLIENT", "no clients", "75 %", "25 %")
	p.press(t, ".\r")
	p.await(t, "Pause orders/ch?")
	p.press(t, "y")
	p.await(t, "orders/ch: paused on 2 nsqds", "unpause")
	p.press(t, ".j\r")
	p.await(t, "Empty orders/ch?", "4 messages will be lost on 2 nsqds", "Type ch to empty it: _")
	p.press(t, "\rc\r")
	p.await(t, "empty it: c_")
	if s := c.stats(t, "orders"); s.Depth != 4 {
		t.Fatalf("depth %d before the name was typed", s.Depth)
	}
	p.press(t, "h\r")
	p.await(t, "orders/ch: emptied on 2 nsqds")
	if s := c.stats(t, "orders"); s.Depth != 0 {
		t.Errorf("depth %d after empty", s.Depth)
	}
	p.resize(t, 132, 30)
	p.press(t, "\x1b")
	p.await(t, "MEM+DISK", "live, every 0.5 s")
	p.resize(t, 20, 5)
	p.await(t, "rdy top  test")
	p.press(t, "q")
	p.finish(t)
	p.expectRestored(t)
}

func (p *topTerminal) resize(t *testing.T, columns, lines int) {
	t.Helper()
	p.mu.Lock()
	p.screen.Resize(columns, lines)
	p.mu.Unlock()
	if err := pty.Setsize(p.pty, &pty.Winsize{Cols: uint16(columns), Rows: uint16(lines)}); err != nil {
		t.Fatal(err)
	}
}

// Ctrl-C, SIGTERM and a closed terminal end the command well.
func TestTopEnds(t *testing.T) {
	// A program that was started under nohup ignores hangups, and so would its children.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	c := startCluster(t, 1)
	for name, end := range map[string]func(p *topTerminal) error{
		"Ctrl-C":  func(p *topTerminal) error { _, err := p.pty.WriteString("\x03"); return err },
		"SIGTERM": func(p *topTerminal) error { return p.Process.Signal(syscall.SIGTERM) },
		"hangup":  func(p *topTerminal) error { return p.pty.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			p := startTop(t, append(c.httpFlags(), "top")...)
			p.await(t, "No topics yet")
			if err := end(p); err != nil {
				t.Fatal(err)
			}
			p.finish(t)
			if name != "hangup" {
				p.expectRestored(t)
			}
		})
	}
}

// NO_COLOR leaves no colours, and a terminal that is none gets no screen.
func TestTopWithoutColours(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "ch", "a")
	t.Setenv("NO_COLOR", "1")
	p := startTop(t, append(c.httpFlags(), "top", "--interval", "500ms", "--ascii")...)
	p.await(t, "^ orphan")
	p.press(t, "q")
	p.finish(t)
	if raw := p.raw.String(); strings.Contains(raw, "\x1b[33m") || strings.Contains(raw, "▲") {
		t.Errorf("colours or marks beyond ASCII: %q", raw)
	}
}

func TestTopOnDumbTerminal(t *testing.T) {
	term, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = term.Close(), tty.Close() }()
	t.Setenv("TERM", "dumb")
	p := prepare(t, tty, "top", "--nsqd-http", "127.0.0.1:1")
	p.Stdin = tty
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(t); code != exitUsage || !strings.Contains(p.stderr.String(), "TERM is dumb") || !strings.Contains(p.stderr.String(), "--plain") {
		t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
	}
}
