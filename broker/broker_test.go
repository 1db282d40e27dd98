package broker

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nsqio/nsq/nsqd"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start starts a broker and stops it when the test ends.
func start(t *testing.T, o Options) *Broker {
	t.Helper()
	b, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, b) })
	return b
}

func stop(t *testing.T, b *Broker) {
	t.Helper()
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
}

// request sends an HTTP request, on a connection that is kept alive, and
// returns the body of the response.
func request(t *testing.T, method, url, body string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %q (%v)", method, url, resp.Status, data, err)
	}
	return data
}

func publish(t *testing.T, n NSQD) {
	t.Helper()
	request(t, http.MethodPost, "http://"+n.HTTPAddr+"/pub?topic=orders", "a message")
}

// depth returns the number of messages in the queues of the topic orders and
// its channels.
func depth(t *testing.T, n NSQD) int {
	t.Helper()
	var stats struct {
		Topics []struct {
			Depth    int
			Channels []struct{ Depth int }
		}
	}
	data := request(t, http.MethodGet, "http://"+n.HTTPAddr+"/stats?format=json&topic=orders", "")
	if err := json.Unmarshal(data, &stats); err != nil {
		t.Fatal(err)
	}
	if len(stats.Topics) == 0 {
		return 0
	}
	sum := stats.Topics[0].Depth
	for _, c := range stats.Topics[0].Channels {
		sum += c.Depth
	}
	return sum
}

// producers returns the HTTP addresses of the nsqds that an nsqlookupd lists.
func producers(t *testing.T, lookupdAddr string) []string {
	t.Helper()
	var nodes struct {
		Producers []struct {
			BroadcastAddress string `json:"broadcast_address"`
			HTTPPort         int    `json:"http_port"`
		}
	}
	if err := json.Unmarshal(request(t, http.MethodGet, "http://"+lookupdAddr+"/nodes", ""), &nodes); err != nil {
		t.Fatal(err)
	}
	var addrs []string
	for _, p := range nodes.Producers {
		addrs = append(addrs, net.JoinHostPort(p.BroadcastAddress, strconv.Itoa(p.HTTPPort)))
	}
	return addrs
}

// dial connects, sends opening, and closes the connection when the test ends.
func dial(t *testing.T, addr, opening string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, opening); err != nil {
		t.Fatal(err)
	}
	return conn
}

// receive checks that the next bytes on the connection are these.
func receive(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("received %q (%v), want %q", got, err, want)
	}
}

// subscribed is nsqd's reply to SUB: a response frame.
const subscribed = "\x00\x00\x00\x06\x00\x00\x00\x00OK"

// refused checks that nothing listens at addr.
func refused(t *testing.T, addr string) {
	t.Helper()
	if conn, err := net.Dial("tcp", addr); err == nil {
		_ = conn.Close()
		t.Errorf("%s still accepts connections", addr)
	}
}

func TestCluster(t *testing.T) {
	for _, test := range []struct {
		name string
		o    Options
		want int // nsqds
	}{
		{"default", Options{}, 1},
		{"three nsqds", Options{NSQDs: 3}, 3},
		{"nsqadmin without nsqlookupd", Options{NSQDs: 2, Admin: true}, 2},
		{"everything", Options{NSQDs: 2, Lookupds: 2, Admin: true}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := start(t, test.o)
			nsqds, lookupds := b.NSQDs(), b.LookupdHTTPAddrs()
			if len(nsqds) != test.want || len(lookupds) != test.o.Lookupds || (b.AdminAddr() != "") != test.o.Admin {
				t.Fatalf("nsqds %v, nsqlookupds %v, nsqadmin %q", nsqds, lookupds, b.AdminAddr())
			}
			var httpAddrs []string
			for i, n := range nsqds {
				publish(t, n)
				if got := depth(t, n); got != 1 {
					t.Errorf("nsqd %d has %d messages, want 1", i, got)
				}
				httpAddrs = append(httpAddrs, n.HTTPAddr)
			}
			slices.Sort(httpAddrs)
			for _, addr := range lookupds {
				if got := slices.Sorted(slices.Values(producers(t, addr))); !slices.Equal(got, httpAddrs) {
					t.Errorf("nsqlookupd lists %v, want %v", got, httpAddrs)
				}
			}
			if test.o.Admin {
				nodes := request(t, http.MethodGet, "http://"+b.AdminAddr()+"/api/nodes", "")
				if got := bytes.Count(nodes, []byte(`"http_port"`)); got != test.want {
					t.Errorf("nsqadmin shows %d nsqds, want %d: %s", got, test.want, nodes)
				}
			}
			stop(t, b)
			for _, n := range nsqds {
				refused(t, n.TCPAddr)
				refused(t, n.HTTPAddr)
			}
			for _, addr := range lookupds {
				refused(t, addr)
			}
			if test.o.Admin {
				refused(t, b.AdminAddr())
			}
		})
	}
}

