package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// nsq_tail -n leaves no message in flight that it has printed: those of the original come
// again to the next reader.
func TestOldTailFinishesWhatItPrints(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "t", "ch", "a", "b", "c")
	code, stdout, stderr := execute(t, "compat", "nsq_tail", "-topic", "t", "--channel=ch", "-nsqd-tcp-address", c.nsqds[0].TCPAddr, "-n", "2", "-print-topic")
	if code != exitOK || stdout != "t | a\nt | b\n" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	await(t, "disconnected nsq_tail", func() bool { return c.stats(t, "t").InFlight == 0 })
	if left := c.unfinished(t, "t"); left != 1 {
		t.Errorf("%d messages are left, want 1", left)
	}
}

// Several topics are read at the same time, and -n messages of one of them end all.
func TestOldTailOfSeveralTopics(t *testing.T) {
	c := startCluster(t, 1)
	for _, topic := range []string{"t", "u"} {
		c.publish(t, 0, topic, "ch")
	}
	p := start(t, "compat", "nsq_tail", "-topic", "t", "-topic", "u", "-channel", "ch", "-lookupd-http-address", c.lookupds[0], "-n", "2", "-print-topic")
	c.publish(t, 0, "t", "", "a")
	p.stdout.await(t, "t | a\n")
	c.publish(t, 0, "u", "", "b", "c")
	if code := p.wait(t); code != exitOK || p.stdout.String() != "t | a\nu | b\nu | c\n" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, p.stdout.String(), p.stderr.String())
	}
}

// A last record without a delimiter is published whole, and each nsqd gets all records. The
// environment has no part in it.
func TestOldToNSQ(t *testing.T) {
	t.Setenv("RDY_NSQD", "127.0.0.1:1")
	c := startCluster(t, 2)
	for i := range c.nsqds {
		c.publish(t, i, "t", "ch")
	}
	code, stdout, stderr := executeWith(t, "hello,,world", "compat", "to_nsq", "-topic", "t", "-delimiter", ",",
		"-nsqd-tcp-address", c.nsqds[0].TCPAddr, "-nsqd-tcp-address", c.nsqds[1].TCPAddr)
	if code != exitOK || stdout+stderr != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	for _, n := range c.nsqds {
		_, stdout, _ := execute(t, "compat", "nsq_tail", "-topic", "t", "-channel", "ch", "-nsqd-tcp-address", n.TCPAddr, "-n", "2")
		if stdout != "hello\nworld\n" {
			t.Errorf("nsqd %s has %q", n.TCPAddr, stdout)
		}
	}
}

// nsq_to_file goes on in the file that it has begun, with the name that nsq_to_file gives it.
func TestOldToFileAppends(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "t", "nsq_to_file")
	dir := t.TempDir()
	for _, body := range []string{"one", "two"} {
		p := start(t, "compat", "nsq_to_file", "-topic=t", "-nsqd-tcp-address", c.nsqds[0].TCPAddr, "-output-dir", dir,
			"-datetime-format", "x", "-host-identifier", "h", "-sync-interval", "10ms")
		c.publish(t, 0, "t", "", body)
		await(t, "file", func() bool { return strings.HasSuffix(readable(t, dir), body+"\n") })
		p.interrupt(errInterrupted)
		if code := p.wait(t); code != exitOK || p.stdout.String() != "" {
			t.Errorf("exit code %d, stdout %q, stderr %q", code, p.stdout.String(), p.stderr.String())
		}
	}
	if data, err := os.ReadFile(filepath.Join(dir, "t.h.x.log")); err != nil || string(data) != "one\ntwo\n" {
		t.Errorf("the file has %q; error %v", data, err)
	}
}

