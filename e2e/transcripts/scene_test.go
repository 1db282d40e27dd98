package transcripts

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A daemon is the nsqd that a scene plays on, the fake or the real one.
type daemon interface {
	dial() (net.Conn, error)
	// topic returns the name by which the daemon knows topic t1 or t2.
	topic(name string) string
	publish(topic string, bodies []string)
	// admin does what an operator does: pause, unpause, empty, create or delete.
	admin(verb, topic, channel string)
	// restart ends the daemon in an orderly way and starts it again with its data.
	restart()
	// settle returns the state when the effects of a step have shown.
	settle(*scene) string
	// await returns when a client has one more frame.
	await(*scene, *client)
	// counts returns what the daemon knows of a topic.
	counts(topic string) topicCounts
}

// topicCounts is the state of a topic.
type topicCounts struct {
	backlog  int // messages without a channel
	channels map[string]channelCounts
	clients  map[string]clientCounts // by the client's address
}

type channelCounts struct{ depth, inFlight, deferred, requeued, timedOut, clients int }

type clientCounts struct {
	rdy, inFlight int
	closing       bool
}

// A scene is one run of a script.
type scene struct {
	t        *testing.T
	daemon   daemon
	tls      *tls.Config
	clients  []*client // in the order of their first steps
	topics   []string  // those that a step has named
	messages map[string]message
	moments  []moment
	noted    map[*client]int // how many frames are in moments
}

// A message is what was received of one, by its body.
type message struct {
	id        string
	timestamp uint64
}

// A moment is a step, and what has changed by it.
type moment struct {
	step   string
	frames []string // as the clients received them
	state  string
}

func (m moment) String() string {
	lines := append([]string{"> " + m.step}, m.frames...)
	if m.state != "" {
		lines = append(lines, strings.Split(m.state, "\n")...)
	}
	return strings.Join(lines, "\n    ")
}

func newScene(t *testing.T, d daemon, config *tls.Config) *scene {
	return &scene{
		t: t, daemon: d, tls: config,
		messages: make(map[string]message), noted: make(map[*client]int),
	}
}

// A source returns the next step, or false after the last.
type source func(*scene) (string, bool)

func listed(steps []string) source {
	return func(*scene) (string, bool) {
		if len(steps) == 0 {
			return "", false
		}
		step := steps[0]
		steps = steps[1:]
		return step, true
	}
}

// ending adds steps that show that all replies have arrived: nsqd replies to an unknown
// command after all that it has sent before.
func ending(next source) source {
	return func(s *scene) (string, bool) {
		if step, ok := next(s); ok {
			return step, true
		}
		for _, c := range s.clients {
			if !c.silent && !c.closed() {
				c.silent = true
				return c.name + " END", true
			}
		}
		return "", false
	}
}

// play plays steps and then closes what is open.
func (s *scene) play(next source) {
	defer func() {
		for _, c := range s.clients {
			c.close()
		}
	}()
	for step, ok := next(s); ok; step, ok = next(s) {
		s.step(step)
	}
}

// step does one step and notes what comes of it.
func (s *scene) step(step string) {
	s.moments = append(s.moments, moment{step: step})
	if err := s.do(step); err != nil {
		s.t.Fatalf("step %q: %v", step, err)
	}
	state := s.daemon.settle(s)
	m := &s.moments[len(s.moments)-1]
	m.frames, m.state = s.frames(), state
}

var (
	placeholder = regexp.MustCompile(`\$[a-z0-9]+`)
	topicName   = regexp.MustCompile(`\bt[12]\b`)
)

func (s *scene) do(step string) error {
	for _, name := range topicName.FindAllString(step, -1) {
		if !slices.Contains(s.topics, name) {
			s.topics = append(s.topics, name)
		}
	}
	step = topicName.ReplaceAllStringFunc(step, s.daemon.topic)
	step = placeholder.ReplaceAllStringFunc(step, func(name string) string { return s.messages[name[1:]].id })
	who, what, _ := strings.Cut(step, " ")
	if len(who) == 1 {
		return s.doAs(who, what)
	}
	words := strings.Split(what, " ")
	switch who {
	case "restart":
		s.daemon.restart()
	case "wait":
		d, err := time.ParseDuration(what)
		time.Sleep(d)
		return err
	case "publish":
		s.daemon.publish(words[0], words[1:])
	case "pause", "unpause", "empty", "create", "delete":
		s.daemon.admin(who, words[0], words[1])
	default:
		return fmt.Errorf("unknown step")
	}
	return nil
}

