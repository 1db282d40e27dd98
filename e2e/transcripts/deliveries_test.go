package transcripts

import (
	"fmt"
	"math/rand/v2"
)

// randomDeliveries returns steps of a publisher p and of consumers: a and b share channel
// c of topic t1, d has channel d. Only steps whose effect nsqd's goroutines cannot change
// are chosen:
//
//   - At most one client of a channel has a RDY above 0. Otherwise nsqd may serve either.
//   - A client that would get the next message keeps its RDY and its connection, and its
//     channel is not paused. Otherwise nsqd may still send it one more.
func randomDeliveries(r *rand.Rand) source {
	g := &deliveries{Rand: r, left: 10 + r.IntN(20), paused: make(map[string]bool)}
	return g.next
}

type deliveries struct {
	*rand.Rand
	left   int
	bodies []string // of all messages
	paused map[string]bool
	begun  int
}

// beginning makes the consumers. Without a buffer nothing waits in it, and no message
// times out.
var beginning = []string{
	`a IDENTIFY {"output_buffer_size":-1,"msg_timeout":900000}`, "a SUB t1 c",
	`b IDENTIFY {"output_buffer_size":-1,"msg_timeout":900000}`, "b SUB t1 c",
	`d IDENTIFY {"output_buffer_size":-1,"msg_timeout":900000}`, "d SUB t1 d",
}

var consumers = []struct{ name, channel string }{{"a", "c"}, {"b", "c"}, {"d", "d"}}

func (g *deliveries) next(s *scene) (string, bool) {
	if g.begun < len(beginning) {
		g.begun++
		return beginning[g.begun-1], true
	}
	g.left--
	for {
		if step := g.try(s); step != "" {
			return step, g.left >= 0
		}
	}
}

// try returns a step, or nothing if the one it has thought of is not allowed.
func (g *deliveries) try(s *scene) string {
	who := consumers[g.IntN(len(consumers))]
	switch g.IntN(16) {
	case 0, 1, 2:
		return "p PUB t1 " + g.body()
	case 3:
		return fmt.Sprintf("p MPUB t1 %s %s %s", g.body(), g.body(), g.body())
	case 4:
		return fmt.Sprintf("p DPUB t1 %d %s", pick(g.Rand, 0, 3600000), g.body())
	case 5, 6:
		return g.rdy(s, who.name, who.channel)
	case 7:
		if g.closed(s, who.name) || g.ready(s, who.name, who.channel) || g.IntN(4) > 0 {
			return ""
		}
		return who.name + " " + pick(g.Rand, "CLS", "CLS", "close")
	case 8:
		if g.paused[who.channel] = !g.paused[who.channel]; !g.paused[who.channel] {
			return "unpause t1 " + who.channel
		}
		for _, c := range consumers {
			if c.channel == who.channel && g.wants(s, c.name) {
				g.paused[who.channel] = false
				return ""
			}
		}
		return "pause t1 " + who.channel
	case 9:
		if g.IntN(3) > 0 {
			return ""
		}
		return "empty t1 " + who.channel
	}
	return g.answer(s, who.name)
}

func (g *deliveries) body() string {
	body := fmt.Sprint("m", len(g.bodies))
	g.bodies = append(g.bodies, body)
	return body
}

// answer answers a message that has been received, by the client that has it or another.
func (g *deliveries) answer(s *scene, name string) string {
	if len(s.messages) == 0 || g.closed(s, name) {
		return ""
	}
	m := pick(g.Rand, sorted(s.messages)...)
	switch g.IntN(6) {
	case 0:
		return fmt.Sprintf("%s REQ $%s 0", name, m)
	case 1:
		return fmt.Sprintf("%s REQ $%s 3600000", name, m)
	case 2:
		return fmt.Sprintf("%s TOUCH $%s", name, m)
	}
	return fmt.Sprintf("%s FIN $%s", name, m)
}

func (g *deliveries) rdy(s *scene, name, channel string) string {
	if g.closed(s, name) {
		return ""
	}
	n := pick(g.Rand, 0, 1, 1, 2, 3)
	before := g.state(s, name).rdy
	if n < before && g.ready(s, name, channel) {
		return ""
	}
	for _, c := range consumers {
		if c.channel == channel && c.name != name && g.state(s, c.name).rdy > 0 {
			return ""
		}
	}
	return fmt.Sprintf("%s RDY %d", name, n)
}

// ready reports whether a client would get the next message.
func (g *deliveries) ready(s *scene, name, channel string) bool {
	return g.wants(s, name) && !g.paused[channel]
}

func (g *deliveries) wants(s *scene, name string) bool {
	c := g.state(s, name)
	return c.inFlight < c.rdy
}

func (g *deliveries) closed(s *scene, name string) bool {
	for _, c := range s.clients {
		if c.name == name {
			return c.silent || c.closed()
		}
	}
	return true
}

// state returns what the fake knows of a client, whose zero value is right for one that
// is closed.
func (g *deliveries) state(s *scene, name string) clientCounts {
	known := s.daemon.counts("t1").clients
	for _, c := range s.clients {
		if c.name == name {
			return known[c.conn.LocalAddr().String()]
		}
	}
	return clientCounts{}
}
