package main

import (
	"encoding/json"
	"net"
	"strconv"
	"strings"
	"testing"
)

func TestBroker(t *testing.T) {
	c := start(t, "broker", "--json", "--nsqds", "2", "--lookupds", "2", "--admin")
	c.stdout.await(t, "\n")
	var a addresses
	if err := json.Unmarshal([]byte(c.stdout.String()), &a); err != nil {
		t.Fatalf("%v in %q", err, c.stdout.String())
	}
	if len(a.NSQDs) != 2 || len(a.Lookupds) != 2 {
		t.Fatalf("got %+v", a)
	}
	for _, addr := range []string{a.NSQDs[0].HTTP, a.NSQDs[1].HTTP, a.Lookupds[0], a.Lookupds[1], a.Admin} {
		resp, err := statsClient.Get("http://" + addr + "/ping")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	c.interrupt(errInterrupted)
	if code := c.wait(t); code != exitOK || c.stderr.String() != "" {
		t.Errorf("exit code %d, stderr %q", code, c.stderr.String())
	}
}

// The command lines that the broker prints work.
func TestBrokerPrintsWhatToDo(t *testing.T) {
	c := start(t, "broker")
	c.stdout.await(t, "Ctrl-C")
	fields := strings.Fields(c.stdout.String())
	tcp, http := fields[2], fields[4]
	for _, line := range []string{
		"publish:  echo hello | rdy pub test --nsqd " + tcp + "\n",
		"consume:  rdy tail test --nsqd " + tcp + "\n",
	} {
		if !strings.Contains(c.stdout.String(), line) {
			t.Errorf("the output does not contain %q:\n%s", line, c.stdout.String())
		}
	}
	post(t, http, "/topic/create?topic=test", "")
	post(t, http, "/channel/create?topic=test&channel=c", "")
	post(t, http, "/pub?topic=test", "hello")
	if code, stdout, stderr := execute(t, "tail", "test", "--nsqd", tcp, "--channel", "c", "-n", "1"); code != exitOK || stdout != "hello\n" {
		t.Errorf("tail: exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	c.interrupt(errInterrupted)
	c.wait(t)
}

func TestBrokerKeepsData(t *testing.T) {
	dir := t.TempDir()
	for round := range 2 {
		c := start(t, "broker", "--data-dir", dir, "--lookupds", "0", "--json")
		c.stdout.await(t, "\n")
		var a addresses
		if err := json.Unmarshal([]byte(c.stdout.String()), &a); err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			post(t, a.NSQDs[0].HTTP, "/topic/create?topic=kept", "")
			post(t, a.NSQDs[0].HTTP, "/channel/create?topic=kept&channel=c", "")
			post(t, a.NSQDs[0].HTTP, "/pub?topic=kept", "m")
		} else {
			await(t, "message of the first run", func() bool {
				n, err := depth(t.Context(), a.NSQDs[0].HTTP, "kept", "c")
				return err == nil && n == 1
			})
		}
		c.interrupt(errInterrupted)
		if code := c.wait(t); code != exitOK {
			t.Fatalf("exit code %d, stderr %q", code, c.stderr.String())
		}
	}
}

func TestBrokerPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	port := l.Addr().(*net.TCPAddr).Port
	for _, flag := range []string{"--tcp-port", "--http-port"} {
		code, stdout, stderr := execute(t, "broker", flag, strconv.Itoa(port))
		if code != exitFailure || stdout != "" || !strings.Contains(stderr, l.Addr().String()) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", flag, code, stdout, stderr)
		}
		expectOneLine(t, stderr)
	}
}