// doAs does a step of a client.
func (s *scene) doAs(who, what string) error {
	i := slices.IndexFunc(s.clients, func(c *client) bool { return c.name == who })
	if i < 0 {
		conn, err := s.daemon.dial()
		if err != nil {
			return err
		}
		i = len(s.clients)
		s.clients = append(s.clients, newClient(who, conn, s.tls))
		if what != "dial" {
			s.clients[i].send([]byte("  V2"))
		}
	}
	c := s.clients[i]
	switch what {
	case "dial":
	case "plain":
		c.mu.Lock()
		defer c.mu.Unlock()
		c.plain = true
	case "close":
		c.close()
	case "half":
		c.silent = true
		_ = c.conn.(interface{ CloseWrite() error }).CloseWrite() // fails if nsqd has closed the connection
	case "await":
		s.daemon.await(s, c)
	default:
		b, err := encode(what)
		if err != nil {
			return err
		}
		c.send(b)
	}
	return nil
}

// frames returns what has arrived since the last step. Of one client it has replies
// before messages: nsqd sends them from different goroutines, in no order.
func (s *scene) frames() []string {
	var lines []string
	for _, c := range s.clients {
		var messages, ends []string
		arrived := c.received(s.noted[c])
		s.noted[c] += len(arrived)
		for _, f := range arrived {
			line := c.name + " " + s.describe(f)
			switch f.kind {
			case kindMessage:
				messages = append(messages, line)
			case kindNote:
				ends = append(ends, line)
			default:
				lines = append(lines, line)
			}
		}
		lines = append(append(lines, messages...), ends...)
	}
	return lines
}

// pending returns how many frames have arrived since the last step.
func (s *scene) pending() int {
	n := 0
	for _, c := range s.clients {
		n += len(c.received(s.noted[c]))
	}
	return n
}

var (
	address = regexp.MustCompile(`\b127\.0\.0\.1:\d+\b`)
	cause   = regexp.MustCompile(`failed open .*$`) // of an error of the disk
)

// describe returns a frame without what differs from run to run.
func (s *scene) describe(f frame) string {
	switch f.kind {
	case kindMessage:
		return s.describeMessage(f.data)
	case kindError:
		return "error " + s.normalize(string(f.data))
	}
	return s.normalize(string(f.data))
}

func (s *scene) normalize(text string) string {
	for name, m := range s.messages {
		text = strings.ReplaceAll(text, m.id, "$"+name)
	}
	for _, name := range s.topics {
		text = strings.ReplaceAll(text, s.daemon.topic(name), name)
	}
	text = cause.ReplaceAllString(text, "failed <cause>")
	return address.ReplaceAllString(text, "<address>")
}

// describeMessage returns a message's attempts and body. It tells if a message that is
// received again has another ID or timestamp.
func (s *scene) describeMessage(data []byte) string {
	if len(data) < 26 {
		return fmt.Sprintf("message of %d bytes", len(data))
	}
	got := message{timestamp: binary.BigEndian.Uint64(data), id: string(data[10:26])}
	body := shorten(data[26:])
	line := fmt.Sprintf("message %d %s", binary.BigEndian.Uint16(data[8:]), body)
	switch before, known := s.messages[body]; {
	case !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(got.id):
		line += fmt.Sprintf(" with ID %q", got.id)
	case known && before != got:
		line += " with another ID or timestamp"
	}
	s.messages[body] = got
	return line
}

// state returns what is not 0 of the state of the topics that steps have named.
func (s *scene) state() string {
	var lines []string
	note := func(line, name string, n int) string {
		if n == 0 {
			return line
		}
		return fmt.Sprintf("%s, %s %d", line, name, n)
	}
	for _, name := range s.topics {
		counts := s.daemon.counts(s.daemon.topic(name))
		lines = append(lines, note(name, "backlog", counts.backlog))
		for _, channel := range sorted(counts.channels) {
			c := counts.channels[channel]
			line := note(name+" "+channel, "depth", c.depth)
			line = note(line, "in flight", c.inFlight)
			line = note(line, "deferred", c.deferred)
			line = note(line, "requeued", c.requeued)
			line = note(line, "timed out", c.timedOut)
			lines = append(lines, note(line, "clients", c.clients))
		}
		for _, c := range s.clients {
			known, ok := counts.clients[c.conn.LocalAddr().String()]
			if !ok {
				continue
			}
			line := note(note(name+" "+c.name, "rdy", known.rdy), "in flight", known.inFlight)
			if known.closing {
				line += ", closing"
			}
			lines = append(lines, line)
		}
	}
	lines = slices.DeleteFunc(lines, func(line string) bool { return !strings.Contains(line, ",") })
	return strings.Join(lines, "\n")
}

// transcript returns the steps and what came of them. It leaves out a state that is as
// it was before.
func transcript(moments []moment) string {
	var lines []string
	state := ""
	for _, m := range moments {
		if m.state == state {
			m.state = ""
		} else {
			state = m.state
		}
		lines = append(lines, m.String())
	}
	return strings.Join(lines, "\n")
}
