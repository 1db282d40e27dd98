package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nsqio/nsq/nsqd"
	"github.com/rdyhq/nsq/broker"
)

// startOnDisk starts an nsqd that keeps all messages on disk, in the directory that it returns.
func startOnDisk(t *testing.T) (c *cluster, dir string, stop func()) {
	t.Helper()
	data := t.TempDir()
	b, err := broker.Start(t.Context(), broker.Options{DataDir: data, Configure: func(_ int, o *nsqd.Options) {
		o.MemQueueSize = 0
		o.MaxBytesPerFile = 2000 // a few dozen messages
		o.SyncEvery = 1
	}})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return &cluster{nsqds: b.NSQDs()}, filepath.Join(data, "nsqd-0"), stop
}

// picture returns the names, times, modes and hashes of the files of a directory.
func picture(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		var data []byte
		if info.Mode().IsRegular() {
			if data, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		all[path] = fmt.Sprintf("%v %v %x", info.Mode(), info.ModTime(), sha256.Sum256(data))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// peek reads the files of a real nsqd while it runs and after it has stopped, and changes
// nothing.
func TestPeekDataDir(t *testing.T) {
	c, dir, stop := startOnDisk(t)
	published := numbered("m", 100)
	c.publish(t, 0, "orders", "billing", published...)
	c.publish(t, 0, "waiting", "", "w")
	await(t, "messages on disk", func() bool {
		_, stdout, _ := execute(t, "peek", "--data-dir", dir, "--jq", `.queues[] | select(.channel == "billing") | .depth`)
		return stdout == "100\n"
	})
	running := func() string {
		code, stdout, stderr := execute(t, "peek", "orders", "billing", "--data-dir", dir)
		if code != exitOK || stderr != "" {
			t.Errorf("exit code %d, stderr %q", code, stderr)
		}
		return stdout
	}
	if want := strings.Join(published[:10], "\n") + "\n"; running() != want {
		t.Errorf("while nsqd runs: %q", running())
	}
	// Three messages are taken, one of them is requeued: it comes last, with two attempts.
	execute(t, append(c.flags(), "tail", "orders", "--channel", "billing", "-n", "3")...)
	execute(t, append(c.httpFlags(), "peek", "orders", "billing", "--backlog", "--yes", "-n", "1")...)
	stop()
	if err := os.Chmod(dir, 0o500); err != nil { // #nosec G302 -- a directory
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) }) // #nosec G302 -- a directory
	before := picture(t, dir)

	code, stdout, stderr := execute(t, "peek", "--data-dir", dir)
	if code != exitOK || !strings.Contains(stderr, "in the memory of") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	var table [][]string
	for line := range strings.Lines(stdout) {
		table = append(table, strings.Fields(line))
	}
	if len(table) != 4 || !slices.Equal(table[1][:3], []string{"orders", "–", "0"}) ||
		!slices.Equal(table[2][:3], []string{"orders", "billing", "97"}) || !slices.Equal(table[3][:3], []string{"waiting", "–", "1"}) {
		t.Errorf("got\n%s", stdout)
	}
	code, stdout, stderr = execute(t, "peek", "orders", "billing", "--data-dir", dir, "-n", "0", "--jq", `"\(.body) \(.attempts) \(has("nsqd"))", (select(.topic != "orders") | .topic)`)
	want := make([]string, 0, len(published))
	for _, body := range published[4:] {
		want = append(want, body+" 0 false")
	}
	got := strings.Split(strings.TrimSpace(stdout), "\n")
	if last := got[len(got)-1]; !strings.HasPrefix(last, published[3]+" ") || code != exitOK || stderr != "" {
		t.Errorf("exit code %d, stderr %q, last line %q", code, stderr, last)
	}
	for i := range got { // nsqd may have read one ahead
		got[i] = strings.Replace(got[i], " 1 false", " 0 false", 1)
	}
	if !slices.Equal(got[:len(got)-1], want) {
		t.Errorf("got %d lines: %v", len(got), got)
	}
	if after := picture(t, dir); !maps.Equal(before, after) {
		t.Errorf("files have changed: %v, before %v", after, before)
	}
}

