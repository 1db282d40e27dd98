package hostile

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Listing returns a handler that lists n nsqds for any topic, at the addresses h0:4150 to
// h(n-1):4150, which do not exist.
func Listing(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		declare(w)
		_, _ = io.WriteString(w, `{"channels":[],"producers":[`)
		for i := range n {
			comma := ","
			if i == 0 {
				comma = ""
			}
			if _, err := fmt.Fprintf(w, `%s{"broadcast_address":"h%d","tcp_port":4150}`, comma, i); err != nil {
				return
			}
		}
		_, _ = io.WriteString(w, `]}`)
	}
}

// Drip returns a handler that sends body one byte at a time, with pauses, until the client
// gives up or all was sent.
func Drip(body string, pause time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		declare(w)
		for i := range body {
			if _, err := io.WriteString(w, body[i:i+1]); err != nil {
				return
			}
			if err := http.NewResponseController(w).Flush(); err != nil || !paused(r, pause) {
				return
			}
		}
	}
}

// paused waits for d, and reports whether the client is still there.
func paused(r *http.Request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// Endless returns a handler that sends chunk again and again until the client gives up,
// at the latest after limit bytes.
func Endless(chunk string, limit int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		declare(w)
		send(w, chunk, limit)
	}
}

// Bomb returns a handler that sends size bytes of a listing without an end, compressed by
// gzip to a thousandth.
func Bomb(size int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		declare(w)
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		if _, err := io.WriteString(z, `{"channels":["`); err == nil {
			send(z, strings.Repeat("x", 64<<10), size)
		}
		_ = z.Close()
	}
}

func declare(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-NSQ-Content-Type", "nsq; version=1.0")
}

func send(w io.Writer, chunk string, limit int) {
	for n := 0; n < limit; n += len(chunk) {
		if _, err := io.WriteString(w, chunk); err != nil {
			return
		}
	}
}
