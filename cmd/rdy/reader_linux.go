package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// unread returns how many bytes were written that the reader has not taken: 0 if
// Linux does not tell. For a TCP socket it counts the bytes that the other machine has
// not acknowledged.
func (r *reader) unread() int {
	request := uint(unix.SIOCOUTQ)
	if r.isPipe {
		request = unix.TIOCINQ // a pipe tells both its ends how much it holds
	}
	n := 0
	withDescriptor(r.f, func(fd int) {
		if held, err := unix.IoctlGetInt(fd, request); err == nil {
			n = held
		}
	})
	return n
}

// gone reports whether the reader is gone: what is written now cannot be read.
func (r *reader) gone() bool { return r.poll(nil, 0) }

// watch calls gone, on a goroutine of its own, as soon as the reader is gone. The returned
// function ends the watch and waits for the goroutine.
func (r *reader) watch(gone func()) (end func(), err error) {
	wake, wakeWriter, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if r.poll(wake, -1) {
			gone()
		}
	}()
	return func() {
		_ = wakeWriter.Close() // ends the poll
		<-done
		_ = wake.Close()
	}, nil
}

// poll waits until the reader is gone, the other end of wake is closed, or the timeout in
// milliseconds is over; -1 is none. It reports whether the reader is gone.
func (r *reader) poll(wake *os.File, timeout int) (gone bool) {
	withDescriptor(r.f, func(fd int) {
		fds := []unix.PollFd{{Fd: int32(fd)}} // #nosec G115 -- a descriptor. POLLERR and POLLHUP need no asking.
		if wake != nil {
			fds = append(fds, unix.PollFd{Fd: int32(wake.Fd()), Events: unix.POLLIN}) // #nosec G115 -- as above
		}
		for {
			if _, err := unix.Poll(fds, timeout); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		gone = fds[0].Revents != 0
	})
	return gone
}
