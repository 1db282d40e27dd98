package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal returns both ends of a terminal: what is written to keyboard can be read from
// terminal.
func openTerminal(t *testing.T) (keyboard, terminal *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminal to type at: %v", err)
	}
	t.Cleanup(func() { _ = keyboard.Close() })
	conn, err := keyboard.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var number int
	var failed error
	err = conn.Control(func(fd uintptr) {
		if failed = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); failed == nil {
			number, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err != nil || failed != nil {
		t.Skipf("no terminal to type at: %v, %v", err, failed)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal to type at: %v", err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	return keyboard, terminal
}

// On a terminal only the name lets a destructive action happen.
func TestDestructiveActionAsks(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing")
	args := append(c.httpFlags(), "channel", "delete", "orders", "billing", "--json")
	for _, tc := range []struct {
		typed string
		code  int
		done  int // results
	}{
		{"orders\n", exitFailure, 0},
		{"yes\n", exitFailure, 0},
		{"\n", exitFailure, 0},
		{"\x04", exitFailure, 0},            // the end of the input
		{"billing\x04\x04", exitFailure, 0}, // the same, before Enter
		{" billing\n", exitOK, 1},
	} {
		keyboard, terminal := openTerminal(t)
		p := startWith(t, terminal, args...)
		p.stderr.await(t, "type the name billing to go on")
		if _, err := keyboard.WriteString(tc.typed); err != nil {
			t.Fatal(err)
		}
		code := p.wait(t)
		if r := decode[actionResult](t, p.stdout.String()); code != tc.code || len(r.Results) != tc.done || len(r.Errors) == tc.done {
			t.Errorf("%q: exit code %d, stdout %s, stderr %q", tc.typed, code, p.stdout.String(), p.stderr.String())
		}
	}
}

func TestQuestionInterrupted(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing")
	keyboard, terminal := openTerminal(t)
	p := startWith(t, terminal, append(c.httpFlags(), "topic", "delete", "orders")...)
	p.stderr.await(t, "type the name orders to go on")
	p.interrupt(errInterrupted)
	if code := p.wait(t); code != exitFailure || !strings.Contains(p.stderr.String(), "interrupted") {
		t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
	}
	_, _ = keyboard.WriteString("\n") // ends the read, and with it the goroutine
	if _, stdout, _ := execute(t, append(c.httpFlags(), "topic", "list", "--jq", ".topics[].topic")...); stdout != "orders\n" {
		t.Errorf("topics: %q", stdout)
	}
}

// On a terminal only the topic's name lets letters be dropped. Nothing is changed before.
func TestDeadDropAsks(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, deadOf, "", sealed("one", "x"), sealed("two", "x"))
	for _, tc := range []struct {
		typed   string
		code    int
		dropped int
	}{{"rdy-dead\n", exitFailure, 0}, {"\n", exitFailure, 0}, {deadOf + "\n", exitOK, 2}} {
		keyboard, terminal := openTerminal(t)
		p := startWith(t, terminal, append(c.httpFlags(), "dead", "drop", deadOf, "--all", "--jq", ".dropped")...)
		p.stderr.await(t, "rdy: drop dead letters of topic "+deadOf+": 2 letters will be lost\nrdy: type the name "+deadOf+" to go on")
		if _, err := keyboard.WriteString(tc.typed); err != nil {
			t.Fatal(err)
		}
		code := p.wait(t)
		if tc.dropped == 0 {
			if _, stdout, _ := c.dead(t, "list", "--jq", ".topics[].channels | length"); stdout != "0\n" {
				t.Errorf("%q: %s channels", tc.typed, stdout)
			}
		}
		if p.stdout.String() != fmt.Sprintln(tc.dropped) {
			t.Errorf("%q: stdout %q", tc.typed, p.stdout.String())
		}
		if code != tc.code {
			t.Errorf("%q: exit code %d, stderr %q", tc.typed, code, p.stderr.String())
		}
	}
}
