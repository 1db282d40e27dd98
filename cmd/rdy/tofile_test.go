package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/rdyhq/nsq/nsqtest"
)

// fileScene is "rdy to-file" with a fake nsqd, in virtual time, and with a disk that fails
// when told to.
type fileScene struct {
	*testing.T
	net            *nsqtest.Network
	nsqd           *nsqtest.Nsqd
	t              *toFile
	disk           *disk
	stdout, stderr output
	end            context.CancelCauseFunc
	done           chan error
}

// inFileScene runs a test with the topic t and the channel ch.
func inFileScene(t *testing.T, opts nsqtest.Options, test func(s *fileScene)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := &fileScene{T: t, net: nsqtest.NewNetwork(), disk: newDisk()}
		opts.Network = s.net
		s.nsqd = nsqtest.NewNsqd(t, opts)
		s.nsqd.CreateChannel("t", "ch")
		s.t = &toFile{
			app:             &app{stdout: &s.stdout, stderr: &s.stderr, level: defaultLogLevel, hangups: newHangups(nil)},
			sourceAddresses: sourceAddresses{nsqds: []string{s.nsqd.Addr()}}, topics: []string{"t"}, channel: "ch",
			outputDir: filepath.Join(dir, "out"), workDir: filepath.Join(dir, "out"), filename: defaultFilename,
			delimiter: []byte("\n"), compression: compressNone, syncInterval: 30 * time.Second, maxInFlight: 10,
			create: s.disk.create,
		}
		test(s)
		synctest.Wait()
		for _, op := range s.disk.broken {
			t.Error(op)
		}
		if s.disk.open != 0 {
			t.Errorf("%d files are open at the end", s.disk.open)
		}
		if dials, closes := s.net.Dials(), s.net.Closes(); dials != closes {
			t.Errorf("%d connections were dialled, %d closed", dials, closes)
		}
	})
}

// start runs the command.
func (s *fileScene) start() {
	s.Helper()
	if s.t.workDir == "" {
		s.Fatal("no work directory")
	}
	log, _ := s.t.logger()
	cfg, err := s.t.consumerConfig(log)
	if err != nil {
		s.Fatal(err)
	}
	cfg.DialContext = s.net.DialContext
	var ctx context.Context
	ctx, s.end = context.WithCancelCause(s.Context())
	s.done = make(chan error, 1)
	go func() { s.done <- s.t.run(ctx, cfg) }()
	synctest.Wait()
}

// stop stops the command and returns its error.
func (s *fileScene) stop() error {
	s.end(errInterrupted)
	return <-s.done
}

func (s *fileScene) sleep(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // inside a synctest bubble
	synctest.Wait()
}

// files returns the contents of the files in a directory by their names, decompressed.
func (s *fileScene) files(dir string) map[string]string {
	s.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text, err := decompress(path, data)
		if err != nil {
			s.Errorf("%s: %v", path, err)
		}
		rel, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(rel)] = text
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.Fatal(err)
	}
	return files
}

// decompress returns what can be read of a file, and an error if that is not all.
func decompress(name string, data []byte) (string, error) {
	var in io.Reader = bytes.NewReader(data)
	switch {
	case len(data) == 0:
	case strings.HasSuffix(name, ".gz"):
		r, err := gzip.NewReader(in)
		if err != nil {
			return "", err
		}
		in = r
	case strings.HasSuffix(name, ".zst"):
		r, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return "", err
		}
		defer r.Close()
		in = r
	}
	text, err := io.ReadAll(in)
	return string(text), err
}

// expectFiles checks the files of the output directory.
func (s *fileScene) expectFiles(want map[string]string) {
	s.Helper()
	got := s.files(s.t.outputDir)
	for name := range got {
		if _, ok := want[name]; !ok {
			s.Errorf("file %q has %q, and should not exist", name, got[name])
		}
	}
	for name, text := range want {
		if got[name] != text {
			s.Errorf("file %q has %q, want %q", name, got[name], text)
		}
	}
}

func (s *fileScene) finished() int { return s.nsqd.Stats("t", "ch").Finished }

// disk makes files of the test. What is on them after a crash is what was synced.
type disk struct {
	mu     sync.Mutex            // guards the fields below
	fail   func(op string) error // nil means that everything works
	synced map[string][]byte     // by path
	syncs  int
	open   int      // files that are not closed
	broken []string // operations on what was synced
}

