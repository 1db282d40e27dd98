package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// countMessages returns how many messages a topic has received, over all nsqds.
func countMessages(t *testing.T, c *cluster, topic string) int {
	t.Helper()
	sum := 0
	for _, n := range c.nsqds {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.HTTPAddr+"/stats?format=json&topic="+topic, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := statsClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var stats struct {
			Topics []struct {
				Messages int `json:"message_count"`
			}
		}
		err = json.NewDecoder(resp.Body).Decode(&stats)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range stats.Topics {
			sum += topic.Messages
		}
	}
	return sum
}

// tail prints what pub has published to a real nsqd, from a file and standard
// input.
func TestPub(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "pub", "ch")
	numbers, lines := numberedLines(3000)
	file := filepath.Join(t.TempDir(), "numbers")
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startWith(t, strings.NewReader("a\n\nb"), append(c.flags(), "pub", "--topic", "pub", "--set", "snappy,true", file, "-")...)
	// The width of the column depends on the rate.
	summary := regexp.MustCompile(`^published +3002\n`)
	if code := p.wait(t); code != exitOK || p.stdout.String() != "" || !summary.MatchString(p.stderr.String()) {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, p.stdout.String(), p.stderr.String())
	}
	_, stdout, _ := execute(t, append(c.flags(), "tail", "pub", "--channel", "ch", "-n", "3002")...)
	got, want := strings.Fields(stdout), slices.Concat(numbers, []string{"a", "b"})
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("tail printed %d messages that differ from the %d published", len(got), len(want))
	}
}

// A real nsqd refuses a batch with one message above its limit.
func TestPubGuiltyAtRealNSQD(t *testing.T) {
	c := startCluster(t, 1)
	input := "a\n" + strings.Repeat("x", maxSize+1) + "\nb\n"
	args := append(c.flags(), "pub", "--topic", "guilty", "--max-msg-size", "2000000", "--json", "--quiet")
	p := startWith(t, strings.NewReader(input), args...)
	code := p.wait(t)
	if r := parsePubResult(t, p.stdout.String()); code != exitFailure || r.Published != 2 || r.Failed != 1 || countMessages(t, c, "guilty") != 2 {
		t.Errorf("exit code %d, %+v", code, r)
	}
	if !strings.Contains(p.stderr.String(), "rdy: line 2: E_BAD_MESSAGE") {
		t.Errorf("stderr %q", p.stderr.String())
	}
}

// The topic may be an argument, and files follow it.
func TestPubTopicArgument(t *testing.T) {
	c := startCluster(t, 1)
	file := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"pub", "arg"}, {"pub", "arg", file}, {"pub", "--topic", "arg", file}, {"pub", "arg", "-", file}, {"pub", "--topic", "arg"}} {
		code, _, stderr := executeWith(t, "typed\n", append(args, append(c.flags(), "-q")...)...)
		if code != exitOK || stderr != "" {
			t.Errorf("%v: exit code %d, stderr %q", args, code, stderr)
		}
	}
	c.publish(t, 0, "arg", "ch")
	_, stdout, _ := execute(t, append(c.flags(), "tail", "arg", "--channel", "ch", "-n", "6")...)
	lines := strings.Split(stdout, "\n")
	slices.Sort(lines)
	if want := []string{"", "from a file", "from a file", "from a file", "typed", "typed", "typed"}; !slices.Equal(lines, want) {
		t.Errorf("got %q", lines)
	}
}
