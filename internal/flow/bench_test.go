package flow

import (
	"testing"
	"time"
)

// BenchmarkTick measures a look at 10,000 connections: all samples, Tick and Take.
// With fewer slots than connections the slots go round.
func BenchmarkTick(b *testing.B) {
	for name, slots := range map[string]int{"sharing": 20_000, "turns": 1_000} {
		b.Run(name, func(b *testing.B) {
			c := newCrowd(10_000, Config{MaxInFlight: slots, Idle: 500 * time.Millisecond})
			b.ReportAllocs()
			for b.Loop() {
				c.tick()
			}
			if c.m.Listening() {
				b.Fatal("the machine is asleep")
			}
		})
	}
}

// BenchmarkSuccess measures a success that is reported although Reporting is false.
func BenchmarkSuccess(b *testing.B) {
	m := New(Config{MaxInFlight: 100, Backoff: exponential(time.Second), MaxBackoff: time.Minute})
	m.Up(epochStart, 1, 2500)
	b.ReportAllocs()
	for b.Loop() {
		if m.Reporting() {
			b.Fatal("Reporting is true without a failure")
		}
		m.Result(epochStart, 1, Success, m.Epoch())
	}
}

// BenchmarkFailure measures a failure with 10,000 nsqds, which pauses all of them,
// and the probe after it.
func BenchmarkFailure(b *testing.B) {
	c := newCrowd(10_000, Config{MaxInFlight: 20_000, Idle: 500 * time.Millisecond, Backoff: exponential(0), MaxBackoff: time.Minute})
	b.ReportAllocs()
	for b.Loop() {
		c.m.Result(c.now, c.first, Failure, c.m.Epoch())
		c.dst = c.m.Take(c.now, c.dst[:0])
		c.tick()
		c.m.Result(c.now, c.first, Success, c.m.Epoch())
		c.dst = c.m.Take(c.now, c.dst[:0])
	}
}