func newDisk() *disk { return &disk{synced: make(map[string][]byte)} }

// try returns the error of an operation.
func (d *disk) try(op string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail == nil {
		return nil
	}
	return d.fail(op)
}

// failWith makes operations fail; nil ends that.
func (d *disk) failWith(fail func(op string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fail
}

func full(string) error { return syscall.ENOSPC }

func (d *disk) create(name string) (file, error) {
	if err := d.try("create"); err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f, err := createFile(name)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open++
	return &diskFile{file: f, disk: d, name: name}, nil
}

// keep notes an operation that changes what was synced.
func (f *diskFile) keep(op string, from int64) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if synced := len(f.disk.synced[f.name]); from < int64(synced) {
		f.disk.broken = append(f.disk.broken, fmt.Sprintf("%s of %s from %d on, %d bytes are synced", op, f.name, from, synced))
	}
}

// diskFile is a file of a disk. A write that fails has written a part.
type diskFile struct {
	file
	disk *disk
	name string
}

func (f *diskFile) WriteAt(b []byte, at int64) (int, error) {
	f.keep("write", at)
	if err := f.disk.try("write"); err != nil {
		n, _ := f.file.WriteAt(b[:len(b)/2], at)
		return n, &fs.PathError{Op: "write", Path: f.name, Err: err}
	}
	return f.file.WriteAt(b, at)
}

func (f *diskFile) Sync() error {
	if err := f.disk.try("sync"); err != nil {
		return &fs.PathError{Op: "sync", Path: f.name, Err: err}
	}
	data, err := os.ReadFile(f.name)
	if err != nil {
		return err
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.disk.synced[f.name] = data
	f.disk.syncs++
	return nil
}

func (f *diskFile) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.disk.open--
	return f.file.Close()
}

func (f *diskFile) Truncate(size int64) error {
	f.keep("truncate", size)
	if err := f.disk.try("truncate"); err != nil {
		return &fs.PathError{Op: "truncate", Path: f.name, Err: err}
	}
	return f.file.Truncate(size)
}

// survives reports whether a line can be read from what was synced.
func (d *disk) survives(line string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, data := range d.synced {
		if text, _ := decompress(name, data); strings.Contains(text, line+"\n") {
			return true
		}
	}
	return false
}

// fileAt returns the default name of a file for now.
func fileAt(at time.Time, rev int) string {
	host, _ := os.Hostname()
	short, _, _ := strings.Cut(host, ".")
	return fmt.Sprintf("t.%s-%06d.%s.log", short, rev, at.Format("2006-01-02_15"))
}

// Messages are finished when the sync interval is over, and not before their line is in
// the file.
func TestToFileSyncs(t *testing.T) {
	inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
		s.start()
		s.nsqd.Publish("t", "one", "two")
		s.sleep(29 * time.Second)
		if n := s.finished(); n != 0 || len(s.files(s.t.outputDir)) != 0 {
			s.Errorf("%d messages are finished, files %v", n, s.files(s.t.outputDir))
		}
		s.sleep(2 * time.Second)
		if n := s.finished(); n != 2 {
			s.Errorf("%d messages are finished, want 2", n)
		}
		s.expectFiles(map[string]string{fileAt(time.Now(), 0): "one\ntwo\n"})
		s.nsqd.Publish("t", "three")
		s.sleep(time.Second)
		if err := s.stop(); err != nil {
			s.Error(err)
		}
		if n := s.finished(); n != 3 {
			s.Errorf("%d messages are finished, want 3", n)
		}
		s.expectFiles(map[string]string{fileAt(time.Now(), 0): "one\ntwo\nthree\n"})
		if got, want := s.stderr.String(), "rdy: 3 messages, 14 bytes, written to 1 file\n"; got != want {
			s.Errorf("stderr is %q, want %q", got, want)
		}
	})
}

