package transcripts

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/nsqio/nsq/nsqlookupd"

	"github.com/rdyhq/nsq/nsqtest"
)

// lookupdScript is what operators, nsqds (a and b) and clients do, in this order.
var lookupdScript = []string{
	"GET /ping", "GET /info", "GET /topics", "GET /nodes", "GET /lookup?topic=t", "GET /channels?topic=t",
	"a register t", "GET /lookup?topic=t", "GET /channels?topic=t", "GET /topics", "GET /nodes",
	"a register t", "GET /lookup?topic=t", "GET /nodes",
	"b register t", "GET /lookup?topic=t", "GET /nodes",
	"create t c", "GET /lookup?topic=t", "GET /channels?topic=t",
	"create t d", "create t c", "GET /lookup?topic=t", "GET /channels?topic=t",
	"b register u", "GET /topics", "GET /lookup?topic=u", "GET /channels?topic=u", "GET /nodes",
	"create v c", "GET /topics", "GET /lookup?topic=v", "GET /channels?topic=v", "GET /nodes",
	"a unregister t", "GET /lookup?topic=t", "GET /topics",
	"b unregister t", "GET /lookup?topic=t", "GET /topics", "GET /channels?topic=t",
	"a register t", "b register t", "tombstone t a", "GET /lookup?topic=t", "GET /lookup?topic=u", "GET /nodes",
	"a register t", "GET /lookup?topic=t", "GET /nodes",
	"a unregister t", "a register t", "GET /lookup?topic=t", "GET /nodes",
	"tombstone u a", "a register u", "GET /lookup?topic=u", "GET /nodes",
	"a register e#ephemeral", "GET /lookup?topic=e%23ephemeral", "GET /topics",
	"b register e#ephemeral", "a unregister e#ephemeral", "GET /lookup?topic=e%23ephemeral",
	"b unregister e#ephemeral", "GET /lookup?topic=e%23ephemeral", "GET /topics",
	"delete t", "GET /lookup?topic=t", "GET /channels?topic=t", "GET /topics",
	"delete unknown", "GET /topics",
	"a register t", "GET /lookup?topic=t", "GET /channels?topic=t",
	"GET /lookup", "GET /lookup?topic=", "GET /lookup?Topic=t", "GET /lookup?topic=t&topic=u", "GET /lookup?topic=a$",
	"GET /lookup?topic=%zz", "GET /channels?topic=%zz", "GET /lookup?topic=t&x=%zz", "GET /topics?x=%zz",
	"GET /channels", "GET /channels?topic=", "GET /channels?topic=a$", "GET /channels?topic=unknown",
	"GET /", "GET /lookups", "GET /lookup/t", "POST /lookup?topic=t", "POST /unknown", "PUT /topics", "DELETE /nodes",
	"HEAD /lookup?topic=t", "POST /ping", "POST /info", "HEAD /ping", "HEAD /unknown",
}

// lookupdDifferences are requests to which the fake does not respond as nsqlookupd does,
// with the item in nsqtest's documentation that explains why.
var lookupdDifferences = map[string]string{
	"POST /topic/create?topic=w": "administration",
	"GET /debug":                 "administration",
	"GET /lookup?topic=*":        "wildcard",
	"GET /channels?topic=*":      "wildcard",
}

// A lookupd is the nsqlookupd that a script is played on, the fake or the real one.
type lookupd interface {
	url() string
	client() *http.Client
	do(t *testing.T, who, what, topic, channel string)
}

// nsqlookupd responds to clients as the fake does, except for the items of the list in
// nsqtest's documentation.
func TestLookupd(t *testing.T) {
	steps := slices.Concat(lookupdScript, sorted(lookupdDifferences))
	theirs, ours := playLookupd(t, startLookupd(t), steps), playLookupd(t, newFakeLookupd(t), steps)
	unproven := differences(t, "nsqlookupd")
	for i, step := range steps {
		item := lookupdDifferences[step]
		if (theirs[i] == ours[i]) == (item != "") {
			t.Errorf("%s, after %q; expected difference: %q\nfake: %s\nreal: %s", step, steps[:i], item, ours[i], theirs[i])
		}
		if _, listed := differences(t, "nsqlookupd")[item]; item != "" && !listed {
			t.Errorf("nsqtest's documentation has no item %q", item)
		}
		delete(unproven, item)
	}
	if len(unproven) > 0 {
		t.Errorf("no request shows the differences %v", unproven)
	}
}

// playLookupd returns the responses to the script's requests. The other steps have none.
func playLookupd(t *testing.T, l lookupd, steps []string) []string {
	t.Helper()
	responses := make([]string, len(steps))
	for i, step := range steps {
		words := append(strings.Split(step, " "), "")
		switch {
		case strings.HasPrefix(words[1], "/"):
			responses[i] = respond(t, l, words[0], words[1])
		case len(words[0]) == 1: // an nsqd
			l.do(t, words[0], words[1], words[2], "")
		default: // an operator
			l.do(t, "", words[0], words[1], words[2])
		}
	}
	return responses
}

// respond returns the status, the headers and the body of a response, without what
// differs from run to run.
func respond(t *testing.T, l lookupd, method, path string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, l.url(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.URL.Path, req.URL.RawQuery, _ = strings.Cut(path, "?")
	resp, err := l.client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s, %q, %q, %s", resp.Status, resp.Header.Get("Content-Type"),
		resp.Header.Get("X-NSQ-Content-Type"), canonical(body))
}

