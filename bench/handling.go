package main

import (
	"strings"
	"time"
)

// message is what a handler does with a message, in go-nsq and in this client alike.
type message interface {
	Finish()
	Touch()
	RequeueWithoutBackoff(delay time.Duration)
	DisableAutoResponse()
}

// handling returns the handler of a case, without the message's ID and body, which each
// client's own handler passes to handle first.
//   - "" returns at once.
//   - A duration such as "1ms" sleeps that long. "busy5us" computes that long.
//   - "async" acks in another goroutine.
//   - "touch" sends a TOUCH first.
//   - "requeue" requeues one message in 16, at once and without a backoff.
func handling(how string) func(m message, id byte) {
	if busy, ok := strings.CutPrefix(how, "busy"); ok {
		takes := mustParse(busy)
		return func(message, byte) {
			for start := time.Now(); time.Since(start) < takes; {
			}
		}
	}
	switch how {
	case "":
		return func(message, byte) {}
	case "async":
		finish := make(chan message, 1024)
		go func() {
			for m := range finish {
				m.Finish()
			}
		}()
		return func(m message, _ byte) {
			m.DisableAutoResponse()
			finish <- m
		}
	case "touch":
		return func(m message, _ byte) { m.Touch() }
	case "requeue":
		return func(m message, id byte) {
			if id == '7' { // one hexadecimal digit of 16
				m.RequeueWithoutBackoff(0)
			}
		}
	}
	takes := mustParse(how)
	return func(message, byte) { time.Sleep(takes) }
}

// mustParse returns a duration that the matrix spells.
func mustParse(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	return d
}