// When no more messages can come, the writer does not wait for the interval.
func TestToFileSyncsWhenFull(t *testing.T) {
	inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
		s.t.json = true
		s.start()
		s.nsqd.Publish("t", numbered("m", 1000)...)
		s.sleep(time.Second)
		if n := s.finished(); n < 990 || s.disk.syncs > 250 {
			s.Errorf("%d of 1000 messages are finished, with %d syncs", n, s.disk.syncs)
		}
		if err := s.stop(); err != nil {
			s.Error(err)
		}
		s.expectFiles(map[string]string{fileAt(time.Now(), 0): strings.Join(numbered("m", 1000), "\n") + "\n"})
		var r toFileResult
		if err := json.Unmarshal([]byte(s.stdout.String()), &r); err != nil || r.Messages != 1000 || r.Bytes != 5000 || r.Files != 1 {
			s.Errorf("stdout is %q; error %v", s.stdout.String(), err)
		}
	})
}

// One of two nsqds may have all messages. Its share of max_in_flight decides when no more
// can come.
func TestToFileSyncsWhenOneNsqdIsFull(t *testing.T) {
	inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
		idle := nsqtest.NewNsqd(s.T, nsqtest.Options{Network: s.net})
		s.t.nsqds = append(s.t.nsqds, idle.Addr())
		s.start()
		s.nsqd.Publish("t", numbered("m", 200)...)
		s.sleep(5 * time.Second)
		if n := s.finished(); n < 190 {
			s.Errorf("%d of 200 messages are finished after 5 s", n)
		}
		if err := s.stop(); err != nil {
			s.Error(err)
		}
	})
}

// Each message goes to the file of the time when it came, and complete files are moved.
func TestToFileRotatesByName(t *testing.T) {
	for _, compression := range []string{compressNone, compressGzip, compressZstd} {
		inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
			s.t.compression, s.t.level = compression, 1
			s.t.filename = "<TOPIC>/%H/%M<REV>.log"
			s.t.workDir = s.t.outputDir + ".work"
			s.start()
			begin := time.Now()
			s.sleep(50 * time.Second)
			s.nsqd.Publish("t", "before")
			s.sleep(11 * time.Second)
			s.nsqd.Publish("t", "after")
			s.sleep(30 * time.Second)
			frames, err := newFramer(compression, 0)
			if err != nil {
				s.Fatal(err)
			}
			hour := begin.Format("15")
			first, second := "t/"+hour+"/00-000000.log"+frames.suffix, "t/"+hour+"/01-000000.log"+frames.suffix
			s.expectFiles(map[string]string{first: "before\n"})
			if got := s.files(s.t.workDir); len(got) != 1 || got[second] != "after\n" {
				s.Errorf("work directory: %v", got)
			}
			s.sleep(time.Minute) // no message comes, and yet the file is completed
			s.expectFiles(map[string]string{first: "before\n", second: "after\n"})
			if err := s.stop(); err != nil {
				s.Error(err)
			}
		})
	}
}

// No file is larger than asked, unless a single message is.
func TestToFileRotatesBySize(t *testing.T) {
	inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
		s.t.rotateSize, s.t.filename = 10, "f<REV>"
		s.start()
		s.nsqd.Publish("t", "1234", "5678", "abcd", "a line that is longer", "x")
		s.sleep(time.Minute)
		s.expectFiles(map[string]string{
			"f-000000": "1234\n5678\n", "f-000001": "abcd\n", "f-000002": "a line that is longer\n", "f-000003": "x\n",
		})
		_ = s.stop()
	})
}

func TestToFileRotatesByAge(t *testing.T) {
	inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
		s.t.rotateInterval, s.t.filename, s.t.syncInterval = time.Hour, "f<REV>", time.Minute
		s.start()
		for _, body := range []string{"a", "b", "c"} {
			s.nsqd.Publish("t", body)
			s.sleep(40 * time.Minute)
		}
		_ = s.stop()
		s.expectFiles(map[string]string{"f-000000": "a\nb\n", "f-000001": "c\n"})
	})
}

// Files for quiet times are there if asked for, and can be decompressed.
func TestToFileEmptyFiles(t *testing.T) {
	for _, compression := range []string{compressNone, compressGzip, compressZstd} {
		inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
			s.t.compression, s.t.emptyFiles, s.t.filename = compression, true, "%H%M<REV>"
			s.start()
			begin := time.Now()
			s.sleep(2*time.Minute + 31*time.Second)
			_ = s.stop()
			files := s.files(s.t.outputDir)
			for i := range 3 {
				name := begin.Add(time.Duration(i)*time.Minute).Format("1504") + "-000000"
				if !slices.ContainsFunc([]string{"", ".gz", ".zst"}, func(suffix string) bool {
					text, ok := files[name+suffix]
					return ok && text == ""
				}) {
					s.Errorf("%s: no empty file %s in %v", compression, name, files)
				}
			}
		})
	}
}

