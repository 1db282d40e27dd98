package link

import "time"

// rest ends the deadline of the last Write. Left alone it would pass later, and a timer
// that fires wakes the process, although nothing waits for it.
func (c *conn) rest() {
	if c.writeTimeout > 0 {
		_ = c.SetWriteDeadline(time.Time{})
	}
}
