package nsq

import (
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
	"github.com/rdyhq/nsq/nsqtest/hostile"
)

const (
	// gigabytes is the longest data that a frame can announce, less than 100 bytes.
	gigabytes = 1<<31 - 100
)

// flooded is how many bytes a flood has, before compression.
var flooded = 128 << 20

func init() {
	if raceDetector { // which takes its time
		flooded = 16 << 20
	}
}

// sends returns a script that sends frames after the handshake, and then neither reads nor
// sends.
func sends(frames ...[]byte) func(*hostile.Peer) {
	return afterHandshake(func(p *hostile.Peer) {
		if p.Send(frames...) {
			p.Hang()
		}
	})
}

// floods is sends for a flood of one frame.
func floods(frame []byte) func(*hostile.Peer) {
	return afterHandshake(func(p *hostile.Peer) {
		if p.Flood(frame, flooded) {
			p.Hang()
		}
	})
}

// announces returns a script that announces 2 GiB of data after the handshake and sends
// a part.
func announces(kind uint32) func(*hostile.Peer) {
	return afterHandshake(func(p *hostile.Peer) {
		data := []byte(strings.Repeat("0", 64<<10))
		if p.Send(hostile.Header(kind, gigabytes)) && p.Flood(data, flooded) {
			p.Hang()
		}
	})
}

// heldByConn is by how much reports that wait for a slow delegate may let the heap grow:
// 16 MiB of data, what they cost besides, and garbage.
var heldByConn = map[string]int{"slow Conn": 64}

func compressed(method string) (hostile.Options, func(*Config)) {
	return hostile.Options{Compression: method}, func(c *Config) { c.Snappy, c.Deflate = method == "snappy", method == "deflate" }
}

// What an nsqd does to its clients fills no memory, costs no other nsqd's messages and
// holds up no stop (N10, N11, N21).
func TestHostileNSQD(t *testing.T) {
	okay := nsqtest.ResponseFrame("OK")
	cases := []hostileCase{
		{name: "silent from the start", script: func(p *hostile.Peer) { p.Hang() }},
		{name: "silent after the handshake", script: sends()},
		{name: "closes in the middle of a frame", script: afterHandshake(func(p *hostile.Peer) { p.Send(okay[:7]) })},
		{name: "heartbeats in the handshake", script: onFirst(func(p *hostile.Peer) { p.Flood(hostile.Heartbeat, flooded) })},
		{name: "message of 2 GiB in the handshake", script: onFirst(func(p *hostile.Peer) {
			if p.Send(hostile.Header(hostile.Message, gigabytes)) {
				p.Flood([]byte(strings.Repeat("0", 64<<10)), flooded)
			}
		})},
		{name: "heartbeats, nothing is read", script: floods(hostile.Heartbeat), most: heldByConn},
		{name: "heartbeats, all is read", script: afterHandshake(func(p *hostile.Peer) {
			reading := make(chan struct{})
			go func() {
				defer close(reading)
				p.Discard()
			}()
			p.Flood(hostile.Heartbeat, flooded)
			<-reading
		}), most: heldByConn},
		{name: "responses that nobody awaits", script: floods(okay), most: heldByConn},
		{name: "long responses that nobody awaits", script: floods(nsqtest.ResponseFrame(strings.Repeat("x", 60<<10))), most: heldByConn},
		{name: "refused FINs", script: floods(nsqtest.ErrorFrame("E_FIN_FAILED", "FIN 0000000000000000 failed ID not in flight")), most: heldByConn},
		{name: "response of 2 GiB", script: announces(hostile.Response)},
		{name: "error of 2 GiB", script: announces(hostile.Error)},
		{name: "frame of no known type", script: announces(7)},
		{name: "frame without a type", script: sends([]byte{0, 0, 0, 3, 0, 0, 0})},
		{name: "message IDs with newlines", script: floods(hostile.MessageFrame("0\nRDY 2500\nFIN 0", []byte("x")))},
		{name: "messages, no ack is read", script: floods(hostile.MessageFrame("", []byte("x"))), most: heldByConn},
		{name: "messages beyond RDY", script: floods(hostile.MessageFrame("", make([]byte, 1<<10))), most: heldByConn},
		{ // a Conn reads it: see max_msg_size
			name: "message of 2 GiB", script: announces(hostile.Message),
			only: []string{"Consumer", "slow Consumer", "Producer", "Pool"},
		},
	}
	for _, method := range []string{"snappy", "deflate"} {
		opts, config := compressed(method)
		cases = append(cases, hostileCase{name: "heartbeats, compressed by " + method, opts: opts, config: config,
			script: floods(hostile.Heartbeat), most: heldByConn})
	}
	against(t, cases)
}

