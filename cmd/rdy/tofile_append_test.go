package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// appending makes the scene's command append to files of a name without a number.
func (s *fileScene) appending() (path string) {
	s.t.appends, s.t.filename, s.t.syncInterval = true, "<TOPIC>.log", time.Second
	s.t.create = s.t.createOrAppend
	if err := os.MkdirAll(s.t.outputDir, 0o700); err != nil {
		s.Fatal(err)
	}
	return filepath.Join(s.t.outputDir, "t.log")
}

// Lines go to the end of a file that exists, also after a hangup. A line that was cut off
// keeps to itself.
func TestToFileAppends(t *testing.T) {
	for before, want := range map[string]string{
		"":         "one\ntwo\n",
		"old\n":    "old\none\ntwo\n",
		"old\ncut": "old\ncut\none\ntwo\n",
		"\n":       "\none\ntwo\n",
	} {
		inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
			path := s.appending()
			if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
				s.Fatal(err)
			}
			s.start()
			s.nsqd.Publish("t", "one")
			s.sleep(2 * time.Second)
			s.t.hangups.pass(syscall.SIGHUP)
			s.sleep(time.Second)
			s.nsqd.Publish("t", "two")
			s.sleep(2 * time.Second)
			if err := s.stop(); err != nil {
				s.Error(err)
			}
			s.expectFiles(map[string]string{"t.log": want})
		})
	}
}

// A file that another process appends to is left alone: the next number, or an error that
// tells why.
func TestToFileAppendsAlone(t *testing.T) {
	dir := t.TempDir()
	a := &toFile{outputDir: dir, workDir: dir, delimiter: []byte("\n")}
	a.create = a.createOrAppend
	first, rev, err := a.openLog("x.log", 0)
	if err != nil || rev != 0 {
		t.Fatal(rev, err)
	}
	if _, _, err := a.openLog("x.log", 0); !errors.Is(err, errInUse) {
		t.Errorf("got error %v", err)
	}
	numbered, _, err := a.openLog("x<REV>", 0)
	if err != nil {
		t.Fatal(err)
	}
	second, rev, err := a.openLog("x<REV>", 0)
	if err != nil || rev != 1 {
		t.Errorf("got revision %d, error %v", rev, err)
	}
	for _, f := range []*logFile{first, numbered, second} {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	}
	again, _, err := a.openLog("x.log", 0)
	if err != nil {
		t.Fatalf("the lock has outlived its file: %v", err)
	}
	_ = again.close()
}

// Full files are passed over, and a file that another program has emptied is gone on with
// from its beginning.
func TestToFileAppendsToTheRightPlace(t *testing.T) {
	dir := t.TempDir()
	a := &toFile{outputDir: dir, workDir: dir, delimiter: []byte("\n"), rotateSize: 4}
	a.create = a.createOrAppend
	for name, text := range map[string]string{"x-000000": "1234", "x-000001": "1\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, rev, err := a.openLog("x<REV>", 0)
	if err != nil || rev != 1 || f.size != 2 {
		t.Fatalf("got revision %d, size %d, error %v", rev, f.size, err)
	}
	defer func() { _ = f.close() }()
	if err := f.append([]byte("2\n")); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(f.path, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.append([]byte("3\n")); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(f.path); err != nil || string(data) != "3\n" {
		t.Errorf("the file has %q; error %v", data, err)
	}
}
