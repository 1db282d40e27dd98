package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// readable returns all that can be read of the files in a directory.
func readable(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) { // to-file has renamed or removed it since it was listed
			return nil
		}
		text, _ := decompress(path, data) // a file that was cut off ends with an error
		all.WriteString(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// unfinished returns how many messages of a topic nsqd still has.
func (c *cluster) unfinished(t *testing.T, topic string) int {
	t.Helper()
	st := c.stats(t, topic)
	return st.Depth + st.InFlight + st.Deferred
}

// rdy is killed at any moment, again and again. Each message is in the files.
func TestToFileKilled(t *testing.T) {
	numbered := func(compression string) string {
		return "--work-dir work --compress " + compression + " --rotate-size 20000"
	}
	for _, how := range []string{numbered(compressNone), numbered(compressGzip), numbered(compressZstd), "--append --filename <TOPIC>.log"} {
		t.Run(how, func(t *testing.T) {
			const messages = 20_000
			c := startCluster(t, 1)
			c.publish(t, 0, "killed", "ch")
			bodies := make([]string, messages)
			for i := range bodies {
				bodies[i] = fmt.Sprintf("message-%05d", i)
			}
			for chunk := range slices.Chunk(bodies, 5000) {
				post(t, c.nsqds[0].HTTPAddr, "/mpub?topic=killed", strings.Join(chunk, "\n"))
			}
			dir := t.TempDir()
			args := append(c.flags(), "to-file", "killed", "--channel", "ch", "--output-dir", filepath.Join(dir, "out"),
				"--max-in-flight", "100", "--sync-interval", "100ms", "--set", "msg_timeout,1s")
			args = append(args, strings.Fields(strings.Replace(how, " work ", " "+filepath.Join(dir, "work")+" ", 1))...)
			for left := messages; left > messages/2; {
				p := launch(t, nil, args...)
				left -= messages / 10
				await(t, "progress", func() bool { return c.unfinished(t, "killed") <= left })
				_ = p.Process.Kill()
				p.wait(t)
				left = c.unfinished(t, "killed")
			}
			p := launch(t, nil, args...)
			await(t, "end", func() bool { return c.unfinished(t, "killed") == 0 })
			p.signal(t)
			if code := p.wait(t); code != exitOK {
				t.Errorf("exit code %d, stderr: %s", code, p.stderr.String())
			}
			all := readable(t, dir)
			begin := ""
			if strings.HasPrefix(how, "--append") { // a line that was cut off must not be the beginning of the next
				all, begin = "\n"+all, "\n"
			}
			for _, body := range bodies {
				if !strings.Contains(all, begin+body+"\n") {
					t.Errorf("%s is in no file", body)
				}
			}
		})
	}
}

// The examples of the help do what they say.
func TestToFileExamples(t *testing.T) {
	c := startCluster(t, 1)
	for i, example := range strings.Split(strings.ReplaceAll(toFileExamples, "\\\n", ""), "\n") {
		dir := t.TempDir()
		example = strings.NewReplacer(
			"127.0.0.1:4150", c.nsqds[0].TCPAddr, "nsqlookupd:4161", c.lookupds[0], "archive", "ch",
			"/var/log/nsq", filepath.Join(dir, "out"), "/srv/audit.work", filepath.Join(dir, "work"), "/srv/audit", filepath.Join(dir, "out"), "'", "",
		).Replace(example)
		topic := []string{"orders", "audit.logins"}[i]
		c.publish(t, 0, topic, "ch", "one")
		args := strings.Fields(example)
		p := start(t, append(args[1:], "--sync-interval", "10ms")...)
		await(t, "end", func() bool { return c.unfinished(t, topic) == 0 })
		p.interrupt(errInterrupted)
		if code := p.wait(t); code != exitOK || p.stdout.String() != "" {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", example, code, p.stdout.String(), p.stderr.String())
		}
		if got := readable(t, filepath.Join(dir, "out")); got != "one\n" {
			t.Errorf("%s: the files have %q", example, got)
		}
	}
}

// A file is copied if it cannot be renamed, and no file is replaced.
func TestToFileCopies(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := os.WriteFile(from, []byte("text"), fileMode); err != nil {
		t.Fatal(err)
	}
	if err := copyNew(from, to, syscall.EXDEV); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(to); err != nil || !bytes.Equal(data, []byte("text")) {
		t.Errorf("the copy has %q; error %v", data, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory has %v; error %v", entries, err)
	}
	if err := os.WriteFile(from, []byte("other"), fileMode); err != nil {
		t.Fatal(err)
	}
	if err := copyNew(from, to, syscall.EXDEV); !errors.Is(err, fs.ErrExist) {
		t.Errorf("copied over a file: %v", err)
	}
	if data, err := os.ReadFile(from); err != nil || string(data) != "other" {
		t.Errorf("the file that could not be moved has %q; error %v", data, err)
	}
	err = copyNew(filepath.Join(dir, "none"), filepath.Join(dir, "new"), errors.New("rename failed"))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "rename failed") {
		t.Errorf("got error %v", err)
	}
}

// Two processes may copy to the same name at the same time, from work directories of their
// own. Neither writes to the copy of the other.
func TestToFileCopiesApart(t *testing.T) {
	dir := t.TempDir()
	const copiers = 8
	text := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 1<<20) }
	to := filepath.Join(dir, "to")
	errs := make([]error, copiers)
	var copying sync.WaitGroup
	for i := range copiers {
		from := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(from, text(i), fileMode); err != nil {
			t.Fatal(err)
		}
		copying.Go(func() { errs[i] = copyNew(from, to, syscall.EXDEV) })
	}
	copying.Wait()
	moved := 0
	for i, err := range errs {
		if err != nil {
			if !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
			continue
		}
		moved++
		if data, err := os.ReadFile(to); err != nil || !bytes.Equal(data, text(i)) {
			t.Errorf("the copy of file %d has other bytes; error %v", i, err)
		}
	}
	if moved != 1 {
		t.Errorf("%d files got the name, want 1", moved)
	}
}

func FuzzFilename(f *testing.F) {
	for _, s := range []string{defaultFilename, "<REV>", "%Y/%m/<TOPIC><REV>", "a/../<REV>", "%%<REV>%", "<PID><HOSTNAME><REV>.gz", "%Y.log"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var name filenameFlag
		if name.Set(s) != nil {
			return
		}
		n, err := newNamer(name, "topic", ".gz")
		if err != nil {
			t.Fatal(err)
		}
		got := n.name(time.Unix(1e9, 0))
		if first := withRevision(got, 0); strings.Contains(s, revision) && first == withRevision(got, 1) {
			t.Errorf("%q: <REV> has no effect in %q", s, got)
		} else if !filepath.IsLocal(first) {
			t.Errorf("%q leaves the directory: %q", s, first)
		}
	})
}
