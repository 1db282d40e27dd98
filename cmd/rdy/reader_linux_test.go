package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
	"golang.org/x/sys/unix"
)

// A reader that ends after six bytes, as head -c 6 does, costs a channel at most the
// one message that it has begun to read, and no message more than one attempt.
func TestTailIntoHead(t *testing.T) {
	const messages, runs = 300, 5
	c := startCluster(t, 1)
	c.publish(t, 0, "head", "ch", numbered("m", messages)...)
	for range runs {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p := launch(t, write, append(c.flags(), "tail", "head", "--channel", "ch")...)
		_ = write.Close() // the process has its own copy
		if err := read.SetReadDeadline(time.Now().Add(testTimeout)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(read, make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		_ = read.Close()
		if code := p.wait(t); code != exitOK || p.stderr.String() != takesFrom("ch", 1) {
			t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
		}
	}
	stats := c.stats(t, "head")
	left := stats.Depth + stats.InFlight // nsqd may still have to read the last REQ
	if left < messages-runs {
		t.Errorf("%d messages are left, want %d at least", left, messages-runs)
	}
	for id, attempts := range drain(t, c, "head", left) {
		if attempts > 2 {
			t.Errorf("message %s is at attempt %d", id, attempts)
		}
	}
}

// drain consumes n messages of channel "ch" and returns their attempts.
func drain(t *testing.T, c *cluster, topic string, n int) map[nsq.MessageID]uint16 {
	t.Helper()
	attempts := make(map[nsq.MessageID]uint16)
	got := make(chan struct{}, n)
	consumer, err := nsq.NewConsumer(topic, "ch", nsq.NewConfig())
	if err != nil {
		t.Fatal(err)
	}
	consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
		attempts[m.ID] = m.Attempts
		got <- struct{}{}
		return nil
	}))
	if err := consumer.ConnectToNSQD(c.nsqds[0].TCPAddr); err != nil {
		t.Fatal(err)
	}
	timeout := time.After(testTimeout)
	for i := range n {
		select {
		case <-got:
		case <-timeout:
			t.Fatalf("got only %d messages of %d", i, n)
		}
	}
	consumer.Stop()
	<-consumer.StopChan
	return attempts
}

// tail ends with its reader, even if no further message ever comes.
func TestTailEndsWithItsReader(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "quiet", "ch")
	for _, args := range [][]string{{"tail", "quiet", "--channel", "ch"}, {"tail", "quiet"}} {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p := launch(t, write, append(c.flags(), args...)...)
		_ = write.Close()   // the process has its own copy
		if len(args) == 2 { // the channel has to exist before the message does
			await(t, "channel", func() bool { return strings.Contains(channels(t, c), "#ephemeral") })
		}
		c.publish(t, 0, "quiet", "", "m")
		if _, err := io.ReadFull(read, make([]byte, 2)); err != nil {
			t.Fatal(err)
		}
		_ = read.Close()
		if code := p.wait(t); code != exitOK {
			t.Errorf("%v: exit code %d, stderr %q", args, code, p.stderr.String())
		}
	}
}

// A line that lies in a pipe or a socket is not printed yet. Its message is finished
// when the reader takes it, and goes back to nsqd when tail is interrupted before that.
func TestTailLineThatNoOneHasTaken(t *testing.T) {
	c := startCluster(t, 1)
	for name, connect := range map[string]func() (read, write *os.File, err error){"pipe": os.Pipe, "socket": socketPair} {
		t.Run(name, func(t *testing.T) {
			c.publish(t, 0, name, "ch", "m")
			for _, takes := range []bool{false, true} {
				read, write, err := connect()
				if err != nil {
					t.Fatal(err)
				}
				p := launch(t, write, append(c.flags(), "tail", name, "--channel", "ch")...)
				_ = write.Close() // the process has its own copy
				inFlight := channelStats{InFlight: 1, Messages: 1}
				await(t, "line", func() bool { return c.stats(t, name) == inFlight && unreadIn(t, read) == len("m\n") })
				want := channelStats{Depth: 1, Messages: 1}
				if takes {
					if _, err := io.ReadFull(read, make([]byte, 2)); err != nil {
						t.Fatal(err)
					}
					await(t, "ack", func() bool { return c.stats(t, name).InFlight == 0 })
					want = channelStats{Messages: 1}
				}
				p.signal(t)
				if code := p.wait(t); code != exitOK {
					t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
				}
				await(t, fmt.Sprintf("%+v", want), func() bool { return c.stats(t, name) == want })
				_ = read.Close()
			}
		})
	}
}

func socketPair() (read, write *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "read"), os.NewFile(uintptr(fds[1]), "write"), nil
}

// unreadIn returns how many bytes can be read.
func unreadIn(t *testing.T, f *os.File) int {
	t.Helper()
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCINQ)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// startWithClosedOutput starts a process without a standard output.
func (p *process) startWithClosedOutput(t *testing.T) {
	t.Helper()
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	p.Path, p.Args = shell, slices.Concat([]string{"sh", "-c", `exec "$@" >&-`, "sh"}, p.Args)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
}

// With its output closed from the start a command that only prints is no success.
func TestLookClosedOutput(t *testing.T) {
	for _, line := range []string{"stat --no-rates", "topic list"} {
		nsqd := fakeDaemon(t, map[string]string{"/stats": `{"version":"1.3.0","start_time":1}`, "/info": `{"start_time":1}`})
		p := prepare(t, nil, append(strings.Fields(line), "--nsqd-http", nsqd)...)
		p.startWithClosedOutput(t)
		if code := p.wait(t); code != exitFailure || p.stderr.String() != fmt.Sprintf("rdy: %v\n", errClosedAtStart) {
			t.Errorf("%s: exit code %d, stderr %q", line, code, p.stderr.String())
		}
	}
}

// With its output closed from the start a command whose result would be lost does not begin.
func TestResultClosedOutput(t *testing.T) {
	for _, line := range []string{
		"bench pub", "bench sub t --channel ch", "bench latency", "pub t " + os.DevNull + " --json", "copy t --channel ch --to 127.0.0.1:2 --json",
		"to-file t --channel ch --json --output-dir " + t.TempDir(), "to-http t http://127.0.0.1:1/ --channel ch --json",
	} {
		p := prepare(t, nil, append(strings.Fields(line), "--nsqd", unreachable)...)
		p.startWithClosedOutput(t)
		if code := p.wait(t); code != exitFailure || p.stderr.String() != fmt.Sprintf("rdy: %v\n", errClosedAtStart) {
			t.Errorf("%s: exit code %d, stderr %q", line, code, p.stderr.String())
		}
	}
}

// With its output closed from the start tail takes no message.
func TestTailClosedOutput(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "closed", "ch", "m")
	p := prepare(t, nil, append(c.flags(), "tail", "closed", "--channel", "ch", "-n", "1")...)
	p.startWithClosedOutput(t)
	if code := p.wait(t); code != exitFailure || p.stderr.String() != fmt.Sprintf("rdy: %v\n", errClosedAtStart) {
		t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
	}
	if got, want := c.stats(t, "closed"), (channelStats{Depth: 1, Messages: 1}); got != want {
		t.Errorf("nsqd has %+v, want %+v", got, want)
	}
	// Messages may still be discarded on purpose. Cmd opens the null device for writing.
	if code := launch(t, nil, p.Args[5:]...).wait(t); code != exitOK {
		t.Errorf("into %s: exit code %d", os.DevNull, code)
	}
}
