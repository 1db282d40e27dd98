package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// While the disk is full nothing is finished, nothing is delivered again, and one line says
// so. When there is room again, it goes on where it was.
func TestToFileFullDisk(t *testing.T) {
	inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
		s.t.filename, s.t.syncInterval = "f<REV>", time.Second
		s.start()
		s.nsqd.Publish("t", "before")
		s.sleep(2 * time.Second)
		s.disk.failWith(full)
		s.nsqd.Publish("t", numbered("m", 50)...)
		s.sleep(10 * time.Minute)
		st := s.nsqd.Stats("t", "ch")
		if st.Finished != 1 || st.InFlight != 10 || st.Delivered != 11 || st.TimedOut != 0 || st.Requeued != 0 {
			s.Errorf("while the disk is full: %+v", st)
		}
		line := s.stderr.String()
		expectOneLine(s.T, line)
		if !strings.Contains(line, "f-000000: no space left on device") {
			s.Errorf("stderr is %q", line)
		}
		s.disk.failWith(nil)
		s.sleep(20 * time.Second)
		if n := s.finished(); n != 51 {
			s.Errorf("%d messages are finished, want 51", n)
		}
		s.expectFiles(map[string]string{"f-000000": "before\n" + strings.Join(numbered("m", 50), "\n") + "\n"})
		if !strings.Contains(s.stderr.String(), "files are written again") {
			s.Errorf("stderr is %q", s.stderr.String())
		}
		if err := s.stop(); err != nil {
			s.Error(err)
		}
	})
}

// When nsqd allows no more touches, it delivers the messages again. They do not pile up
// in memory, and the lines are not written twice.
func TestToFileFullDiskForLong(t *testing.T) {
	inFileScene(t, nsqtest.Options{MaxMsgTimeout: 2 * time.Minute}, func(s *fileScene) {
		s.t.filename = "f<REV>"
		s.disk.failWith(full)
		s.start()
		published := numbered("m", 5)
		s.nsqd.Publish("t", published...)
		s.sleep(time.Hour)
		if st := s.nsqd.Stats("t", "ch"); st.Finished != 0 || st.Depth+st.InFlight != 5 || st.Delivered > 5*31 {
			s.Errorf("after an hour: %+v", st)
		}
		s.disk.failWith(nil)
		s.sleep(time.Minute)
		if err := s.stop(); err != nil {
			s.Error(err)
		}
		lines := strings.Fields(s.files(s.t.outputDir)["f-000000"])
		slices.Sort(lines)
		if !slices.Equal(lines, published) {
			s.Errorf("lines %v", lines)
		}
		if n := strings.Count(s.stderr.String(), "cannot write"); n != 1 {
			s.Errorf("stderr is %q", s.stderr.String())
		}
	})
}

// A stop while the disk is full gives everything back, and says so.
func TestToFileStopsWhileFull(t *testing.T) {
	for _, exit := range []bool{false, true} {
		inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
			s.t.exitOnError = exit
			s.disk.failWith(full)
			s.start()
			s.nsqd.Publish("t", "one", "two")
			s.sleep(40 * time.Second)
			if !exit {
				s.end(errInterrupted)
			}
			err := <-s.done
			if err == nil || !strings.Contains(err.Error(), "2 messages requeued") || !strings.Contains(err.Error(), "no space left") {
				s.Errorf("--exit-on-error %v: error %v", exit, err)
			}
			s.sleep(2 * time.Second)
			if st := s.nsqd.Stats("t", "ch"); st.Depth != 2 || st.Finished != 0 || st.Requeued != 2 {
				s.Errorf("nsqd has %+v", st)
			}
			s.expectFiles(map[string]string{})
		})
	}
}

// Trouble that several topics have is told once, and so is its end.
func TestToFileTellsTroubleOnce(t *testing.T) {
	inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
		s.t.topics = []string{"t", "u", "v"}
		s.t.syncInterval = time.Second
		s.disk.failWith(full)
		s.start()
		for _, topic := range s.t.topics {
			s.nsqd.Publish(topic, "m")
		}
		s.sleep(time.Minute)
		expectOneLine(s.T, s.stderr.String())
		s.disk.failWith(nil)
		s.sleep(time.Minute)
		if n := strings.Count(s.stderr.String(), "\n"); n != 2 {
			s.Errorf("stderr is %q", s.stderr.String())
		}
		if err := s.stop(); err != nil {
			s.Error(err)
		}
	})
}

