package link

import "time"

// While the receiver has no room, the reader reads at a trickle. That is enough to keep
// the connection, and so little that what it adds does not matter:
//
//   - nsqd expects a command within two heartbeat intervals. Its heartbeats may be stuck
//     behind messages, so the reader sends a NOP at each interval, asked or not.
//   - nsqd gives up a connection's messages, for good and without a word, if a write
//     takes longer than one heartbeat interval. The longest write is that of one message,
//     1 MiB unless nsqd's max-msg-size is raised. So the reader reads 2 MiB in each
//     interval, 64 KiB at a time at most. It waits after each read in proportion to its
//     length, since TLS and compression yield short ones.

const (
	trickleSize = 2 << 20 // bytes in a heartbeat interval
	// usualHeartbeat is the interval of an nsqd that was not asked for one.
	usualHeartbeat = 30 * time.Second
)

// awaitRoom waits until the receiver has room, the next read of a trickle is due, or the
// link ends.
func (l *Link) awaitRoom() {
	freed := l.full()
	l.in.brief = freed != nil
	if freed == nil {
		return
	}
	heartbeat := time.Duration(l.cfg.Identify.HeartbeatInterval) * time.Millisecond
	if heartbeat <= 0 {
		heartbeat = usualHeartbeat
	}
	began := time.Now()
	if began.Sub(l.lastNop) >= heartbeat {
		l.lastNop = began
		l.Nop()
	}
	defer func() {
		now := time.Now()
		l.noteLate(now, now.Sub(began), true)
	}()
	next := time.NewTimer(heartbeat * time.Duration(min(l.in.last, busyBuffer)) / trickleSize)
	defer next.Stop()
	for freed != nil {
		select {
		case <-freed:
			freed = l.full()
			l.in.brief = freed != nil
		case <-next.C:
			return
		case <-l.conn.closed:
			return
		}
	}
}

// full returns nil if the reader may read on, and otherwise the channel of Config.Room. A
// link that drains always reads on, since its receiver keeps no more messages.
func (l *Link) full() <-chan struct{} {
	if l.cfg.Room == nil {
		return nil
	}
	freed := l.cfg.Room()
	if freed == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drain.requested {
		return nil
	}
	return freed
}
