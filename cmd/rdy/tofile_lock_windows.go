package main

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockFile locks a file until it is closed, also against other files of this process. It
// fails with errInUse if the file is locked.
func lockFile(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var locked error
	err = conn.Control(func(fd uintptr) {
		// A byte far behind the end: the lines stay readable for others.
		at := windows.Overlapped{OffsetHigh: 0x7fffffff}
		locked = windows.LockFileEx(windows.Handle(fd), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
	})
	if errors.Is(locked, windows.ERROR_LOCK_VIOLATION) {
		return errInUse
	}
	return errors.Join(err, locked)
}
