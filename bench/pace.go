package main

import (
	"encoding/binary"
	"time"

	"github.com/rdyhq/nsq"
)

// tick is how often a paced sender checks whether messages are due.
const tick = 100 * time.Microsecond

// paced calls send again and again with the number of messages that are due at the given
// rate per second. send returns how many it has sent, and paced returns when that is 0.
func paced(rate int, send func(due int) int) {
	start := time.Now()
	for sent := 0; ; {
		due := int(time.Since(start).Seconds()*float64(rate)) - sent
		if due == 0 {
			time.Sleep(tick)
			continue
		}
		n := send(due)
		if n == 0 {
			return
		}
		sent += n
	}
}

// stamp writes the present time into a body. It is not the time at which the message was
// due, because timers are coarse.
func stamp(body []byte) {
	binary.BigEndian.PutUint64(body, uint64(time.Now().UnixNano())) // #nosec G115 -- positive
}

// ageOf returns how long ago a body was stamped.
func ageOf(body []byte) time.Duration {
	return time.Since(time.Unix(0, int64(binary.BigEndian.Uint64(body)))) // #nosec G115 -- stamp put in an int64
}

// publishPaced publishes stamped messages at the case's rate to a real nsqd, until an error.
func publishPaced(p *nsq.Producer, c Case) {
	paced(c.Rate, func(due int) int {
		bodies := make([][]byte, due)
		for i := range bodies {
			bodies[i] = make([]byte, max(c.Body, 8))
			stamp(bodies[i])
		}
		if err := p.MultiPublish(topic, bodies); err != nil {
			return 0
		}
		return due
	})
}
