package main

import (
	"syscall"
	"time"
)

// exactSleep sleeps for d, or less if a signal arrives. time.Sleep takes a millisecond at
// least where nothing else keeps the process awake, because epoll counts in milliseconds.
// exactSleep occupies a thread.
func exactSleep(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil)
}
