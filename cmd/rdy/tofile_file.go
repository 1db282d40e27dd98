package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// The modes of what is created, before umask.
const (
	dirMode  = 0o777
	fileMode = 0o666
)

// file is the part of an *os.File that log files need. A test's file loses what was not
// synced, and fails.
type file interface {
	io.WriterAt
	io.Closer
	Sync() error
	Truncate(size int64) error
}

// createFile creates a file that does not exist yet.
func createFile(name string) (file, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode) // #nosec G302 G304 -- umask decides; the user's name
	if err != nil {
		return nil, err // not f, which would make an interface that is not nil
	}
	return f, nil
}

// logFile is a file that frames are appended to. It ends with a whole frame, except while
// one is being written, and while the disk does not even let it be shortened.
type logFile struct {
	file
	path   string // in the work directory
	dest   string // in the output directory; may be the same
	name   string // with <REV> in it
	opened time.Time
	size   int64 // of what is synced
	torn   bool  // there may be bytes after size
	closed bool
}

// append writes a frame and syncs it. If that fails, it cuts off what was written: a
// reader finds whole frames only, and the next try begins where this one did. A second
// Sync alone would prove nothing: after a failed one the kernel may have dropped the
// pages that it could not write.
func (f *logFile) append(frame []byte) error {
	if err := f.mend(); err != nil {
		return err
	}
	f.torn = true
	_, err := f.WriteAt(frame, f.size)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		_ = f.mend() // otherwise the next try does it
		return err
	}
	f.size += int64(len(frame))
	f.torn = false
	return nil
}

// mend cuts off what follows the last frame that was synced.
func (f *logFile) mend() error {
	if !f.torn {
		return nil
	}
	if err := f.Truncate(f.size); err != nil {
		return err
	}
	f.torn = false
	return nil
}

// makeDirs creates a directory, and those above it that do not exist. They are found after
// a crash.
func makeDirs(dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: errors.New("is not a directory")}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeDirs(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) { // #nosec G301 -- umask decides
		return err
	}
	return syncDir(parent)
}

// syncDir syncs a directory, so that files that were created in it are found after a
// crash. Windows and some network file systems have no such thing.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir) // #nosec G304 -- a directory of the user's
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// close closes the file. Further calls do nothing.
func (f *logFile) close() error {
	if f.closed {
		return nil
	}
	f.closed = true
	return f.Close()
}

// move moves a complete file to the output directory. If its name is taken there, it gets
// the first one that is free. A file is never replaced.
func (t *toFile) move(f *logFile) error {
	if err := makeDirs(filepath.Dir(f.dest)); err != nil {
		return err
	}
	for rev := 0; ; rev++ {
		err := renameNew(f.path, f.dest)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			err = copyNew(f.path, f.dest, err)
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		f.dest = filepath.Join(t.outputDir, withRevision(f.name, rev))
	}
}

// renameNew renames a file, and fails with fs.ErrExist if there is one of the new name. A
// link is what the operating system refuses in that case. On file systems without links
// another program could create the file between the check and the rename.
func renameNew(from, to string) error {
	err := os.Link(from, to)
	switch {
	case err == nil:
		return removeMoved(from, to)
	case errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrNotExist):
		return err
	}
	if _, err := os.Lstat(to); err == nil {
		return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

// copyNew does what a rename could not do, because of renameErr: the names are most likely
// on different devices. The copy gets its name when it is on disk as a whole. Until then it
// has a name that no other copy has: another process may be moving a file to the same name,
// also from another machine.
func copyNew(from, to string, renameErr error) error {
	part, err := copySynced(from, filepath.Dir(to), "."+filepath.Base(to)+".*.part")
	if err == nil {
		err = renameNew(part, to)
	}
	if err != nil {
		if part != "" {
			_ = os.Remove(part)
		}
		return fmt.Errorf("%w, and copying it failed: %w", renameErr, err)
	}
	return removeMoved(from, to)
}

// removeMoved removes a file that is at its new place as well, when a crash can no longer
// take it away from there. If it cannot, it leaves the old one only: otherwise each further
// try would add another copy.
func removeMoved(from, to string) error {
	err := syncDir(filepath.Dir(to))
	if err == nil {
		err = os.Remove(from)
	}
	if err != nil {
		_ = os.Remove(to)
	}
	return err
}

// copySynced copies a file to a new one in dir, and syncs it. It returns the name of the
// new file, which replaces the "*" in pattern by a random number. It returns that also after
// an error, unless no file was created.
func copySynced(from, dir, pattern string) (name string, err error) {
	in, err := os.Open(from) // #nosec G304 -- a file of this command's
	if err != nil {
		return "", err
	}
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err != nil {
		return "", err
	}
	out, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Chmod(info.Mode().Perm()) // temporary files are private
	}
	if err == nil {
		err = out.Sync()
	}
	return out.Name(), errors.Join(err, out.Close())
}

// openLog creates the first file in the work directory whose name is free there and in the
// output directory, counting <REV> up from rev. It returns the revision as well.
func (t *toFile) openLog(name string, rev int) (*logFile, int, error) {
	for ; ; rev++ {
		rel := withRevision(name, rev)
		f := &logFile{
			path: filepath.Join(t.workDir, rel), dest: filepath.Join(t.outputDir, rel),
			name: name, opened: time.Now(),
		}
		revises := strings.Contains(name, revision)
		if t.moves() {
			if _, err := os.Lstat(f.dest); err == nil {
				continue
			}
		}
		if err := makeDirs(filepath.Dir(f.path)); err != nil {
			return nil, rev, err
		}
		created, err := t.create(f.path)
		if errors.Is(err, fs.ErrExist) || revises && errors.Is(err, errInUse) {
			continue
		}
		if err != nil {
			return nil, rev, err
		}
		f.file = created
		if appended, ok := created.(*appendedFile); ok {
			f.size = appended.start
		}
		if t.rotateSize > 0 && f.size >= t.rotateSize {
			_ = f.Close()
			continue
		}
		if err := syncDir(filepath.Dir(f.path)); err != nil {
			_ = f.Close()
			if f.size == 0 {
				_ = os.Remove(f.path)
			}
			return nil, rev, err
		}
		return f, rev, nil
	}
}

// moves reports whether complete files are moved.
func (t *toFile) moves() bool { return t.workDir != t.outputDir }

// reason returns what went wrong without the names of files, so that the same trouble of
// many files can be told once.
func reason(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		return l.Err.Error()
	}
	return strings.TrimSpace(err.Error())
}
