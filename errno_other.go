//go:build !windows && !plan9

package nsq

import "syscall"

// connRefused are the errors of a dial that reached a host where no process listens at
// the port. connReset are those of a connection that the peer has closed.
var (
	connRefused = []error{syscall.ECONNREFUSED}
	connReset   = []error{syscall.ECONNRESET, syscall.EPIPE}
)
