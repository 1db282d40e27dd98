//go:build unix

package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// closedAtStart reports whether w is a standard output that was closed when the process
// started. Go's runtime opens the null device in its place, for reading and writing. A
// shell's redirection opens it for writing only.
func closedAtStart(w io.Writer) (closed bool) {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	null, err := os.Stat(os.DevNull)
	if err != nil {
		return false
	}
	info, err := f.Stat()
	if err != nil || !os.SameFile(null, info) {
		return err != nil
	}
	withDescriptor(f, func(fd int) {
		var flags int
		flags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0) // #nosec G115 -- a descriptor
		closed = err == nil && flags&unix.O_ACCMODE == unix.O_RDWR
	})
	return closed
}
