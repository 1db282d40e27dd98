package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nsqio/nsq/nsqd"
	"github.com/rdyhq/nsq"
)

// dayLines is how many orders are published. Their amounts are 0 to dayLines-1.
const dayLines = 3000

// A day of an operator: all that is done to two clusters is done by the command rdy, and all
// that it says is compared with what nsqd says. No order is lost.
func TestOperatorsDay(t *testing.T) {
	d := newDay(t)
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"create", d.create},
		{"publish", d.publish},
		{"stuck", d.findStuck},
		{"pause", d.pause},
		{"copy", d.copyLarge},
		{"tail", d.tail},
		{"dead letters", d.deadLetters},
		{"to-file", d.toFile},
		{"to-http", d.toHTTP},
	} {
		begin := time.Now()
		step.do()
		t.Logf("%s: %v", step.name, time.Since(begin).Round(time.Millisecond))
	}
}

// day is a cluster, another one that gets copies, and a shell.
type day struct {
	t        *testing.T
	rdy      string // the command
	nsqds    []*NSQD
	lookupds []*Lookupd
	other    *NSQD
}

func newDay(t *testing.T) *day {
	t.Helper()
	d := &day{t: t, rdy: filepath.Join(t.TempDir(), "rdy")}
	if runtime.GOOS == "windows" {
		d.rdy += ".exe"
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", d.rdy, "github.com/rdyhq/nsq/cmd/rdy")
	build.Env = append(os.Environ(), "GOWORK=") // with go.work, which finds rdy, also where the tests run without
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	d.lookupds = []*Lookupd{StartLookupd(t), StartLookupd(t)}
	for range 3 {
		d.nsqds = append(d.nsqds, StartNSQD(t, func(o *nsqd.Options) {
			o.MemQueueSize, o.SyncEvery = 0, 1 // what a killed nsqd has not in flight is on disk
			for _, l := range d.lookupds {
				o.NSQLookupdTCPAddresses = append(o.NSQLookupdTCPAddresses, l.TCPAddr())
			}
		}))
	}
	d.other = StartNSQD(t, nil)
	for _, l := range d.lookupds {
		eventually(t, patience, func() bool { return len(l.Nodes()) == len(d.nsqds) })
	}
	return d
}

// command returns a command line of rdy. Commands that look at a cluster take its address from
// the environment.
func (d *day) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(d.t.Context(), d.rdy, args...)
	cmd.Env = append(os.Environ(), "RDY_LOOKUPD="+d.lookupds[0].HTTPAddr()+","+d.lookupds[1].HTTPAddr())
	return cmd
}

