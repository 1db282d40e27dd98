package ui

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	keepAlive    = 15 * time.Second // between two events, so that proxies keep the stream
	writeTimeout = 20 * time.Second
)

// live sends what changes on a screen, one event for each poll.
func (s *Server) live(w http.ResponseWriter, r *http.Request) {
	screen := s.screens.get(r.PathValue("screen"))
	stream := newStream(w, r)
	defer stream.close()
	if screen == nil {
		_ = stream.event("gone", nil) // the page loads itself again
		return
	}
	screen.begin()
	defer screen.end()
	defer screen.watch(s.poller)()
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	for {
		st, changed := s.poller.current()
		var err error
		if fragments := screen.changes(st); len(fragments) > 0 {
			err = stream.event("", fragments)
		}
		if err == nil && st.report != nil {
			err = stream.event("polled", fmt.Appendf(nil, "%d %d", st.report.At.UnixMilli(), st.interval.Milliseconds()))
		}
		if err != nil {
			return
		}
		select {
		case <-changed:
		case <-alive.C:
		case <-r.Context().Done():
			return
		}
	}
}

// begin says that a browser listens.
func (s *screen) begin() {
	s.mu.Lock()
	s.idle = time.Time{}
	s.mu.Unlock()
}

// end says that the browser listens no more.
func (s *screen) end() {
	s.mu.Lock()
	s.idle = time.Now()
	s.mu.Unlock()
}

func (s *screen) watch(p *poller) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.page.watches(p)
}

// stream is a stream of server-sent events.
type stream struct {
	w       io.Writer
	zip     *gzip.Writer // nil if the browser takes none
	control *http.ResponseController
}

func newStream(w http.ResponseWriter, r *http.Request) *stream {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // for nginx
	s := &stream{w: w, control: http.NewResponseController(w)}
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		s.zip = gzip.NewWriter(w)
		s.w = s.zip
	}
	return s
}

// event sends an event. Without a name htmx puts its data into the page.
func (s *stream) event(name string, data []byte) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // not all writers have one
	var b bytes.Buffer
	if name != "" {
		fmt.Fprintf(&b, "event: %s\n", name)
	}
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		fmt.Fprintf(&b, "data: %s\n", line)
	}
	b.WriteByte('\n')
	if _, err := s.w.Write(b.Bytes()); err != nil {
		return err
	}
	if s.zip != nil {
		if err := s.zip.Flush(); err != nil {
			return err
		}
	}
	return s.control.Flush()
}

func (s *stream) close() {
	if s.zip != nil {
		_ = s.zip.Close()
	}
}
