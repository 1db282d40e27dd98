package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The HTTP server takes requests of the standard library's client, several on a connection.
func TestSink(t *testing.T) {
	s, err := startSink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	transport := &http.Transport{MaxConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for n := range 3 {
		resp, err := client.Post("http://"+s.addr()+"/", "text/plain", strings.NewReader(strings.Repeat("x", n*5000)))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK || s.taken() != int64(n+1) {
			t.Errorf("request %d: %s, %d taken", n, resp.Status, s.taken())
		}
	}
}

func TestCountLines(t *testing.T) {
	dir := t.TempDir()
	var frames bytes.Buffer
	for range 2 {
		w := gzip.NewWriter(&frames)
		_, _ = fmt.Fprint(w, "a\nb\n")
		_ = w.Close()
	}
	for name, data := range map[string][]byte{"one.log": []byte("a\nb\nc\n"), "two.log.gz": frames.Bytes()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := countLines(dir); n != 7 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cut.gz"), frames.Bytes()[:30], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := countLines(dir); err == nil {
		t.Error("half a frame is accepted")
	}
}

func TestText(t *testing.T) {
	if b := text(); len(b) != body || !json.Valid(b) {
		t.Errorf("%d bytes: %s", len(b), b)
	}
}

func TestRows(t *testing.T) {
	c := toHTTP("to-http, 100 at a time", 100)
	got := c.rows([]result{{10_000, 60}, {8_000, 80}, {9_000, 70}}, []result{{40_000, 20}, {50_000, 10}})
	const want = `| to-http, 100 at a time | nsq_to_http | 9.00k | 8.00k–10.0k |  | 70.0 | 60.0–80.0 |  |
|  | rdy | 45.0k | 40.0k–50.0k | **5.0 ×** | 15.0 | 10.0–20.0 | **1/4.7** |
`
	if got != want {
		t.Errorf("got\n%s", got)
	}
	if got := fraction(1.25); got != "1.2 ×" {
		t.Errorf("fraction(1.25) = %s", got)
	}
}
