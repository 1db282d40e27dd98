//go:build linux || darwin

package broker

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"syscall"
)

// sever shuts down every connection that a daemon of this process has accepted
// at one of addrs, and returns how many it found. A connection counts until the
// goroutine that serves it has closed it. The daemons keep no list of all their
// connections, so sever searches the process's open files.
func sever(addrs []net.Addr) int {
	files, err := os.ReadDir("/dev/fd")
	if err != nil {
		return 0
	}
	open := 0
	for _, file := range files {
		if fd, err := strconv.Atoi(file.Name()); err == nil && accepted(fd, addrs) {
			shutdown(fd, addrs)
			open++
		}
	}
	return open
}

// shutdown shuts down the connection fd. After sever found it, fd may have been
// closed and its number reused. So shutdown duplicates it, and checks the
// duplicate before it acts on it.
func shutdown(fd int, addrs []net.Addr) {
	syscall.ForkLock.RLock()
	dup, err := syscall.Dup(fd)
	if err == nil {
		syscall.CloseOnExec(dup)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return
	}
	defer func() { _ = syscall.Close(dup) }()
	if accepted(dup, addrs) {
		_ = syscall.Shutdown(dup, syscall.SHUT_RDWR) // fails only if the client has closed too
	}
}

// accepted reports whether fd is a connection that was accepted at one of addrs.
func accepted(fd int, addrs []net.Addr) bool {
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return false
	}
	var local netip.AddrPort
	switch name := name.(type) {
	case *syscall.SockaddrInet4:
		local = netip.AddrPortFrom(netip.AddrFrom4(name.Addr), uint16(name.Port))
	case *syscall.SockaddrInet6:
		local = netip.AddrPortFrom(netip.AddrFrom16(name.Addr).Unmap(), uint16(name.Port))
	default:
		return false
	}
	if local.Port() == 0 {
		return false // not bound
	}
	if listening, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN); err != nil || listening != 0 {
		return false
	}
	return slices.ContainsFunc(addrs, func(a net.Addr) bool {
		tcp, ok := a.(*net.TCPAddr)
		if !ok {
			return false
		}
		listener := tcp.AddrPort()
		ip := listener.Addr().Unmap()
		return listener.Port() == local.Port() && (ip == local.Addr() || ip.IsUnspecified())
	})
}
