package e2e

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
)

var deadKills = flag.Int("dead.kills", 24, "how often TestDeadLettersToAKilledNSQD kills the nsqd of the dead letters")

// withheld is a network whose connections can be made to withhold the reply to a publish.
type withheld struct {
	mu   sync.Mutex
	trap *trap // nil while replies pass
}

// trap waits for a publish, and withholds what nsqd sends after it.
type trap struct {
	sprung, released chan struct{}
	once             sync.Once
	lose             bool // the reply is never read
}

// set makes the next publish spring a trap.
func (w *withheld) set(lose bool) *trap {
	t := &trap{sprung: make(chan struct{}), released: make(chan struct{}), lose: lose}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trap = t
	return t
}

// release lets replies pass.
func (w *withheld) release(t *trap) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trap = nil
	close(t.released)
}

func (w *withheld) current() *trap {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.trap
}

func (w *withheld) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &withheldConn{conn, w}, nil
}

type withheldConn struct {
	net.Conn
	w *withheld
}

func (c *withheldConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if t := c.w.current(); t != nil && bytes.Contains(b, []byte("PUB ")) {
		t.once.Do(func() { close(t.sprung) })
	}
	return n, err
}

func (c *withheldConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	t := c.w.current()
	if t == nil {
		return n, err
	}
	select {
	case <-t.sprung:
	default:
		return n, err
	}
	<-t.released
	if t.lose {
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// burials counts Buried events.
type burials struct{ stored, notSent, unknown, other atomic.Int64 }

func (b *burials) hook(e nsq.BuriedEvent) {
	switch {
	case e.PublishErr == nil:
		b.stored.Add(1)
	case errors.Is(e.PublishErr, nsq.ErrUnknownOutcome):
		b.unknown.Add(1)
	case errors.Is(e.PublishErr, nsq.ErrNotSent):
		b.notSent.Add(1)
	default:
		b.other.Add(1)
	}
}

// The nsqd of the dead letters is killed before it gets one, while it owes the reply, and
// right after the reply. Each message is handled or in the topic of dead letters in the end:
// none is lost, and none that was handled is a dead letter.
func TestDeadLettersToAKilledNSQD(t *testing.T) {
	source, dead := StartNSQD(t, nil), StartNSQD(t, onDisk)
	const deadTopic = topic + ".c.dead"
	replies := &withheld{}
	cfg := testConfig(t)
	cfg.DialContext = replies.dial
	to, err := nsq.NewProducer(dead.TCPAddr(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Stop()
	to.SetLogger(nil, nsq.LogLevelError)
	dead.Publish(deadTopic, settling)
	dead.Stop() // from now on it knows the topic
	dead.Start()
	settle(t, dead, deadTopic)

	var events burials
	handled, published := newLedger(), newLedger()
	cfg = testConfig(t)
	cfg.DeadLetter = &nsq.DeadLetterPolicy{To: to, After: 2}
	cfg.Hooks = []nsq.Hooks{{Buried: events.hook}}
	c := consume(t, cfg, 16, func(m *nsq.Message) error {
		switch kind, _, _ := strings.Cut(string(m.Body), "-"); kind {
		case "poison":
			return nsq.DeadLetter(errors.New("poison"))
		case "fails":
			return errors.New("simulated")
		}
		handled.add(m.Body)
		return nil
	}, source)
	c.SetLogger(nil, nsq.LogLevelError)
	feed := &feeder{t: t, published: published, bodies: []string{"poison", "fails", "poison", "good"}}
	if feed.p, err = nsq.NewProducer(source.TCPAddr(), testConfig(t)); err != nil {
		t.Fatal(err)
	}
	defer feed.p.Stop()

	for i := range *deadKills {
		switch i % 3 {
		case 0: // before
			dead.Kill()
			before := events.notSent.Load()
			feed.until(func() bool { return events.notSent.Load() > before })
		case 1: // during
			trap := replies.set(rand.IntN(2) == 0)
			feed.until(func() bool {
				select {
				case <-trap.sprung:
					return true
				default:
					return false
				}
			})
			time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
			dead.Kill()
			replies.release(trap)
		case 2: // after
			before := events.stored.Load()
			feed.until(func() bool { return events.stored.Load() > before })
			dead.Kill()
		}
		dead.Start()
		settle(t, dead, deadTopic)
	}
	eventually(t, patience, func() bool {
		s := source.Stats(topic, "c")
		return s.Depth+s.InFlight+s.Deferred == 0 && published.distinct() == s.MessageCount
	})
	stop(t, c)
	letters := newLedger()
	replay, err := nsq.NewConsumer(deadTopic, "replay", testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	replay.AddConcurrentHandlers(nsq.FromDeadLetters(nsq.HandlerFunc(func(m *nsq.Message) error {
		if string(m.Body) != settling {
			letters.add(m.Body)
		}
		return nil
	})), 8)
	if err := replay.ConnectToNSQD(dead.TCPAddr()); err != nil {
		t.Fatal(err)
	}
	// A message must be in one place or the other, and in one only.
	wrong := func() (bodies []string) {
		for body := range published.done {
			if handled.has(body) == letters.has(body) {
				bodies = append(bodies, body)
			}
		}
		return bodies
	}
	defer func() {
		stop(t, replay)
		twice := 0
		for _, n := range letters.done {
			twice += n - 1
		}
		t.Logf("%d kills; %d messages: %d handled, %d dead letters and %d duplicates of these; %d missing or in both places. Publishes: %d stored, %d not sent, %d unknown, %d other",
			*deadKills, published.distinct(), handled.distinct(), letters.distinct(), twice, len(wrong()),
			events.stored.Load(), events.notSent.Load(), events.unknown.Load(), events.other.Load())
	}()
	eventually(t, patience, func() bool { return len(wrong()) == 0 })
	if events.unknown.Load() == 0 || events.other.Load() > 0 {
		t.Errorf("the kills did not have the effects that the test is about")
	}
}

// settle waits until an nsqd that was started again has on disk where it has begun to write
// the messages of a topic. If it were killed before that, it would begin at the same place
// again, and overwrite what it has confirmed in the meantime:
//
//  1. nsqd confirms a message, and is killed before it notes the end of its file.
//  2. It starts, finds the file longer than noted, and goes on in a new file, but notes that
//     only with the next message.
//  3. It confirms that message, and is killed before the note.
//  4. It starts, and finds the same as in step 2: it begins the same new file again.
func settle(t *testing.T, n *NSQD, topic string) {
	t.Helper()
	n.Publish(topic, settling)
	queue := filepath.Join(n.order.NSQD.DataPath, topic+".diskqueue.")
	eventually(t, patience, func() bool {
		note, err := os.ReadFile(queue + "meta.dat")
		var depth, readFile, readPos, writeFile, writePos int64
		if _, scanned := fmt.Sscanf(string(note), "%d\n%d,%d\n%d,%d", &depth, &readFile, &readPos, &writeFile, &writePos); err != nil || scanned != nil {
			return false
		}
		file, err := os.Stat(fmt.Sprintf("%s%06d.dat", queue, writeFile))
		return err == nil && file.Size() == writePos
	})
}

// settling is the body of messages that only settle publishes.
const settling = "settling"

// feeder publishes messages to the source.
type feeder struct {
	t         *testing.T
	p         *nsq.Producer
	published *ledger
	bodies    []string // the kinds of messages, in turn
	n         int
}

// until publishes messages until cond returns true.
func (f *feeder) until(cond func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("condition not met within %v", patience)
		}
		body := fmt.Appendf(nil, "%s-%d", f.bodies[f.n%len(f.bodies)], f.n)
		f.n++
		if err := f.p.Publish(topic, body); err != nil {
			f.t.Fatal(err)
		}
		f.published.add(body)
	}
}