// A file that exists is neither overwritten nor appended to, in either directory.
func TestToFileOverwritesNothing(t *testing.T) {
	inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
		s.t.filename, s.t.workDir = "f<REV>", s.t.outputDir+".work"
		for path, text := range map[string]string{
			s.t.outputDir + "/f-000000": "old 0", s.t.workDir + "/f-000001": "old 1",
		} {
			if err := errors.Join(makeDirs(filepath.Dir(path)), os.WriteFile(path, []byte(text), fileMode)); err != nil {
				s.Fatal(err)
			}
		}
		s.start()
		s.nsqd.Publish("t", "new")
		s.sleep(31 * time.Second)
		// Another program takes the name meanwhile.
		if err := os.WriteFile(s.t.outputDir+"/f-000002", []byte("other"), fileMode); err != nil {
			s.Fatal(err)
		}
		if err := s.stop(); err != nil {
			s.Error(err)
		}
		s.expectFiles(map[string]string{"f-000000": "old 0", "f-000001": "new\n", "f-000002": "other"})
		if got := s.files(s.t.workDir); len(got) != 1 || got["f-000001"] != "old 1" {
			s.Errorf("work directory: %v", got)
		}
	})
}

// A hangup completes the files. nsq_to_file, with a work directory, dies of the next
// message.
func TestToFileHangup(t *testing.T) {
	inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
		s.t.filename, s.t.workDir = "f<REV>", s.t.outputDir+".work"
		s.start()
		hangUp := func() {
			if !s.t.hangups.pass(syscall.SIGHUP) {
				s.Fatal("the hangup would end the command")
			}
			synctest.Wait()
		}
		hangUp() // without a file
		s.nsqd.Publish("t", "before")
		s.sleep(time.Second)
		hangUp()
		s.expectFiles(map[string]string{"f-000000": "before\n"})
		if n := s.finished(); n != 1 {
			s.Errorf("%d messages are finished, want 1", n)
		}
		hangUp()
		s.nsqd.Publish("t", "after")
		s.sleep(time.Second)
		if err := s.stop(); err != nil {
			s.Error(err)
		}
		s.expectFiles(map[string]string{"f-000000": "before\n", "f-000001": "after\n"})
	})
}

// Topics that match are found at once, and later ones at the next poll.
func TestToFileTopicPattern(t *testing.T) {
	inFileScene(t, nsqtest.Options{}, func(s *fileScene) {
		lookupd := nsqtest.NewLookupd(s.T, nsqtest.LookupdOptions{Network: s.net, Addr: "lookupd:4161"})
		s.t.topics, s.t.nsqds, s.t.filename = nil, nil, "<TOPIC><REV>"
		s.t.lookupds, s.t.pattern = []string{lookupd.Addr()}, regexp.MustCompile("^audit")
		s.t.lookupdClient = s.net.HTTPClient()
		add := func(topic string) {
			s.nsqd.CreateChannel(topic, "ch")
			s.nsqd.Publish(topic, "m of "+topic)
			lookupd.Register(topic, s.nsqd.Addr())
		}
		add("audit.a")
		add("other")
		s.start()
		s.sleep(31 * time.Second)
		s.expectFiles(map[string]string{"audit.a-000000": "m of audit.a\n"})
		add("audit.b")
		s.sleep(2 * time.Minute)
		s.expectFiles(map[string]string{"audit.a-000000": "m of audit.a\n", "audit.b-000000": "m of audit.b\n"})
		lookupd.DeleteTopic("audit.a") // it goes, and comes back
		s.sleep(10 * time.Minute)
		s.nsqd.Publish("audit.a", numbered("m", 100)...)
		lookupd.Register("audit.a", s.nsqd.Addr())
		s.sleep(2 * time.Minute)
		s.expectFiles(map[string]string{
			"audit.a-000000": "m of audit.a\n" + strings.Join(numbered("m", 100), "\n") + "\n", "audit.b-000000": "m of audit.b\n",
		})
		if err := s.stop(); err != nil {
			s.Error(err)
		}
	})
}