func TestPeekDataDirFails(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fails := func(want string, args ...string) (stdout string) {
		t.Helper()
		code, stdout, stderr := execute(t, append([]string{"peek", "--data-dir", dir}, args...)...)
		if code != exitFailure || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q, want %q", args, code, stdout, stderr, want)
		}
		return stdout
	}
	fails("it is not the --data-path of an nsqd")
	fails("topic t has no disk queue in "+dir, "t")
	if code, _, stderr := execute(t, "peek", "--data-dir", dir+"/nowhere"); code != exitFailure || !strings.Contains(stderr, "--data-dir "+dir+"/nowhere: ") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	write("nsqd.dat", "{}")
	if code, stdout, _ := execute(t, "peek", "--data-dir", dir, "--json"); code != exitOK || stdout != `{"queues":[]}`+"\n" {
		t.Errorf("exit code %d, stdout %q", code, stdout)
	}
	body := string(make([]byte, 8+2)) + "0123456789abcdef" + "body"
	record := string([]byte{0, 0, 0, byte(len(body))}) + body
	write("t.diskqueue.000000.dat", record+"\xff\xff\xff\xff")
	write("t.diskqueue.meta.dat", "2\n0,0\n0,"+strconv.Itoa(len(record)+4)+"\n")
	want := fmt.Sprintf("%s: t.diskqueue.000000.dat is damaged at offset %d, after 1 messages", dir, len(record))
	if stdout := fails(want, "t"); stdout != "body\n" {
		t.Errorf("got %q", stdout)
	}
	write("u.diskqueue.meta.dat", "x")
	if stdout := fails("u.diskqueue.meta.dat: want a depth", "--jq", `.queues[] | "\(.topic) \(.depth) \(.error)"`); !strings.HasPrefix(stdout, "t 2 null\nu null u.diskqueue.meta.dat: ") {
		t.Errorf("got %q", stdout)
	}
	write("v.diskqueue.meta.dat", "0\n0,0\n0,0\n")
	if code, stdout, stderr := execute(t, "peek", "v", "--data-dir", dir); code != exitOK || stdout != "" || !strings.Contains(stderr, "no message of topic v is on disk") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	write("w.diskqueue.000000.dat", record+record[:9])
	if code, stdout, stderr := execute(t, "peek", "w", "--data-dir", dir); code != exitOK || stdout != "body\n" || !strings.Contains(stderr, "the last 9 bytes") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// While peek reads, nsqd begins and deletes files. peek shows messages in their order, and no
// damage.
func TestPeekDataDirOfBusyNSQD(t *testing.T) {
	c, dir, _ := startOnDisk(t)
	published := numbered("m", 300)
	c.publish(t, 0, "orders", "billing", published...)
	reader := start(t, append(c.flags(), "tail", "orders", "--channel", "billing", "-n", "300")...)
	looks := 0
	for done := false; !done; looks++ {
		done = len(reader.code) > 0
		code, stdout, stderr := execute(t, "peek", "orders", "billing", "--data-dir", dir, "-n", "0")
		if code != exitOK || strings.Contains(stderr, "not a whole message") {
			t.Fatalf("look %d: exit code %d, stderr %q", looks, code, stderr)
		}
		if lines := strings.Fields(stdout); !slices.IsSorted(lines) {
			t.Fatalf("look %d: not in order: %v", looks, lines)
		}
		if code, _, stderr := execute(t, "peek", "--data-dir", dir, "--json"); code != exitOK {
			t.Fatalf("list %d: exit code %d, stderr %q", looks, code, stderr)
		}
	}
	if code := reader.wait(t); code != exitOK || looks < 2 {
		t.Errorf("tail: exit code %d, after %d looks", code, looks)
	}
	t.Logf("%d looks", looks)
}

// An nsqd that stops writes all messages to disk: those in memory, deferred and in flight.
func TestPeekDataDirOfStoppedNSQD(t *testing.T) {
	data := t.TempDir()
	b, err := broker.Start(t.Context(), broker.Options{DataDir: data})
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{nsqds: b.NSQDs()}
	c.publish(t, 0, "orders", "billing", numbered("m", 5)...)
	post(t, c.nsqds[0].HTTPAddr, "/pub?topic=orders&defer=60000", "later")
	post(t, c.nsqds[0].HTTPAddr, "/channel/create?topic=orders&channel=short%23ephemeral", "")
	consumer := consumeSome(t, c.nsqds[0].TCPAddr) // two in flight, one requeued with a delay, one acked
	await(t, "messages in the channel", func() bool {
		_, stdout, _ := execute(t, append(c.httpFlags(), "stat", "orders", "billing", "--no-rates", "--jq",
			`.channels[] | "\(.depth) \(.in_flight) \(.deferred)"`)...)
		return stdout == "1 2 2\n"
	})
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	consumer.Stop()
	<-consumer.StopChan
	code, stdout, stderr := execute(t, "peek", "orders", "billing", "--data-dir", filepath.Join(data, "nsqd-0"))
	got := strings.Fields(stdout)
	slices.Sort(got)
	if code != exitOK || stderr != "" || !slices.Equal(got, []string{"later", "m001", "m002", "m003", "m004"}) {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	code, stdout, _ = execute(t, "peek", "--data-dir", filepath.Join(data, "nsqd-0"), "--jq", `.queues[] | "\(.topic) \(.channel) \(.depth)"`)
	if want := "orders null 0\norders billing 5\n"; code != exitOK || stdout != want {
		t.Errorf("exit code %d, got %q, want %q", code, stdout, want)
	}
}
