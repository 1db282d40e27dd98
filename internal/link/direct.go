package link

import "syscall"

// directWriter writes to a socket without waiting for it. Its user calls write by one
// goroutine at a time, and not while another one is in a Write of the socket.
type directWriter struct {
	socket syscall.RawConn
	data   []byte
	n      int
	failed error                 // why a write failed, if the socket tells nobody else
	try    func(fd uintptr) bool // made once, so that write allocates nothing
}

// newDirectWriter returns nil if the platform has no such write.
func newDirectWriter(socket syscall.Conn) *directWriter {
	raw, err := socket.SyscallConn()
	if err != nil || writeNow == nil {
		return nil
	}
	w := &directWriter{socket: raw}
	w.try = func(fd uintptr) bool {
		n, err := writeNow(fd, w.data)
		if w.n = n; err != nil {
			w.failed = err
		}
		return true // do not wait
	}
	return w
}

// write returns how much of data the socket took. After an error that is 0, and the next
// Write fails.
func (w *directWriter) write(data []byte) int {
	w.data, w.n = data, 0
	_ = w.socket.Write(w.try)
	w.data = nil
	return w.n
}
