//go:build unix

package link

import "syscall"

// writeNow writes to a socket that does not block, and returns how much it took. err is one
// that the socket tells once: a later read finds EOF in its place, and a later write EPIPE.
var writeNow = func(fd uintptr, data []byte) (n int, err error) {
	for {
		n, err = syscall.Write(int(fd), data) // #nosec G115 -- a file descriptor
		switch err {
		case nil:
			return n, nil
		case syscall.EINTR:
		case syscall.EAGAIN, syscall.EPIPE:
			return 0, nil
		default:
			return 0, err
		}
	}
}
