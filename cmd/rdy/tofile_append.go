package main

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// errInUse means that another process has locked a file.
var errInUse = errors.New("another process appends to it")

// appendedFile is a file that was there before, or may have been, and whose end is where the
// next bytes go. It is locked.
type appendedFile struct {
	*os.File
	start int64 // size when it was opened
}

// WriteAt writes at the end. That is the offset, unless another program has made the file
// shorter: log rotation may copy a file and then truncate it.
func (f *appendedFile) WriteAt(p []byte, _ int64) (int, error) {
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return 0, err
	}
	return f.Write(p)
}

// Truncate makes the file shorter, never longer.
func (f *appendedFile) Truncate(size int64) error {
	info, err := f.Stat()
	if err != nil || info.Size() <= size {
		return err
	}
	return f.File.Truncate(size)
}

// createOrAppend creates a file, or opens it to append to it. A last line without a delimiter
// gets one: otherwise the next line would become a part of it.
func (t *toFile) createOrAppend(name string) (file, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, fileMode) // #nosec G302 G304 -- umask decides; the user's name
	if err != nil {
		return nil, err
	}
	a := &appendedFile{File: f}
	if err = lockFile(f); err == nil {
		err = a.endLine(t.delimiter)
	}
	if err != nil {
		_ = f.Close()
		return nil, &os.PathError{Op: "append", Path: name, Err: err}
	}
	return a, nil
}

// endLine completes the last line, and notes the size.
func (f *appendedFile) endLine(delimiter []byte) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return err
	}
	end := make([]byte, min(size, int64(len(delimiter))))
	if _, err := f.ReadAt(end, size-int64(len(end))); err != nil {
		return err
	}
	if !bytes.Equal(end, delimiter) {
		n, err := f.Write(delimiter)
		if err != nil {
			return errors.Join(err, f.File.Truncate(size))
		}
		size += int64(n)
	}
	f.start = size
	return nil
}
