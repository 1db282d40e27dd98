//go:build !linux && !darwin

package broker

import "net"

// sever does nothing: Go code cannot list a process's open files on this
// operating system.
func sever([]net.Addr) int { return 0 }