// A file that another program takes away, as logrotate does before it sends SIGHUP, holds
// nothing up.
func TestToFileTakenAway(t *testing.T) {
	for _, work := range []string{"", ".work"} {
		inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
			s.t.filename, s.t.syncInterval = "f<REV>", time.Second
			s.t.workDir = s.t.outputDir + work
			s.start()
			s.nsqd.Publish("t", "one")
			s.sleep(2 * time.Second)
			if err := os.Rename(s.t.workDir+"/f-000000", s.t.workDir+"/f.1"); err != nil {
				s.Fatal(err)
			}
			s.t.hangups.pass(syscall.SIGHUP)
			s.nsqd.Publish("t", "two")
			s.sleep(2 * time.Second)
			if err := s.stop(); err != nil {
				s.Error(err)
			}
			got := s.files(s.t.outputDir)
			if moved := s.files(s.t.workDir)["f.1"]; moved != "one\n" || got["f-000001"] != "two\n" {
				s.Errorf("files %v, and %q was taken away", got, moved)
			}
		})
	}
}

// A complete file that cannot be moved stays in the work directory, and the command tries
// again. Messages are written meanwhile.
func TestToFileCannotMove(t *testing.T) {
	inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
		s.t.filename, s.t.syncInterval, s.t.workDir = "%M<REV>", time.Second, s.t.outputDir+".work"
		if err := errors.Join(makeDirs(filepath.Dir(s.t.outputDir)), os.WriteFile(s.t.outputDir, nil, fileMode)); err != nil {
			s.Fatal(err)
		}
		s.start()
		for _, body := range []string{"one", "two", "three"} {
			s.nsqd.Publish("t", body)
			s.sleep(time.Minute)
		}
		if n := s.finished(); n != 3 {
			s.Errorf("%d messages are finished, want 3", n)
		}
		expectOneLine(s.T, s.stderr.String())
		if s.disk.open > 1 {
			s.Errorf("%d files are open, want only the one that is written to", s.disk.open)
		}
		if err := os.Remove(s.t.outputDir); err != nil {
			s.Fatal(err)
		}
		s.sleep(2 * time.Second)
		if got := s.files(s.t.outputDir); len(got) < 2 || !strings.Contains(s.stderr.String(), "completed again") {
			s.Errorf("files %v, stderr %q", got, s.stderr.String())
		}
		if err := s.stop(); err != nil || len(s.files(s.t.outputDir)) != 3 || len(s.files(s.t.workDir)) != 0 {
			s.Errorf("files %v and %v, error %v", s.files(s.t.outputDir), s.files(s.t.workDir), err)
		}
	})
}

// Files that could not be moved may be what fills the disk. Once they can be moved, there
// is room again.
func TestToFileMovesWhileFull(t *testing.T) {
	inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
		s.t.filename, s.t.syncInterval, s.t.workDir = "%M<REV>", time.Second, s.t.outputDir+".work"
		if err := errors.Join(makeDirs(filepath.Dir(s.t.outputDir)), os.WriteFile(s.t.outputDir, nil, fileMode)); err != nil {
			s.Fatal(err)
		}
		first := time.Now().Format("04") + "-000000"
		s.start()
		s.nsqd.Publish("t", "one")
		s.sleep(time.Minute + 2*time.Second)
		s.disk.failWith(func(string) error {
			if _, err := os.Lstat(filepath.Join(s.t.workDir, first)); err == nil {
				return syscall.ENOSPC
			}
			return nil
		})
		s.nsqd.Publish("t", "two")
		s.sleep(time.Minute)
		if n := s.finished(); n != 1 {
			s.Errorf("%d messages are finished, want 1", n)
		}
		if err := os.Remove(s.t.outputDir); err != nil {
			s.Fatal(err)
		}
		s.sleep(time.Minute)
		if n, got := s.finished(), s.files(s.t.outputDir); n != 2 || got[first] != "one\n" {
			s.Errorf("%d messages are finished, want 2; files %v", n, got)
		}
		if err := s.stop(); err != nil {
			s.Error(err)
		}
	})
}