// nsq_to_http takes any 2xx for a success, and puts the message where %s is.
func TestOldToHTTP(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "t", "ch", "a b")
	requests := make(chan *http.Request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	p := start(t, "compat", "nsq_to_http", "-topic", "t", "-channel", "ch", "-nsqd-tcp-address", c.nsqds[0].TCPAddr,
		"-get", server.URL+"/x?d=%s", "-header", "A: 1")
	r := <-requests
	await(t, "end", func() bool { return c.unfinished(t, "t") == 0 })
	p.interrupt(errInterrupted)
	if code := p.wait(t); code != exitOK || p.stdout.String() != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, p.stdout.String(), p.stderr.String())
	}
	if r.Method != http.MethodGet || r.URL.Query().Get("d") != "a b" || r.Header.Get("A") != "1" || r.Header.Get("Nsq-Topic") != "" {
		t.Errorf("got %s %s with %v", r.Method, r.URL, r.Header)
	}
}

// nsq_stat has the columns of the original, and an nsqd that fails once does not end it.
func TestOldStat(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "t", "ch", "a", "b")
	await(t, "nsqd to copy the messages to the channel", func() bool { return strings.HasPrefix(c.peekStats(t, "t", "ch"), "depth 2,") })
	to, err := url.Parse("http://" + c.nsqds[0].HTTPAddr)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.Transport = statsClient.Transport
	var polls atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stats" && polls.Add(1) == 3 {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	defer server.Close()
	code, stdout, stderr := execute(t, "compat", "nsq_stat", "-topic", "t", "-channel", "ch", "-nsqd-http-address", server.URL, "-interval", "1ms", "-count", "27")
	if code != exitOK || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "not now") && !strings.Contains(stderr, "503") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	header := []string{
		"------rate------+----------------depth----------------+--------------metadata---------------",
		"ingress  egress |   total     mem    disk inflt   def |     req     t-o         msgs clients",
	}
	row := "      0       0 |       2       2       0     0     0 |       0       0            2       0"
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	want := slices.Concat(header, slices.Repeat([]string{row}, 23), header, slices.Repeat([]string{row}, 3))
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s", stdout)
	}
	if code, stdout, stderr := execute(t, "compat", "nsq_stat", "-topic", "t", "-channel", "none", "-nsqd-http-address", server.URL); code != exitFailure || stdout != "" || !strings.Contains(stderr, "none") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// A link with the name of an old tool is that tool.
func TestOldNameOfLink(t *testing.T) {
	link := filepath.Join(t.TempDir(), "nsq_tail")
	if err := os.Symlink(os.Args[0], link); err != nil {
		if runtime.GOOS == "windows" { // where links need a privilege
			t.Skip(err)
		}
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	p := prepare(t, &stdout, "-version")
	p.Path, p.Args[0] = link, link
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(t); code != exitOK || stdout.String() != readVersion().String()+"\n" {
		t.Errorf("exit code %d, stdout %q, stderr %s", code, stdout.String(), p.stderr.String())
	}
}

// nsq_to_nsq copies what its filters pass, and keeps what is not JSON.
func TestOldNSQToNSQ(t *testing.T) {
	c := startCluster(t, 2)
	c.publish(t, 0, "t", "ch", `{"f":"no"}`, `not json`, `{"f":"v","a":1,"b":2}`)
	c.publish(t, 1, "u", "ch")
	p := start(t, "compat", "nsq_to_nsq", "-topic", "t", "-channel", "ch", "-nsqd-tcp-address", c.nsqds[0].TCPAddr,
		"-destination-nsqd-tcp-address", c.nsqds[1].TCPAddr, "-destination-topic", "u",
		"-require-json-field", "f", "-require-json-value", "v", "-whitelist-json-field", "a")
	await(t, "end of what is JSON", func() bool { return c.unfinished(t, "t") == 1 })
	p.interrupt(errInterrupted)
	if code := p.wait(t); code != exitOK || p.stdout.String() != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, p.stdout.String(), p.stderr.String())
	}
	if _, stdout, _ := execute(t, "tail", "u", "--channel", "ch", "--nsqd", c.nsqds[1].TCPAddr, "-n", "1"); stdout != "{\"a\":1}\n" {
		t.Errorf("the copy is %q", stdout)
	}
}