// N12: an nsqd that falls silent is noticed after two and a half heartbeat intervals, long
// before read_timeout.
func TestSilentNSQDIsNoticed(t *testing.T) {
	for name, connect := range map[string]func(s *scene) (end func()){
		"Consumer": func(s *scene) func() {
			if err := s.consumer(1, noError).ConnectToNSQD("a:1"); err != nil {
				s.Fatal(err)
			}
			return func() {}
		},
		"Producer": func(s *scene) func() {
			p, err := NewProducer("a:1", s.cfg)
			if err != nil {
				s.Fatal(err)
			}
			if err := p.Ping(); err != nil {
				s.Fatal(err)
			}
			return p.Stop
		},
		"Conn": func(s *scene) func() {
			conn := NewConn("a:1", s.cfg, nil)
			if _, err := conn.Connect(); err != nil {
				s.Fatal(err)
			}
			return func() { _ = conn.Close() }
		},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.cfg.HeartbeatInterval = time.Second
				d := hostile.NewNsqd(s, hostile.Options{Network: s.net, Addr: "a:1"}, func(p *hostile.Peer) {
					greets := p.Greet
					if name == "Consumer" {
						greets = p.Subscribe
					}
					if greets() {
						p.Discard()
					}
				})
				defer d.Close()
				end := connect(s)
				after(2499 * time.Millisecond)
				if n := s.net.Closes(); n != 0 {
					s.Error("closed before two and a half intervals")
				}
				after(time.Millisecond)
				if n := s.net.Closes(); n != 1 {
					s.Errorf("%d connections were closed after two and a half intervals", n)
				}
				end()
			})
		})
	}
}

// N5: an nsqd that accepts and says nothing does not hold up a connect for read_timeout.
func TestSilentHandshakeIsShort(t *testing.T) {
	inScene(t, func(s *scene) {
		d := hostile.NewNsqd(s, hostile.Options{Network: s.net, Addr: "a:1"}, (*hostile.Peer).Hang)
		defer d.Close()
		start := time.Now()
		if err := s.consumer(1, noError).ConnectToNSQD("a:1"); err == nil {
			s.Error("no error")
		}
		if took := time.Since(start); took > s.cfg.DialTimeout+10*time.Second {
			s.Errorf("took %v", took)
		}
	})
}

// N23: what an nsqd says reaches a line log quoted, and forges no line.
func TestHostileTexts(t *testing.T) {
	const text = "\x1b[2J\n2026/01/01 00:00:00 INF all is well"
	inScene(t, func(s *scene) {
		d := hostile.NewNsqd(s, hostile.Options{Network: s.net, Addr: "a:1"}, onFirst(func(p *hostile.Peer) {
			if p.Subscribe() && p.Send(nsqtest.ErrorFrame("E_FIN_FAILED", text), nsqtest.ErrorFrame("E_INVALID", text)) {
				p.Discard()
			}
		}))
		defer d.Close()
		s.consumer(1, noError)
		logged := s.logged(LogLevelDebug)
		_ = s.c.ConnectToNSQD("a:1")
		after(time.Minute)
		found := 0
		for _, line := range logged.take() {
			if strings.Contains(line, "all is well") {
				found++
			}
			if strings.ContainsAny(line, "\x1b\n") {
				s.Errorf("raw: %q", line)
			}
		}
		if found == 0 {
			s.Error("nothing was logged of it")
		}
	})
}

// N10: replies to publishes that nsqd has not read make no room for more.
func TestRepliesWithoutReading(t *testing.T) {
	c := hostileCase{script: afterHandshake(func(p *hostile.Peer) {
		for p.Send(nsqtest.ResponseFrame("OK")) {
			p.Pause(time.Microsecond)
		}
	})}
	grown := c.play(t, func(s *scene) {
		s.cfg.WriteTimeout = time.Minute
		p, err := NewProducer("a:1", s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		publishAtOnce(s, p, 64<<10)
		p.Stop()
	})
	if grown > 70 {
		t.Errorf("the heap grew by %d MiB, want twice 16 MiB of publishes, and garbage", grown)
	}
}
