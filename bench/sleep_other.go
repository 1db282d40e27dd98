//go:build !linux

package main

import "time"

// exactSleep sleeps for d, as exactly as Go's timers allow.
func exactSleep(d time.Duration) { time.Sleep(d) }
