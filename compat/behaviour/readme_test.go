package behaviour

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/compat/behaviour/client"
	"github.com/rdyhq/nsq/compat/behaviour/gonsq"
	"github.com/rdyhq/nsq/compat/behaviour/rdy"
	"github.com/rdyhq/nsq/nsqtest"
)

// Rows three to seven of the table of README.md say what happens to users of go-nsq and does not
// happen here. Each scene plays the first cell of a row with one client and reports
// whether it happens. None waits for longer than some seconds, so what takes go-nsq a
// minute shows as not having happened yet.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		row     string
		options options
		nsqd    nsqtest.Options
		happens func(*scene) bool
	}{
		{row: "one nsqd of eight has all the messages", options: options{"max_in_flight": 80}, happens: keepsAnEighth},
		{row: "`ChangeMaxInFlight(2)` with two nsqds", options: options{"max_in_flight": 20}, happens: keepsRDY},
		{row: "a handler takes minutes", options: options{"heartbeat_interval": "1s", "max_in_flight": 2},
			happens: losesTheConnection},
		{row: "an nsqd restarts", happens: staysAway},
		{row: "a handler panics", happens: endsTheProcess},
	} {
		t.Run(tt.row, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(string(readme), "\n| "+tt.row+" |") {
				t.Errorf("README.md has no row %q", tt.row)
			}
			for _, c := range []client.Client{gonsq.Client{}, rdy.Client{}} {
				var happened bool
				scenario{nsqd: tt.nsqd, options: tt.options, play: func(s *scene) { happened = tt.happens(s) }}.run(t, c)
				if want := c == (gonsq.Client{}); happened != want {
					t.Errorf("with %T: %t, want %t", c, happened, want)
				}
			}
		})
	}
}

// within reports whether cond holds within the time.
func within(d time.Duration, cond func() bool) bool {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// readyFor returns the RDY of the only client of an nsqd.
func readyFor(n *nsqtest.Nsqd) int {
	if clients := n.Clients(); len(clients) == 1 {
		return clients[0].RDY
	}
	return 0
}

// keepsAnEighth reports whether the nsqd that has all messages has an eighth of
// max_in_flight for two seconds.
func keepsAnEighth(s *scene) bool {
	fill := func() {
		for s.nsqd.Stats(topic, channel).Depth < 1000 {
			s.nsqd.Publish(topic, slices.Repeat([]string{"a"}, 1000)...)
		}
	}
	c := s.consumer(finish)
	addrs := []string{s.nsqd.Addr()}
	for range 7 {
		addrs = append(addrs, nsqtest.NewNsqd(s.t, nsqtest.Options{}).Addr())
	}
	if err := c.ConnectToNSQDs(addrs); err != nil {
		s.t.Fatal(err)
	}
	defer s.stop(c)
	fill()
	s.awaitCommand(200, "FIN") // the first nsqd has all of max_in_flight until the others are connected
	return !within(2*time.Second, func() bool {
		fill()
		return readyFor(s.nsqd) > 10
	})
}

// keepsRDY reports whether both of two nsqds keep their RDY for a second after
// max_in_flight was lowered.
func keepsRDY(s *scene) bool {
	other := nsqtest.NewNsqd(s.t, nsqtest.Options{})
	c := s.consumer(finish)
	if err := c.ConnectToNSQDs([]string{s.nsqd.Addr(), other.Addr()}); err != nil {
		s.t.Fatal(err)
	}
	defer s.stop(c)
	// go-nsq gives all 20 to the first connection. Depending on the order in which it then looks
	// at the two, the other has its share at once, or at a retry five seconds later.
	if !within(waitTimeout, func() bool { return readyFor(s.nsqd) == 10 && readyFor(other) == 10 }) {
		s.t.Error("max_in_flight is not shared")
	}
	c.ChangeMaxInFlight(2)
	return !within(time.Second, func() bool { return readyFor(s.nsqd)+readyFor(other) <= 2 })
}

// losesTheConnection reports whether an nsqd that sends heartbeats closes the connection
// while a handler is at work and another message waits.
func losesTheConnection(s *scene) bool {
	begun, release := make(chan struct{}, 10), make(chan struct{})
	s.publish("a", "b")
	c := s.consumer(func(client.Delivery) error {
		begun <- struct{}{}
		<-release
		return nil
	})
	if err := c.ConnectToNSQD(s.nsqd.Addr()); err != nil {
		s.t.Fatal(err)
	}
	defer s.stop(c)
	defer close(release)
	await(s.t, begun)
	return within(5*time.Second, func() bool { return len(s.nsqd.Clients()) == 0 })
}

// staysAway reports whether an nsqd that was killed and is back has no connection for
// three seconds.
func staysAway(s *scene) bool {
	c := s.consumer(finish)
	if err := c.ConnectToNSQD(s.nsqd.Addr()); err != nil {
		s.t.Fatal(err)
	}
	s.awaitCommand(1, "RDY")
	s.nsqd.Kill()
	s.nsqd.Restart()
	defer s.stop(c)
	return !within(3*time.Second, func() bool { return len(s.nsqd.Clients()) > 0 })
}

// panicker names the client that the process of TestPanicker plays with.
const panicker = "BEHAVIOUR_PANICKER"

// endsTheProcess reports whether a process whose handler panics ends with that panic.
func endsTheProcess(s *scene) bool {
	cmd := exec.CommandContext(s.t.Context(), os.Args[0], "-test.run", "^TestPanicker$")
	cmd.Env = append(os.Environ(), panicker+"="+fmt.Sprintf("%T", s.client))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	if err != nil && !strings.Contains(string(out), "panic: out of ink") {
		s.t.Errorf("%v:\n%s", err, out)
	}
	return err != nil
}

// TestPanicker is what endsTheProcess runs: a handler panics at the first delivery of a
// message and finishes it at the second.
func TestPanicker(t *testing.T) {
	for _, c := range []client.Client{gonsq.Client{}, rdy.Client{}} {
		if os.Getenv(panicker) != fmt.Sprintf("%T", c) {
			continue
		}
		scenario{options: options{"default_requeue_delay": 0}, play: func(s *scene) {
			s.publish("a")
			s.consume(func(d client.Delivery) error {
				if d.Attempts == 1 {
					panic("out of ink")
				}
				return nil
			}, func(client.Consumer) { s.awaitCommand(1, "FIN") })
		}}.run(t, c)
	}
}
