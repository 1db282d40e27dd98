package behaviour

import (
	"context"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rdyhq/nsq/compat/behaviour/client"
	"github.com/rdyhq/nsq/compat/behaviour/gonsq"
	"github.com/rdyhq/nsq/compat/behaviour/rdy"
	"github.com/rdyhq/nsq/nsqtest"
)

const (
	topic, channel = "topic", "channel"
	patience       = 20 * time.Second // how long to wait for what must come
)

// options are names and values for Config.Set.
type options map[string]any

// scenario is played with either client, each time with an nsqd of its own.
type scenario struct {
	name    string
	nsqd    nsqtest.Options
	options options
	play    func(*scene)
	// differs is empty if both must do the same. Otherwise it is the first cell
	// of the row of docs/MIGRATION.md that says why they do not.
	differs string
}

// scene is one run of a scenario. Its transcript is what both clients must
// have in common.
type scene struct {
	t      *testing.T
	client client.Client
	config client.Config
	nsqd   *nsqtest.Nsqd

	mu     sync.Mutex
	bodies map[string]string // of messages by ID, to name these in the transcript
	calls  []string
}

// compare plays scenarios with both clients.
func compare(t *testing.T, scenarios []scenario) {
	rows := rowsOfMigration(t)
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			if s.differs != "" && !rows[s.differs] {
				t.Errorf("docs/MIGRATION.md has no row %q", s.differs)
			}
			was, is := s.transcript(t, gonsq.Client{}), s.transcript(t, rdy.Client{})
			if same := was == is; same != (s.differs == "") {
				t.Errorf("meant to differ: %q; go-nsq:\n%s\nhere:\n%s", s.differs, was, is)
			} else if !same {
				t.Logf("as meant (%s), go-nsq:\n%s\nhere:\n%s", s.differs, was, is)
			}
		})
	}
}

// rowsOfMigration are the first cells of the tables in docs/MIGRATION.md.
func rowsOfMigration(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../docs/MIGRATION.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]bool)
	for _, row := range regexp.MustCompile(`(?m)^\| (.+?) \|`).FindAllStringSubmatch(string(text), -1) {
		rows[row[1]] = true
	}
	return rows
}

func (s scenario) transcript(t *testing.T, c client.Client) string {
	t.Helper()
	sc := &scene{t: t, client: c, config: c.NewConfig(), bodies: make(map[string]string)}
	for _, option := range slices.Sorted(maps.Keys(s.options)) {
		if err := sc.config.Set(option, s.options[option]); err != nil {
			t.Fatal(err)
		}
	}
	sc.nsqd = nsqtest.NewNsqd(t, s.nsqd)
	played := false
	defer func() {
		if !played {
			t.Logf("with %T", c)
		}
	}()
	s.play(sc)
	played = true
	return sc.transcript()
}

func (s *scene) transcript() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, call := range s.calls {
		lines = append(lines, "    "+s.normal(call))
	}
	for _, command := range s.nsqd.Commands() {
		lines = append(lines, "    > "+s.normal(command))
	}
	return strings.Join(lines, "\n")
}

// normal replaces what differs from run to run.
func (s *scene) normal(text string) string {
	for id, body := range s.bodies {
		text = strings.ReplaceAll(text, id, "<"+body+">")
	}
	return strings.ReplaceAll(text, s.nsqd.Addr(), "<nsqd>")
}

// note adds a line to the transcript.
func (s *scene) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, fmt.Sprintf(format, args...))
}

// result notes the result of a call, as programs see it: its text, and its
// name or type if the package has one for it.
func (s *scene) result(call string, err error) {
	if err == nil {
		s.note("%s: ok", call)
		return
	}
	kind := s.client.ErrorName(err)
	if kind == "" {
		kind, _ = s.client.Type(err)
	}
	s.note("%s: %s %q", call, kind, err)
}

func (s *scene) publish(bodies ...string) {
	s.t.Helper()
	ids := s.nsqd.Publish(topic, bodies...)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, id := range ids {
		s.bodies[id] = bodies[i]
	}
}

// sees waits until nsqd has received the command so often.
func (s *scene) sees(times int, command string) {
	s.t.Helper()
	s.nsqd.WaitFor(patience, func() bool { return s.count(command) >= times })
}

// count is how often nsqd has received a command: its name, or its name and
// parameters.
func (s *scene) count(command string) int {
	n := 0
	for _, c := range s.nsqd.Commands() {
		_, c, _ = strings.Cut(c, " ") // without the number of the connection
		if c == command || strings.HasPrefix(c, command+" ") {
			n++
		}
	}
	return n
}

// consumer returns a consumer with one handler.
func (s *scene) consumer(handle func(client.Delivery) error) client.Consumer {
	s.t.Helper()
	c, err := s.client.NewConsumer(topic, channel, s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	failed := func(d client.Delivery) { s.note("given up: %s, attempts %d", d.Body, d.Attempts) }
	c.Handle(handle, failed, 1)
	return c
}

// consume is a whole life of a consumer: it is connected, play happens, it is
// stopped.
func (s *scene) consume(handle func(client.Delivery) error, play func(client.Consumer)) {
	s.t.Helper()
	c := s.consumer(handle)
	s.result("connect", c.ConnectToNSQD(s.nsqd.Addr()))
	s.sees(1, "RDY")
	play(c)
	s.stop(c)
}

// stop stops a consumer and waits until it has.
func (s *scene) stop(c client.Consumer) {
	s.t.Helper()
	c.Stop()
	await(s.t, c.Stopped())
	s.nsqd.WaitFor(patience, func() bool { return len(s.nsqd.Clients()) == 0 })
	stats := c.Stats()
	s.note("received %d, finished %d, requeued %d", stats.Received, stats.Finished, stats.Requeued)
}

func (s *scene) producer() client.Producer {
	s.t.Helper()
	p, err := s.client.NewProducer(s.nsqd.Addr(), s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// await receives from a channel or sees it closed.
func await[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case v := <-c:
		return v
	case <-ctx.Done():
		t.Fatalf("not so within %v", patience)
		panic("not reached")
	}
}
