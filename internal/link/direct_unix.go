//go:build unix

package link

import "syscall"

// writeNow writes to a socket that does not block, and returns how much it took.
var writeNow = func(fd uintptr, data []byte) int {
	for {
		n, err := syscall.Write(int(fd), data) // #nosec G115 -- a file descriptor
		if err != syscall.EINTR {              //nolint:errorlint // Write returns an Errno
			return max(n, 0)
		}
	}
}
