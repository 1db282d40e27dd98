//go:build unix

package main

import (
	"errors"
	"os"
	"syscall"
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
		locked = syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB) // #nosec G115 -- a descriptor
	})
	if errors.Is(locked, syscall.EWOULDBLOCK) {
		return errInUse
	}
	return errors.Join(err, locked)
}