// canonical sorts what nsqlookupd lists in no order.
func canonical(body []byte) string {
	var response map[string]any
	if json.Unmarshal(body, &response) != nil {
		return string(body)
	}
	text := func(a, b any) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) }
	for _, value := range response {
		list, _ := value.([]any)
		for _, item := range list {
			if producer, ok := item.(map[string]any); ok {
				producer["remote_address"] = "<address>"
				zip(producer)
			}
		}
		slices.SortFunc(list, text)
	}
	return fmt.Sprint(response)
}

// zip makes one list of a node's topics and tombstones, and sorts it.
func zip(node map[string]any) {
	topics, _ := node["topics"].([]any)
	tombstones, _ := node["tombstones"].([]any)
	if len(topics) != len(tombstones) {
		return
	}
	var pairs []string
	for i := range topics {
		pairs = append(pairs, fmt.Sprint(topics[i], " ", tombstones[i]))
	}
	slices.Sort(pairs)
	node["topics"], node["tombstones"] = pairs, nil
}

// A fakeLookupd is package nsqtest's.
type fakeLookupd struct {
	*nsqtest.Lookupd
	network *nsqtest.Network
}

func newFakeLookupd(t *testing.T) fakeLookupd {
	n := nsqtest.NewNetwork()
	return fakeLookupd{nsqtest.NewLookupd(t, nsqtest.LookupdOptions{Network: n}), n}
}

func (l fakeLookupd) url() string          { return l.URL() }
func (l fakeLookupd) client() *http.Client { return l.network.HTTPClient() }

func (l fakeLookupd) do(_ *testing.T, who, what, topic, channel string) {
	switch what {
	case "register":
		l.Register(topic, who+":4150")
	case "unregister":
		l.Unregister(topic, who+":4150")
	case "create":
		l.CreateChannel(topic, channel)
	case "delete":
		l.DeleteTopic(topic)
	case "tombstone":
		l.Tombstone(topic, channel+":4150")
	}
}

// A realLookupd is nsqlookupd, and the connections that nsqds have to it.
type realLookupd struct {
	http, tcp string
	nsqds     map[string]net.Conn
}

func startLookupd(t *testing.T) *realLookupd {
	t.Helper()
	opts := nsqlookupd.NewOptions()
	opts.TCPAddress, opts.HTTPAddress, opts.BroadcastAddress = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1"
	opts.Logger = discard{}
	d, err := nsqlookupd.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- d.Main() }()
	l := &realLookupd{http: d.RealHTTPAddr().String(), tcp: d.RealTCPAddr().String(), nsqds: make(map[string]net.Conn)}
	respond(t, l, http.MethodGet, "/ping") // Exit must not be called before Main
	t.Cleanup(func() {
		for _, conn := range l.nsqds {
			_ = conn.Close()
		}
		d.Exit()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		httpClient.CloseIdleConnections()
	})
	return l
}

type discard struct{}

func (discard) Output(int, string) error { return nil }

func (l *realLookupd) url() string          { return "http://" + l.http }
func (l *realLookupd) client() *http.Client { return httpClient }

func (l *realLookupd) do(t *testing.T, who, what, topic, channel string) {
	t.Helper()
	switch what {
	case "register", "unregister":
		l.send(t, who, strings.ToUpper(what)+" "+topic+"\n")
	case "create":
		l.post(t, "/channel/create?topic="+topic+"&channel="+channel)
	case "delete":
		l.post(t, "/topic/delete?topic="+topic)
	case "tombstone":
		l.post(t, "/topic/tombstone?topic="+topic+"&node="+channel+":4151")
	}
}

func (l *realLookupd) post(t *testing.T, path string) {
	t.Helper()
	if got := respond(t, l, http.MethodPost, path); !strings.HasPrefix(got, "200") {
		t.Fatalf("%s: %s", path, got)
	}
}

// send sends a command on an nsqd's connection, and waits for the response.
func (l *realLookupd) send(t *testing.T, who, command string) {
	t.Helper()
	if l.nsqds[who] == nil {
		conn, err := net.Dial("tcp", l.tcp)
		if err != nil {
			t.Fatal(err)
		}
		l.nsqds[who] = conn
		identify := withBody("  V1IDENTIFY", fmt.Appendf(nil,
			`{"broadcast_address":%q,"hostname":%[1]q,"tcp_port":4150,"http_port":4151,"version":"1.3.0"}`, who))
		l.roundTrip(t, conn, identify)
	}
	if got := l.roundTrip(t, l.nsqds[who], []byte(command)); got != "OK" {
		t.Fatalf("%s: %s", command, got)
	}
}

func (l *realLookupd) roundTrip(t *testing.T, conn net.Conn, command []byte) string {
	t.Helper()
	if _, err := conn.Write(command); err != nil {
		t.Fatal(err)
	}
	size := make([]byte, 4)
	if _, err := io.ReadFull(conn, size); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, int(size[2])<<8|int(size[3])) // they are short
	if _, err := io.ReadFull(conn, data); err != nil {
		t.Fatal(err)
	}
	return string(data)
}
