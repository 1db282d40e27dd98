package simulation

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// deliveries is what is known of messages apart from what the client says: when the network handed
// them to it, and what the program made of them.
type deliveries struct {
	mu       sync.Mutex
	arrived  map[delivery]time.Time
	bodies   map[message]string // which message of the ledger it is
	finished map[message]bool   // the program has succeeded with it, or has dropped it on purpose
	over     map[message]bool   // the same, and in time: it must not come again
	earliest map[message]time.Time
}

// message is a message in a channel of an nsqd.
type message struct {
	nsqd, channel string
	id            nsq.MessageID
}

type delivery struct {
	message
	attempts uint16
}

func newDeliveries() *deliveries {
	return &deliveries{
		arrived: make(map[delivery]time.Time), bodies: make(map[message]string),
		finished: make(map[message]bool), over: make(map[message]bool), earliest: make(map[message]time.Time),
	}
}

// saw notes that a message of a channel has reached a client.
func (s *deliveries) saw(channel string, from *link, m wire.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrived[delivery{message{from.far, channel, nsq.MessageID(m.ID)}, m.Attempts}] = time.Now()
}

func (s *deliveries) note(in map[message]bool, m message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in[m] = true
}

// postpone notes that a message must not come before a time.
func (s *deliveries) postpone(m message, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.earliest[m] = time.Now().Add(d.Truncate(time.Millisecond)) // nsqd counts in milliseconds
}

// begin notes that a message has reached the program, and returns what is wrong with that.
func (s *deliveries) begin(m message, body string, attempts uint16, lease time.Duration) (faults []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies[m] = body
	if at, ok := s.arrived[delivery{m, attempts}]; ok && time.Since(at) > lease {
		faults = append(faults, fmt.Sprintf("comes %v after its receipt, and its lease was %v", time.Since(at), lease))
	}
	if s.over[m] {
		faults = append(faults, "comes again, and was handled in time")
	}
	if at := s.earliest[m]; time.Now().Before(at) {
		faults = append(faults, fmt.Sprintf("comes %v before the end of its delay", time.Until(at)))
	}
	return faults
}

// guard checks each FIN when it arrives at an nsqd. The nsqd then does what it always does.
func (w *world) guard(d *nsqd) {
	d.Inject(nsqtest.Fault{Command: "FIN", Match: func(c nsqtest.Command) bool {
		for _, client := range d.Clients() {
			if client.Conn == c.Conn {
				w.checkFin(d, client, c.Params[0])
			}
		}
		return false
	}})
}

func (w *world) checkFin(d *nsqd, client nsqtest.Client, id string) {
	m := message{nsqd: d.Addr(), channel: client.Topic + "/" + client.Channel}
	copy(m.id[:], id)
	w.deliveries.mu.Lock()
	body, begun := w.deliveries.bodies[m]
	finished := w.deliveries.finished[m]
	w.deliveries.mu.Unlock()
	if strings.HasSuffix(client.Topic, ".delayed") || finished {
		return
	}
	if !begun || !w.buried(client.Topic, client.Channel)[body] {
		w.Errorf("%v: %s gets a FIN of message %s in %s, and no handler has succeeded with it", time.Since(w.begin), d.name, body, m.channel)
	}
}
