package behaviour

import (
	"context"
	"fmt"
	"go/token"
	"io"
	"maps"
	"net"
	"os"
	"reflect"
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
	waitTimeout    = 20 * time.Second // bounds every wait
)

// options are names and values for Config.Set.
type options map[string]any

// scenario is played once with each client, each time with a new nsqd.
type scenario struct {
	name    string
	nsqd    nsqtest.Options
	options options
	play    func(*scene)
	// differs is empty if both transcripts must be equal. Otherwise they must
	// differ, and differs is the first cell of the row of docs/MIGRATION.md that
	// explains why.
	differs string
	// errors is the same for the values and types of errors. Empty means that they must
	// be equal, also if the transcripts differ.
	errors string
}

// scene is one run of a scenario.
type scene struct {
	t      *testing.T
	client client.Client
	config client.Config
	nsqd   *nsqtest.Nsqd

	mu     sync.Mutex        // guards the fields below
	bodies map[string]string // message bodies by ID, which they replace in the transcript
	calls  []string          // lines that note has added
	kinds  []string          // values and types of errors that result has noted
}

// compare plays scenarios with both clients and compares the transcripts.
func compare(t *testing.T, scenarios []scenario) {
	rows := migrationRows(t)
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for _, row := range []string{s.differs, s.errors} {
				if row != "" && !rows[row] {
					t.Errorf("docs/MIGRATION.md has no row %q", row)
				}
			}
			theirs, ours := s.run(t, gonsq.Client{}), s.run(t, rdy.Client{})
			expectDifference(t, s.differs, theirs.transcript(), ours.transcript())
			expectDifference(t, s.errors, strings.Join(theirs.kinds, "\n"), strings.Join(ours.kinds, "\n"))
		})
	}
}

// expectDifference checks that what both clients did is equal without a row of
// docs/MIGRATION.md, and differs with one.
func expectDifference(t *testing.T, row, theirs, ours string) {
	t.Helper()
	switch same := theirs == ours; {
	case same != (row == ""):
		t.Errorf("intended difference: %q; go-nsq:\n%s\nhere:\n%s", row, theirs, ours)
	case !same:
		t.Logf("intended difference (%s); go-nsq:\n%s\nhere:\n%s", row, theirs, ours)
	}
}

// migrationRows returns the first cell of every table row in docs/MIGRATION.md.
func migrationRows(t *testing.T) map[string]bool {
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

// run plays the scenario with a client.
func (s scenario) run(t *testing.T, c client.Client) *scene {
	t.Helper()
	sc := &scene{t: t, client: c, config: c.NewConfig(), bodies: make(map[string]string)}
	if err := sc.config.Set("dial_timeout", waitTimeout); err != nil { // the default of 1 s is short for a busy machine
		t.Fatal(err)
	}
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
	return sc
}

// transcript returns the notes of the scene, and then all commands that nsqd has
// received.
func (s *scene) transcript() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, call := range s.calls {
		lines = append(lines, "    "+s.normalize(call))
	}
	for _, command := range s.nsqd.Commands() {
		lines = append(lines, "    > "+s.normalize(command))
	}
	return strings.Join(lines, "\n")
}

// normalize replaces what differs from run to run.
func (s *scene) normalize(text string) string {
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

// result notes the result of a call as programs see it: the text of the error, and
// its variable or type if the package exports one. The values and types that programs can
// name are noted once more, to be compared for themselves.
func (s *scene) result(call string, err error) {
	kind := s.kind(err)
	s.mu.Lock()
	s.kinds = append(s.kinds, call+": "+kind)
	s.mu.Unlock()
	if err == nil {
		s.note("%s: ok", call)
		return
	}
	s.note("%s: %s %q", call, kind, err)
}

// kind returns the name of the variable that err equals, or of its type, if a program can
// name one: it compares with == and asserts types, as programs for go-nsq do.
func (s *scene) kind(err error) string { return kind(s.client, err) }

func kind(c client.Client, err error) string {
	if err == nil {
		return "ok"
	}
	if name := c.ErrorName(err); name != "" {
		return name
	}
	if name, _ := c.Type(err); name != "" {
		return name
	}
	for name, value := range map[string]error{
		"io.EOF": io.EOF, "io.ErrUnexpectedEOF": io.ErrUnexpectedEOF, "net.ErrClosed": net.ErrClosed,
		"context.Canceled": context.Canceled, "context.DeadlineExceeded": context.DeadlineExceeded,
	} {
		if err == value { //nolint:errorlint // that is the point
			return name
		}
	}
	t := reflect.TypeOf(err)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if token.IsExported(t.Name()) && !strings.Contains(t.PkgPath(), "internal") && !strings.Contains(t.PkgPath(), "nsq") {
		return reflect.TypeOf(err).String()
	}
	return "an error" // whose type no program can name
}

// panics notes what a call panics with.
func (s *scene) panics(call string, f func()) {
	defer func() { s.note("%s: panic %v", call, recover()) }()
	f()
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

// awaitCommand waits until nsqd has received a command at least this many times.
func (s *scene) awaitCommand(times int, command string) {
	s.t.Helper()
	s.nsqd.WaitFor(waitTimeout, func() bool { return s.countCommands(command) >= times })
}

// countCommands returns how often nsqd has received a command, given by its name
// or its name and parameters.
func (s *scene) countCommands(command string) int {
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

// consume creates a consumer, connects it, calls play and stops it.
func (s *scene) consume(handle func(client.Delivery) error, play func(client.Consumer)) {
	s.t.Helper()
	c := s.consumer(handle)
	s.result("connect", c.ConnectToNSQD(s.nsqd.Addr()))
	s.awaitCommand(1, "RDY")
	play(c)
	s.stop(c)
}

// stop stops a consumer, waits until it has stopped and notes its statistics.
func (s *scene) stop(c client.Consumer) {
	s.t.Helper()
	c.Stop()
	await(s.t, c.Stopped())
	s.nsqd.WaitFor(waitTimeout, func() bool { return len(s.nsqd.Clients()) == 0 })
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

// await waits until a channel delivers a value or is closed.
func await[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	select {
	case v := <-c:
		return v
	case <-ctx.Done():
		t.Fatalf("nothing received after %v", waitTimeout)
		panic("not reached")
	}
}