// run runs a command line to its end and returns what it prints.
func (d *day) run(args ...string) string {
	d.t.Helper()
	stdout, stderr, code := d.runs(args...)
	if code != 0 {
		d.t.Fatalf("rdy %s: exit code %d\n%s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

func (d *day) runs(args ...string) (stdout, stderr string, code int) {
	d.t.Helper()
	var out, errs bytes.Buffer
	cmd := d.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if _, exited := errors.AsType[*exec.ExitError](err); !exited {
			d.t.Fatalf("rdy %s: %v", strings.Join(args, " "), err)
		}
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// read runs a command line that prints JSON.
func (d *day) read(result any, args ...string) {
	d.t.Helper()
	text := d.run(append(args, "--json")...)
	if err := json.Unmarshal([]byte(text), result); err != nil {
		d.t.Fatalf("rdy %s: %v\n%s", strings.Join(args, " "), err, text)
	}
}

// job is a command line that runs until it is stopped.
type job struct {
	*exec.Cmd
	out, errs lines
}

// lines is what a job prints. The test reads it meanwhile.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (d *day) start(args ...string) *job {
	d.t.Helper()
	j := &job{Cmd: d.command(args...)}
	j.Stdout, j.Stderr = &j.out, &j.errs
	if err := j.Start(); err != nil {
		d.t.Fatal(err)
	}
	return j
}

// stop ends a job as Ctrl-C does.
func (d *day) stop(j *job) {
	d.t.Helper()
	if err := j.Process.Signal(os.Interrupt); err != nil {
		d.t.Fatal(err)
	}
	if err := j.Wait(); err != nil {
		d.t.Fatalf("%v: %v\n%s", j.Args[1:], err, j.errs.String())
	}
}

// sources returns the flags of a command that consumes from the cluster.
func (d *day) sources() []string {
	return []string{"--lookupd", d.lookupds[0].HTTPAddr(), "--lookupd", d.lookupds[1].HTTPAddr()}
}

// sum adds up what the nsqds say of a channel of orders.
func (d *day) sum(channel string) (sum ChannelStats) {
	for _, n := range d.nsqds {
		s := n.Stats("orders", channel)
		sum.Depth += s.Depth
		sum.InFlight += s.InFlight
		sum.Deferred += s.Deferred
		sum.MessageCount += s.MessageCount
		sum.RequeueCount += s.RequeueCount
	}
	return sum
}

// left returns how many messages a channel of orders has.
func (d *day) left(channel string) int {
	s := d.sum(channel)
	return s.Depth + s.InFlight + s.Deferred
}

var dayChannels = []string{"archive", "billing", "copy", "hook"}

func (d *day) create() {
	d.run("topic", "create", "orders")
	for _, channel := range dayChannels {
		d.run("channel", "create", "orders", channel)
	}
}

func orderLine(amount int) string { return fmt.Sprintf(`{"id":"o-%04d","amount":%d}`, amount, amount) }

func (d *day) publish() {
	var lines strings.Builder
	for i := range dayLines {
		lines.WriteString(orderLine(i) + "\n")
	}
	file := filepath.Join(d.t.TempDir(), "orders.txt")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		d.t.Fatal(err)
	}
	args := []string{"pub", "orders", file, "--quiet"}
	for _, n := range d.nsqds {
		args = append(args, "--nsqd", n.TCPAddr())
	}
	d.run(args...)
	for _, channel := range dayChannels {
		eventually(d.t, patience, func() bool { return d.sum(channel).Depth == dayLines })
		d.agree(channel)
	}
}

// channelStat is what "rdy stat --json" prints of a channel.
type channelStat struct {
	Channel  string `json:"channel"`
	Depth    int    `json:"depth"`
	InFlight int    `json:"in_flight"`
	Deferred int    `json:"deferred"`
	Messages int    `json:"messages"`
	Requeued int    `json:"requeued"`
	Paused   bool   `json:"paused"`
}

// agree checks that rdy says of a channel what the nsqds say.
func (d *day) agree(channel string) channelStat {
	d.t.Helper()
	var stat struct {
		Channels []channelStat `json:"channels"`
	}
	d.read(&stat, "stat", "orders", channel, "--no-rates")
	if len(stat.Channels) != 1 {
		d.t.Fatalf("rdy knows %d channels orders/%s", len(stat.Channels), channel)
	}
	got, want := stat.Channels[0], d.sum(channel)
	if got.Depth != want.Depth || got.InFlight != want.InFlight || got.Deferred != want.Deferred || got.Messages != want.MessageCount ||
		got.Requeued != want.RequeueCount {
		d.t.Errorf("rdy says %+v, nsqd says %+v", got, want)
	}
	return got
}

// consume starts a consumer of orders/billing with ten handlers.
func (d *day) consume(cfg *nsq.Config, h nsq.HandlerFunc) *nsq.Consumer {
	d.t.Helper()
	c, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	c.AddConcurrentHandlers(h, 10)
	var addrs []string
	for _, n := range d.nsqds {
		addrs = append(addrs, n.TCPAddr())
	}
	if err := c.ConnectToNSQDs(addrs); err != nil {
		d.t.Fatal(err)
	}
	return c
}

// findStuck has a consumer of billing that finishes nothing. doctor names it.
func (d *day) findStuck() {
	release := make(chan struct{})
	cfg := testConfig(d.t)
	cfg.MaxInFlight = 10
	c := d.consume(cfg, func(*nsq.Message) error {
		<-release
		return errors.New("stuck")
	})
	eventually(d.t, patience, func() bool { return d.sum("billing").InFlight == 10 })
	stdout, stderr, code := d.runs("doctor", "--for", "6s", "--json")
	var report struct {
		Findings []struct {
			Rule    string   `json:"rule"`
			Topic   string   `json:"topic"`
			Channel string   `json:"channel"`
			Command []string `json:"command"`
		} `json:"findings"`
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != 1 {
		d.t.Fatalf("rdy doctor: exit code %d, error %v\n%s%s", code, err, stdout, stderr)
	}
	found := false
	for _, f := range report.Findings {
		found = found || f.Rule == "stuck" && f.Topic == "orders" && f.Channel == "billing" && len(f.Command) > 0
	}
	if !found {
		d.t.Errorf("doctor does not name orders/billing: %s", stdout)
	}
	close(release)
	stop(d.t, c)
	eventually(d.t, patience, func() bool { s := d.sum("billing"); return s.InFlight == 0 && s.Deferred == 0 })
}

func (d *day) pause() {
	d.run("channel", "pause", "orders", "archive")
	if !d.agree("archive").Paused {
		d.t.Error("the channel is not paused")
	}
	for _, n := range d.nsqds {
		if !n.Stats("orders", "archive").Paused {
			d.t.Errorf("not paused on %s", n)
		}
	}
}

// copyLarge copies the orders of at least 2,900 to the other cluster.
func (d *day) copyLarge() {
	const least, want = 2900, dayLines - 2900
	d.other.Post("/topic/create?topic=large")
	d.other.Post("/channel/create?topic=large&channel=c")
	j := d.start(append(d.sources(), "copy", "orders", "--channel", "copy", "--to", d.other.TCPAddr(), "--to-topic", "large",
		"--jq", fmt.Sprintf("select(.amount >= %d)", least))...)
	eventually(d.t, patience, func() bool { return d.left("copy") == 0 })
	d.stop(j)
	if s := d.other.Stats("large", "c"); s.Depth != want {
		d.t.Errorf("the other cluster got %d orders, want %d", s.Depth, want)
	}
}

// tail prints what is published while it runs, and takes it from no channel.
func (d *day) tail() {
	if d.nsqds[0].old() {
		d.t.Log("left out: with MemQueueSize 0 nsqd 1.2.1 gives an ephemeral channel no message at all")
		return
	}
	before := d.left("hook")
	d.nsqds[0].Post("/topic/create?topic=news")
	eventually(d.t, patience, func() bool { return d.lookupds[0].Lists("news", d.nsqds[0].TCPAddr()) })
	j := d.start(append(d.sources(), "tail", "news", "-n", "3")...)
	eventually(d.t, patience, func() bool {
		return slices.ContainsFunc(d.nsqds, func(n *NSQD) bool { return len(n.channels("news")) > 0 })
	})
	// With MemQueueSize 0 nsqd drops what an ephemeral channel gets while its client is not ready for
	// the next message. So the test publishes until tail has printed three lines.
	n := 0
	eventually(d.t, patience, func() bool {
		d.nsqds[0].Publish("news", fmt.Sprint("line ", n))
		n++
		return strings.Count(j.out.String(), "line ") == 3
	})
	if err := j.Wait(); err != nil {
		d.t.Fatalf("tail: %v\n%s", err, j.errs.String())
	}
	if got := strings.Count(j.out.String(), "line "); got != 3 {
		d.t.Errorf("tail printed %q", j.out.String())
	}
	if after := d.left("hook"); after != before {
		d.t.Errorf("tail changed another channel: %d messages were %d", after, before)
	}
}

// channels returns the names of the channels of a topic.
func (n *NSQD) channels(topic string) (names []string) {
	n.t.Helper()
	var stats struct {
		Topics []struct {
			Channels []struct {
				Name string `json:"channel_name"`
			} `json:"channels"`
		} `json:"topics"`
	}
	n.get("/stats?format=json&topic="+topic, &stats)
	for _, t := range stats.Topics {
		for _, c := range t.Channels {
			names = append(names, c.Name)
		}
	}
	return names
}

// deadLetters handles the orders of billing. Each hundredth fails and becomes a dead letter, is
// looked at, and is replayed for another consumer.
func (d *day) deadLetters() {
	const want = dayLines / 100
	d.run("topic", "create", "billing.again")
	d.run("channel", "create", "billing.again", "c")
	pool, err := nsq.NewProducerPool([]string{d.nsqds[0].TCPAddr(), d.nsqds[1].TCPAddr()}, testConfig(d.t))
	if err != nil {
		d.t.Fatal(err)
	}
	defer pool.Stop()
	cfg := testConfig(d.t)
	cfg.MaxInFlight = 100
	cfg.DeadLetter = &nsq.DeadLetterPolicy{To: pool}
	handled := newLedger()
	c := d.consume(cfg, func(m *nsq.Message) error {
		var o struct{ Amount int }
		if err := json.Unmarshal(m.Body, &o); err != nil {
			return err
		}
		if o.Amount%100 == 0 {
			return nsq.DeadLetter(errors.New("no such customer"))
		}
		handled.add(m.Body)
		return nil
	})
	eventually(d.t, patience, func() bool { return d.left("billing") == 0 })
	stop(d.t, c)
	if n := handled.distinct(); n != dayLines-want {
		d.t.Errorf("%d orders were handled, want %d", n, dayLines-want)
	}
	var list struct {
		Letters []struct {
			ID     string                   `json:"id"`
			Failed struct{ Error string }   `json:"failed"`
			Origin struct{ Channel string } `json:"origin"`
		} `json:"letters"`
	}
	d.read(&list, "dead", "list", "orders.billing.dead")
	if len(list.Letters) != want || list.Letters[0].Failed.Error != "no such customer" || list.Letters[0].Origin.Channel != "billing" {
		d.t.Fatalf("dead letters: %+v", list)
	}
	if body := d.run("dead", "show", "orders.billing.dead", list.Letters[0].ID, "--raw"); !strings.HasPrefix(body, `{"id":"o-`) {
		d.t.Errorf("the letter's body is %q", body)
	}
	if _, stderr, code := d.runs("dead", "replay", "orders.billing.dead", "--all"); code == 0 || !strings.Contains(stderr, "archive") {
		d.t.Errorf("a replay to all channels was not refused: exit code %d, %s", code, stderr)
	}
	d.run("dead", "replay", "orders.billing.dead", "--all", "--to", "billing.again")
	again := 0
	for _, n := range d.nsqds {
		again += n.Stats("billing.again", "c").Depth
	}
	if again != want {
		d.t.Errorf("%d letters were replayed, want %d", again, want)
	}
}

// toFile archives all orders, while an nsqd is killed and comes back, and while the disk is full.
func (d *day) toFile() {
	dir, makeRoom := almostFullDisk(d.t)
	j := d.start(append(d.sources(), "to-file", "orders", "--channel", "archive", "--output-dir", dir, "--sync-interval", "100ms",
		"--set", "lookupd_poll_interval,1s")...)
	d.nsqds[0].Kill()
	d.nsqds[0].Start()
	d.run("channel", "unpause", "orders", "archive")
	if makeRoom != nil {
		eventually(d.t, patience, func() bool { return strings.Contains(j.errs.String(), "no space left on device") })
		makeRoom()
	}
	eventually(d.t, patience, func() bool { return d.left("archive") == 0 })
	d.stop(j)
	archived := linesBelow(d.t, dir)
	for i := range dayLines {
		if !archived[orderLine(i)] {
			d.t.Errorf("order %d is in no file", i)
		}
	}
}

// toHTTP sends all orders to a server that fails half of the time.
func (d *day) toHTTP() {
	received := newLedger()
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, err := body.ReadFrom(r.Body)
		if requests.Add(1)%2 == 0 || err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		received.add(body.Bytes())
	}))
	defer server.Close()
	j := d.start(append(d.sources(), "to-http", "orders", server.URL, "--channel", "hook", "--concurrency", "32",
		"--set", "default_requeue_delay,50ms", "--set", "max_backoff_duration,0s")...)
	eventually(d.t, patience, func() bool { return d.left("hook") == 0 })
	d.stop(j)
	for i := range dayLines {
		if !received.has(orderLine(i)) {
			d.t.Errorf("order %d was not received", i)
		}
	}
}

// linesBelow returns the lines of all files below a directory.
func linesBelow(t *testing.T, dir string) map[string]bool {
	t.Helper()
	lines := make(map[string]bool)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for line := range strings.Lines(string(data)) {
			lines[strings.TrimSpace(line)] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}
