package nsq

import "syscall"

// Windows has error numbers of its own for sockets. Go's portable ones, which in-memory
// networks return, differ from them.
const (
	wsaConnAborted = syscall.Errno(10053)
	wsaConnRefused = syscall.Errno(10061)
)

var (
	connRefused = []error{syscall.ECONNREFUSED, wsaConnRefused}
	connReset   = []error{syscall.ECONNRESET, syscall.EPIPE, syscall.WSAECONNRESET, wsaConnAborted}
)