// One file that cannot be moved does not hold up the others.
func TestToFileMovesTheOthers(t *testing.T) {
	inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
		s.t.filename, s.t.syncInterval, s.t.workDir = "%M/f<REV>", time.Second, s.t.outputDir+".work"
		begin := time.Now()
		blocked := filepath.Join(s.t.outputDir, begin.Format("04"))
		if err := errors.Join(makeDirs(s.t.outputDir), os.WriteFile(blocked, nil, fileMode)); err != nil {
			s.Fatal(err)
		}
		s.start()
		s.nsqd.Publish("t", "one")
		s.sleep(time.Minute)
		s.nsqd.Publish("t", "two")
		s.sleep(time.Minute + 2*time.Second)
		second := begin.Add(time.Minute).Format("04") + "/f-000000"
		if got := s.files(s.t.outputDir); got[second] != "two\n" {
			s.Errorf("files %v, want %s", got, second)
		}
		if err := s.stop(); err == nil {
			s.Error("no error, and a file is left in the work directory")
		}
	})
}

// With auto_touch a message's context has a deadline that lies far behind its lease.
func TestToFileFullDiskWithAutoTouch(t *testing.T) {
	inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
		s.t.client.settings = settings{"auto_touch,10m"}
		s.disk.failWith(full)
		s.start()
		s.nsqd.Publish("t", "one", "two")
		s.sleep(10 * time.Minute)
		if st := s.nsqd.Stats("t", "ch"); st.Delivered != 2 || st.TimedOut != 0 {
			s.Errorf("nsqd has %+v", st)
		}
		s.disk.failWith(nil)
		s.sleep(time.Minute)
		if err := s.stop(); err != nil {
			s.Error(err)
		}
	})
}

// A topic may be named "..". Its files must not leave the output directory.
func TestToFileHostileTopic(t *testing.T) {
	inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
		lookupd := nsqtest.NewLookupd(s.T, nsqtest.LookupdOptions{Network: s.net, Addr: "lookupd:4161"})
		s.t.topics, s.t.nsqds, s.t.filename = nil, nil, "<TOPIC>/f<REV>"
		s.t.lookupds, s.t.pattern = []string{lookupd.Addr()}, regexp.MustCompile("")
		s.t.lookupdClient, s.t.outputDir = s.net.HTTPClient(), filepath.Join(s.t.outputDir, "deep")
		s.t.workDir = s.t.outputDir
		for _, topic := range []string{"..", "tame"} {
			s.nsqd.CreateChannel(topic, "ch")
			s.nsqd.Publish(topic, "m of "+topic)
			lookupd.Register(topic, s.nsqd.Addr())
		}
		s.start()
		s.sleep(31 * time.Second)
		if err := s.stop(); err != nil {
			s.Error(err)
		}
		if got := s.files(filepath.Dir(s.t.outputDir)); len(got) != 1 || got["deep/tame/f-000000"] != "m of tame\n" {
			s.Errorf("files %q", got)
		}
		if !strings.Contains(s.stderr.String(), "leaving topic .. alone") {
			s.Errorf("stderr is %q", s.stderr.String())
		}
	})
}

// A long sync does not let leases end.
func TestToFileSlowSync(t *testing.T) {
	inFileScene(t, nsqtest.Options{MsgTimeout: time.Second}, func(s *fileScene) {
		s.disk.failWith(func(op string) error {
			if op == "sync" {
				time.Sleep(20 * time.Second) //nolint:forbidigo // inside a synctest bubble
			}
			return nil
		})
		s.start()
		s.nsqd.Publish("t", numbered("m", 25)...)
		s.sleep(2 * time.Minute)
		if st := s.nsqd.Stats("t", "ch"); st.Finished != 25 || st.Delivered != 25 {
			s.Errorf("nsqd has %+v", st)
		}
		if err := s.stop(); err != nil {
			s.Error(err)
		}
	})
}

// A compressed file that could not get its first frame gets it later.
func TestToFileEmptyFileOnAFullDisk(t *testing.T) {
	inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
		s.t.filename, s.t.emptyFiles, s.t.compression = "f<REV>", true, compressGzip
		s.disk.failWith(func(op string) error {
			if op == "write" {
				return syscall.ENOSPC
			}
			return nil
		})
		s.start()
		s.sleep(time.Minute)
		expectOneLine(s.T, s.stderr.String())
		s.disk.failWith(nil)
		s.sleep(time.Minute)
		if err := s.stop(); err != nil {
			s.Error(err)
		}
		if info, err := os.Stat(s.t.outputDir + "/f-000000.gz"); err != nil || info.Size() == 0 {
			s.Errorf("no file, or one without a frame: %v", err)
		}
		s.expectFiles(map[string]string{"f-000000.gz": ""})
	})
}