func TestNSQDsIsACopy(t *testing.T) {
	b := start(t, Options{})
	b.NSQDs()[0] = NSQD{}
	if b.NSQDs()[0] == (NSQD{}) {
		t.Error("changing the slice that NSQDs returned changed the broker")
	}
}

func TestNodeIDsDiffer(t *testing.T) {
	var ids []int64
	start(t, Options{NSQDs: 3, Configure: func(_ int, o *nsqd.Options) { ids = append(ids, o.ID) }})
	if !slices.Equal(ids, []int64{0, 1, 2}) {
		t.Errorf("node ids %v, want 0, 1, 2: message IDs are unique only if node ids are", ids)
	}
}

func TestTemporaryDataIsRemoved(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	b := start(t, Options{NSQDs: 2})
	publish(t, b.NSQDs()[1])
	if used, err := filepath.Glob(filepath.Join(temp, "*", "nsqd-1", "nsqd.dat")); err != nil || len(used) != 1 {
		t.Errorf("data files %v (%v), want those of nsqd-1", used, err)
	}
	stop(t, b)
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("after Stop the temporary directory holds %v (%v)", left, err)
	}
}

func TestRestartKeepsMessages(t *testing.T) {
	o := Options{NSQDs: 2, DataDir: filepath.Join(t.TempDir(), "new")}
	b := start(t, o)
	for i, n := range b.NSQDs() {
		for range i + 1 {
			publish(t, n)
		}
	}
	stop(t, b)

	b = start(t, o)
	for i, n := range b.NSQDs() {
		if got := depth(t, n); got != i+1 {
			t.Errorf("nsqd %d has %d messages after the restart, want %d", i, got, i+1)
		}
	}
}

// An nsqd that is stopped while it delivers messages, to consumers that requeue
// them all, loses none between memory and disk.
func TestRestartKeepsMessagesInFlight(t *testing.T) {
	const messages = 500
	o := Options{DataDir: t.TempDir()}
	b := start(t, o)
	n := b.NSQDs()[0]
	busy := make(chan struct{}, 1)
	var consumers sync.WaitGroup
	for range 4 {
		conn := dial(t, n.TCPAddr, "  V2SUB orders archive\nRDY 5\n")
		consumers.Go(func() { requeueAll(conn, busy) })
	}
	request(t, http.MethodPost, "http://"+n.HTTPAddr+"/mpub?topic=orders", strings.Repeat("body\n", messages))
	<-busy
	stop(t, b)
	consumers.Wait()

	b = start(t, o)
	if got := depth(t, b.NSQDs()[0]); got != messages {
		t.Errorf("%d messages after the restart, want %d", got, messages)
	}
}

// requeueAll requeues every message it receives until the connection ends. It
// fills busy after each.
func requeueAll(conn net.Conn, busy chan<- struct{}) {
	for {
		head := make([]byte, 8)
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		data := make([]byte, binary.BigEndian.Uint32(head)-4)
		if _, err := io.ReadFull(conn, data); err != nil {
			return
		}
		if head[7] == 2 { // a message, with its ID after timestamp and attempts
			if _, err := fmt.Fprintf(conn, "REQ %s 0\n", data[10:26]); err != nil {
				return
			}
			select {
			case busy <- struct{}{}:
			default:
			}
		}
	}
}

// freePorts returns the first of n consecutive ports on which nothing listens.
// They lie below the range from which operating systems assign ports to
// connections and to listeners on port 0, because tests that run in parallel
// open many of those. They lie above the ports that e2e uses.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for range 100 {
		first := 30_000 + rand.IntN(2000)
		addrs := make([]string, n)
		for i := range addrs {
			addrs[i] = net.JoinHostPort(loopback, strconv.Itoa(first+i))
		}
		if checkFree(addrs...) == nil {
			return first
		}
	}
	t.Fatal("no free ports")
	return 0
}

func TestGivenPorts(t *testing.T) {
	first := freePorts(t, 4)
	b := start(t, Options{NSQDs: 2, TCPPort: first, HTTPPort: first + 1})
	for i, n := range b.NSQDs() {
		want := NSQD{
			TCPAddr:  fmt.Sprintf("127.0.0.1:%d", first+2*i),
			HTTPAddr: fmt.Sprintf("127.0.0.1:%d", first+2*i+1),
		}
		if n != want {
			t.Errorf("nsqd %d is at %v, want %v", i, n, want)
		}
	}
}

func TestConfigureMayDropLookupds(t *testing.T) {
	b := start(t, Options{NSQDs: 2, Lookupds: 1, Configure: func(i int, o *nsqd.Options) {
		if i == 0 {
			o.NSQLookupdTCPAddresses = nil
		}
	}})
	if got, want := producers(t, b.LookupdHTTPAddrs()[0]), []string{b.NSQDs()[1].HTTPAddr}; !slices.Equal(got, want) {
		t.Errorf("nsqlookupd lists %v, want %v", got, want)
	}
}

func TestStopTwice(t *testing.T) {
	b := start(t, Options{NSQDs: 2})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := b.Stop(); err != nil {
				t.Error(err)
			}
			refused(t, b.NSQDs()[0].TCPAddr)
		})
	}
	wg.Wait()
	stop(t, b)
}

// lockedBuffer can be read while a daemon's last goroutines still write to it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestLog(t *testing.T) {
	for _, test := range []struct {
		level       slog.Level
		want, never []string
	}{
		{slog.LevelDebug, []string{"level=DEBUG", "level=INFO", "daemon=nsqd-1", "daemon=nsqlookupd-0", "daemon=nsqadmin"}, nil},
		{slog.LevelInfo, []string{"level=INFO", "TCP: listening on"}, []string{"level=DEBUG"}},
		{slog.LevelWarn, []string{`level=ERROR msg="client(`, "bad protocol magic"}, []string{"level=INFO"}},
		{slog.LevelError + 1, nil, []string{"level"}},
	} {
		t.Run(test.level.String(), func(t *testing.T) {
			var log lockedBuffer
			handler := slog.NewTextHandler(&log, &slog.HandlerOptions{Level: test.level})
			b := start(t, Options{NSQDs: 2, Lookupds: 1, Admin: true, Logger: slog.New(handler)})
			receive(t, dial(t, b.NSQDs()[0].TCPAddr, "  V2SUB orders archive\n"), subscribed)
			bad := dial(t, b.NSQDs()[0].TCPAddr, "nope")
			if _, err := io.ReadAll(bad); err != nil {
				t.Fatal(err)
			}
			stop(t, b)
			for _, s := range test.want {
				if !strings.Contains(log.String(), s) {
					t.Errorf("%q is not in the log:\n%s", s, &log)
				}
			}
			for _, s := range test.never {
				if strings.Contains(log.String(), s) {
					t.Errorf("%q is in the log:\n%s", s, &log)
				}
			}
		})
	}
}
